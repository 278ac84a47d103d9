"""What a worker counts of the requests that it forwards, by pool and origin, in its slot of the scoreboard.

The rule: a batch of requests is counted at once, after they were answered, as in `counters`. What is rare is counted
when it happens: a failure, and that another origin is tried. What is under way is reported with the heartbeat.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter

from redirect.core.decision import Outcome
from redirect.telemetry.record import Record
from redirect.telemetry.scoreboard import GAUGES, KINDS, Slot
from redirect.telemetry.snapshot import BOUNDS_US, in_buckets

_labels = attrgetter("pool", "origin")
_decision, _outcome = itemgetter(0), itemgetter(-1)
_origin_us, _bytes_in, _bytes_out = map(itemgetter, map(Outcome._fields.index, ("origin_us", "bytes_in", "bytes_out")))


class ForwardCounters:
    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._reported: dict[str, set[tuple[str, ...]]] = {kind: set() for kind in GAUGES}
        for kind in GAUGES:  # as the worker before this one left them
            for _, index in slot.series(kind):
                self._set(index, [0] * len(KINDS[kind].numbers))
        slot.numbers.tunnels = 0

    def count(self, records: Sequence[Record]) -> None:
        """Counts requests that were forwarded."""
        outcomes = [*map(_outcome, records)]
        numbers = self._slot.numbers
        numbers.bytes_in += sum(map(_bytes_in, outcomes))
        numbers.bytes_out += sum(map(_bytes_out, outcomes))
        times: dict[tuple[str | None, str | None], list[int]] = defaultdict(list)
        for labels, origin_us in zip(map(_labels, map(_decision, records)), map(_origin_us, outcomes), strict=True):
            if origin_us is not None:
                times[labels].append(origin_us)
        for labels, of_origin in times.items():
            self._add_responses(*labels, of_origin)

    def _add_responses(self, pool: str | None, origin: str | None, times_us: list[int]) -> None:
        counts, index = self._slot.counts, self._slot.index("responses", pool, origin)
        counts[index] += sum(times_us)
        for bucket, count in in_buckets(times_us, BOUNDS_US):
            counts[index + 1 + bucket] += count

    def failed(self, pool: str, origin: str | None, error: str) -> None:
        """Counts that `origin` failed, or that there is none; `error` is the name of RFC 9209, section 2.3."""
        self._slot.counts[self._slot.index("failures", pool, origin, error)] += 1

    def retried(self, pool: str, origin: str, origin_us: int | None) -> None:
        """Counts that another origin is tried in place of `origin`, which took so long to answer, if it did."""
        self._slot.counts[self._slot.index("retries", pool, origin)] += 1
        if origin_us is not None:
            self._add_responses(pool, origin, [origin_us])

    def report(
        self, in_flight: Mapping[tuple[str, str], int], connections: Mapping[str, tuple[int, int]], tunnels: int
    ) -> None:
        """Reports requests under way by pool and origin, idle and busy connections by host and port, and tunnels."""
        self._report("in_flight", {labels: (count,) for labels, count in in_flight.items()})
        self._report("connections", {(place,): counted for place, counted in connections.items()})
        self._slot.numbers.tunnels = tunnels

    def _report(self, kind: str, values: Mapping[tuple[str, ...], Iterable[int]]) -> None:
        gone = self._reported[kind] - values.keys()
        for labels, numbers in [*values.items(), *((labels, [0] * len(KINDS[kind].numbers)) for labels in gone)]:
            self._set(self._slot.index(kind, *labels), numbers)
        self._reported[kind] = {*values}

    def _set(self, index: int, numbers: Iterable[int]) -> None:
        for at, number in enumerate(numbers, index):
            self._slot.counts[at] = number
