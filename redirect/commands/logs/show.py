"""Prints records, in columns or as the lines of the log.

The rule: records are printed on standard output, notes about them on standard error. At a terminal columns are
aligned as far as the records so far allow; elsewhere they are separated by tabs.
"""

import os
import sys
from collections.abc import Iterable, Sequence

import click

from redirect.commands.logs import files
from redirect.commands.logs.filters import Filters
from redirect.commands.logs.progress import Progress
from redirect.commands.logs.records import Lost, Reader, Record
from redirect.commands.logs.text import Table, left_out, lines_were, shown

_COLORS = {"4": "yellow", "5": "red"}  # by the first digit of the status
_STATUS = 1  # its column


class Printer:
    """Prints records as they are read."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._table = Table() if sys.stdout.isatty() else None
        self._is_colored = "NO_COLOR" not in os.environ

    def print(self, found: Iterable[Record | Lost]) -> None:
        records: list[Record] = []
        for each in found:
            if isinstance(each, Record):
                records.append(each)
                continue
            self._print(records)
            click.echo(f"{lines_were(each.number)} lost here", err=True)
            records = []
        self._print(records)

    def _print(self, records: Sequence[Record]) -> None:
        sys.stdout.buffer.writelines(self._lines(records))
        sys.stdout.flush()

    def _lines(self, records: Sequence[Record]) -> Iterable[bytes]:
        if self._as_json:
            return (record.line for record in records)
        rows = [_columns(record) for record in records]
        if self._table is None:
            return ("\t".join(row).encode() + b"\n" for row in rows)
        return map(self._colored, self._table.lines(rows), rows)

    def _colored(self, line: str, row: Sequence[str]) -> bytes:
        color = _COLORS.get(row[_STATUS][0]) if self._is_colored else None
        return (click.style(line, fg=color) if color else line).encode() + b"\n"


def show(paths: Sequence[str], filters: Filters, as_json: bool) -> None:
    """Prints the selected records of the files."""
    printer, reader = Printer(as_json), Reader(filters)
    progress = Progress(sum(map(files.size, paths)))
    for path in paths:
        for block in files.blocks(path, progress):
            found = list(reader.read(block))
            if found:
                progress.clear()
            printer.print(found)
    progress.clear()
    if reader.broken:
        click.echo(left_out(reader.broken), err=True)


def _columns(record: Record) -> tuple[str, ...]:
    get = record.values.get
    path, query = get("path"), get("query")
    target = shown(get("host")) + ("" if path is None else shown(path)) + (f"?{shown(query)}" if query else "")
    columns = map(shown, map(get, ("time", "status", "pool", "origin", "method", "client_ip")))
    return *columns, f"{shown(get('duration_us'))}us", target
