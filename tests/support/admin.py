"""The admin application, asked without a network."""

import asyncio
from time import monotonic_ns

import httpx

from redirect.admin.app import create_admin_app
from redirect.config.loader import parse_config
from redirect.core.decision import Decision
from redirect.core.request import Head
from redirect.telemetry.instance import Changes, Instance
from redirect.telemetry.record import quote
from redirect.telemetry.scoreboard import Scoreboard
from support.wire import new_recorder

POOLS = b"""
[pool-a]
weighted_hosts = { "origin-1" = 3, "origin-2" = 1, "origin-3" = 0 }
is_default = true

["b\\"\\\\"]
weighted_hosts = { "origin-4" = 1 }
status = 307
"""


TO_1 = Decision(302, "pool-a", "origin-1", "http://origin-1")


LOOP = Decision(422, "pool-a", "origin-1", detail="a loop")


def serve(
    scoreboard: Scoreboard, *decisions: Decision, microseconds: int = 10, pool_requested: str | None = None
) -> None:
    """One worker answers requests and ends."""
    config = parse_config(POOLS, "pools.toml")
    quoted = quote("GET", Head(pool_requested, "http", None, "a", None, None, None, None))

    async def answer() -> None:
        recorder = new_recorder(config, "off", scoreboard)
        for decision in decisions:
            recorder.write(decision, quoted, "/", monotonic_ns() - microseconds * 1000, config.hash)
        recorder.close()

    asyncio.run(answer())


def ask(
    path: str,
    scoreboard: Scoreboard,
    *,
    ready: bool = True,
    goes_on: bool = True,
    method: str = "GET",
    token: str | None = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    instance = Instance(scoreboard, parse_config(POOLS, "pools.toml"), "pools.toml", Changes(1_600_000_000.0, {}))

    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(create_admin_app(instance, token, lambda: ready, lambda: goes_on))
        async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(answer())
