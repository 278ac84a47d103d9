"""Tells which of the compiled modules are in use; each of them may be missing, as it is built where that can be done.

The rule: one built from other source than the Python that calls it is not used, whatever it would do: a copied or
forgotten file of an older version may read requests wrongly. Its docstring is a digest of its source, which
`tests/core/test_compiled.py` checks.
"""

import logging
from functools import cache
from importlib import import_module
from types import ModuleType

_logger = logging.getLogger(__name__)

# By name the digest that the source of each states of itself.
SOURCES = {
    "redirect.edge._plain_head": "c46a26ef915c9e474eb7",
    "redirect.proxy._plain_fields": "e6891df704612bb9179a",
    "redirect.telemetry._batch": "51036c9c322be594547e",
    "redirect.telemetry._lines": "41fe9a4b50dc32c7f602",
}


@cache
def is_in_use(name: str) -> bool:
    """False where there is no such module, or it is not usable."""
    try:
        module = import_module(name)
    except ImportError:
        return False
    return is_usable(module, SOURCES[name])


def is_usable(module: ModuleType, source: str) -> bool:
    """False where it is of another `source`, with a warning."""
    if module.__doc__ == source:
        return True
    _logger.warning("%s is not used: it was built from other source; install the package again", module.__file__)
    return False


def reader() -> str:
    """How messages name what is in use."""
    missing = [name.rpartition(".")[2] for name in SOURCES if not is_in_use(name)]
    if len(missing) == len(SOURCES):
        return "Python reader"
    return f"partly compiled reader (without {', '.join(missing)})" if missing else "compiled reader"
