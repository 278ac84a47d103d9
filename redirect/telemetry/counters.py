"""The counters: what a worker adds up of its requests, in its slot of the scoreboard.

The rule: a batch of requests is counted at once, so a request pays for its part of a few additions
and for no call of a library.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from json import loads
from operator import itemgetter, sub
from os import getpid
from time import monotonic, time

from redirect.core.decision import Decision
from redirect.core.pools import Config, Pool
from redirect.telemetry.record import Record
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
    Slot,
)
from redirect.telemetry.snapshot import BOUNDS_US, Key

_BOUNDS_NS = [1000 * bound for bound in BOUNDS_US]
_NOTHING = memoryview(bytes(8 * ROW)).cast("Q")
_decision, _quoted, _started, _ended = itemgetter(0), itemgetter(1), itemgetter(3), itemgetter(4)


class Counters:
    """Counts in `slot`, on from what was counted there."""

    def __init__(self, slot: Slot, config: Config) -> None:
        self.slot = slot
        self._indices: dict[Key, int] = {key: index for key, index, _ in slot.series()}
        self._prepared: dict[Decision, int] = {}
        self._pools: Mapping[str, Pool]
        self._known: set[str]  # of what was asked for, as JSON, what is a pool or nothing
        slot.numbers[SINCE_MS] = int(time() * 1000)
        slot.numbers[REQUESTS] = slot.numbers[CONNECTIONS] = slot.numbers[VERDICTS] = 0
        slot.numbers[PID] = getpid()
        self._lines, self._dropped = slot.numbers[LINES], slot.numbers[DROPPED]  # of workers before this one
        self.adopt(config)

    def adopt(self, config: Config) -> None:
        """Counts under another configuration from now on."""
        slot, number = self.slot, int(config.hash, 16)
        self._pools = config.pools
        self._known = {"null"}
        self._prepared = {}
        if slot.numbers[CONFIG] != number:
            slot.numbers[CONFIGS] += 1
            slot.numbers[CONFIG] = number

    def count(self, records: Sequence[Record]) -> None:
        """Counts requests that were answered just now."""
        now = int(time() * 1000)
        for decision, count in Counter(map(_decision, records)).items():
            index = self._prepared.get(decision)
            if index is None:
                index = self._index(decision)
            self.slot.counts[index] += count
            self.slot.counts[index + 2] = now
        self._count_unknown(records)
        numbers = self.slot.numbers
        numbers[REQUESTS] += len(records)
        durations = sorted(map(sub, map(_ended, records), map(_started, records)))
        numbers[DURATION_NS] += sum(durations)
        self._count_durations(durations, int(monotonic()))

    def say(self, connections: int, lines: int, dropped: int) -> None:
        """Says how many connections are open, and how many lines this worker wrote to the access log and lost."""
        numbers = self.slot.numbers
        numbers[CONNECTIONS] = connections
        numbers[LINES] = self._lines + lines
        numbers[DROPPED] = self._dropped + dropped

    def heed(self, verdicts: int) -> None:
        """Says that this worker heeds what probes found out, up to that number."""
        self.slot.numbers[VERDICTS] = verdicts

    def close(self) -> None:
        """Gives the slot back."""
        self.slot.give_back()

    def _index(self, decision: Decision) -> int:
        key = decision.pool, decision.origin, decision.status
        index = self._indices.get(key)
        if index is None:
            index = self._indices[key] = self.slot.add_series(key)
        counts, configs = self.slot.counts, self.slot.numbers[CONFIGS]
        if counts[index + 3] != configs:  # the first under this configuration
            counts[index + 1] = counts[index]
            counts[index + 3] = configs
        if decision.prefix is not None:
            self._prepared[decision] = index
        return index

    def _count_unknown(self, records: Sequence[Record]) -> None:
        asked = {quoted[0] for quoted in map(_quoted, records)} - self._known
        for pool_requested in asked:
            if loads(pool_requested) in self._pools:
                self._known.add(pool_requested)
            else:
                self.slot.numbers[UNKNOWN_POOL] += sum(
                    quoted[0] == pool_requested and decision.pool is not None for decision, quoted, *_ in records
                )

    def _count_durations(self, durations: list[int], second: int) -> None:
        numbers = self.slot.numbers
        row = HISTORY + second % HISTORY_ROWS * (1 + ROW)
        if numbers[row] != second:
            numbers[row + 1 : row + 1 + ROW] = _NOTHING
            numbers[row] = second
        below = bucket = 0
        while below < len(durations):
            upto = bisect_right(durations, _BOUNDS_NS[bucket]) if bucket < ROW - 1 else len(durations)
            if upto > below:
                numbers[BUCKETS + bucket] += upto - below
                numbers[row + 1 + bucket] += upto - below
                below = upto
            bucket += 1
