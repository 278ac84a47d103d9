"""The counters: what a worker adds up of its requests, in its slot of the scoreboard.

The rule: a batch of requests is counted at once, so a request pays for its part of a few additions
and for no call of a library.
"""

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter, sub
from os import getpid
from time import monotonic, time

from redirect.core.decision import LOOP, Decision
from redirect.core.pools import Config
from redirect.telemetry.dues import DueCounters
from redirect.telemetry.forwards import ForwardCounters
from redirect.telemetry.record import Record
from redirect.telemetry.scoreboard import BUCKETS, HISTORY_ROWS, DurationNumbers, Series, Slot
from redirect.telemetry.snapshot import BOUNDS_US, in_buckets

_BOUNDS_NS = [1000 * bound for bound in BOUNDS_US]
_EMPTY = [0] * BUCKETS
_decision, _head, _started, _ended = itemgetter(0), itemgetter(1), itemgetter(3), itemgetter(4)
_outcome = itemgetter(-1)
_CONFIG = 5  # its place in a record

# Where a decision is counted: the index of its request's series, and that of its route's, if it has one.
_Places = tuple[int, int | None]


class Counters:
    """Counts in `slot`, on from what was counted there."""

    def __init__(self, slot: Slot, config: Config) -> None:
        self.slot = slot
        self._series = Series(slot)
        self.forwards = ForwardCounters(slot, self._series)
        self.dues = DueCounters(slot, self._series)
        numbers = slot.numbers
        numbers.since_ms = int(time() * 1000)
        numbers.requests = numbers.connections = numbers.health = numbers.heartbeat_ms = 0
        numbers.pid = getpid()
        self.use(config)

    def use(self, config: Config) -> None:
        numbers, number = self.slot.numbers, int(config.hash, 16)
        self._pools, self._forwarded, self._config = config.pools, config.forwarded(), config.hash
        self._known: set[str | None] = {None}  # requested pools that are known, or none
        self._prepared: dict[Decision, _Places] = {}
        numbers.change = config.change
        if numbers.config != number:
            numbers.configs += 1
            numbers.config = number
            self.dues.use_other_configuration()

    def count(self, records: Sequence[Record]) -> None:
        now = int(time() * 1000)
        counts = self.slot.counts
        forwards = [record for record in records if record[-1]] if any(map(_outcome, records)) else []
        has_late = any(record[_CONFIG] != self._config for record in forwards)
        prepared = self._prepared
        for decision, count in Counter(map(_decision, records)).items():  # as many as records where pools are many
            request, of_route = prepared.get(decision) or self._place(decision)
            counts[request] += count
            counts[request + 2] = now
            if of_route is not None:
                counts[of_route] += count
            due = decision.due
            if due is not None and not due.weights.is_configured and not has_late:
                self.dues.count(due.weights, count)
            if decision.status == LOOP and decision.is_loop:
                self.slot.numbers.loops += count
        if has_late:
            self._count_late(records)
        self._count_unknown(records)
        numbers, second = self.slot.numbers, int(monotonic())
        numbers.requests += len(records)
        if forwards:
            self.forwards.count(forwards)
            _count_durations(forwards, numbers.forwards, second)
            records = [record for record in records if not record[-1]]
        _count_durations(records, numbers.answers, second)

    def _count_late(self, records: Sequence[Record]) -> None:
        """What was under way when another configuration came is none of its picks. One by one, since decisions that are
        equal may be due to other weights."""
        for record in records:
            decision = record[0]
            if record[-1] is not None and record[_CONFIG] != self._config:
                self.slot.counts[(self._prepared.get(decision) or self._place(decision))[0] + 1] += 1
            elif decision.due is not None:
                self.dues.count(decision.due.weights, 1)

    def _place(self, decision: Decision) -> _Places:
        index = self._series.index("requests", decision.pool, decision.origin, decision.status)
        counts, configs = self.slot.counts, self.slot.numbers.configs
        if counts[index + 3] != configs:  # the first under this configuration
            counts[index + 1] = counts[index]
            counts[index + 3] = configs
        places = (
            index,
            None if decision.route is None else self._series.index("routes", decision.route, decision.status),
        )
        if decision.is_one_of_few:
            self._prepared[decision] = places
        return places

    def _count_unknown(self, records: Sequence[Record]) -> None:
        for pool in {head[0] for head in map(_head, records)} - self._known:
            if pool in self._pools and pool not in self._forwarded:
                self._known.add(pool)
            else:
                self.slot.numbers.unknown_pool += sum(
                    head[0] == pool and _was_to_be_named(decision) for decision, head, *_ in records
                )


def _was_to_be_named(decision: Decision) -> bool:
    """Whether the header had a part in it: no route took the request, and it was not refused before; 404 is that of a
    configuration without a default pool."""
    return decision.route is None and (decision.pool is not None or decision.status == 404)


def _count_durations(records: Sequence[Record], into: DurationNumbers, second: int) -> None:
    durations = [*map(sub, map(_ended, records), map(_started, records))]
    into.sum_ns += sum(durations)
    total, row = into.buckets, into.history[second % HISTORY_ROWS]
    if row.second != second:
        row.buckets[:] = _EMPTY
        row.second = second
    for bucket, count in in_buckets(durations, _BOUNDS_NS):
        total[bucket] += count
        row.buckets[bucket] += count
