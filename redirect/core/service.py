"""The service: which pool, which origin, which answer. This is the product; the rest carries it.

The rule: plain values in, a frozen decision out. It knows no web framework, server, parser or clock.

1. The pool that the request names, or the default pool.
2. The next origin of that pool's cycle (`cycles`), among those that may be picked (`balancer`).
3. 422 if that origin is the endpoint that was asked for: a redirect would loop.
4. Otherwise a redirect to the origin (`destination`), to which the raw target is appended.
"""

from collections.abc import Iterator, Mapping
from random import Random

from redirect.core.authority import Endpoint
from redirect.core.balancer import Balancer
from redirect.core.cycles import Cycles
from redirect.core.decision import Decision
from redirect.core.destination import Destination
from redirect.core.health import NO_HEALTH, Health, HealthStatus
from redirect.core.pools import Config, Origin, Pool

# Seconds after which a client may try again if a pool has no origin to send it to.
RETRY_AFTER = 5


class Service:
    """Decides by one configuration, with the balancer of each of its pools."""

    def __init__(self, config: Config, prepared: Mapping[str, Balancer]) -> None:
        self.config = config
        self._balancers = prepared
        self._default = prepared[config.default.name]
        self._health = NO_HEALTH
        self._growing = {name for name, balancer in prepared.items() if balancer.statuses}  # or may be

    def update(self, health: Health, now: float) -> None:
        """Applies the health as of `now` (monotonic seconds)."""
        concerned = {*self._growing}
        if health is not self._health:
            concerned |= self._health.keys() | health.keys()
            self._health = health
        for name in concerned & self._balancers.keys():
            balancer = self._balancers[name]
            balancer.update(_statuses(balancer.pool, health), now)
            (self._growing.add if balancer.is_growing else self._growing.discard)(name)

    def decide(self, pool_requested: str | None, scheme: str, asked: Endpoint | None) -> Decision:
        """The answer to a request for the endpoint `asked`, over `scheme` ("http" or "https").

        `pool_requested` is the header's value; None or an unknown name means the default pool.
        """
        balancer = self._balancers.get(pool_requested or "", self._default)
        pick = balancer.pick
        if pick is None:
            name = balancer.pool.name
            return Decision(503, name, detail=f"no origin of {name} is eligible")
        picked = pick()
        endpoint, redirect = (picked.http if scheme == "http" else picked.https) or picked.work_out(scheme)
        return _loop(redirect) if endpoint == asked else redirect


def balancers(
    config: Config, random: Random, health: Health = NO_HEALTH, now: float = 0.0, before: Service | None = None
) -> Iterator[tuple[str, Balancer]]:
    """The balancer of each pool by its name, one per step. Pools that are the same as `before` keep theirs.

    Each process has its own, whose cycles begin at random places.
    """
    cycles = Cycles()
    kept = before._balancers if before else {}
    for name, pool in config.pools.items():
        balancer = kept.get(name)
        if balancer is not None and (balancer.pool is pool or balancer.pool == pool):
            cycles.charge([origin.weight for origin in pool.origins])
        else:
            balancer = Balancer(pool, cycles, random, _statuses(pool, health), now)
        yield name, balancer


def new_service(config: Config, random: Random, health: Health = NO_HEALTH, now: float = 0.0) -> Service:
    return Service(config, dict(balancers(config, random, health, now)))


def outcome(pool: Pool, origin: Origin, scheme: str, asked: Endpoint | None) -> Decision:
    """The answer to a request if `origin` of `pool` were picked."""
    endpoint, redirect = Destination(pool, origin).work_out(scheme)
    return _loop(redirect) if endpoint == asked else redirect


def _statuses(pool: Pool, health: Health) -> Mapping[str, HealthStatus]:
    return health.get(pool.name, {}) if pool.health_check else {}


def _loop(redirect: Decision) -> Decision:
    detail = f"{redirect.pool} picked {redirect.origin}, the host that was asked for: a redirect would loop"
    return Decision(422, redirect.pool, redirect.origin, detail=detail)
