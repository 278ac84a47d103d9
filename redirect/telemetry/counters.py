"""The counters: what a worker adds up of its requests, in its slot of the scoreboard.

The rule: a batch of requests is counted at once, so a request pays for its part of a few additions
and for no call of a library.
"""

from collections.abc import Iterable, Sequence
from time import monotonic, time

from redirect.core.decision import CountedAt, Decision
from redirect.core.pools import Config
from redirect.telemetry.batch import BOUNDS_NS, AddUp, DurationSums, add_up
from redirect.telemetry.dues import DueCounters
from redirect.telemetry.forwards import ForwardCounters
from redirect.telemetry.record import Record
from redirect.telemetry.scoreboard import SECOND_ROWS, DurationNumbers, Slot
from redirect.telemetry.snapshot import NO_DURATIONS

_CONFIG = 6  # its place in a record


class Counters:
    """Counts in `slot`, on from what was counted there."""

    def __init__(self, slot: Slot, config: Config, add_up: AddUp = add_up) -> None:
        self.slot = slot
        self._add_up = add_up
        self.forwards = ForwardCounters(slot)
        self.dues = DueCounters(slot)
        slot.hold()
        self.use(config)

    def use(self, config: Config) -> None:
        numbers, number = self.slot.numbers, int(config.hash, 16)
        self._pools, self._forwarded, self._config = config.pools, config.forwarded(), config.hash
        self._known: set[str | None] = {None}  # requested pools that are known, or none
        self._use = object()  # that of this configuration
        numbers.change = config.change
        if numbers.config != number:
            numbers.configs += 1
            numbers.config = number
            self.dues.use_other_configuration()

    def count(self, records: list[Record]) -> None:
        now = int(time() * 1000)
        counts = self.slot.counts
        decisions, pools, answers, durations, forwards = self._add_up(records, BOUNDS_NS, counts, self._use, now)
        has_late = any(record[_CONFIG] != self._config for record in forwards)
        for decision, count in decisions:
            _, request, of_route, is_all = self._places(decision)
            counts[request] += count
            counts[request + 2] = now
            if of_route is not None:
                counts[of_route] += count
            if is_all:
                continue
            if decision.due is not None and not has_late:
                self.dues.count(decision.due.weights, count)
            if decision.is_loop:
                self.slot.numbers.loops += count
        if has_late:
            self._count_late(records)
        self._count_unknown(pools - self._known, records)
        numbers, second = self.slot.numbers, int(monotonic())
        numbers.requests += len(records)
        _count_durations(answers, numbers.answers, second)
        if forwards:
            self.forwards.count(forwards)
            _count_durations(durations, numbers.forwards, second)

    def _count_late(self, records: Sequence[Record]) -> None:
        """What was under way when another configuration came is none of its picks."""
        for record in records:
            decision = record[0]
            if record[-1] is not None and record[_CONFIG] != self._config:
                self.slot.counts[self._places(decision)[1] + 1] += 1
            elif decision.due is not None:
                self.dues.count(decision.due.weights, 1)

    def _places(self, decision: Decision) -> CountedAt:
        places = decision.counted_at
        if places is None or places[0] is not self._use:
            decision.counted_at = places = self._find_places(decision)
        return places

    def _find_places(self, decision: Decision) -> CountedAt:
        index = self.slot.index("requests", decision.pool, decision.origin, decision.status)
        counts, configs = self.slot.counts, self.slot.numbers.configs
        if counts[index + 3] != configs:  # the first under this configuration
            counts[index + 1] = counts[index]
            counts[index + 3] = configs
        route, due = decision.route, decision.due
        of_route = None if route is None else self.slot.index("routes", route, decision.status)
        is_all = (due is None or due.weights.is_configured) and not decision.is_loop
        return self._use, index, of_route, is_all

    def _count_unknown(self, pools: Iterable[str | None], records: Sequence[Record]) -> None:
        for pool in pools:
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


def _count_durations(durations: DurationSums, into: DurationNumbers, second: int) -> None:
    total, row = into.buckets, into.seconds[second % SECOND_ROWS]
    if row.second != second:
        row.buckets[:] = NO_DURATIONS
        row.second = second
    into.sum_ns += durations[0]
    for bucket, count in durations[1]:
        total[bucket] += count
        row.buckets[bucket] += count
