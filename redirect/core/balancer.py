"""Which origins of a pool may be picked, and how often: a pure function of the pool, its health and the time.

The rule: filter first, then weigh. An origin that is down weighs nothing, and the others keep their proportions. One
that came back weighs a tenth of its weight at first, and a tenth more at each tenth of `slow_start`, since its caches
are empty. If all origins are down none may be picked, or all of them, as the pool has it (`when_all_down`).

Nothing is remembered between two calls, so a reload, a new worker and a late health status all give the same weights.
"""

from bisect import bisect_right
from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from itertools import accumulate
from math import gcd, inf
from random import Random

from redirect.core.cycles import Cycles, ring
from redirect.core.destination import Destination
from redirect.core.due import Weights
from redirect.core.hashing import Rendezvous
from redirect.core.health import HealthStatus
from redirect.core.pools import Origin, Pool

TENTHS = 10

# Picks that may be prepared while requests wait: about 2 ms. Longer cycles are computed pick by pick.
MAX_PREPARED_PICKS = 2_000


class Balancer:
    """Picks the origins of one pool, each as a `Destination`."""

    __slots__ = (
        *("_at", "_beside", "_bounds", "_destinations", "_picker", "_prepared", "_random", "_rendezvous", "_ring"),
        *("_weights", "has_begun", "has_cycle", "has_eligible", "is_by_key", "latest", "next_step", "pool", "statuses"),
        "vary",
    )

    def __init__(
        self,
        pool: Pool,
        cycles: Cycles,
        random: Random,
        statuses: Mapping[str, HealthStatus] = {},
        now: float = 0.0,
        vary: str | None = None,
        before: "Balancer | None" = None,
    ) -> None:
        """What is known of origins that the one `before` had, such as requests under way there, stays so."""
        self.pool = pool
        self.vary = vary  # the field that names pools, where it decides
        self._random = random
        self._weights, self.next_step = effective_weights(pool, statuses, now)
        known = before._same_destinations(pool, vary) if before else {}
        self._destinations = tuple([_of(known, pool, origin, vary) for origin in pool.origins])
        self.has_eligible = any(self._weights)
        self.has_begun = not known  # else origins have what is due by the one before, which still picks
        if self.has_begun:
            self._weigh()
        self.statuses = statuses
        # That of the same pool which is in use, once this one is not: all that came before it share the list.
        self.latest: list[Balancer] = []
        self._set_trials()
        self._beside: tuple[Destination, Destination | None] | None = None  # what was shown, and in whose place
        # Each is made when it is first needed.
        self._bounds: tuple[list[int], dict[Destination, int]] | None = None
        self._rendezvous: Rendezvous | None = None
        self.has_cycle = pool.pick == "round_robin"
        self.is_by_key = pool.pick == "hash"
        if pool.file_weights is not None:  # the next step of a ramp has another cycle, and requests wait for each
            cycles = Cycles(MAX_PREPARED_PICKS)
        # What picks are made from: a ring, which is gone through from its end to its begin, or else a function.
        self._ring: tuple[Destination, ...] | None = None
        self._at = 0
        self._picker: Callable[[], Destination] | None = None
        self._prepared = self._prepare(cycles) if self.has_eligible and not self.is_by_key else None
        if self._prepared and self.has_begun:
            self._use(self._prepared)

    def _same_destinations(self, pool: Pool, vary: str | None) -> "_Known":
        """Those that mean the same in `pool`: where other origins were found or other weights are in force, and nothing
        else changed."""
        others = replace(self.pool, origins=pool.origins, none_found=pool.none_found, file_weights=pool.file_weights)
        same = self._destinations if vary == self.vary and others == pool else ()
        return {_place(each.origin): each for each in same}

    def _begin(self) -> None:
        """Takes the place of the one before, with the first pick: all pools at once would take a while."""
        if not self.has_begun:
            self.has_begun = True
            self._weigh()

    @property
    def is_growing(self) -> bool:
        """Whether a slow start is under way, so that the weights change without another status."""
        return self.next_step < inf

    def update(self, statuses: Mapping[str, HealthStatus], now: float) -> None:
        """Applies the statuses as of `now` (monotonic seconds). The cycle goes on where the weights stay the same."""
        if now < self.next_step and (statuses is self.statuses or statuses == self.statuses):
            return
        self._begin()
        before = self._weights, self.is_growing
        self.statuses = statuses
        self._set_trials()
        self._weights, self.next_step = effective_weights(self.pool, statuses, now)
        if self._weights != before[0]:
            self._weigh()
        if (self._weights, self.is_growing) != before:
            self._beside = self._bounds = None
            if self._rendezvous is not None:
                self._rendezvous.use(self._weights)
            self._ring = self._picker = self._prepared = None

    def why_none(self) -> str:
        """Why none may be picked, for the client."""
        pool = self.pool
        if pool.discover is None:
            return f"no origin of {pool.name} is eligible"
        if not pool.origins:
            reason = pool.none_found or f"{pool.discover.source} was not asked for {pool.discover} yet"
            return f"{pool.name} is configured, but {reason}"
        out = [(each.name, self.statuses.get(each.name)) for each in pool.origins if each.weight]
        reasons = [f"{name} is {status.member or 'down'}, {status.reason}" for name, status in out if status]
        return f"no origin of {pool.name} is eligible: {reasons[0] if reasons else 'all are drained'}"

    def pick_for(self, method: str, key: bytes) -> Destination:
        """The origin of a request, whatever the pool picks by; one is eligible."""
        if self.is_by_key:
            return self.pick_by_key(key)
        return self.peek() if method == "HEAD" and self.has_cycle else self.pick()

    def pick(self) -> Destination:
        """The next origin of the cycle, or one by chance. One is eligible, and the pool picks by no key."""
        ring = self._ring
        if ring is None:
            return self._pick_otherwise()
        at = self._at
        self._at = (at or len(ring)) - 1
        return ring[at]

    def _pick_otherwise(self) -> Destination:
        """Without a ring, or before it is used. A cycle is prepared when it is first needed: after an outage of
        thousands of pools, only for those that are asked for. During a slow start it is not worth it, since the next
        step has another cycle."""
        if self._picker is not None:
            return self._picker()
        self._begin()
        self._use(self._prepared or self._prepare(Cycles(0 if self.is_growing else MAX_PREPARED_PICKS)))
        return self.pick()

    def pick_by_key(self, key: bytes) -> Destination:
        """The origin for `key`; for an empty one any, by chance and weight. One is eligible."""
        self._begin()
        if key:
            index = self._hashed().pick(key)
            assert index is not None
            return self._destinations[index]
        bounds, _ = self._chances()
        return self._destinations[bisect_right(bounds, self._random.randrange(bounds[-1])) - 1]

    def peek(self) -> Destination:
        """What the next pick of the cycle will be, for a HEAD before the GET."""
        picked, following = self.pick(), self._picker
        if self._ring is not None:
            self._at = (self._at + 1) % len(self._ring)
            return picked

        def again() -> Destination:
            self._picker = following
            return picked

        self._picker = again
        return picked

    def one_at_a_time(self, picked: Destination, key: bytes = b"") -> Destination:
        """In place of one that is held back, or on trial with a request that decides, another one, if there is any."""
        other = self.pick_other((picked.origin.name,), key) if picked.is_tried else None
        return other or picked

    def pick_other(self, tried: Container[str], key: bytes = b"") -> Destination | None:
        """One of those that may be picked and whose names are not among the `tried`: the next in the order of `key`
        where the pool picks by one, else by chance and weight."""
        self._begin()
        if key:
            places = enumerate(self._destinations)
            index = self._hashed().pick(key, {at for at, each in places if each.origin.name in tried or each.is_tried})
            return None if index is None else self._destinations[index]
        left = [pair for pair in self._weighted() if pair[0].origin.name not in tried and not pair[0].is_tried]
        pick = _random_picker(left, self._random)
        return pick() if pick else None

    def peek_beside(self, picked: Destination) -> Destination | None:
        """What the next `pick_beside` in place of `picked` will be, for a HEAD before the GET."""
        other = self.pick_beside(picked)
        self._beside = picked, other
        return other

    def pick_beside(self, picked: Destination, key: bytes = b"") -> Destination | None:
        """One of the others, as `pick_other` does; what it costs does not grow with their number."""
        shown, self._beside = self._beside, None
        if shown is not None and shown[0] is picked and not key:
            return shown[1]
        self._begin()
        bounds, places = self._chances()
        at = places[picked]
        weight = bounds[at + 1] - bounds[at]
        if bounds[-1] == weight:
            return None
        if key:
            index = self._hashed().pick(key, (at,))
            return None if index is None else self._destinations[index]
        drawn = self._random.randrange(bounds[-1] - weight)
        return self._destinations[bisect_right(bounds, drawn + weight if drawn >= bounds[at] else drawn) - 1]

    def _chances(self) -> tuple[list[int], dict[Destination, int]]:
        if self._bounds is None:
            places = {destination: place for place, destination in enumerate(self._destinations)}
            self._bounds = [*accumulate(self._weights, initial=0)], places
        return self._bounds

    def _hashed(self) -> Rendezvous:
        if self._rendezvous is None:
            origins = self.pool.origins
            names = [str(origin.authority) for origin in origins]  # however the TOML spells them
            self._rendezvous = Rendezvous(names, [origin.weight for origin in origins])
            self._rendezvous.use(self._weights)
        return self._rendezvous

    def _weigh(self) -> None:
        weights = Weights(self.pool, self._weights)
        self.has_eligible = weights.total > 0
        for destination, weight in self._weighted():
            destination.weigh(weights, weight)

    def _set_trials(self) -> None:
        if self.pool.eject is not None:
            for destination in self._destinations:
                destination.use(self.statuses.get(destination.origin.name))

    def _prepare(self, cycles: Cycles) -> "_Picks":
        if self.pool.pick == "round_robin":
            return ring(self._weighted(), cycles, self._random)
        pick = _random_picker(self._weighted(), self._random)
        assert pick is not None  # a weight is above 0
        return pick if self.pool.pick == "random" else lambda: min(pick(), pick(), key=_load)

    def _use(self, picks: "_Picks") -> None:
        self._prepared = None
        if isinstance(picks, tuple):
            self._ring, self._at = picks, len(picks) - 1 - self._random.randrange(len(picks))
        else:
            self._picker = picks

    def _weighted(self) -> list[tuple[Destination, int]]:
        return list(zip(self._destinations, self._weights, strict=True))


