"""The scoreboard: memory that the processes of an instance share. Its layout is declared here, by name.

The rule: each number has one writer, so nothing is locked; a reader sees each number as it was or as it is. A slot
outlives its worker, and the next worker counts on from there: no total of the instance ever goes back, and what dead
workers leave needs no clearing.

The master creates the scoreboard before it forks. It has no name in any file system and ends with the last process
that maps it. It is sparse: a slot has addresses for millions of series, and takes the memory that it uses.

    common             numbers of the instance
    six notices        bytes that one process publishes and the others read
    tokens             an eventfd for each limit: the kernel counts how many are left
    kept               a slot that no worker holds: what was counted before the start (see `sums`)
    a slot per worker  its numbers, a ring with the last lines of the access log, and its series: each a key as JSON,
                       which is the kind and the labels, and the numbers that KINDS has. A series counts once
                       `series_bytes` includes it.
"""

import json
import mmap
import os
import secrets
import sys
import tempfile
from collections.abc import Iterable
from ctypes import Structure, addressof, c_uint64, memset, sizeof
from threading import Lock
from time import monotonic_ns, time
from typing import Any, NamedTuple

from redirect.core.limits import MAX_LIMITS
from redirect.core.routes import Route
from redirect.telemetry.snapshot import BOUNDS_US, NO_DURATIONS, SECONDS, Totals

BUCKETS = len(NO_DURATIONS)

# Rows of seconds: twice as many as are shown, as a row is used again while it may be read.
SECOND_ROWS = 2 * SECONDS

RING_BYTES = 256 * 1024

# Milliseconds without a heartbeat after which a worker hangs. Heartbeats are at most half a second apart, and the
# master looks once a second.
WORKER_LATE_MS = 3_500

_STRIDE = 1024 * 1024 * 1024


class _Notice(Structure):
    _fields_ = (
        ("number", c_uint64),  # how often it was published
        ("lengths", c_uint64 * 2),  # bytes in either half
    )


class Common(Structure):
    """Numbers of the instance. Times are milliseconds of the monotonic clock, but for `started_ms`."""

    _fields_ = (
        # The master writes:
        ("run", c_uint64),  # a random number: no other run of the service has it
        ("started_ms", c_uint64),  # Unix time
        ("is_stopping", c_uint64),
        ("master_heartbeat_ms", c_uint64),
        ("restarts_requested", c_uint64),  # how often new workers with the file as it is now were asked for
        ("controllers_died", c_uint64),
        ("controllers_hung", c_uint64),
        ("workers_died", c_uint64),
        ("workers_hung", c_uint64),
        # The controller writes:
        ("controller_heartbeat_ms", c_uint64),
        ("restarts_answered", c_uint64),  # up to which of them the file was loaded
        ("is_restart_good", c_uint64),  # whether the file was good then
        ("probes_hung", c_uint64),
        ("files_hung", c_uint64),  # looks at the file
        ("wrong_tokens", c_uint64),  # that requests to the admin listener had
        ("kept_run", c_uint64),  # whose sums are in `kept`; 0 if there were none
        ("has_been_ready", c_uint64),  # all workers had the newest configuration at once, some time
        # A worker writes:
        ("has_begun", c_uint64),  # a worker listens, or has listened
        # The controller publishes:
        ("configuration", _Notice),  # all of it
        ("change", _Notice),  # what differs from the one before
        ("loading", _Notice),  # when and why
        ("health", _Notice),
        ("ejections", _Notice),  # how often origins were ejected
        ("overrides", _Notice),  # shares in place of the file's
    )


class Second(Structure):
    """The durations of one second of the monotonic clock."""

    _fields_ = (("second", c_uint64), ("buckets", c_uint64 * BUCKETS))


class DurationNumbers(Structure):
    _fields_ = (
        ("sum_ns", c_uint64),
        ("buckets", c_uint64 * BUCKETS),  # of all time
        ("seconds", Second * SECOND_ROWS),
    )


