"""The statistics: what all workers of an instance counted, read from the scoreboard. Several threads may ask."""

import os
from collections import defaultdict
from collections.abc import Mapping
from heapq import merge
from time import monotonic, time
from typing import Any

from redirect.telemetry.scoreboard import SECOND_ROWS, DurationNumbers, Numbers, Scoreboard, Slot, now_ms
from redirect.telemetry.snapshot import (
    MICRO,
    NO_COUNT,
    SECONDS,
    Connections,
    Count,
    Counted,
    Durations,
    Forwards,
    Loading,
    OriginNumbers,
    Snapshot,
    Worker,
    added,
)
from redirect.telemetry.sums import counting, sums, totals

# Milliseconds for which all lines are kept after lines were read.
WATCH_MS = 5_000

# Per slot, the byte of its ring that was read last.
Cursor = Mapping[int, int]


def workers(scoreboard: Scoreboard) -> list[Worker]:
    return _workers(_rows(scoreboard.slots()))


def snapshot(scoreboard: Scoreboard, loading: Loading) -> Snapshot:
    now, second = time(), int(monotonic())
    current = int(loading.config or "0", 16)
    slots = counting(scoreboard)
    rows = _rows(slots)
    requests: dict[Counted, Count] = {}
    for slot, row in zip(slots, rows, strict=True):
        _add(requests, slot, row.configs if row.config == current else None)
    routes = {labels: total for labels, (total,) in sums(slots, "routes").items()}
    forwards = _forwards(slots, rows, second)
    dues = _dues([slot for slot, row in zip(slots, rows, strict=True) if row.config == current])
    answers = _durations([row.answers for row in rows], second)
    return Snapshot(now, requests, routes, totals(rows), answers, forwards, _workers(rows), loading, dues)


def lines(scoreboard: Scoreboard, cursor: Cursor | None) -> tuple[list[bytes], Cursor]:
    """The lines of the access log that were written since `cursor` was returned, by their times; with None the last
    ones that are kept. From now on all lines are kept, for WATCH_MS."""
    found: list[list[bytes]] = []
    after: dict[int, int] = {}
    for index, slot in enumerate(scoreboard.slots()):
        slot.numbers.watched_until_ms = now_ms() + WATCH_MS
        kept, after[index] = slot.kept_lines((cursor or {}).get(index, 0))
        found.append(kept.splitlines())
    return [*merge(*found, key=_time_of)], after


def _rows(slots: list[Slot]) -> list[Numbers]:
    return [Numbers.from_buffer_copy(slot.numbers) for slot in slots]


def _add(requests: dict[Counted, Count], slot: Slot, current: int | None) -> None:
    """Adds what was counted in `slot`; `current` is which of its configurations is the one in use, if any."""
    for key, index in slot.series("requests"):
        total, before, last_ms, configs = slot.counts[index : index + 4]
        if total:
            count = Count(total, total - before if configs == current else 0, last_ms)
            requests[key] = requests.get(key, NO_COUNT).plus(count)


def _dues(slots: list[Slot]) -> dict[str, dict[str | None, float]]:
    found: dict[str, dict[str | None, float]] = {}
    for slot in slots:
        for (pool, origin), index in slot.series("due"):
            picks, configs = slot.counts[index : index + 2]
            if configs == slot.numbers.configs:
                origins = found.setdefault(pool, {})
                origins[origin] = origins.get(origin, 0.0) + picks / MICRO
    return found


def _forwards(slots: list[Slot], rows: list[Numbers], now: int) -> Forwards:
    live = [slot for slot, row in zip(slots, rows, strict=True) if _is_alive(row.pid)]
    return Forwards(
        _durations([row.forwards for row in rows], now),
        sum(slot.numbers.tunnels for slot in live),
        _origins(slots, live),
        {place: Connections(*numbers) for (place,), numbers in sums(live, "connections").items()},
    )


def _origins(slots: list[Slot], live: list[Slot]) -> dict[tuple[str, str | None], OriginNumbers]:
    """By pool and origin. What is under way at a worker that ended is not any more."""
    found: dict[Any, OriginNumbers] = defaultdict(OriginNumbers)
    for labels, (sum_us, *buckets) in sums(slots, "responses").items():
        found[labels] = OriginNumbers(buckets, sum_us / 1e6)
    for labels, (total,) in sums(slots, "retries").items():
        found[labels] = found[labels]._replace(retries=total)
    for (*labels, error), (total,) in sums(slots, "failures").items():
        origin = found[*labels]
        found[*labels] = origin._replace(failures={**origin.failures, error: total})
    for labels, (requests,) in sums(live, "in_flight").items():
        found[labels] = found[labels]._replace(in_flight=requests)
    return dict(found)


def _time_of(line: bytes) -> bytes:
    return line[len('{"time":"') : len('{"time":"2026-11-20T19:43:07.002Z')]


def _durations(counted: list[DurationNumbers], now: int) -> Durations:
    """Those of all workers; the second that begins at `now` is not over."""
    seconds = []
    for second in range(now - SECONDS, now):
        of_workers = [each.seconds[second % SECOND_ROWS] for each in counted]
        seconds.append(added(each.buckets for each in of_workers if each.second == second))
    return Durations(added(each.buckets for each in counted), sum(each.sum_ns for each in counted) / 1e9, seconds)


def _workers(rows: list[Numbers]) -> list[Worker]:
    now = now_ms()
    return [
        Worker(
            row.pid,
            row.since_ms / 1000,
            row.connections,
            row.requests,
            f"{row.config:012x}",
            row.health,
            max(0, now - row.heartbeat_ms) / 1000 if row.heartbeat_ms else 0.0,
            row.change,
        )
        for row in rows
        if _is_alive(row.pid)
    ]


def _is_alive(pid: int) -> bool:
    """Whether the worker that held a slot last exists; one that ends in order frees its slot."""
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # it ended; or another user's process has its number by now
        return False
    return True
