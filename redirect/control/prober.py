"""The prober: a process of its own, one per instance, that asks each origin of the pools that want it how it is.

The rule: a state turns only after so many probes in a row that say otherwise. What was found out is on the scoreboard,
and outlives the prober: the next one goes on from there. Workers that answer requests know nothing of probes
but what they find there.

An origin that several pools probe in the same way is probed once.
"""

import asyncio
import gc
import logging
import os
import signal
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import uniform
from time import monotonic, time
from typing import Any, NoReturn

from redirect.control.probe import Target, probe
from redirect.control.transfer import unpack
from redirect.core.health import HealthStatus, decode, encode
from redirect.core.pools import Config
from redirect.telemetry.scoreboard import Scoreboard

# How much an interval differs from the one that is asked for, so that instances and origins do not keep step.
JITTER = 0.1

# Seconds within which a target is probed for the first time.
FIRST = 1.0

# Probes under way at once.
MOST_AT_ONCE = 256

# Names that are looked up at once. A lookup that hangs has a thread for longer than its probe has patience, and the
# others must not wait for one.
MOST_LOOKUPS = 512

# Seconds between two looks at whether there is something to say, to take, or nobody left to do it for.
TICK = 0.1

_logger = logging.getLogger("gunicorn.error")

_Place = tuple[str, str]  # pool and origin


class Health:
    """Whether a target is up, as its probes have it."""

    def __init__(self, *, is_up: bool) -> None:
        self.is_up = is_up
        self._otherwise = 0  # probes in a row that say otherwise

    def judge(self, *, is_good: bool, passes: int, fails: int) -> bool:
        """Takes the outcome of a probe; whether it turned the state."""
        self._otherwise = 0 if is_good == self.is_up else self._otherwise + 1
        if self._otherwise < (fails if self.is_up else passes):
            return False
        self.is_up, self._otherwise = is_good, 0
        return True


class Loop(asyncio.SelectorEventLoop):
    """asyncio's loop, which looks up a name once at a time: whoever wants it meanwhile waits for the same answer. So
    a name server that is silent has a thread per name, and not one per probe."""

    def __init__(self) -> None:
        super().__init__()
        self._lookups: dict[tuple[Any, ...], asyncio.Task[Any]] = {}

    async def getaddrinfo(self, host: Any, port: Any, **how: int) -> Any:
        wanted = host, port, *sorted(how.items())
        lookup = self._lookups.get(wanted)
        if lookup is None:
            lookup = self._lookups[wanted] = self.create_task(super().getaddrinfo(host, port, **how))
            lookup.add_done_callback(lambda _: self._looked_up(wanted))
        await asyncio.wait({lookup})  # `asyncio.shield` logs a failed lookup for each caller that was cancelled before
        return lookup.result()

    def _looked_up(self, wanted: tuple[Any, ...]) -> None:
        lookup = self._lookups.pop(wanted)
        if not lookup.cancelled():
            lookup.exception()  # asked for, since asyncio complains where nobody does


