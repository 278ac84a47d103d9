"""How many examples a test of a generated kind draws: a fifth of them, or all with REDIRECT_EXAMPLES=all, as
`make test-generated` does. They are the same in each run."""

import os
from typing import Any

from hypothesis import HealthCheck, settings

_PART = 1 if os.environ.get("REDIRECT_EXAMPLES") == "all" else 5


def generated(examples: int, **more: Any) -> settings:
    return settings(
        derandomize=True,
        deadline=None,
        max_examples=examples // _PART,
        suppress_health_check=[HealthCheck.too_slow],
        **more,
    )
