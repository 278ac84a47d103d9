"""A table, as Markdown that also reads well in a terminal: columns are padded, figures stand to the right."""

from collections.abc import Sequence
from typing import NamedTuple


class Table(NamedTuple):
    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""
    labels: int = 1  # columns that hold words and stand to the left

    def markdown(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        rule = tuple("-" * width if n < self.labels else "-" * (width - 1) + ":" for n, width in enumerate(widths))
        lines = [self._line(cells, widths) for cells in (self.header, rule, *self.rows)]
        return "\n".join([f"### {self.title}", "", *lines, *(["", self.note] if self.note else []), ""])

    def _line(self, cells: tuple[str, ...], widths: list[int]) -> str:
        padded = (
            cell.ljust(width) if n < self.labels else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"
