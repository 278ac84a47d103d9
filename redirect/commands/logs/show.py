"""Records in columns, or as the lines that they are.

The rule: standard output gets records and nothing else; what is to be said of them is on standard error. At a
terminal columns are aligned as well as can be while records still come; elsewhere there is a tab between them.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import click

from redirect.commands.logs import files
from redirect.commands.logs.lines import Lines, Row, value
from redirect.commands.logs.progress import Progress
from redirect.commands.logs.scan import Work, scan
from redirect.commands.logs.text import ABSENT, Table, left_out, lines_were, shown
from redirect.commands.logs.where import EVERYTHING, Where

# As a row has them, which is not as they are shown.
_FIELDS = "time pool origin status method host path query client_ip duration_us".split()

_COLORS = {"4": "yellow", "5": "red"}  # by the first digit of the status
_STATUS = 1  # the column of it


class Shown(NamedTuple):
    """Records, as columns or as lines; before which of them how many lines were lost; how many lines are broken."""

    records: Sequence[Any]
    lost: Sequence[tuple[int, int]]
    broken: int


class Verbatim:
    """Makes lines of blocks, to the byte."""

    def __init__(self, where: Where) -> None:
        self._lines = Lines(["line"], where)

    def __call__(self, blocks: Iterable[bytes]) -> Shown:
        found = self._lines.read_all(blocks)
        return Shown([row[0] for row in found.rows], found.lost, found.broken)


class Columns:
    """Makes columns of blocks. Lines are chosen first: to look for all columns takes longer, and few may be meant."""

    def __init__(self, where: Where) -> None:
        self._verbatim = Verbatim(where)
        self._lines = Lines(_FIELDS, EVERYTHING)

    def __call__(self, blocks: Iterable[bytes]) -> Shown:
        found = self._verbatim(blocks)
        rows = self._lines.read(b"".join(found.records)).rows
        return found._replace(records=[_columns(row) for row in rows])


class Printer:
    """Prints what it is given, in whatever pieces that comes."""

    def __init__(self) -> None:
        self._table = Table() if sys.stdout.isatty() else None
        self._is_colored = "NO_COLOR" not in os.environ
        self._broken = 0

    def print(self, shown: Shown) -> None:
        """Prints the records, and between them where lines were lost."""
        begin = 0
        for index, lost in shown.lost:
            self._print(shown.records[begin:index])
            click.echo(f"{lines_were(lost)} lost here", err=True)
            begin = index
        self._print(shown.records[begin:])
        self._broken += shown.broken

    def close(self) -> None:
        """Says what was left out."""
        if self._broken:
            click.echo(left_out(self._broken), err=True)

    def _print(self, records: Sequence[Any]) -> None:
        if not records:
            return
        stdout = sys.stdout.buffer
        if isinstance(records[0], bytes):
            stdout.write(b"".join(records))
        elif self._table is None:
            stdout.write("".join(["\t".join(record) + "\n" for record in records]).encode())
        else:
            lines = self._table.lines(records)
            stdout.write("".join(map(self._colored, lines, records)).encode())
        stdout.flush()

    def _colored(self, line: str, record: Sequence[str]) -> str:
        color = _COLORS.get(record[_STATUS][0]) if self._is_colored else None
        return (click.style(line, fg=color) if color else line) + "\n"


def show(paths: Sequence[str], work: Work[Shown]) -> None:
    """Prints the records of the files. Raises UnreadableError."""
    printer = Printer()
    progress = Progress(sum(map(files.size, paths)))
    for found in scan(paths, work, progress):
        if found.records or found.lost:
            progress.clear()
        printer.print(found)
    printer.close()


def _columns(row: Row) -> tuple[str, ...]:
    time, pool, origin, status, method, host, path, query, client_ip, duration = map(_text, row[:-1])
    target = host + ("" if path == ABSENT else path) + (f"?{query}" if query else "")
    return time, status, pool, origin, method, client_ip, f"{duration}us", target


def _text(token: bytes) -> str:
    text = token.decode("ascii")
    if "\\" in text or not text.isprintable():
        return shown(value("", token))
    return ABSENT if text == "null" else text.strip('"')
