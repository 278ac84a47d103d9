"""Tells whether a compiled module was built from the source beside the Python that calls it.

The rule: one built from other source is not used, whatever it would do: a copied or forgotten file of an older version
may read requests wrongly. Its docstring is a digest of its source, which `tests/core/test_compiled.py` checks.
"""

import logging
from types import ModuleType

_logger = logging.getLogger(__name__)


def is_usable(module: ModuleType | None, source: str) -> bool:
    """False where there is no compiled module; where it is of another `source`, with a warning as well."""
    if module is None or module.__doc__ == source:
        return module is not None
    _logger.warning("%s is not used: it was built from other source; install the package again", module.__file__)
    return False