class Held(Structure):
    """How many tokens of a limit a worker holds. To take one, or to give one back, and to write it down are two things;
    `steps` is odd between them."""

    _fields_ = (("steps", c_uint64), ("tokens", c_uint64))


class Numbers(Structure):
    """The numbers of a slot. The worker that holds it writes all but `watched_until_ms`."""

    _fields_ = (
        ("pid", c_uint64),  # 0 if no worker holds it
        ("since_ms", c_uint64),  # Unix time
        ("heartbeat_ms", c_uint64),  # by the monotonic clock; 0 until it listens
        ("connections", c_uint64),
        ("requests", c_uint64),  # of the worker that holds it
        *((name, c_uint64) for name in Totals._fields),
        ("config", c_uint64),  # hash of the worker's configuration, as a number
        ("change", c_uint64),  # and how many were published before it
        ("tunnels", c_uint64),  # that are open
        ("configs", c_uint64),  # how many configurations the slot's workers have had, one after another
        ("health", c_uint64),  # number of the health status that the worker has applied
        ("series_bytes", c_uint64),
        ("ring_begun", c_uint64),  # bytes ever written into the ring, including those being written
        ("ring_ended", c_uint64),  # and those that can be read
        ("watched_until_ms", c_uint64),  # until when all lines are kept, by the monotonic clock; readers write it
        ("answers", DurationNumbers),  # see `snapshot.Snapshot`
        ("forwards", DurationNumbers),
        ("held", Held * MAX_LIMITS),  # by the index of the limit
    )


class Kind(NamedTuple):
    """What labels and numbers of a kind of series are called. All labels are text or None, but for the status."""

    labels: tuple[str, ...]
    numbers: tuple[str, ...]


# What is counted apart. All numbers are 0 at first.
KINDS = {
    # How often it happened, how often of that before the configuration under which it happened last, when last (see
    # `snapshot.Count`), and which of the `configs` that was.
    "requests": Kind(("pool", "origin", "status"), ("total", "before", "last_ms", "configs")),
    # Picks that were due to the origin, in millionths, while the pool's weights were not as configured; and under which
    # of the `configs`: those of others do not count. Without an origin, all such picks.
    "due": Kind(("pool", "origin"), ("micro_picks", "configs")),
    "routes": Kind(("route", "status"), ("total",)),
    # Microseconds until the head of an answer, all together, and answers by BOUNDS_US.
    "responses": Kind(("pool", "origin"), ("sum_us", *(f"up_to_{bound}_us" for bound in BOUNDS_US), "longer")),
    "retries": Kind(("pool", "origin"), ("total",)),  # another origin was tried in place of this one
    "failures": Kind(("pool", "origin", "error"), ("total",)),
    "in_flight": Kind(("pool", "origin"), ("requests",)),
    "connections": Kind(("host:port",), ("idle", "busy")),
    # How often as many requests failed in a row as eject the origin, how often one failed or did not while it was on
    # trial, and the code of the failure that was last.
    "outcomes": Kind(("pool", "origin"), ("failed_in_a_row", "failed_on_trial", "passed_on_trial", "failure")),
    # Only in `kept`, as they are counted outside of slots; a process by the name of its number in Common.
    "ejections": Kind(("pool", "origin"), ("total",)),
    "processes": Kind(("name",), ("total",)),
}

# Those that say how it is now, as long as the worker lives. The others never go back.
GAUGES = ("in_flight", "connections")

# What JSON has: text, numbers, None.
Labels = tuple[Any, ...]

_NUMBER_BYTES = sizeof(c_uint64)

_NOTICES = ("configuration", "change", "loading", "health", "ejections", "overrides")
_COMMON_BYTES = mmap.PAGESIZE
_KEPT_SLOT = _COMMON_BYTES + len(_NOTICES) * 2 * _STRIDE
_FIRST_SLOT = _KEPT_SLOT + _STRIDE

