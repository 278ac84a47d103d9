"""The instance: all workers of one master, as any of them sees it.

The rule: it is only looked at here. What it counted is on the scoreboard, whichever worker counted it.
"""

import os
import socket
import threading
from collections.abc import Callable, Mapping
from heapq import merge
from importlib.metadata import version
from time import monotonic, monotonic_ns, time
from typing import NamedTuple

from redirect.core.health import Health, decode
from redirect.core.pools import Config, Origin, Pool
from redirect.telemetry.scoreboard import (
    BUCKETS,
    CONFIG,
    CONFIGS,
    CONNECTIONS,
    DROPPED,
    DURATION_NS,
    HISTORY,
    HISTORY_ROWS,
    LINES,
    PID,
    REQUESTS,
    ROW,
    SINCE_MS,
    UNKNOWN_POOL,
    VERDICTS,
    WATCHED_MS,
    Scoreboard,
    Slot,
)
from redirect.telemetry.snapshot import SECONDS, Count, Key, Loading, Second, Snapshot, Worker, added

# Milliseconds for which a look at the lines has all of them kept.
WATCH = 5_000

# Per slot, the byte of its ring that was read last.
Cursor = Mapping[int, int]

_VERSION = version("redirect")
_NONE = Count(0, 0, 0)


class State(NamedTuple):
    """Whether an origin is up, down or draining, since when (Unix time), and what a probe has to do with it."""

    name: str
    since: float
    reason: str | None = None


class Changes(NamedTuple):
    """Since when (Unix time) the instance lives, and since when origins are in their state that are not in it
    since then. What never changed needs no entry."""

    started_at: float
    since: Mapping[tuple[str, str], float]

    def after(self, old: Config, new: Config, now: float, pause: Callable[[], object] = lambda: None) -> "Changes":
        """The changes once `new` takes the place of `old`. Between two pools it calls `pause`."""
        since: dict[tuple[str, str], float] = {}
        for name, pool in new.pools.items():
            pause()
            before = old.pools.get(name)
            is_same = before is pool  # most are
            states = {origin.name: origin.weight > 0 for origin in before.origins} if before and not is_same else {}
            for origin in pool.origins:
                if not is_same and states.get(origin.name) != (origin.weight > 0):
                    since[name, origin.name] = now
                elif (name, origin.name) in self.since:
                    since[name, origin.name] = self.since[name, origin.name]
        return Changes(self.started_at, since)


