"""Prints a report, or the answer to a query: a table for people, JSON or CSV for machines."""

import csv
import json
import sys
from collections.abc import Sequence
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from redirect.commands.logs.reports import Counts, Report
from redirect.commands.logs.text import Table, left_out, lines_were, shown

if TYPE_CHECKING:
    from redirect.commands.logs.query import Answer

_COUNT, _SHARE = "{:,}", "{:.2%}"
_FORMATS = {
    **dict.fromkeys(["weight", "picks", "count", "p50_us", "p90_us", "p95_us", "p99_us", "max_us"], _COUNT),
    **dict.fromkeys(["share", "configured", "observed"], _SHARE),
    "difference": "{:+.2%}",
    "average_us": "{:,.1f}",
}


def print_report(report: Report, counts: Counts, as_json: bool) -> None:
    if as_json:
        rows = [dict(zip(report.headings, row, strict=True)) for row in report.rows]
        totals = {"records": counts.records, "lost": counts.lost, "left_out": counts.broken}
        click.echo(json.dumps({"report": report.name, **totals, **report.more, "rows": rows}, indent=2))
        return
    cells = [[_cell(*each) for each in zip(report.headings, row, strict=True)] for row in report.rows]
    for line in [*Table().lines(cells, report.headings), *report.closing]:
        click.echo(line)
    if counts.broken:
        click.echo(left_out(counts.broken), err=True)
    if counts.lost:
        click.echo(f"{lines_were(counts.lost)} lost by the service, and cannot be counted", err=True)


def print_answer(answer: "Answer", form: str) -> None:
    """Prints the answer as a table, as one JSON object a line, or as CSV."""
    stdout = sys.stdout
    table = Table()
    headings: Sequence[str] = [shown(column) for column in answer.columns]
    if form == "csv":
        csv.writer(stdout, lineterminator="\n").writerow(answer.columns)
    for batch in answer.batches:
        if form == "csv":
            csv.writer(stdout, lineterminator="\n").writerows([map(_text, row) for row in batch])
        elif form == "json":
            objects = (dict(zip(answer.columns, row, strict=True)) for row in batch)
            stdout.writelines(json.dumps(each, default=_plain) + "\n" for each in objects)
        else:
            cells = [[shown(_text(value)) for value in row] for row in batch]
            stdout.writelines(f"{line}\n" for line in table.lines(cells, headings))
            headings = ()
    if form == "table" and headings:
        stdout.writelines(f"{line}\n" for line in table.lines([], headings))


def _cell(heading: str, value: Any) -> str:
    if heading not in _FORMATS or value is None:
        return shown(value)
    return _FORMATS[heading].format(round(value, 4) + 0)  # without a sign before 0


def _text(value: Any) -> Any:
    return _plain(value) if isinstance(value, date | time) else value


def _plain(value: Any) -> Any:
    """A value of a type that JSON does not have."""
    if isinstance(value, date | time):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else str(value)