_RING_AT = sizeof(Numbers)
_SERIES_AT = _RING_AT + RING_BYTES


def now_ms() -> int:
    """The monotonic clock, which all processes of a machine share, in milliseconds."""
    return monotonic_ns() // 1_000_000


class Descriptor(int):
    """A file descriptor that is closed with the last object that has it."""

    def __del__(self) -> None:
        os.close(self)


def new_tokens(count: int) -> Descriptor:
    """The tokens of a limit. Linux alone has them."""
    return Descriptor(os.eventfd(count, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC))


class Scoreboard:
    """With the tokens of these routes."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        if hasattr(os, "memfd_create"):
            self._file = Descriptor(os.memfd_create("redirect-scoreboard"))
        else:
            with tempfile.TemporaryFile() as file:
                self._file = Descriptor(os.dup(file.fileno()))
        os.truncate(self._file, _FIRST_SLOT)
        self.common = Common.from_buffer(mmap.mmap(self._file, _COMMON_BYTES))
        self.configuration, self.change, self.loading, self.health, self.ejections, self.overrides = (
            Notice(self._file, getattr(self.common, name), _COMMON_BYTES + index * 2 * _STRIDE)
            for index, name in enumerate(_NOTICES)
        )
        counts = {route.limit.index: route.limit.in_flight for route in routes if route.limit is not None}
        self.tokens = [new_tokens(counts.get(index, 0)) for index in range(MAX_LIMITS)]
        self.common.run = secrets.randbits(63)
        self.kept = Slot(self._file, _KEPT_SLOT)  # the controller writes it; `since_ms` last
        self._slots: list[Slot] = []
        self._lock = Lock()  # the controller has threads

    def slots(self) -> "list[Slot]":
        """Those that the master has made by now."""
        with self._lock:
            for at in range(_FIRST_SLOT + len(self._slots) * _STRIDE, os.fstat(self._file).st_size, _STRIDE):
                self._slots.append(Slot(self._file, at))
        return self._slots

    def make_slot(self, index: int) -> "Slot":
        """Makes the slot with that index, if there is none. Only the master may: of two processes that do so at once
        one could cut off what the other has just added."""
        if index >= len(self.slots()):
            os.truncate(self._file, _FIRST_SLOT + (index + 1) * _STRIDE)
        return self.slots()[index]


class Notice:
    """Bytes that one process publishes and the others read. One half is read while the other is written."""

    def __init__(self, file: int, numbers: _Notice, at: int) -> None:
        self._file = file
        self._numbers = numbers
        self._at = at

    @property
    def number(self) -> int:
        return int(self._numbers.number)

    def publish(self, content: bytes) -> None:
        """Replaces what is there. Raises ValueError if it is too long."""
        if len(content) > _STRIDE:
            raise ValueError(f"there is space for {_STRIDE} bytes, not for {len(content)}")
        number = self.number + 1
        os.pwrite(self._file, content, self._at + number % 2 * _STRIDE)
        self._numbers.lengths[number % 2] = len(content)
        self._numbers.number = number

    def read(self) -> bytes:
        """What was published last; nothing if nothing ever was."""
        while True:
            number = self.number
            content = os.pread(self._file, self._numbers.lengths[number % 2], self._at + number % 2 * _STRIDE)
            if self.number == number:  # the next one is written into the other half
                return content


class Slot:
    """One worker's part of the scoreboard."""

    def __init__(self, file: int, at: int) -> None:
        memory = memoryview(mmap.mmap(file, _STRIDE, offset=at))
        self.numbers = Numbers.from_buffer(memory)
        self._ring = memory[_RING_AT:_SERIES_AT]
        self._series = memory[_SERIES_AT:]
        self.counts = self._series.cast("Q")
        self._read: dict[str, list[tuple[Labels, int]]] = {kind: [] for kind in KINDS}
        self._read_bytes = 0  # of the series
        self._indices: dict[tuple[str, Labels], int] = {}  # by kind and labels
        self._lock = Lock()  # the controller has threads

    def hold(self) -> None:
        """Marks the slot as held by this process."""
        self._indices = {(kind, labels): index for kind in KINDS for labels, index in self.series(kind)}
        numbers = self.numbers
        numbers.since_ms = int(time() * 1000)
        numbers.requests = numbers.connections = numbers.health = numbers.heartbeat_ms = 0
        numbers.pid = os.getpid()

    def free(self) -> None:
        """Marks the slot as held by no worker, and any tokens as held by none. The last heartbeat stays: from then on a
        worker that ends has its time to do so."""
        memset(addressof(self.numbers.held), 0, sizeof(self.numbers.held))
        self.numbers.connections = self.numbers.pid = 0

    def index(self, kind: str, *labels: Any) -> int:
        """The index of the first number of a series in `counts`, for the process that holds the slot; a series is added
        when it is first asked for. Raises ValueError where the slot is full."""
        index = self._indices.get((kind, labels))
        if index is None:
            index = self._indices[kind, labels] = self.add_series(kind, labels)
        return index

    def add_series(self, kind: str, labels: Labels) -> int:
        """Adds a series with nothing counted; returns the index of its first number in `counts`.

        Raises ValueError where the slot is full.
        """
        key = json.dumps((kind, *labels)).encode("ascii")
        key += b" " * (-len(key) % _NUMBER_BYTES)
        numbers = bytes(_NUMBER_BYTES * len(KINDS[kind].numbers))  # clears what a worker that died had begun there
        series = len(key).to_bytes(_NUMBER_BYTES, sys.byteorder) + key + numbers
        begin: int = self.numbers.series_bytes
        end = begin + len(series)
        if end > len(self._series):
            raise ValueError("there is no space for another series")
        self._series[begin:end] = series
        self.numbers.series_bytes = end
        return (end - len(numbers)) // _NUMBER_BYTES

    def series(self, kind: str) -> list[tuple[Labels, int]]:
        """The labels of all series of that kind, each with the index of its first number in `counts`."""
        with self._lock:
            while self._read_bytes < self.numbers.series_bytes:
                key_at = self._read_bytes + _NUMBER_BYTES
                key_end = key_at + self.counts[self._read_bytes // _NUMBER_BYTES]
                found, *labels = json.loads(bytes(self._series[key_at:key_end]))
                self._read[found].append((tuple(labels), key_end // _NUMBER_BYTES))
                self._read_bytes = key_end + _NUMBER_BYTES * len(KINDS[found].numbers)
        return self._read[kind]

    def keep_lines(self, lines: bytes) -> None:
        """Writes whole lines into the ring, over the oldest."""
        if len(lines) > RING_BYTES:
            lines = lines[lines.index(b"\n", -RING_BYTES - 1) + 1 :]
        numbers, begin = self.numbers, self.numbers.ring_ended
        numbers.ring_begun = begin + len(lines)
        at = begin % RING_BYTES
        first = min(len(lines), RING_BYTES - at)
        self._ring[at : at + first] = lines[:first]
        self._ring[: len(lines) - first] = lines[first:]
        numbers.ring_ended = begin + len(lines)

    def kept_lines(self, begin: int) -> tuple[bytes, int]:
        """Whole lines that were written into the ring from the byte `begin` on, as far as they are still there, and
        the byte at which the next one begins."""
        end: int = self.numbers.ring_ended
        whole = bytes(self._ring)
        overwritten = self.numbers.ring_begun - RING_BYTES  # up to this byte, meanwhile
        start = min(end, max(begin, end - RING_BYTES, overwritten))
        at = start % RING_BYTES
        found = (whole + whole)[at : at + end - start]
        if start > begin:  # in the middle of a line
            found = found[found.find(b"\n") + 1 :]
        return found, end
