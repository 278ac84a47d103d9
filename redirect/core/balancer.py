"""Which origins of a pool may be picked, and how often: a pure function of the pool, its health and the time.

The rule: filter first, then weigh. An origin that is down weighs nothing, and the others keep their proportions. One
that came back weighs a tenth of its weight at first, and a tenth more at each tenth of `slow_start`, since its caches
are empty. If all origins are down none may be picked, or all of them, as the pool has it (`ignores_all_down`).

Nothing is remembered between two calls, so a reload, a new worker and a late health status all give the same weights.
"""

from collections.abc import Callable, Mapping
from math import gcd, inf
from random import Random

from redirect.core.cycles import Cycles, picker
from redirect.core.destination import Destination
from redirect.core.health import HealthStatus
from redirect.core.pools import Pool

TENTHS = 10

# Picks that may be prepared while requests wait: about 2 ms. Longer cycles are computed pick by pick.
MAX_PREPARED_PICKS = 2_000


class Balancer:
    """Picks the origins of one pool, each as a `Destination`. `pick` is None while none may be picked."""

    __slots__ = ("_destinations", "_next_step", "_random", "_weights", "pick", "pool", "statuses")

    pick: Callable[[], Destination] | None

    def __init__(
        self,
        pool: Pool,
        cycles: Cycles,
        random: Random,
        statuses: Mapping[str, HealthStatus] = {},
        now: float = 0.0,
    ) -> None:
        self.pool = pool
        self._random = random
        self._destinations = [Destination(pool, origin) for origin in pool.origins]
        self._weigh(statuses, now)
        self.pick = self._picker(cycles)

    @property
    def is_growing(self) -> bool:
        """Whether a slow start is under way, so that the weights change without another status."""
        return self._next_step < inf

    def update(self, statuses: Mapping[str, HealthStatus], now: float) -> None:
        """Applies the statuses as of `now` (monotonic seconds). The cycle goes on where the weights stay the same."""
        if now < self._next_step and (statuses is self.statuses or statuses == self.statuses):
            return
        before = self._weights
        self._weigh(statuses, now)
        if self._weights != before:
            self.pick = self._first_pick if any(self._weights) else None

    def _weigh(self, statuses: Mapping[str, HealthStatus], now: float) -> None:
        self.statuses = statuses
        self._weights = effective_weights(self.pool, statuses, now)
        self._next_step = _next_step(self.pool, statuses, now)

    def _first_pick(self) -> Destination:
        """Prepares the cycle at its first pick, so that after an outage of thousands of pools no request waits for the
        cycles of pools that it does not ask for."""
        self.pick = pick = self._picker(Cycles(MAX_PREPARED_PICKS))
        assert pick is not None  # a weight is above 0
        return pick()

    def _picker(self, cycles: Cycles) -> Callable[[], Destination] | None:
        return picker(list(zip(self._destinations, self._weights, strict=True)), cycles, self._random)


def effective_weights(pool: Pool, statuses: Mapping[str, HealthStatus], now: float) -> list[int]:
    """The weight of each origin of `pool`: 0 if it must not be picked, a multiple while some origins start slowly."""
    known = {name: _tenths(status, pool.slow_start, now) for name, status in statuses.items()}
    tenths = [known.get(origin.name, TENTHS) for origin in pool.origins]
    unit = gcd(*tenths) or 1  # where all origins have the same part their weights stay as they are
    weights = [origin.weight * (part // unit) for origin, part in zip(pool.origins, tenths, strict=True)]
    if pool.ignores_all_down and not any(weights):
        return [origin.weight for origin in pool.origins]
    return weights


def _tenths(status: HealthStatus, slow_start: float, now: float) -> int:
    """Counts the steps of the clock, not of the origin: origins that come back one by one step together."""
    if not status.is_up:
        return 0
    if not slow_start:
        return TENTHS
    step = slow_start / TENTHS
    return min(max(int(now // step - status.since_monotonic // step), 1), TENTHS)


def _next_step(pool: Pool, statuses: Mapping[str, HealthStatus], now: float) -> float:
    """When weights change next without another status; infinity if no slow start is under way."""
    if not any(0 < _tenths(status, pool.slow_start, now) < TENTHS for status in statuses.values()):
        return inf
    step = pool.slow_start / TENTHS
    return (now // step + 1) * step