class Prober:
    """Probes the origins of `config`, and puts up on `scoreboard` what it finds out."""

    def __init__(self, scoreboard: Scoreboard, config: Config) -> None:
        self._scoreboard = scoreboard
        health = decode(scoreboard.verdicts())
        self._verdicts = {(pool, name): status for pool, origins in health.items() for name, status in origins.items()}
        self._is_told = True  # whether all of them are on the scoreboard
        self._health: dict[Target, Health] = {}
        self._probing: dict[Target, asyncio.Task[None]] = {}
        self._places: Mapping[Target, Sequence[_Place]] = {}
        self._at_once = asyncio.Semaphore(MOST_AT_ONCE)
        self.adopt(config)

    def adopt(self, config: Config) -> None:
        """Probes the origins of this configuration from now on. Who was down stays so until it passes, also where its
        pool has another name now, or it another pool or spelling."""
        before, self._places = self._places, _places(config)
        self._config = config
        for target in self._probing.keys() - self._places.keys():
            self._probing.pop(target).cancel()
            del self._health[target]
        verdicts: dict[_Place, HealthStatus] = {}
        for target, places in self._places.items():
            either = *places, *before.get(target, ())
            known = {place: self._verdicts[place] for place in either if place in self._verdicts}
            if target not in self._probing:
                self._health[target] = Health(is_up=all(each.is_up for each in known.values()))
                self._probing[target] = asyncio.create_task(self._probe(target))
            is_up = self._health[target].is_up
            same = [each for each in known.values() if each.is_up == is_up]
            verdicts |= dict.fromkeys(places, same[0]) if same else {}
        self._is_told = self._is_told and verdicts == self._verdicts
        self._verdicts = verdicts

    async def take_another(self) -> None:
        """Adopts the configuration that the master has put up, if it is another one."""
        if self._scoreboard.said()["config"] != self._config.hash:
            self.adopt(await asyncio.to_thread(unpack, self._scoreboard.content(), self._config))

    def tell(self) -> None:
        """Puts up what was found out since the last time."""
        if not self._is_told:
            health: defaultdict[str, dict[str, HealthStatus]] = defaultdict(dict)
            for (pool, name), status in self._verdicts.items():
                health[pool][name] = status
            self._scoreboard.put_verdicts(encode(health))
            self._is_told = True

    async def _probe(self, target: Target) -> None:
        """Probes it again and again."""
        check, health = target.check, self._health[target]
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(uniform(0, min(FIRST, check.interval)))
        while True:
            began = clock()
            try:
                async with self._at_once:
                    fault = await probe(target)
            except Exception:  # ours, and no verdict
                _logger.exception("no probe of %s", target.origin)
            else:
                if health.judge(is_good=fault is None, passes=check.passes, fails=check.fails):
                    reason = fault or f"answered {check.expect}"
                    self._note(target, HealthStatus(health.is_up, time(), monotonic(), reason))
            interval = check.interval if health.is_up else check.down_interval
            await asyncio.sleep(began + interval * uniform(1 - JITTER, 1 + JITTER) - clock())

    def _note(self, target: Target, found: HealthStatus) -> None:
        places = self._places[target]
        self._verdicts |= dict.fromkeys(places, found)
        self._is_told = False
        pools = ", ".join(pool for pool, _ in places[:3]) + f" and {len(places) - 3} more" * (len(places) > 3)
        level, state = (logging.INFO, "up again") if found.is_up else (logging.WARNING, "down")
        _logger.log(level, "%s is %s in %s: %s", places[0][1], state, pools, found.reason)


def has_probes(config: Config) -> bool:
    """Whether there is anything to probe."""
    return any(pool.health_check is not None for pool in config.pools.values())


def _places(config: Config) -> Mapping[Target, Sequence[_Place]]:
    """What is to be probed, and which origins of which pools that is. Drained ones get nothing, and no probes."""
    places: defaultdict[Target, list[_Place]] = defaultdict(list)
    for pool in config.pools.values():
        if pool.health_check is not None:
            for origin in pool.origins:
                if origin.weight:
                    places[Target(origin.authority, pool.health_check)].append((pool.name, origin.name))
    return places


def run(scoreboard: Scoreboard, config: Config, master: int, reload: signal.Signals) -> NoReturn:
    """Makes this process, a child of the `master` that hears no signal yet, the prober. It ends with the master, and
    at TERM and QUIT; `reload` tells it that another configuration is put up."""
    code = 1
    try:
        gc.freeze()
        Loop().run_until_complete(_probe_all(scoreboard, config, master, reload))
        code = 0
    except Exception:
        _logger.exception("the prober ends")
    finally:
        os._exit(code)  # waits for no lookup, and leaves to the master what is the master's


async def _probe_all(scoreboard: Scoreboard, config: Config, master: int, reload: signal.Signals) -> None:
    loop, is_told = asyncio.get_running_loop(), asyncio.Event()
    loop.set_default_executor(ThreadPoolExecutor(MOST_LOOKUPS))
    loop.add_signal_handler(reload, is_told.set)
    is_told.set()  # as it may have been before there was a handler
    for stop in (signal.SIGTERM, signal.SIGQUIT):
        signal.signal(stop, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    prober = Prober(scoreboard, config)
    while os.getppid() == master:
        if is_told.is_set():
            is_told.clear()
            await prober.take_another()
        prober.tell()
        await asyncio.sleep(TICK)