_Picks = tuple[Destination, ...] | Callable[[], Destination]

# Without their weights, which may be overridden.
_Known = Mapping[tuple[object, ...], Destination]


def _place(origin: Origin) -> tuple[object, ...]:
    return origin.name, origin.authority, origin.path_prefix


def _of(known: _Known, pool: Pool, origin: Origin, vary: str | None) -> Destination:
    found = known.get(_place(origin))
    if found is None:
        return Destination(pool, origin, vary)
    found.origin = origin
    return found


def _random_picker(weighted: list[tuple[Destination, int]], random: Random) -> Callable[[], Destination] | None:
    """Picks by chance, in proportion to the weights; None if all are 0."""
    bounds = [*accumulate(weight for _, weight in weighted)]
    if not bounds or not bounds[-1]:
        return None
    items, total = [item for item, _ in weighted], bounds[-1]
    return lambda: items[bisect_right(bounds, random.randrange(total))]


def _load(destination: Destination) -> float:
    # A drained one whose override ends weighs nothing while the balancer of before is still in use.
    return destination.requests / (destination.origin.weight or 1)


def effective_weights(pool: Pool, statuses: Mapping[str, HealthStatus], now: float) -> tuple[list[int], float]:
    """The weight of each origin of `pool`: 0 if it must not be picked, a multiple while some origins start slowly; and
    when the weights change without another status."""
    whole = [origin.weight for origin in pool.origins]
    if not statuses:
        return whole, inf
    step = pool.slow_start / TENTHS
    tenths = _tenths(statuses, step, now)
    next_step = (now // step + 1) * step if any(0 < each < TENTHS for each in tenths.values()) else inf
    parts = [tenths.get(origin.name, TENTHS) for origin in pool.origins]
    unit = gcd(*parts) or 1  # where all origins have the same part, their weights stay as they are
    weights = [weight * (part // unit) for weight, part in zip(whole, parts, strict=True)]
    if pool.when_all_down == "ignore" and not any(weights):
        stopping = {name for name, status in statuses.items() if status.member == "draining"}
        weights = [0 if origin.name in stopping else origin.weight for origin in pool.origins]
    return weights, next_step


def _tenths(statuses: Mapping[str, HealthStatus], step: float, now: float) -> dict[str, int]:
    """How many tenths of its weight each origin has that has a status; a slow start takes `step` seconds for each.

    They are steps of the clock, so that origins that come back one by one take their steps together.
    """
    if not step:
        return {name: TENTHS if status.is_up else 0 for name, status in statuses.items()}
    first, last = now // step - 1, now // step - TENTHS  # those that came back in these have one tenth, and all
    return {
        name: 0 if not status.is_up else TENTHS if at <= last else 1 if at >= first else int(first + 1 - at)
        for name, status in statuses.items()
        for at in [status.since_monotonic // step]
    }
