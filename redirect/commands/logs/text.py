"""Tables, and text that is safe for a terminal. A client can write anything into the log, even what moves a cursor.

The rule: printable characters are shown as they are, all others as escapes.
"""

import re
from collections.abc import Sequence
from itertools import repeat

from redirect.core.wording import visible

ABSENT = "-"

_NUMBER = re.compile(r"-|[+-]?[0-9][0-9,]*(\.[0-9]+)?(%|us)?")


def shown(value: object) -> str:
    """The value as text for a terminal."""
    return visible(ABSENT if value is None else str(value))


def lines_were(number: int) -> str:
    return "1 line was" if number == 1 else f"{number:,} lines were"


def left_out(broken: int) -> str:
    if broken == 1:
        return "1 line is no access record and was left out"
    return f"{broken:,} lines are no access records and were left out"


class Table:
    """Aligns columns, those of numbers to the right. Rows may come bit by bit: columns widen where they have to."""

    def __init__(self, headings: Sequence[str] = ()) -> None:
        self._headings = [headings] if headings else []
        self._widths: list[int] = []
        self._to_right: list[bool] = []

    def lines(self, rows: Sequence[Sequence[str]]) -> list[str]:
        """The rows as lines without their ends, the headings before the first ones."""
        whole = [*self._headings, *rows]
        if not self._widths:
            self._to_right = [all(map(_NUMBER.fullmatch, column)) for column in zip(*(rows or whole), strict=True)]
        widths = (max(map(len, column)) for column in zip(*whole, strict=True))
        self._widths = list(map(max, self._widths or repeat(0), widths))
        self._headings = []
        return [self._line(row) for row in whole]

    def _line(self, row: Sequence[str]) -> str:
        columns = zip(row, self._widths, self._to_right, strict=True)
        return "  ".join([f"{cell:{'>' if to_right else '<'}{width}}" for cell, width, to_right in columns]).rstrip()
