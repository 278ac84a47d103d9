"""The statistics: what all workers of an instance counted, read from the scoreboard."""

import os
import threading
from collections.abc import Mapping
from heapq import merge
from time import monotonic, time

from redirect.telemetry.scoreboard import HISTORY_ROWS, Numbers, Scoreboard, Slot, now_ms
from redirect.telemetry.snapshot import SECONDS, Count, Key, Loading, Second, Snapshot, Worker, added

# Milliseconds for which all lines are kept after lines were read.
WATCH_MS = 5_000

# Per slot, the byte of its ring that was read last.
Cursor = Mapping[int, int]

_NONE = Count(0, 0, 0)


class Statistics:
    """Reads the slots of a scoreboard. May be used by several threads."""

    def __init__(self, scoreboard: Scoreboard) -> None:
        self._scoreboard = scoreboard
        self._read: list[_SlotReader] = []
        self._lock = threading.Lock()

    def workers(self) -> list[Worker]:
        with self._lock:
            return _workers([slot.numbers() for slot in self._slots()])

    def snapshot(self, loading: Loading) -> Snapshot:
        now = time()
        current = int(loading.config or "0", 16)
        with self._lock:
            slots = self._slots()
            rows = [slot.numbers() for slot in slots]
            requests: dict[Key, Count] = {}
            for slot, row in zip(slots, rows, strict=True):
                slot.add_to(requests, row.configs if row.config == current else None)
        return Snapshot(
            now,
            requests,
            sum(row.unknown_pool for row in rows),
            added(row.buckets for row in rows),
            sum(row.duration_ns for row in rows) / 1e9,
            _history(rows, int(monotonic())),
            sum(row.lines for row in rows),
            sum(row.dropped for row in rows),
            _workers(rows),
            loading,
        )

    def lines(self, cursor: Cursor | None) -> tuple[list[bytes], Cursor]:
        """The lines of the access log that were written since `cursor` was returned, by their times; with None the
        last ones that are kept. From now on all lines are kept, for WATCH_MS."""
        with self._lock:
            found: list[list[bytes]] = []
            after: dict[int, int] = {}
            for index, slot in enumerate(self._slots()):
                lines, after[index] = slot.lines((cursor or {}).get(index, 0))
                found.append(lines)
        return [*merge(*found, key=_time_of)], after

    def _slots(self) -> "list[_SlotReader]":
        for index in range(len(self._read), self._scoreboard.slots()):
            self._read.append(_SlotReader(self._scoreboard.slot(index)))
        return self._read


class _SlotReader:
    """One slot, with the series that were found in it so far."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._series: list[tuple[Key, int]] = []
        self._read_bytes = 0

    def numbers(self) -> Numbers:
        return Numbers.from_buffer_copy(self._slot.numbers)

    def add_to(self, requests: dict[Key, Count], current: int | None) -> None:
        """Adds what was counted here; `current` is which of the slot's configurations is the one in use, if any."""
        for key, index, end in self._slot.series(self._read_bytes):
            self._series.append((key, index))
            self._read_bytes = end
        counts = self._slot.counts
        for key, index in self._series:
            total, before, last, configs = counts[index : index + 4]
            if total:
                was = requests.get(key, _NONE)
                since_load = was.since_load + (total - before if configs == current else 0)
                requests[key] = Count(was.total + total, since_load, max(was.last_ms, last))

    def lines(self, begin: int) -> tuple[list[bytes], int]:
        self._slot.numbers.watched_until_ms = now_ms() + WATCH_MS
        found, end = self._slot.kept_lines(begin)
        return found.splitlines(), end


def _time_of(line: bytes) -> bytes:
    return line[len('{"time":"') : len('{"time":"2026-11-20T19:43:07.002Z')]


def _history(rows: list[Numbers], now: int) -> list[Second]:
    """The seconds before `now`, which is not over."""
    seconds = []
    for second in range(now - SECONDS, now):
        of_workers = [row.history[second % HISTORY_ROWS] for row in rows]
        seconds.append(Second(second, added(each.buckets for each in of_workers if each.second == second)))
    return seconds


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
