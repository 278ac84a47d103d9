"""Reports: rows for a table and for machines, made of counts.

Shares are from 0 to 1, durations in microseconds. A percentile is the smallest duration that so many of a hundred
do not exceed. Groups that are periods are in their order; of others the largest comes first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import duckdb

PERIODS = {"day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H", "minute": "%Y-%m-%dT%H:%M"}

# What records can be grouped by.
BY = (
    "pool origin path hour minute day status method host client_ip user_agent referer instance worker config level "
    "pool_requested"
).split()

PERCENTILES = (50, 90, 95, 99)


class Counts(NamedTuple):
    """The view `counts`: `grp`, which is the value of `by` or NULL, the fields, and how often they were found."""

    connection: "duckdb.DuckDBPyConnection"
    by: str | None
    records: int
    lost: int
    broken: int

    def rows(self, select: str) -> list[tuple[Any, ...]]:
        """The rows of the statement, whose first column is `grp`; without that column where there are no groups."""
        rows = self.connection.execute(select).fetchall()
        return rows if self.by else [row[1:] for row in rows]


@dataclass(frozen=True, slots=True)
class Report:
    """Rows with a value for each heading; `more` is for machines, `closing` for people."""

    name: str
    headings: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    more: Mapping[str, Any] = field(default_factory=dict)
    closing: tuple[str, ...] = ()
    exit_code: int = 0


def top(counts: Counts, limit: int) -> Report:
    """The most frequent values of the group."""
    rows = counts.rows(
        f"SELECT grp, count, count / {counts.records}, count(*) OVER () "  # noqa: S608  numbers
        f"FROM counts ORDER BY count DESC, grp LIMIT {limit}"
    )
    values = rows[0][-1] if rows else 0
    closing = f"{len(rows):,} of {values:,} values, of {counts.records:,} records"
    headings = (*heading(counts.by), "count", "share")
    return Report("top", headings, [row[:-1] for row in rows], {"values": values}, (closing,))


def statuses(counts: Counts) -> Report:
    """How often each status was answered, of counts by status."""
    rows = counts.rows(f"""
        SELECT grp, status, count, count / total
        FROM (SELECT *, sum(count) OVER (PARTITION BY grp) AS total FROM counts)
        ORDER BY {_order(counts)}, status
    """)  # noqa: S608  constants
    return Report("statuses", (*heading(counts.by), "status", "count", "share"), rows)


def latency(counts: Counts) -> Report:
    """How long answers took, of counts by duration."""
    percentiles = ", ".join(
        f"min(duration_us) FILTER (running * 100 >= total * {percent}) AS p{percent}_us" for percent in PERCENTILES
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
    headings = ("count", "average_us", *(f"p{percent}_us" for percent in PERCENTILES), "max_us")
    return Report("latency", (*heading(counts.by), *headings), rows)


def heading(by: str | None) -> tuple[str, ...]:
    return () if by is None else (by,)


def _order(counts: Counts) -> str:
    return "grp" if counts.by in PERIODS else "total DESC, grp"
