"""All exchanges of a worker, and its connections to the origins."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from time import monotonic_ns
from typing import Protocol

from redirect.core.destination import Destination
from redirect.core.health import Health
from redirect.core.pools import Config, Origin, Pool
from redirect.proxy.cache import Cache
from redirect.proxy.connections import MAX_IDLE_SECONDS, Connections, Place
from redirect.proxy.ejections import Outcomes
from redirect.proxy.limits import Limits
from redirect.proxy.retries import is_within_budget
from redirect.telemetry.recorder import Recorder

_logger = logging.getLogger("gunicorn.error")

# Between two looks at the deadlines of all exchanges, so that a request sets no timer; of thousands, this for each: a
# look takes 3 us in a slow hour.
CHECK_SECONDS = 0.1
CHECK_SECONDS_OF_EACH = 50e-6

# Exchanges that are looked at in one step, which takes 0.3 ms then.
STEP_EXCHANGES = 100


class UnderWay(Protocol):
    """An exchange, as the forwarder sees it."""

    destination: Destination | None  # the origin that is asked now
    connections: Connections | None  # to it

    @property
    def is_connected(self) -> bool: ...

    @property
    def is_tunnel(self) -> bool: ...

    def check(self, now: int) -> None:
        """Ends what is late; `now` is by `monotonic_ns`."""


class Forwarder:
    def __init__(self, recorder: Recorder, config: Config, limits: Limits) -> None:
        self.recorder = recorder
        self.limits = limits
        self.outcomes = Outcomes(recorder.slot)
        self.config_hash = config.hash
        self._connections: dict[Place, Connections] = {}
        self._pools: dict[str, Pool] = {}
        self._known: set[Place] = set()
        self._of_destinations: dict[Destination, Connections] = {}
        self._exchanges: set[UnderWay] = set()
        self._requests: Counter[str] = Counter()  # under way, by pool
        self._retries: Counter[str] = Counter()
        self._unchecked: list[UnderWay] = []  # by the look that is under way
        self._timer: asyncio.Handle | None = None
        self.cache = Cache()
        self.use(config)

    def use(self, config: Config) -> None:
        """Lets go of the origins that the configuration does not have."""
        self.config_hash = config.hash
        self._pools = {name: config.pools[name] for name in config.forwarded()}
        self._known = {_place(pool, origin) for pool in self._pools.values() for origin in pool.origins}
        self._of_destinations.clear()
        self._let_go(self._connections.keys() - self._known)
        self.recorder.failures.use(config.routes)
        self.cache.use(config.routes)
        self.limits.use({route.limit.index for route in config.routes if route.limit is not None})

    def uses_health(self, health: Health) -> Iterator[None]:
        """Lets go of the origins that are being stopped, in steps: some servers wait for their connections to end."""
        for name in health.keys() & self._pools.keys():
            pool, statuses = self._pools[name], health[name]
            stopping = {origin for origin, status in statuses.items() if status.member == "draining"}
            if stopping:
                self._let_go([_place(pool, origin) for origin in pool.origins if origin.name in stopping])
            yield

    def _let_go(self, places: Iterable[Place]) -> None:
        """Closes the connections that rest there now, and the others after their answers."""
        for place in places:
            if place in self._connections:
                self._connections.pop(place).close()
                self._of_destinations.clear()

    def connections(self, destination: Destination) -> Connections:
        found = self._of_destinations.get(destination)
        if found is None:
            place = _place(destination.pool, destination.origin)
            if place not in self._known:  # a request that began before it left
                found = Connections(place)
                found.close()
                return found
            found = self._connections.setdefault(place, Connections(place))
            self._of_destinations[destination] = found
        return found

    def began(self, exchange: UnderWay, pool: str) -> None:
        self._exchanges.add(exchange)
        self._requests[pool] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._check)

    def moved(self, pool: str, fallback: str) -> None:
        """A request that began for `pool` is that of its fallback now."""
        self._requests[pool] -= 1
        self._requests[fallback] += 1

    def begin_retry(self, pool: str) -> bool:
        """Whether there is room in the budget for another retry, which then is taken."""
        is_allowed = is_within_budget(self._retries[pool], self._requests[pool])
        self._retries[pool] += is_allowed
        return is_allowed

    def ended(self, exchange: UnderWay, pool: str, *, is_retry: bool) -> None:
        self._exchanges.discard(exchange)
        self._requests[pool] -= 1
        if is_retry:
            self._retries[pool] -= 1

    def report(self) -> Iterator[None]:
        """Reports what is under way, and the connections, in steps."""
        in_flight: Counter[tuple[str, str]] = Counter()
        idle: Counter[str] = Counter()
        busy: Counter[str] = Counter()
        tunnels = 0
        for connections in self._connections.values():
            idle[connections.name] += connections.idle
        for number, exchange in enumerate([*self._exchanges], 1):
            if exchange.destination is not None and exchange.connections is not None:
                in_flight[exchange.destination.pool.name, exchange.destination.origin.name] += 1
                busy[exchange.connections.name] += exchange.is_connected
            tunnels += exchange.is_tunnel
            if number % STEP_EXCHANGES == 0:
                yield
        self.recorder.forwards.report(in_flight, {name: (idle[name], busy[name]) for name in {*idle, *busy}}, tunnels)

    def _check(self) -> None:
        """Begins a look at all."""
        self._unchecked = [*self._exchanges]
        self._check_some()

    def _check_some(self) -> None:
        now, loop = monotonic_ns(), asyncio.get_running_loop()
        some = self._unchecked[-STEP_EXCHANGES:]
        del self._unchecked[-STEP_EXCHANGES:]
        for exchange in some:
            try:
                exchange.check(now)
            except Exception:  # a fault of this program, and none of the others
                _logger.exception("a request that is forwarded is not checked any more")
                self._exchanges.discard(exchange)
        if self._unchecked:
            self._timer = loop.call_soon(self._check_some)
            return
        try:
            self.limits.check(now)
            for connections in self._connections.values():
                connections.close_idle(now / 1e9 - MAX_IDLE_SECONDS)
        finally:  # nothing else would begin the checks again
            again = self._exchanges or any(connections.idle for connections in self._connections.values())
            pause = max(CHECK_SECONDS, len(self._exchanges) * CHECK_SECONDS_OF_EACH)
            self._timer = loop.call_later(pause, self._check) if again else None


def _place(pool: Pool, origin: Origin) -> Place:
    scheme = pool.scheme or "http"
    return Place(scheme, *origin.authority.endpoint(scheme), pool.called(origin).host)
