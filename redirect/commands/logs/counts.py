"""Counts, which reports are made of, what they can be grouped by, and the SQL that counts.

The rule: a report has one SQL, which DuckDB and ClickHouse read the same. So it keeps to what both have, and names of
functions, types and literals are theirs in common; only the quoting of text differs.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from redirect.commands.logs.filters import Filters, Quoting

_PERIODS = {"day": 10, "hour": 13, "minute": 16}  # characters of a time
PERIODS = _PERIODS.keys()

# What records can be grouped by.
BY = (
    "pool origin path hour minute day status method host client_ip user_agent referer instance worker config level "
    "pool_requested route action origin_status served_from detail"
).split()

IS_RECORD = "(time IS NOT NULL AND status IS NOT NULL)"


class Counting(NamedTuple):
    """What is counted: the records that `filters` select, by the group `by` and the `fields`, and with these by each of
    the `classes`."""

    by: str | None
    fields: Sequence[str]
    classes: Sequence[str]
    filters: Filters

    def scan(self, table: str, quoted: Quoting) -> str:
        """Selects `scanned` from a table of lines: counts of records, of lost lines, and of others."""
        by, group = self.by, self.by or "NULL"
        if by in PERIODS:
            group = f"replace(substring(CAST(time AS VARCHAR), 1, {_PERIODS[by]}), ' ', 'T')"
        columns = "".join(f"{field}, " for field in self.fields)
        classed = "".join(f"{each}, " for each in self.classes)
        all_by = f"is_record, grp, {columns}"
        sets = ", ".join([f"({all_by.removesuffix(', ')})", *(f"({all_by}{each})" for each in self.classes)])
        cases = "".join(f"WHEN grouping({each}) = 0 THEN '{each}' " for each in self.classes)
        return f"""
            SELECT {all_by} CASE {cases or "WHEN false THEN '' "}END AS class, coalesce({classed}NULL) AS value,
                count(*) AS count, sum(lost) AS lost, count(lost) AS markers
            FROM (
                SELECT {IS_RECORD} AS is_record, {group} AS grp, {columns}{classed}lost FROM {table}
                WHERE CASE WHEN is_record THEN {self.filters.sql(quoted)}
                    WHEN lost IS NOT NULL THEN {self.filters.time_sql()} ELSE true END
            )
            GROUP BY GROUPING SETS ({sets})
        """  # noqa: S608  all quoted

    def views(self) -> dict[str, str]:
        """What reports select from, as selected from `scanned`."""
        columns = "".join(f", {field}" for field in self.fields)
        select = f"SELECT grp{columns}, sum(count) AS count%s FROM scanned WHERE is_record AND class IS %s GROUP BY ALL"  # noqa: S608
        return {"counts": select % ("", "NULL"), "classes": select % (", class, value", "NOT NULL")}

    def counts(self, answers: Callable[[str], list[tuple[Any, ...]]]) -> "Counts":
        """The counts in a database that answers what is asked of `scanned` and the views."""

        def rows(select: str) -> list[tuple[Any, ...]]:
            return [row if self.by else row[1:] for row in answers(select)]

        (totals,) = answers("""
            SELECT sum(count) FILTER (WHERE is_record), sum(lost) FILTER (WHERE NOT is_record),
                sum(count - markers) FILTER (WHERE NOT is_record)
            FROM scanned WHERE class IS NULL
        """)
        return Counts(rows, self.by, self.filters, *(total or 0 for total in totals))


class Counts(NamedTuple):
    """How often each combination of values is in the log.

    `rows` selects from the view `counts`, which has the fields of the report, how often they were found as
    `count`, and as `grp` the value of `by`. That is the first column selected, and is left out if `by` is None. The
    view `classes` has the same by each `value` of each `class` of values, such as "path".
    """

    rows: Callable[[str], list[tuple[Any, ...]]]
    by: str | None
    filters: Filters
    records: int
    lost: int
    broken: int

    def headings(self, *names: str) -> tuple[str, ...]:
        return names if self.by is None else (self.by, *names)
