"""The scoreboard: memory that the processes of an instance share, where each worker writes and all read.

The rule: a slot has one writer, the worker that holds it, so nothing is locked; whoever reads sees
each number as it was or as it is. A slot outlives its worker, and the next one counts on from there:
so no number of the instance ever goes back, and what dead workers leave needs no clearing.

The master makes the scoreboard before it forks. It has no name in any file system and ends with the last
process that has it. It is sparse: a slot has room for millions of series, and takes what it uses.

A slot: a row of numbers (see the indices below), a ring with the last lines of the access log, and
series that are added at its end, each of its counts and its key as JSON. What is added counts from
the moment at which the number of used bytes includes it.
"""

import json
import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from redirect.telemetry.snapshot import BOUNDS_US, SECONDS, Key

# Indices into a slot's row of numbers, eight bytes each.
PID = 0
SINCE_MS = 1
CONNECTIONS = 2
REQUESTS = 3  # of the worker that holds the slot
LINES = 4
DROPPED = 5
UNKNOWN_POOL = 6
DURATION_NS = 7
SERIES_END = 8  # used bytes of the series
WATCHED_MS = 9  # until when all lines are kept, by the monotonic clock; readers write it
RING_BEGUN = 10  # bytes ever put into the ring, the one being put included
RING_ENDED = 11  # and those that are there to be read
CONFIG = 12  # hash of the worker's configuration, as a number
CONFIGS = 13  # how many configurations the slot's workers have had, one after another
VERDICTS = 14  # how often probes had found something out when the worker last heeded it
BUCKETS = 16  # the durations of all time
ROW = len(BOUNDS_US) + 1
# The durations of each of the last seconds, behind the second by the monotonic clock: the wall clock may be set, and
# come by a second again. Twice as many as are shown, as a row is taken again while it may be read.
HISTORY = BUCKETS + ROW
HISTORY_ROWS = 2 * SECONDS
_NUMBERS = HISTORY + HISTORY_ROWS * (1 + ROW)

# A series: how often it happened, how often of that before the configuration under which it happened last, when last
# (see `snapshot.Count`), which of the CONFIGS that was, and the length of its key, then the key.
_SERIES_NUMBERS = 5

