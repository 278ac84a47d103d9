"""`redirect logs report`: a command for each report, which is made of counts.

Shares are from 0 to 1, durations in microseconds. A percentile is the smallest duration that so many of a hundred
do not exceed. Groups that are periods are in their order; of others the largest comes first.
"""

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import click

from redirect.commands.loading import leave
from redirect.commands.logs import clickhouse
from redirect.commands.logs.clickhouse import ClickHouse
from redirect.commands.logs.counts import BY, PERIODS, Counting, Counts
from redirect.commands.logs.filters import Filters, filtered, given_or_configured
from redirect.commands.logs.text import Table, left_out, lines_were, shown

PERCENTILES = (50, 90, 95, 99)

_COUNT, _SHARE = "{:,}", "{:.2%}"
_FORMATS = {
    **dict.fromkeys(["weight", "picks", "count", "p50_us", "p90_us", "p95_us", "p99_us", "max_us"], _COUNT),
    **dict.fromkeys(["share", "configured", "due", "observed"], _SHARE),
    "difference": "{:+.2%}",
    "average_us": "{:,.1f}",
}


@dataclass(frozen=True, slots=True)
class Report:
    """Rows with a value for each heading; `more` is for machines, `closing` for people."""

    headings: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    more: Mapping[str, Any] = field(default_factory=dict)
    closing: tuple[str, ...] = ()
    exit_code: int = 0


def reporting(
    *fields: str, by: Sequence[str] = BY, default: str | None = None, classes: Sequence[str] = ()
) -> Callable[[Callable[..., Report]], click.Command]:
    """Makes a command of a function that makes a report of the counts by `--by` and `fields`. Without `--by` they are
    there by each of the `classes` as well."""

    def decorate(function: Callable[..., Report]) -> click.Command:
        @click.command(function.__name__)
        @click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
        @filtered
        @click.option("--by", metavar="KEY", type=click.Choice(by), default=default, help=f"One of {', '.join(by)}.")
        @clickhouse.at
        @functools.wraps(function)
        def command(
            paths: Sequence[str], filters: Filters, by: str | None, as_json: bool, at: ClickHouse | None, **options: Any
        ) -> None:
            with _counted(at, paths, Counting(by, fields, () if by else classes, filters)) as counts:
                made = function(counts, **options)
            _print(function.__name__, made, counts, as_json)
            sys.exit(made.exit_code)

        return command

    return decorate


def _counted(at: ClickHouse | None, paths: Sequence[str], counting: Counting) -> AbstractContextManager[Counts]:
    if at is not None:
        return nullcontext(at.counts(counting, paths))
    require_duckdb()
    from redirect.commands.logs.database import counted

    return counted(given_or_configured(paths), counting)


def require_duckdb() -> None:
    if find_spec("duckdb") is None:
        leave(2, "DuckDB is not installed: pip install 'redirect[logs]'")


@reporting(default="path")
@click.option("--limit", metavar="N", type=click.IntRange(1), default=20, help="So many at most.")
def top(counts: Counts, limit: int) -> Report:
    """List the most frequent paths, or other values. The counts are exact."""
    rows = counts.rows(
        f"SELECT grp, count, count / {counts.records}, count(*) OVER () "  # noqa: S608  numbers
        f"FROM counts ORDER BY count DESC, grp LIMIT {limit}"
    )
    values = rows[0][-1] if rows else 0
    closing = f"{len(rows):,} of {values:,} values, of {counts.records:,} records"
    return Report(counts.headings("count", "share"), [row[:-1] for row in rows], {"values": values}, (closing,))


@reporting("duration_us")
def latency(counts: Counts) -> Report:
    """Show how long answers took, in microseconds: average, percentiles, longest."""
    percentiles = ", ".join(
        f"min(duration_us) FILTER (WHERE running * 100 >= total * {percent}) AS p{percent}_us"
        for percent in PERCENTILES
    )
    rows = counts.rows(f"""
        SELECT grp, total, sum(duration_us * count) / total, {percentiles}, max(duration_us)
        FROM (
            SELECT *, sum(count) OVER (PARTITION BY grp) AS total,
                sum(count) OVER (PARTITION BY grp ORDER BY duration_us) AS running
            FROM counts WHERE duration_us IS NOT NULL
        )
        GROUP BY grp, total ORDER BY {_order(counts)}
    """)  # noqa: S608  constants
    names = ("count", "average_us", *(f"p{percent}_us" for percent in PERCENTILES), "max_us")
    return Report(counts.headings(*names), rows)


@reporting("status", by=[each for each in BY if each != "status"])
def statuses(counts: Counts) -> Report:
    """Count the statuses that were answered."""
    rows = counts.rows(f"""
        SELECT grp, status, count, count / total
        FROM (SELECT *, sum(count) OVER (PARTITION BY grp) AS total FROM counts)
        ORDER BY {_order(counts)}, status
    """)  # noqa: S608  constants
    return Report(counts.headings("status", "count", "share"), rows)


def _order(counts: Counts) -> str:
    return "grp" if counts.by in PERIODS else "total DESC, grp"


def _print(name: str, made: Report, counts: Counts, as_json: bool) -> None:
    if as_json:
        rows = [dict(zip(made.headings, row, strict=True)) for row in made.rows]
        totals = {"records": counts.records, "lost": counts.lost, "left_out": counts.broken}
        click.echo(json.dumps({"report": name, **totals, **made.more, "rows": rows}, indent=2))
        return
    cells = [[_cell(*each) for each in zip(made.headings, row, strict=True)] for row in made.rows]
    for line in [*Table(made.headings).lines(cells), *made.closing]:
        click.echo(line)
    if counts.broken:
        click.echo(left_out(counts.broken), err=True)
    if counts.lost:
        click.echo(f"{lines_were(counts.lost)} lost by the service, and cannot be counted", err=True)


def _cell(heading: str, value: Any) -> str:
    if heading not in _FORMATS or value is None:
        return shown(value)
    return _FORMATS[heading].format(round(value, 4) + 0)  # without a sign before 0
