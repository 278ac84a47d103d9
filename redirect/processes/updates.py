"""How a worker applies what the controller published.

The rule: a service is built aside, in steps between which the event loop answers requests, and swapped in with one
assignment. What fails is tried again.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Iterable
from random import Random
from time import monotonic, perf_counter
from typing import TypeVar

from redirect.config.loader import no_collections
from redirect.control.transfer import Head, joined, unpack
from redirect.core.health import NO_HEALTH, HealthStatus, decoding
from redirect.core.pools import Pool
from redirect.core.service import Service, balancers
from redirect.edge.handler import RequestHandler
from redirect.telemetry.scoreboard import Scoreboard

# Seconds between two looks at what was published, and two steps of a slow start.
POLL_SECONDS = 0.2

# Seconds until what failed is tried again.
RETRY_SECONDS = 1.0

# Seconds for which the event loop is held at most, where an item takes no longer.
STEP_SECONDS = 0.0002

# Bytes of changes after which what was built of them is frozen: the collector looks at it until then, for 3 ms.
FREEZE_BYTES = 200_000

# How often that is done until what was frozen is looked at again, which takes half a second for a large configuration.
# No connection, request or configuration that has ended is garbage for the collector, as far as we know.
FREEZES = 100

_logger = logging.getLogger("gunicorn.error")

T = TypeVar("T")

# The head of a configuration, its pools, and how many bytes they are.
_Published = tuple[Head, Iterable[list[Pool]], int]


class Updates:
    """Applies configurations and health to the service of one worker."""

    def __init__(self, scoreboard: Scoreboard, handler: RequestHandler, random: Random) -> None:
        self._scoreboard = scoreboard
        self._handler = handler
        self._random = random
        self._change = self._health_number = -1
        self._health = NO_HEALTH
        self._unfrozen_bytes = self._freezes = 0

    async def run(self) -> None:
        """Applies what is published, as long as the worker serves."""
        while True:
            try:
                await self.apply()
            except Exception:  # a fault of this program: what is in use stays so
                _logger.exception("what was published is not applied here, and is tried again")
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(POLL_SECONDS)

    async def apply(self) -> None:
        """Applies what was published since the last time, and what slow starts are due."""
        change = self._scoreboard.change.number
        published = self._published() if change != self._change else None
        # What is published first is read last: no origin that was found is used before it is known that it is down.
        if (number := self._scoreboard.health.number) != self._health_number:
            health: dict[str, dict[str, HealthStatus]] = {}
            async for _ in in_steps(decoding(self._scoreboard.health.read(), health)):
                pass
            self._health = health
        if published is not None:
            await self._apply_configuration(*published)
        self._change = change
        async for _ in in_steps(self._handler.service.updates(self._health, monotonic())):
            pass
        if number != self._health_number:
            async for _ in in_steps(self._handler.forwarder.uses_health(self._health)):
                pass
            self._handler.recorder.numbers.health = number
            self._health_number = number

    def _published(self) -> _Published | None:
        """The difference to the configuration in use, or all of another one; None if this worker began with it."""
        version = self._handler.service.config.version
        content = self._scoreboard.change.read()
        if not content:
            return None
        head, pieces = unpack(content)
        if head.version != version and head.base != version:
            content = self._scoreboard.configuration.read()
            head, pieces = unpack(content)
        return None if head.version == version else (head, pieces, len(content))

    async def _apply_configuration(self, head: Head, pieces: Iterable[list[Pool]], size: int) -> None:
        before = self._handler.service
        self._unfrozen_bytes += size
        freezes = self._unfrozen_bytes > FREEZE_BYTES
        if freezes:
            self._collect()
        with no_collections():  # one of a large configuration takes a tenth of a second
            config = joined(head, await _pools(before, head, pieces))
            header = self._handler.reader.pool_id_header
            prepared = balancers(config, self._random, self._health, monotonic(), before, header)
            service = Service(config, {name: balancer async for name, balancer in in_steps(prepared)})
            self._handler.use(service)
            old = before.balancers()
            del before, prepared
            async for _ in in_steps(range(len(old))):
                service.succeed(old.pop())  # all at once they are freed in a twentieth of a second
            if freezes:
                gc.freeze()  # as at the start: what lives as long as the configuration need not be looked at
                self._unfrozen_bytes = 0

    def _collect(self) -> None:
        """Frees what is garbage, which must not be frozen; at times also what was frozen, and became garbage since."""
        self._freezes += 1
        if self._freezes % FREEZES == 0:
            gc.unfreeze()
        gc.collect()


async def _pools(before: Service, head: Head, pieces: Iterable[list[Pool]]) -> dict[str, Pool]:
    pools: dict[str, Pool] = before.config.pools | {} if head.base else {}  # type: ignore[operator]  # a proxy's copy
    for name in head.removed:
        del pools[name]
    async for piece in in_steps(pieces):
        pools.update([(pool.name, pool) for pool in piece])
    return pools


async def in_steps(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, with time between them for what else the event loop has to do."""
    until = perf_counter() + STEP_SECONDS
    for item in items:
        yield item
        if perf_counter() > until:
            await asyncio.sleep(0)
            until = perf_counter() + STEP_SECONDS
