"""The prober: health checks of all origins of the pools that want them, again and again.

The rule: a state changes only after so many probes in a row that contradict it. What was found is published, and
outlives the controller: the next one goes on from there.

An origin that several pools probe in the same way is probed once.
"""

import asyncio
import logging
import socket
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import inf
from random import uniform
from time import monotonic, time
from typing import Any, NamedTuple

from redirect.control.probe import Target, probe
from redirect.core.health import NO_HEALTH, Health, HealthStatus, decode, encode, worst
from redirect.core.pools import Config
from redirect.core.wording import some
from redirect.telemetry.scoreboard import Scoreboard

# How much an interval differs from the one that is asked for, so that instances and origins do not synchronise.
JITTER = 0.1

# Seconds within which a target is probed for the first time.
FIRST_PROBE_SECONDS = 1.0

# Names that are looked up at once. A lookup that hangs occupies a thread for longer than its probe waits, and others
# must not wait for one.
MAX_LOOKUPS = 512

# Probes under way at once.
MAX_PROBES = 256

# Seconds after its timeout at which a probe that is still under way hangs.
HUNG_SECONDS = 3.0

# Between two looks, from which on this process was itself stopped.
PAUSED_SECONDS = 2.5

_logger = logging.getLogger("gunicorn.error")

_Place = tuple[str, str]  # pool and origin


class Probes(NamedTuple):
    """What this controller's probes of a target came to."""

    total: int = 0
    failures: int = 0
    seconds: float = 0.0  # that they took, all together


class TargetState:
    """The state of a target, and the task that probes it."""

    task: asyncio.Task[None]

    def __init__(self, *, is_up: bool) -> None:
        self.is_up = is_up
        self.hangs_at = inf  # when a probe that is under way hangs
        self.probes = Probes()
        self._contradicting = 0  # probes in a row

    def count(self, seconds: float, *, is_good: bool) -> None:
        total, failures, before = self.probes
        self.probes = Probes(total + 1, failures + (not is_good), before + seconds)

    def judge(self, *, is_good: bool, passes: int, fails: int) -> bool:
        """Takes the outcome of a probe; returns whether it changed the state."""
        self._contradicting = 0 if is_good == self.is_up else self._contradicting + 1
        if self._contradicting < (fails if self.is_up else passes):
            return False
        self.is_up, self._contradicting = is_good, 0
        return True


class Loop(asyncio.SelectorEventLoop):
    """asyncio's event loop, which looks up a name once at a time: all who want it wait for the same answer. So a name
    server that is silent takes a thread per name, and not one per probe."""

    def __init__(self) -> None:
        super().__init__()
        self._lookups: dict[tuple[Any, ...], asyncio.Future[Any]] = {}
        self._threads = ThreadPoolExecutor(MAX_LOOKUPS)  # of their own: a silent name server must not stop all else

    async def getaddrinfo(self, host: Any, port: Any, **how: int) -> Any:
        wanted = host, port, *sorted(how.items())
        lookup = self._lookups.get(wanted)
        if lookup is None:
            look_up = partial(socket.getaddrinfo, host, port, **how)
            lookup = self._lookups[wanted] = self.run_in_executor(self._threads, look_up)
            lookup.add_done_callback(lambda _: self._end(wanted))
        # `asyncio.shield` would report the exception of a lookup for which nothing waits any more, since Python 3.14.
        await asyncio.wait({lookup})
        return lookup.result()

    @property
    def names(self) -> set[Any]:
        """Those that are looked up at this moment."""
        return {host for host, *_ in self._lookups}

    def _end(self, wanted: tuple[Any, ...]) -> None:
        lookup = self._lookups.pop(wanted)
        if not lookup.cancelled():
            lookup.exception()  # retrieved, as asyncio reports exceptions that never are


