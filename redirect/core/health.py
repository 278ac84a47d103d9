"""The health status of origins, as values, and as the bytes that the processes of an instance share.

The rule: an origin has a status once its state has changed; until then it counts as up.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple


class HealthStatus(NamedTuple):
    is_up: bool
    since: float  # Unix time, for people
    since_monotonic: float  # seconds of the monotonic clock that all processes of a machine share, for slow starts
    reason: str


# By pool, then by origin: two pools may probe one host in different ways.
Health = Mapping[str, Mapping[str, HealthStatus]]

NO_HEALTH: Health = {}


def encode(health: Health) -> bytes:
    return json.dumps(health, separators=(",", ":")).encode("ascii")


def decode(content: bytes) -> Health:
    """The health that was encoded as `content`; without any content there is no status."""
    return {
        pool: {origin: HealthStatus(*status) for origin, status in statuses.items()}
        for pool, statuses in json.loads(content or b"{}").items()
    }
