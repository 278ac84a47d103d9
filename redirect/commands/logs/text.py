"""What a terminal is shown. A client can write anything into the log, even what moves a cursor or hides a line.

The rule: what prints is shown as it is, the rest as an escape; and columns are aligned.
"""

import re
from collections.abc import Sequence

ABSENT = "-"

_NUMBER = re.compile(r"-|[+-]?[0-9][0-9,]*(\.[0-9]+)?(%|us)?")


def shown(value: object) -> str:
    """The value as text that a terminal can be given."""
    text = ABSENT if value is None else str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def lines_were(number: int) -> str:
    """So many lines were."""
    return "1 line was" if number == 1 else f"{number:,} lines were"


def left_out(broken: int) -> str:
    """What is said of lines that are broken."""
    return (
        "1 line is no access record and was left out"
        if broken == 1
        else (f"{broken:,} lines are no access records and were left out")
    )


class Table:
    """Lines of columns, those of numbers to the right. Rows may come bit by bit: columns widen where they have to."""

    def __init__(self) -> None:
        self._widths: list[int] = []
        self._to_right: list[bool] = []

    def lines(self, rows: Sequence[Sequence[str]], headings: Sequence[str] = ()) -> list[str]:
        """The rows, of text that can be shown, as lines without their ends."""
        is_first = not self._widths
        columns = list(zip(*rows, strict=True)) or [()] * len(headings)
        if is_first:
            self._widths = [0] * len(columns)
            self._to_right = [all(map(_NUMBER.fullmatch, column)) and bool(column) for column in columns]
        whole = [headings, *rows] if headings else rows
        self._widths = [
            max(width, *map(len, column)) for width, column in zip(self._widths, zip(*whole, strict=True), strict=True)
        ]
        return [self._line(row) for row in whole]

    def _line(self, row: Sequence[str]) -> str:
        cells = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, self._widths, self._to_right, strict=True)
        ]
        return "  ".join(cells).rstrip()
