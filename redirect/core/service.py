"""The service: which pool, which origin, which answer. This is the product; the rest carries it.

The rule: plain values in, a frozen decision out. No web framework, server or parser is known here,
nothing is read or written, and a decision is worked out once and looked up from then on:

1. The pool that the request names, or the default pool.
2. The next origin of that pool's turn (`rotation`), or of those that are not down (`eligibility`).
3. A loop, if that origin is the endpoint that was asked for: 422, never a redirect.
4. Otherwise the origin, behind which the raw target comes.
"""

from collections.abc import Callable, Iterator, Mapping
from math import gcd
from random import Random

from redirect.core.authority import Endpoint
from redirect.core.balancer import Eligibility
from redirect.core.cycles import Cycles, due, rotate
from redirect.core.decision import Decision
from redirect.core.pools import Config, Origin, Pool

# Seconds after which a client may try again where a pool has nobody to send it to.
RETRY_AFTER = 5

_NOBODY: frozenset[str] = frozenset()

# What being sent to an origin means: the endpoint that would loop, and the redirect.
_Outcome = tuple[Endpoint, Decision]


class _Destination:
    """An origin of a pool, with its outcome per scheme once it was picked for one."""

    __slots__ = ("_pool", "http", "https", "origin")

    def __init__(self, pool: Pool, origin: Origin) -> None:
        self._pool = pool
        self.origin = origin
        self.http: _Outcome | None = None
        self.https: _Outcome | None = None

    def work_out(self, scheme: str) -> _Outcome:
        outcome = _redirect(self._pool, self.origin, scheme)
        setattr(self, scheme, outcome)
        return outcome


class Service:
    """The decisions of one configuration. It owns the place in each pool's turn, and knows which origins are down;
    nothing else changes.

    A process has one of its own, so its turns begin at random places: `random` draws them. Where it takes
    the place of another one, pools that are the same go on in their turns; in others, origins of the same weight
    keep their places as nearly as the new turn has it. Who was down stays down. Between two pools it calls `pause`.
    """

    def __init__(
        self,
        config: Config,
        random: Random,
        before: "Service | None" = None,
        pause: Callable[[], object] = lambda: None,
    ) -> None:
        self.config = config
        turns = Cycles()
        self._picks: dict[str | None, Callable[[], _Destination] | None] = {}
        self._probed: dict[str, Eligibility[_Destination]] = {}
        for name, pool in config.pools.items():
            pause()
            if before is not None and before.config.pools.get(name) == pool:
                turns.keep([origin.weight for origin in pool.origins])
                self._picks[name] = before._picks[name]
                if pool.health_check is not None:
                    self._probed[name] = before._probed[name]
            elif pool.health_check is None:
                weighted = _weighted(pool)
                kept = before._places(pool) if before else {}
                places = {weighted[origin][0]: place for origin, place in kept.items()}
                self._picks[name] = rotate([*weighted.values()], turns, random, places)
            else:
                was = before._probed.get(name) if before else None
                slow_start, ignores = pool.slow_start, pool.ignores_all_down
                self._probed[name] = Eligibility(_weighted(pool), slow_start, ignores, turns, random, was)
                self._picks[name] = self._probed[name].pick
        self._growing: set[str] = set()
        self._default = self._picks[config.default.name]

    def set_down(self, down: Mapping[str, frozenset[str]], now: float) -> Iterator[None]:
        """Leaves out the origins that are `down`, by the names of their pools, from `now` on (monotonic clock).

        Pool by pool, so that whoever goes through them can do something else in between.
        """
        for name, probed in self._probed.items():
            probed.set_down(down.get(name, _NOBODY), now)
            self._take(name, probed)
            yield

    def came_back(self, since: Mapping[str, Mapping[str, float]], now: float) -> None:
        """Has origins begin slowly that came back so many seconds before `now`, by the names of their pools: for who
        is made after that."""
        for name in since.keys() & self._probed.keys():
            self._probed[name].came_back(since[name], now)
            self._take(name, self._probed[name])

    def grow(self, now: float) -> Iterator[None]:
        """Gives origins that came back what is due to them by `now`, in the same manner."""
        for name in [*self._growing]:
            self._probed[name].grow(now)
            self._take(name, self._probed[name])
            yield

    def _places(self, pool: Pool) -> dict[str, float]:
        """The places in their turn of those origins of `pool` that have the same weight here. None of probed pools,
        which begin anew with each verdict."""
        was = self.config.pools.get(pool.name)
        if was is None or was.health_check is not None:
            return {}
        weights = {origin.name: origin.weight for origin in was.origins}
        length = sum(weights.values()) // (gcd(*weights.values()) or 1)
        found = {each.origin.name: place for each, place in due(self._picks[pool.name], length).items()}
        same = (origin.name for origin in pool.origins if weights.get(origin.name) == origin.weight)
        return {name: found[name] for name in same if name in found}

    def _take(self, name: str, probed: Eligibility[_Destination]) -> None:
        self._picks[name] = probed.pick
        (self._growing.add if probed.is_growing else self._growing.discard)(name)
        if name == self.config.default.name:
            self._default = probed.pick

    def parts(self) -> list[object]:
        """What there is of it per pool, for who has to let go of much of it."""
        return [*self.config.pools.values(), *self._picks.values(), *self._probed.values()]

    def decide(self, pool_requested: str | None, scheme: str, asked: Endpoint | None) -> Decision:
        """The answer to a request at the endpoint `asked`, over `scheme` ("http" or "https").

        `pool_requested` is the header's value; None or an unknown name means the default pool.
        """
        pick = self._picks.get(pool_requested, self._default)
        if pick is None:
            pool = self.config.pools.get(pool_requested or "", self.config.default)
            return Decision(503, pool.name, detail=f"no origin of {pool.name} is eligible")
        picked = pick()
        endpoint, redirect = (picked.http if scheme == "http" else picked.https) or picked.work_out(scheme)
        return _loop(redirect) if endpoint == asked else redirect


def outcome(pool: Pool, origin: Origin, scheme: str, asked: Endpoint | None) -> Decision:
    """What `origin`, were it picked from `pool`, would mean for a request. No turn is consumed."""
    endpoint, redirect = _redirect(pool, origin, scheme)
    return _loop(redirect) if endpoint == asked else redirect


def _weighted(pool: Pool) -> dict[str, tuple[_Destination, int]]:
    return {origin.name: (_Destination(pool, origin), origin.weight) for origin in pool.origins}


def _redirect(pool: Pool, origin: Origin, scheme: str) -> _Outcome:
    host = origin.name if origin.name.isascii() else str(origin.authority)
    return origin.authority.endpoint(scheme), Decision(pool.status, pool.name, origin.name, f"{scheme}://{host}")


def _loop(redirect: Decision) -> Decision:
    detail = f"{redirect.pool} picked {redirect.origin}, the host that was asked for: a redirect would loop"
    return Decision(422, redirect.pool, redirect.origin, detail=detail)
