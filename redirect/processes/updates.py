"""How a worker applies a configuration that was published.

The rule: the service is built aside and swapped in with one assignment, so that all workers have the same, and none a
bad one.
"""

import asyncio
import gc
import logging
import sys
from collections.abc import Callable
from random import Random
from time import monotonic, perf_counter, sleep
from typing import TypeVar

from redirect.config.loader import no_collections
from redirect.control.transfer import unpack
from redirect.core.balancer import Balancer
from redirect.core.service import Service, balancers
from redirect.edge.handler import RequestHandler
from redirect.telemetry.instance import Changes, Instance

# Seconds for which the thread that does what takes a while keeps the loop waiting at most; Python's own 5 ms are more
# than a request takes.
SWITCHING = 0.0001

# Seconds for which that thread works at a time, and rests then. Where it did not rest, the loop came three times as
# late as when it idles.
STEP = REST = 0.0003

# Old objects that are looked at, at most, for garbage among them: it takes a millisecond or two, in which the loop
# waits. There are more where thousands of pools were asked for since the last time.
COLLECTED = 10_000

_logger = logging.getLogger("gunicorn.error")

T = TypeVar("T")


async def keep_up(handler: RequestHandler, instance: Instance, is_told: asyncio.Event) -> None:
    """Has a worker take what the master has put up, whenever it is told to."""
    while True:
        await is_told.wait()
        is_told.clear()
        try:
            await _take(handler, instance)
        except Exception:  # ours: what is in force stays so, and the next one may do
            _logger.exception("the configuration that was put up is not in force here")


async def _take(handler: RequestHandler, instance: Instance) -> None:
    made = await _aside(lambda: _made(handler.service, instance))
    if made is None:
        return
    service, changes = made
    replaced = [(handler.service, instance.changes)]
    handler.adopt(service)
    instance.adopt(service.config, changes)
    await _aside(lambda: _let_go(replaced))


def _made(before: Service, instance: Instance) -> tuple[Service, Changes] | None:
    """What takes the place of `before` and of its changes; None if nothing does, for now."""
    content, loading = instance.put_up()
    if loading.config == before.config.hash:
        return None  # we were born with it
    _collect()
    with no_collections():
        pause = _Pause()
        config = unpack(content, before.config, pause)
        if config.hash != loading.config:
            return None  # another one is being put up, and we are told
        changes = instance.changes.after(before.config, config, loading.loaded_at, pause)
        prepared: dict[str, Balancer] = {}
        for name, balancer in balancers(config, Random(), instance.health, monotonic(), before):
            prepared[name] = balancer
            pause()
        service = Service(config, prepared)
        gc.freeze()  # as at the start: it need not be looked at, not even once
    return service, changes


def _collect() -> None:
    """Collects garbage, which would be frozen, too, and stay: all that came since the last time, unless that is so
    much that it would hold the loop."""
    gc.collect(2 if len(gc.get_objects(2)) <= COLLECTED else 1)


def _let_go(replaced: list[tuple[Service, Changes]]) -> None:
    """Lets go of it part by part, as Python does nothing else while it frees what there was of a large one."""
    service, changes = replaced.pop()
    parts = [*service.config.pools.values(), *changes.since]
    del service, changes
    pause = _Pause()
    while parts:
        parts.pop()
        pause()


class _Pause:
    """Has a thread rest after each STEP, so that the loop need not even ask for its turn, mostly."""

    def __init__(self) -> None:
        self._until = perf_counter() + STEP

    def __call__(self) -> None:
        if perf_counter() > self._until:
            sleep(REST)
            self._until = perf_counter() + STEP


async def _aside(work: Callable[[], T]) -> T:
    """What `work` returns, done by a thread that lets the loop do its own."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCHING)
    try:
        return await asyncio.to_thread(work)
    finally:
        sys.setswitchinterval(usual)
