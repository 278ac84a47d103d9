"""The numbers of an instance: what its workers counted, added up. Frozen values, and what follows from them.

The rule: a counter never goes back while the instance lives, whichever worker ended or came. What is counted under the
configuration in force is known apart, so that observed shares can be compared with configured ones.

Durations are counted in buckets, the last of which has no bound.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

# Upper bounds of the buckets, included, in microseconds: 1 us to 10 s, five to a decade, and up to a minute. A redirect
# takes some microseconds, an answer from an origin as long as the origin does.
BOUNDS_US: tuple[int, ...] = (
    *[digit * 10**power for power in range(7) for digit in (1, 2, 3, 5, 7)],
    *[digit * 10**7 for digit in (1, 2, 3, 6)],
)

# Seconds of which the durations are kept apart, for what is drawn over time.
SECONDS = 60

# What is counted apart: pool, origin and status. Pool and origin are None as in `Decision`.
Counted = tuple[str | None, str | None, int]

# Parts of a pick, as it is shared out among the origins to which it was due.
MICRO = 1_000_000

# Durations per bucket: one more than there are bounds.
Buckets = Sequence[int]

NO_DURATIONS: Buckets = (0,) * (len(BOUNDS_US) + 1)


class Count(NamedTuple):
    """How often something happened, how often of that under the configuration in force, and when last (Unix time,
    milliseconds). Of several statuses together, how often it was one of 500 and above."""

    total: int
    since_load: int
    last_ms: int
    errors: int = 0

    def plus(self, other: "Count") -> "Count":
        last_ms = max(self.last_ms, other.last_ms)
        return Count(self.total + other.total, self.since_load + other.since_load, last_ms, self.errors + other.errors)


NO_COUNT = Count(0, 0, 0)


class Durations(NamedTuple):
    """How long requests took: all of them, their sum in seconds, and those of the last SECONDS whole seconds, oldest
    first, without a gap."""

    buckets: Buckets
    sum: float
    seconds: Sequence[Buckets]

    @property
    def requests(self) -> int:
        return sum(self.buckets)


class OriginNumbers(NamedTuple):
    """What became of requests that were forwarded to an origin: how long the heads of its answers took, all of them and
    their sum in seconds; its failures by error; how often another origin was tried in its place; and requests that are
    under way there."""

    responses: Buckets = NO_DURATIONS
    response_sum: float = 0.0
    failures: Mapping[str, int] = {}
    retries: int = 0
    in_flight: int = 0


class Connections(NamedTuple):
    """Connections to the host and port of an origin: those that wait for a request, and those that have one."""

    idle: int
    busy: int


class Totals(NamedTuple):
    """What is counted as one number each. The scoreboard has them by these names, and so has what is kept."""

    lines: int = 0  # written to the access log
    dropped: int = 0  # lines that were lost
    unknown_pool: int = 0  # requests that named one
    forwarded_untrusted: int = 0  # heads whose X-Forwarded fields did not count, by why
    forwarded_malformed: int = 0
    stale: int = 0  # old answers that caches gave
    bytes_in: int = 0  # of bodies of requests that were forwarded
    bytes_out: int = 0  # of those of their answers
    loops: int = 0  # requests that were refused as such


@dataclass(frozen=True, slots=True)
class Forwards:
    """What was forwarded: how long it took, from the request read to the last byte of the answer; tunnels that are
    open; and by pool and origin what became of it. The origin is None where there was none."""

    durations: Durations
    tunnels: int
    origins: Mapping[tuple[str, str | None], OriginNumbers]
    connections: Mapping[str, Connections]

    def of(self, pool: str, origin: str) -> OriginNumbers:
        return self.origins.get((pool, origin), OriginNumbers())


class Worker(NamedTuple):
    """A worker process that is alive: since when (Unix time), open connections, requests answered, the hash of its
    configuration, the number of the health status that it has applied, seconds since its last heartbeat, and how many
    configurations were published before its own, of one file, too: with other origins that were found."""

    pid: int
    since: float
    connections: int
    requests: int
    config: str
    verdicts: int
    last_seen: float
    change: int = 0


class Loading(NamedTuple):
    """When the configuration in use was loaded (Unix time), why a later one was not, if so, the hash of the one in
    use, when it was published (milliseconds of the monotonic clock), and what it changed, in lines."""

    loaded_at: float
    error: str | None = None
    error_at: float | None = None
    config: str | None = None
    published_ms: int = 0
    changes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The numbers of an instance at `time` (Unix time). `answers` are the durations of what was not forwarded, from the
    request read to the response sent."""

    time: float
    requests: Mapping[Counted, Count]
    routes: Mapping[tuple[str, int], int]  # requests by route and status
    totals: Totals
    answers: Durations
    forwards: Forwards
    workers: Sequence[Worker]
    loading: Loading
    # By pool and origin, the picks that were due to it while the weights were not as configured; without an origin, all
    # such picks of the pool. Under the configuration in force.
    dues: Mapping[str, Mapping[str | None, float]] = field(default_factory=dict)

    def picks(self) -> dict[str, dict[str, Count]]:
        """By pool and origin: how often it was picked, whatever came of it."""
        found: dict[str, dict[str, Count]] = {}
        for (pool, origin, status), count in self.requests.items():
            if pool is not None and origin is not None:
                origins = found.setdefault(pool, {})
                errors = count.total if status >= 500 else 0
                origins[origin] = origins.get(origin, NO_COUNT).plus(count._replace(errors=errors))
        return found

    def answered(self, least: int, most: int) -> int:
        """How many requests got a status from `least` to `most`."""
        return sum(count.total for (_, _, status), count in self.requests.items() if least <= status <= most)


def quantile(buckets: Buckets, part: float) -> float | None:
    """The duration in microseconds that `part` (0 to 1) of those in `buckets` do not exceed; None if there are none,
    the highest bound if it lies above that. Those in a bucket count as spread evenly, as for Prometheus'
    histogram_quantile."""
    rank = part * sum(buckets)
    if rank <= 0:
        return None
    below = 0
    for index, count in enumerate(buckets[:-1]):
        if below + count >= rank:
            low = BOUNDS_US[index - 1] if index else 0
            return low + (BOUNDS_US[index] - low) * (rank - below) / count
        below += count
    return BOUNDS_US[-1]


def in_buckets(values: Sequence[int], bounds: Sequence[float]) -> list[tuple[int, int]]:
    """How many of the values are in each bucket that has some; a bucket's upper bound belongs to it."""
    values, found = sorted(values), []
    below = 0
    while below < len(values):
        bucket = bisect_left(bounds, values[below])
        upto = bisect_right(values, bounds[bucket], below) if bucket < len(bounds) else len(values)
        found.append((bucket, upto - below))
        below = upto
    return found


def added(buckets: Iterable[Buckets]) -> list[int]:
    """The durations of several buckets in one."""
    return [sum(column) for column in zip(*buckets, strict=True)] or [*NO_DURATIONS]
