"""Counts: the records, counted by what they hold. What a report says, it says of these.

Each combination of values is counted, exactly: memory grows with how many differ, by some 250 bytes each.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from redirect.commands.logs import files
from redirect.commands.logs.lines import Lines, Row, value
from redirect.commands.logs.progress import Progress
from redirect.commands.logs.scan import scan
from redirect.commands.logs.where import Where


class Counts(NamedTuple):
    """How often each combination of values was found, how many lines were lost, how many are broken.

    Values are in the order in which they were asked for.
    """

    found: dict[tuple[Any, ...], int]
    lost: int
    broken: int

    @property
    def records(self) -> int:
        """How many were counted."""
        return sum(self.found.values())


class _Counting:
    """Counts the rows of blocks."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __call__(self, blocks: Iterable[bytes]) -> tuple[Counter[Row], int, int]:
        rows: Counter[Row] = Counter()
        lost = broken = 0
        for block in blocks:
            found = self._lines.read(block)
            rows.update(found.rows)
            lost += sum(number for _, number in found.lost)
            broken += found.broken
        return rows, lost, broken


def count(paths: Sequence[str], fields: Sequence[str], where: Where) -> Counts:
    """The records of the files, counted by `fields`. Raises UnreadableError."""
    lines = Lines(set(fields), where)
    found: Counter[Row] = Counter()
    lost = broken = 0
    progress = Progress(sum(map(files.size, paths)))
    for rows, more_lost, more_broken in scan(paths, _Counting(lines), progress, in_few=True):
        found.update(rows)
        lost += more_lost
        broken += more_broken
    return Counts(_decoded(found, lines.fields, fields), lost, broken)


def _decoded(found: Counter[Row], fields: Sequence[str], wanted: Sequence[str]) -> dict[tuple[Any, ...], int]:
    decoded: Counter[tuple[Any, ...]] = Counter()
    for row, number in found.items():
        values = {field: value(field, token) for field, token in zip(fields, row, strict=False)}
        decoded[tuple([values[field] for field in wanted])] += number
    return dict(decoded)
