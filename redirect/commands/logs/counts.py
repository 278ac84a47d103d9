"""Counts, which reports are made of, and what they can be grouped by."""

from collections.abc import Callable
from typing import Any, NamedTuple

from redirect.commands.logs.filters import Filters

PERIODS = {"day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H", "minute": "%Y-%m-%dT%H:%M"}

# What records can be grouped by.
BY = (
    "pool origin path hour minute day status method host client_ip user_agent referer instance worker config level "
    "pool_requested"
).split()


class Counts(NamedTuple):
    """How often each combination of values is in the log.

    `rows` selects from the view `counts` of DuckDB, which has the fields of the report, how often they were found as
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
