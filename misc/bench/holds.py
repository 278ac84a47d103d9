"""Holds: for how long a worker's event loop is held at most while it applies a configuration of many pools.

`python misc/bench/holds.py`, two and a half minutes. Without HTTP and load: what a request that comes
meanwhile waits for.
"""

import argparse
import asyncio
import gc
import os
from collections.abc import Callable
from dataclasses import replace
from random import Random
from time import perf_counter

import pools
import uvloop
from reloading import change_all, change_one

from redirect.config.loader import parse_config
from redirect.control.transfer import pack_difference
from redirect.core.forwarded import TrustedProxies
from redirect.core.pools import Config
from redirect.core.service import new_service
from redirect.edge.handler import RequestHandler
from redirect.edge.reader import Reader
from redirect.processes.updates import Updates
from redirect.proxy.forwarder import Forwarder
from redirect.proxy.limits import Limits
from redirect.telemetry.counters import Counters
from redirect.telemetry.recorder import Recorder
from redirect.telemetry.scoreboard import Scoreboard

ROUNDS = 12  # changes of each kind


def new_worker(scoreboard: Scoreboard, config: Config) -> Updates:
    recorder = Recorder(Counters(scoreboard.make_slot(0), config), None)
    reader, forwarder = Reader("X-Redirect-Pool-ID", TrustedProxies("")), Forwarder(recorder, config, Limits())
    return Updates(scoreboard, RequestHandler(new_service(config, Random(1)), reader, recorder, forwarder), Random(1))


def publish(scoreboard: Scoreboard, before: str, after: str, change: int) -> None:
    """Publishes what differs, from a process of its own, as the controller does."""
    if (process := os.fork()) == 0:
        configs = [parse_config(text.encode(), "pools.toml") for text in (before, after)]
        old, new = (replace(config, change=change + number) for number, config in enumerate(configs))
        scoreboard.change.publish(pack_difference(new, old))
        os._exit(0)
    os.waitpid(process, 0)


async def longest(updates: Updates) -> float:
    """Seconds for which nothing else could run at most while what was published was applied."""
    holds = [0.0]

    async def note() -> None:
        before = perf_counter()
        while True:
            await asyncio.sleep(0)
            holds.append(perf_counter() - before)
            before = perf_counter()

    noting = asyncio.create_task(note())
    await asyncio.sleep(0)
    await updates.apply()
    await asyncio.sleep(0)
    noting.cancel()
    return max(holds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pools", type=int, default=20_000)
    text = pools.toml(pools.many(parser.parse_args().pools))
    changes: dict[str, Callable[[str, int], str]] = {"one weight": change_one, "all pools": change_all}
    for name, change in changes.items():
        scoreboard = Scoreboard()
        updates = new_worker(scoreboard, parse_config(text.encode(), "pools.toml"))
        gc.freeze()  # as a worker does before it serves
        holds, before = [], text
        for number in range(ROUNDS):
            after = change(text, number)
            publish(scoreboard, before, after, number)
            holds.append(uvloop.run(longest(updates)) * 1000)
            before = after
        print(f"{name}: " + ", ".join(f"{hold:.1f}" for hold in holds) + " ms")
        gc.unfreeze()


if __name__ == "__main__":
    main()