RING = 256 * 1024
_RING_AT = -(-8 * _NUMBERS // mmap.PAGESIZE) * mmap.PAGESIZE
_SERIES_AT = _RING_AT + RING

_STRIDE = 1024 * 1024 * 1024

# Before the first slot is what the instance has in common: some numbers, and behind them what it says of itself, what
# its configuration is made of, and what probes found out. The numbers of these begin at _SAID, _CONTENT, _VERDICTS.
_SAID, _CONTENT, _VERDICTS, _WANTED, _DONE, _STOPPING, _BEGUN = 0, 3, 6, 9, 10, 11, 12
_COMMON = mmap.PAGESIZE
_FIRST = _COMMON + 3 * 2 * _STRIDE


class Scoreboard:
    """The memory of one instance, made before its workers are."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self._file = os.memfd_create("redirect-scoreboard")
        else:
            with tempfile.TemporaryFile() as file:
                self._file = os.dup(file.fileno())
        os.truncate(self._file, _FIRST)
        self._numbers = memoryview(mmap.mmap(self._file, _COMMON)).cast("Q")
        self._said, self._content, self._verdicts = (
            _Notice(self._file, self._numbers[first : first + 3], _COMMON + place * 2 * _STRIDE)
            for place, first in enumerate((_SAID, _CONTENT, _VERDICTS))
        )

    def slots(self) -> int:
        """How many slots there are."""
        return (os.fstat(self._file).st_size - _FIRST) // _STRIDE

    def make_slot(self, index: int) -> None:
        """Sees to it that there is a slot with that index. The master's affair: two who did so at once might
        cut off what the other has just added."""
        if index >= self.slots():
            os.truncate(self._file, _FIRST + (index + 1) * _STRIDE)

    def slot(self, index: int) -> "Slot":
        """The slot with that index, which was made before."""
        return Slot(self._file, _FIRST + index * _STRIDE)

    def say(self, said: dict[str, Any]) -> None:
        """Puts up what the instance says of itself, in place of what it said before. Only one process may."""
        self._said.put(json.dumps(said).encode())

    def said(self) -> dict[str, Any]:
        """What the instance said last."""
        said: dict[str, Any] = json.loads(self._said.read() or b"{}")
        return said

    def put(self, content: bytes) -> None:
        """Puts up what the configuration in force is made of. Only one process may. Raises ValueError if it is
        too long."""
        self._content.put(content)

    def content(self) -> bytes:
        """What was put up last."""
        return self._content.read()

    def put_verdicts(self, verdicts: bytes) -> None:
        """Puts up what probes found out, in place of what they found before. Only one process may. Raises ValueError
        if it is too long."""
        self._verdicts.put(verdicts)

    def verdicts_number(self) -> int:
        """How often something was found out; 0 if never."""
        return self._verdicts.number

    def verdicts(self) -> bytes:
        """What was found out last."""
        return self._verdicts.read()

    def begin(self) -> None:
        """Says that a worker listens: the instance has begun."""
        self._numbers[_BEGUN] = 1

    def has_begun(self) -> bool:
        """Whether a worker ever listened."""
        return bool(self._numbers[_BEGUN])

    def stop(self) -> None:
        """Says that the instance stops."""
        self._numbers[_STOPPING] = 1

    def is_stopping(self) -> bool:
        """Whether it does."""
        return bool(self._numbers[_STOPPING])

    def want(self) -> int:
        """Asks for another look at the file; the number of this wish. Any process may."""
        self._numbers[_WANTED] += 1
        return self._numbers[_WANTED]

    def wanted(self) -> int:
        """The number of the last wish, for the one who fulfils it."""
        return self._numbers[_WANTED]

    def fulfil(self, number: int) -> None:
        """Says that this wish is fulfilled, and all before it."""
        self._numbers[_DONE] = number

    def is_fulfilled(self, number: int) -> bool:
        """Whether a wish is."""
        return self._numbers[_DONE] >= number


class _Notice:
    """What one process puts up and all read. It has two places: one is read, the other one written next."""

    def __init__(self, file: int, numbers: memoryview, at: int) -> None:
        self._file = file
        self._numbers = numbers  # how often it was put up, and how long it is in either place
        self._at = at

    @property
    def number(self) -> int:
        return self._numbers[0]

    def put(self, content: bytes) -> None:
        if len(content) > _STRIDE:
            raise ValueError(f"there is room for {_STRIDE} bytes, not for {len(content)}")
        number = self.number + 1
        os.pwrite(self._file, content, self._at + number % 2 * _STRIDE)
        self._numbers[1 + number % 2] = len(content)
        self._numbers[0] = number

    def read(self) -> bytes:
        while True:
            number = self.number
            content = os.pread(self._file, self._numbers[1 + number % 2], self._at + number % 2 * _STRIDE)
            if self.number == number:  # before the other place has a next one, nobody writes here
                return content


class Slot:
    """One worker's part of the scoreboard."""

    def __init__(self, file: int, at: int) -> None:
        self._file = file
        self._at = at
        self.numbers: memoryview
        self._map(_SERIES_AT + 16 * 1024)

    def _map(self, size: int) -> None:
        """Maps `size` bytes of the slot, in place of fewer."""
        self._size = size
        whole = memoryview(mmap.mmap(self._file, size, offset=self._at))
        self.numbers = whole[: 8 * _NUMBERS].cast("Q")
        self._ring = whole[_RING_AT:_SERIES_AT]
        self._series = whole[_SERIES_AT:]
        self.counts = self._series.cast("Q")

    def give_back(self) -> None:
        """Says that no worker holds it."""
        self.numbers[CONNECTIONS] = self.numbers[PID] = 0

    def add_series(self, key: Key) -> int:
        """Puts a series at the end, with nothing counted; the index of its counts in `counts`.

        Raises ValueError where the slot is full.
        """
        text = json.dumps(key).encode("ascii")
        begin = self.numbers[SERIES_END]
        end = begin + 8 * _SERIES_NUMBERS + -(-len(text) // 8) * 8
        if _SERIES_AT + end > _STRIDE:
            raise ValueError("there is no room for another series")
        if _SERIES_AT + end > self._size:
            self._map(min(_STRIDE, _SERIES_AT + 2 * end))
        index = begin // 8
        self.counts[index : index + 4] = memoryview(bytes(32)).cast("Q")
        self.counts[index + 4] = len(text)
        key_at = begin + 8 * _SERIES_NUMBERS
        self._series[key_at : key_at + len(text)] = text
        self.numbers[SERIES_END] = end
        return index

    def series(self, begin: int = 0) -> Iterator[tuple[Key, int, int]]:
        """The series from the byte `begin` on: key, index in `counts`, and the byte at which the next one begins."""
        last = self.numbers[SERIES_END]
        if _SERIES_AT + last > self._size:
            self._map(min(_STRIDE, _SERIES_AT + 2 * last))
        while begin < last:
            index = begin // 8
            length = self.counts[index + 4]
            key_at = begin + 8 * _SERIES_NUMBERS
            pool, origin, status = json.loads(bytes(self._series[key_at : key_at + length]))
            begin = key_at + -(-length // 8) * 8
            yield (pool, origin, status), index, begin

    def keep(self, lines: bytes) -> None:
        """Puts whole lines into the ring, in place of the oldest."""
        if len(lines) > RING:
            lines = lines[lines.index(b"\n", -RING - 1) + 1 :]
        numbers, begin = self.numbers, self.numbers[RING_ENDED]
        numbers[RING_BEGUN] = begin + len(lines)
        at = begin % RING
        first = min(len(lines), RING - at)
        self._ring[at : at + first] = lines[:first]
        self._ring[: len(lines) - first] = lines[first:]
        numbers[RING_ENDED] = begin + len(lines)

    def kept(self, begin: int) -> tuple[bytes, int]:
        """Whole lines that were put into the ring from the byte `begin` on, as far as they are still there, and
        the byte at which the next one begins."""
        end = self.numbers[RING_ENDED]
        whole = bytes(self._ring)
        overwritten = self.numbers[RING_BEGUN] - RING  # up to this byte, meanwhile
        start = min(end, max(begin, end - RING, overwritten))
        if start == end:
            return b"", end
        at, upto = start % RING, end % RING
        found = whole[at:upto] if at < upto else whole[at:] + whole[:upto]
        if start > begin:  # in the middle of a line
            found = found[found.find(b"\n") + 1 :]
        return found, end
