"""Reports: what the counts say, as rows for a table, for machines and for pictures.

Shares are from 0 to 1, durations in microseconds. A percentile is the smallest duration that so many of a
hundred do not exceed. Groups that are periods are in their order; of others the largest comes first.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from redirect.commands.logs.counts import Counts
from redirect.commands.logs.lines import PERIODS

# What records can be grouped by.
BY = (
    "pool origin path hour minute day status method host client_ip user_agent referer instance worker config level "
    "pool_requested"
).split()

PERCENTILES = (50, 90, 95, 99)

# The value of `by` that a group has, or nothing where all are one group.
Group = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Rows with a value for each heading, what else belongs to the answer, and what people are told of it."""

    name: str
    headings: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    more: Mapping[str, Any] = field(default_factory=dict)
    closing: tuple[str, ...] = ()
    exit_code: int = 0


def top(counts: Counts, by: str, limit: int) -> Report:
    """The most frequent values of `by`, of counts by it."""
    found = Counter(counts.found).most_common(limit)
    rows = [(value, number, number / counts.records) for (value,), number in found]
    closing = f"{len(rows):,} of {len(counts.found):,} values, of {counts.records:,} records"
    return Report("top", (by, "count", "share"), rows, {"values": len(counts.found)}, (closing,))


def statuses(counts: Counts, by: str | None) -> Report:
    """How often each status was answered, of counts by `by`, if that is given, and status."""
    rows = []
    for group, found in groups(counts, by):
        total = found.total()
        rows += [(*group, status, number, number / total) for status, number in sorted(found.items())]
    return Report("statuses", (*heading(by), "status", "count", "share"), rows)


def latency(counts: Counts, by: str | None) -> Report:
    """How long answers took, of counts by `by`, if that is given, and duration."""
    rows = []
    for group, found in groups(counts, by):
        total = found.total()
        average = sum(duration * number for duration, number in found.items()) / total
        rows.append((*group, total, average, *_percentiles(found), max(found)))
    headings = ("count", "average_us", *(f"p{percent}_us" for percent in PERCENTILES), "max_us")
    return Report("latency", (*heading(by), *headings), rows)


def groups(counts: Counts, by: str | None) -> list[tuple[Group, Counter[Any]]]:
    """Counts by `by`, if that is given, and another value: those of the other in each group."""
    found: dict[Group, Counter[Any]] = {}
    for (*group, value), number in counts.found.items():
        found.setdefault(tuple(group), Counter())[value] += number
    if by in PERIODS:
        return sorted(found.items())
    return sorted(found.items(), key=lambda each: each[1].total(), reverse=True)


def heading(by: str | None) -> tuple[str, ...]:
    """What a group's own column is called, if there are groups."""
    return () if by is None else (by,)


def _percentiles(found: Counter[int]) -> Iterable[int]:
    """The percentiles of durations, of which it is known how often each was found."""
    durations = sorted(found)
    total, index, below = found.total(), 0, found[durations[0]]
    for percent in PERCENTILES:
        while below * 100 < total * percent:
            index += 1
            below += found[durations[index]]
        yield durations[index]