class Prober:
    """Probes the origins of `config`, and publishes what it finds on `scoreboard`."""

    def __init__(self, scoreboard: Scoreboard, config: Config) -> None:
        self._scoreboard = scoreboard
        self.health: Health = decode(scoreboard.health.read())  # as it was published
        self.found = {
            pool: {origin: status for origin, status in statuses.items() if status.is_probed}
            for pool, statuses in self.health.items()
        }
        self._states: dict[Target, TargetState] = {}
        self._places: Mapping[Target, Sequence[_Place]] = {}
        self._slots = asyncio.Semaphore(MAX_PROBES)
        self._looked = monotonic()
        self.use(config)

    def use(self, config: Config) -> None:
        """Probes the origins of this configuration from now on. An origin that was down stays so until it passes, also
        where its pool has another name now, or it another pool or spelling; one at another address is another."""
        self.config = config
        before, self._places = self._places, _places(config)
        for target in self._states.keys() - self._places.keys():
            self._states.pop(target).task.cancel()
        had = {place: target.origin for target, places in before.items() for place in places}
        health: defaultdict[str, dict[str, HealthStatus]] = defaultdict(dict)
        for target, places in self._places.items():
            known = [
                self.found[pool][origin]
                for pool, origin in (*places, *before.get(target, ()))
                if origin in self.found.get(pool, {})
                if had.get((pool, origin), target.origin) == target.origin
            ]
            if target not in self._states:
                state = self._states[target] = TargetState(is_up=all(status.is_up for status in known))
                state.task = asyncio.create_task(self._probe(target, state))
            same = [status for status in known if status.is_up == self._states[target].is_up]
            for pool, origin in places if same else ():
                health[pool][origin] = same[0]
        self.found = dict(health)

    def probes(self) -> dict[_Place, Probes]:
        """By pool and origin. Places of the same target share its probes."""
        states, places = self._states.copy(), self._places  # other threads ask
        return {place: states[target].probes for target in places.keys() & states.keys() for place in places[target]}

    def publish(self, others: Health = NO_HEALTH) -> None:
        """Publishes what was found, together with what came of ejections and what providers of origins say."""
        health = {pool: found for pool, found in worst(self.found, others).items() if found}
        if health != self.health:
            self._scoreboard.health.publish(encode(health))
            self.health = {pool: {**statuses} for pool, statuses in health.items()}

    def restart_hung(self) -> int:
        """Starts the tasks again that hang or have ended; returns how many these were."""
        now = monotonic()
        if now - self._looked > PAUSED_SECONDS:
            for state in self._states.values():
                state.hangs_at += now - self._looked
        self._looked = now
        hung = [(target, state) for target, state in self._states.items() if state.task.done() or state.hangs_at < now]
        for target, state in hung:
            _logger.error("the health check of %s hung and begins again", target.origin)
            state.task.cancel()
            state.hangs_at = inf
            state.task = asyncio.create_task(self._probe(target, state))
        return len(hung)

    async def _probe(self, target: Target, state: TargetState) -> None:
        check = target.check
        await asyncio.sleep(uniform(0, min(FIRST_PROBE_SECONDS, check.interval)))
        while True:
            began = monotonic()
            try:
                async with self._slots:
                    asked = monotonic()
                    state.hangs_at = asked + check.timeout + HUNG_SECONDS
                    fault = await probe(target)
                    state.count(monotonic() - asked, is_good=fault is None)
            except Exception:  # a fault of this program, and no outcome
                _logger.exception("no probe of %s", target.origin)
            else:
                if state.judge(is_good=fault is None, passes=check.passes, fails=check.fails):
                    self._note(target, fault or f"answered {check.expected}")
            state.hangs_at = inf
            interval = check.interval if state.is_up else check.down_interval
            await asyncio.sleep(began + interval * uniform(1 - JITTER, 1 + JITTER) - monotonic())

    def _note(self, target: Target, reason: str) -> None:
        places, is_up = self._places[target], self._states[target].is_up
        status = HealthStatus(is_up, time(), monotonic(), reason)
        for pool, origin in places:
            self.found.setdefault(pool, {})[origin] = status
        pools = some([pool for pool, _ in places], 3)
        level, state = (logging.INFO, "up again") if is_up else (logging.WARNING, "down")
        _logger.log(level, "%s is %s in %s: %s", places[0][1], state, pools, reason)


def _places(config: Config) -> Mapping[Target, Sequence[_Place]]:
    """The places of each target. Drained origins get no requests, and no probes, unless only an override drains them:
    when it ends they get requests at once, or must not."""
    places: defaultdict[Target, list[_Place]] = defaultdict(list)
    for pool in config.pools.values():
        if pool.health_check is not None:
            for origin, weight_of_file in zip(pool.origins, pool.configured_weights, strict=True):
                if origin.weight or weight_of_file:
                    called = pool.called(origin)
                    target = Target(origin.authority, pool.health_check, origin.path_prefix, called)
                    places[target].append((pool.name, origin.name))
    return places