class Instance:
    """What a worker knows of its instance. May be asked by several threads."""

    version = _VERSION

    def __init__(self, scoreboard: Scoreboard, config: Config, pools_config_path: str, changes: Changes) -> None:
        self.config = config
        self.pools_config_path = pools_config_path
        self.name = socket.gethostname()
        self.started_at = changes.started_at
        self.changes = changes
        self.health: Health = {}  # that is applied here
        self._scoreboard = scoreboard
        self._read: list[_SlotReader] = []
        self._lock = threading.Lock()

    def adopt(self, config: Config, changes: Changes) -> None:
        """Looks at another configuration from now on, with which these changes came."""
        self.config, self.changes = config, changes

    def put_up(self) -> tuple[bytes, Loading]:
        """The configuration that the master has put up, as it was packed, and its hash: or that of the next one."""
        return self._scoreboard.content(), self.loading()

    def loading(self) -> Loading:
        """What the master says of the configuration that is in force, or will be."""
        return Loading(**self._scoreboard.said())

    def begin(self) -> None:
        """Says that a worker listens."""
        self._scoreboard.begin()

    def is_stopping(self) -> bool:
        """Whether all workers end, and not just this one since another takes its place."""
        return self._scoreboard.is_stopping()

    def want_reload(self) -> int:
        """Asks the master to load the file; the number of this wish."""
        return self._scoreboard.want()

    def is_reloaded(self, number: int) -> bool:
        """Whether the master has, since this wish, and all workers have what it found."""
        if not self._scoreboard.is_fulfilled(number):
            return False
        config = self.loading().config  # asked for again and again: no other numbers are looked at
        with self._lock:
            rows = [slot.numbers() for slot in self._slots()]
        return all(worker.config == config for worker in _workers(rows))

    def state(self, pool: Pool, origin: Origin) -> State:
        """The state of an origin of the configuration in force."""
        place = pool.name, origin.name
        since = self.changes.since.get(place, self.started_at)
        if not origin.weight:
            return State("draining", since)
        found = self.health.get(pool.name, {}).get(origin.name) if pool.health_check is not None else None
        if found is None:
            return State("up", since)
        return State("up" if found.is_up else "down", max(since, found.since), found.reason)

    def verdicts_number(self) -> int:
        """How often probes found something out, so that there is something to look at; 0 if never."""
        return self._scoreboard.verdicts_number()

    def read_health(self) -> Health:
        """What probes found out."""
        return decode(self._scoreboard.verdicts())

    def snapshot(self) -> Snapshot:
        """The numbers of all workers together, and of those before them."""
        now = time()
        with self._lock:
            slots = self._slots()
            rows = [slot.numbers() for slot in slots]
            requests: dict[Key, Count] = {}
            for slot, row in zip(slots, rows, strict=True):
                is_current = row[CONFIG] == int(self.config.hash, 16)
                slot.add_to(requests, row[CONFIGS] if is_current else None)
        return Snapshot(
            now,
            requests,
            sum(row[UNKNOWN_POOL] for row in rows),
            added(row[BUCKETS : BUCKETS + ROW] for row in rows),
            sum(row[DURATION_NS] for row in rows) / 1e9,
            _history(rows, int(monotonic())),
            sum(row[LINES] for row in rows),
            sum(row[DROPPED] for row in rows),
            _workers(rows),
            self.loading(),
        )

    def lines(self, cursor: Cursor | None) -> tuple[list[bytes], Cursor]:
        """The lines of the access log that were written since `cursor` was given out, in the order of their
        times, or of one worker's in the order in which they were written, should the clock have been set back; with
        None the last ones that are kept. From now on all are kept, for WATCH milliseconds."""
        with self._lock:
            slots = self._slots()
            found: list[list[bytes]] = []
            after: dict[int, int] = {}
            for index, slot in enumerate(slots):
                lines, after[index] = slot.lines((cursor or {}).get(index, 0))
                found.append(lines)
        return [*merge(*found, key=_time_of)], after

    def _slots(self) -> "list[_SlotReader]":
        for index in range(len(self._read), self._scoreboard.slots()):
            self._read.append(_SlotReader(self._scoreboard.slot(index)))
        return self._read


class _SlotReader:
    """One slot, and what is known of it already."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._keys: list[tuple[Key, int]] = []
        self._read = 0

    def numbers(self) -> list[int]:
        return self._slot.numbers.tolist()

    def add_to(self, requests: dict[Key, Count], current: int | None) -> None:
        """Adds what was counted here; `current` is which of the slot's configurations is the one in force, if any."""
        for key, index, end in self._slot.series(self._read):
            self._keys.append((key, index))
            self._read = end
        counts = self._slot.counts
        for key, index in self._keys:
            total, before, last, configs = counts[index : index + 4]
            if total:
                was = requests.get(key, _NONE)
                since_load = was.since_load + (total - before if configs == current else 0)
                requests[key] = Count(was.total + total, since_load, max(was.last_ms, last))

    def lines(self, begin: int) -> tuple[list[bytes], int]:
        self._slot.numbers[WATCHED_MS] = monotonic_ns() // 1_000_000 + WATCH
        found, end = self._slot.kept(begin)
        return found.splitlines(), end


def _time_of(line: bytes) -> bytes:
    return line[len('{"time":"') : len('{"time":"2026-11-20T19:43:07.002Z')]


def _history(rows: list[list[int]], now: int) -> list[Second]:
    """The seconds before `now`, which is not over."""
    seconds = []
    for second in range(now - SECONDS, now):
        at = HISTORY + second % HISTORY_ROWS * (1 + ROW)
        buckets = [row[at + 1 : at + 1 + ROW] for row in rows if row[at] == second]
        seconds.append(Second(second, added(buckets)))
    return seconds


def _workers(rows: list[list[int]]) -> list[Worker]:
    return [_worker(row) for row in rows if _lives(row[PID])]


def _worker(row: list[int]) -> Worker:
    config = f"{row[CONFIG]:012x}"
    return Worker(row[PID], row[SINCE_MS] / 1000, row[CONNECTIONS], row[REQUESTS], config, row[VERDICTS])


def _lives(pid: int) -> bool:
    """Whether the worker that held a slot last is there; one that ends in order says that it is gone."""
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # gone; or somebody else's process has its number by now
        return False
    return True
