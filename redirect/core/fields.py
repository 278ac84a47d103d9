"""Header fields as the TOML has them: names and values that may be written into a head.

The rule: what frames a message, or belongs to the connection, is never the TOML's to write.
"""

import re
from collections.abc import Iterator
from typing import Any

from redirect.core.keys import Limit, refuse

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")

_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
OF_THE_MESSAGE = frozenset(
    "connection content-length date keep-alive proxy-connection te trailer transfer-encoding upgrade".split()
)


def is_value(text: str) -> bool:
    """Whether this is the value of a field: visible ASCII characters, with blanks between them."""
    return _VALUE.fullmatch(text) is not None


def table_of_fields(example: str, *reserved: str) -> Limit:
    """Takes a table of fields, but for those that have another way to be said, which are `reserved`. Values may be
    secrets: no message has one."""

    def convert(values: Any) -> tuple[tuple[str, str], ...]:
        refuse(_faults(values, OF_THE_MESSAGE.union(reserved)))
        return tuple(values.items())

    return Limit(f"must be a table of header fields such as {{ {example} }}", convert=convert)


def _faults(values: Any, reserved: frozenset[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name, value in values.items():
        if not isinstance(value, str):
            yield f"the value of {name} is no text, write it in quotes"
        if not TOKEN.fullmatch(name) or (isinstance(value, str) and not is_value(value)):
            yield f"{name} is no header field in visible ASCII characters"
        elif (lower := name.lower()) in reserved:
            yield f"{name} is written by the service"
        elif lower in seen:
            yield f"{name} is there twice"
        seen.add(name.lower())
