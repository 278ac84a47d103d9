"""Records: the lines of the log, parsed.

a record  an object with a time and a status
a marker  the place of lines that the service lost: an object with their number as `lost`, without a status
broken    any other line, but for blank lines and a last line that is still being written
"""

import io
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic_core import from_json

from redirect.commands.logs.filters import Filters

_DIGITS = re.compile(r"[0-9]{1,9}")


class Record(NamedTuple):
    line: bytes
    values: dict[str, Any]


class Lost(NamedTuple):
    number: int


class Reader:
    """Reads blocks, and counts broken lines."""

    def __init__(self, filters: Filters) -> None:
        self._filters = filters
        self.broken = 0

    def read(self, block: bytes) -> Iterator[Record | Lost]:
        """The selected records, and the markers between them."""
        for line in io.BytesIO(block):
            values = parsed(line)
            if "what" in values:  # of the error log of a route, which may go to the same place
                continue
            if "lost" in values and "status" not in values:
                if isinstance(values["lost"], int) and self._filters.match_time(str(values.get("time", ""))):
                    yield Lost(values["lost"])
            elif isinstance(values.get("time"), str) and _has_status(values):
                if self._filters.match(values):
                    yield Record(line if line.endswith(b"\n") else line + b"\n", values)
            elif line.endswith(b"\n") and not line.isspace():
                self.broken += 1


def _has_status(values: dict[str, Any]) -> bool:
    """Whether there is one. One that another program wrote as text, or as 302.0, is a number then, as in DuckDB."""
    status = values.get("status")
    if (isinstance(status, str) and _DIGITS.fullmatch(status)) or (isinstance(status, float) and status.is_integer()):
        values["status"] = status = int(status)
    return isinstance(status, int)


def parsed(line: bytes) -> dict[str, Any]:
    """The object of the line; an empty one if there is none."""
    try:
        values = from_json(line)  # half the time of json.loads
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
