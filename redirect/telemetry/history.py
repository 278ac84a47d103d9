"""The history: what was counted in each cell of the last minute, hour and day, by pool and origin.

The rule: memory has a bound. A window has so many cells, which are used again. A pool or an origin is in a window while
it had requests there, and at most MAX_SERIES are. A snapshot is noted every few seconds: what is in a cell is what the
counters gained from one note to another. The history is the controller's, and begins with it.
"""

import threading
from array import array
from collections.abc import Iterable, Mapping, Sequence
from operator import sub
from typing import NamedTuple

from redirect.telemetry.snapshot import NO_DURATIONS, Buckets, Snapshot, added, quantile

# Seconds between two notes, and of the shortest cell.
NOTE_SECONDS = 5

# Pools and origins together, in each window.
MAX_SERIES = 10_000

# By name: the number of cells, and seconds of each.
WINDOWS = {"minute": (12, NOTE_SECONDS), "hour": (60, 60), "day": (60, 24 * 60)}

# A pool and an origin; without an origin, all requests of the pool.
Subject = tuple[str, str | None]


class Cell(NamedTuple):
    """The durations of all requests of a cell, and how many of its seconds were seen."""

    seconds: float
    answers: Buckets
    forwards: Buckets


class Trend(NamedTuple):
    """Of each cell, oldest first: requests and errors (statuses of 500 and above) per second, and within how many
    microseconds the origin answered 99 of 100. None for what was not seen."""

    rates: Sequence[float | None]
    errors: Sequence[float | None]
    p99: Sequence[float | None]


class _Totals(NamedTuple):
    requests: int = 0
    errors: int = 0
    responses: Buckets | None = None  # of what was forwarded


# By key, what there was at the note before and what there is now, of those with requests between.
_Gained = Mapping[Subject, tuple[_Totals, _Totals]]

_NO_CELL = Cell(0.0, NO_DURATIONS, NO_DURATIONS)


class _Series:
    """The cells of a pool or an origin: requests, errors and p99, one after another in `values`. `base` has the totals
    before the last cell that it filled, which is `index`."""

    __slots__ = ("base", "index", "values")

    def __init__(self, cells: int) -> None:
        self.values = array("f", bytes(3 * 4 * cells))
        self.index = -1
        self.base = _Totals()


class _Window:
    def __init__(self, cells: int, seconds: int) -> None:
        self._cells = cells
        self._seconds = seconds
        self._index = -1  # of the cell that is filled now
        self._before = 0.0, _NO_CELL  # when that began, and the durations until then
        self._whole = [_NO_CELL] * cells
        self._series: dict[Subject, _Series] = {}

    def note(self, now: float, last: float, whole: Cell, before: Cell, gained: _Gained) -> None:
        index = int(now // self._seconds)
        if index != self._index:
            self._go_on(index)
            self._before = last, before
        began, base = self._before
        answers, forwards = _gain(base.answers, whole.answers), _gain(base.forwards, whole.forwards)
        self._whole[index % self._cells] = Cell(now - began, answers, forwards)
        for key, (earlier, totals) in gained.items():
            series = self._series.get(key)
            if series is None and len(self._series) < MAX_SERIES:
                series = self._series[key] = _Series(self._cells)
            if series is not None:
                self._fill(series, earlier, totals)

    def _go_on(self, index: int) -> None:
        """Clears the cells up to `index`."""
        cells = self._cells
        places = [each % cells for each in range(max(self._index, index - cells) + 1, index + 1)]
        self._series = {key: series for key, series in self._series.items() if index - series.index < cells}
        for place in places:
            self._whole[place] = _NO_CELL
            for series in self._series.values():
                for at in (place, place + cells, place + 2 * cells):
                    series.values[at] = 0.0
        self._index = index

    def _fill(self, series: _Series, earlier: _Totals, totals: _Totals) -> None:
        if series.index != self._index:
            series.index, series.base = self._index, earlier
        at, base = self._index % self._cells, series.base
        series.values[at] = totals.requests - base.requests
        series.values[at + self._cells] = totals.errors - base.errors
        if totals.responses is not None:
            answered = _gain(base.responses or NO_DURATIONS, totals.responses)
            series.values[at + 2 * self._cells] = quantile(answered, 0.99) or 0.0

    def whole(self) -> list[Cell]:
        at = self._index % self._cells + 1
        return self._whole[at:] + self._whole[:at]

    def trend(self, key: Subject) -> Trend:
        cells, at = self._cells, self._index % self._cells + 1
        values = (self._series.get(key) or _Series(cells)).values
        rows = [values[begin : begin + cells] for begin in (0, cells, 2 * cells)]
        requests, errors, p99 = ([*row[at:], *row[:at]] for row in rows)
        seconds = [cell.seconds for cell in self.whole()]
        return Trend(_per_second(requests, seconds), _per_second(errors, seconds), [value or None for value in p99])

    def traffic(self) -> dict[Subject, float]:
        return {key: sum(series.values[: self._cells]) for key, series in self._series.items()}


class _Read:
    """What a snapshot has by key: requests and errors, and the buckets of answers, which are added up when asked."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.counts: dict[Subject, tuple[int, int]] = {}
        for (pool, origin, status), count in snapshot.requests.items():
            if pool is not None:
                for key in dict.fromkeys([(pool, None), (pool, origin)]):
                    requests, errors = self.counts.get(key, (0, 0))
                    self.counts[key] = requests + count.total, errors + (count.total if status >= 500 else 0)
        self._responses: dict[Subject, list[Buckets]] = {}
        for (pool, origin), numbers in snapshot.forwards.origins.items():
            for key in {(pool, origin), (pool, None)}:
                self._responses.setdefault(key, []).append(numbers.responses)

    def totals(self, key: Subject) -> _Totals:
        buckets = self._responses.get(key)
        return _Totals(*self.counts.get(key, (0, 0)), None if buckets is None else array("Q", added(buckets)))


class History:
    """May be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows = {name: _Window(*window) for name, window in WINDOWS.items()}
        self._last: tuple[float, Cell, _Read] | None = None
        self._since = 0.0  # when what the last note has began to be counted
        self.notes = 0

    def note(self, snapshot: Snapshot, now: float, since: float = 0.0) -> None:
        """Adds what is new since the note before, at `now` of the monotonic clock. Where the numbers count `since`
        another time, those of runs before are among them now, and nothing is known to be new."""
        whole, read = Cell(0.0, snapshot.answers.buckets, snapshot.forwards.durations.buckets), _Read(snapshot)
        with self._lock:
            if self._last is not None and since == self._since:
                last, before, earlier = self._last
                changed = [key for key, counts in read.counts.items() if counts != earlier.counts.get(key)]
                gained = {key: (earlier.totals(key), read.totals(key)) for key in changed}
                for window in self._windows.values():
                    window.note(now, last, whole, before, gained)
            self._last, self._since = (now, whole, read), since
            self.notes += 1

    def whole(self, window: str) -> list[Cell]:
        """All requests of the instance, by cell, oldest first."""
        with self._lock:
            return self._windows[window].whole()

    def trend(self, window: str, key: Subject) -> Trend:
        with self._lock:
            return self._windows[window].trend(key)

    def traffic(self, window: str) -> dict[Subject, float]:
        """How many requests there were, of those pools and origins that had some."""
        with self._lock:
            return self._windows[window].traffic()


def _gain(base: Buckets, buckets: Buckets) -> Buckets:
    return [*map(sub, buckets, base)]


def _per_second(counts: Iterable[float], seconds: Iterable[float]) -> list[float | None]:
    return [count / length if length else None for count, length in zip(counts, seconds, strict=True)]
