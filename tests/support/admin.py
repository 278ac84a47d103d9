"""The admin application, asked without a network."""

import asyncio
from time import monotonic_ns, time

import httpx

from redirect.admin.app import create_admin_app
from redirect.config.loader import Loader, parse_config
from redirect.control.discovery import Discovery, Provider
from redirect.control.dns_provider import DnsProvider
from redirect.control.instance import Instance
from redirect.control.prober import Prober
from redirect.control.publisher import Publisher, publish_loading
from redirect.core.decision import Decision, Outcome
from redirect.core.overrides import Override, pack
from redirect.telemetry.scoreboard import Scoreboard
from redirect.telemetry.snapshot import Loading
from support.logged import HEAD
from support.wire import new_recorder

POOLS = b"""
[pool-a]
weighted_hosts = { "origin-1" = 3, "origin-2" = 1, "origin-3" = 0 }
is_default = true

["b\\"\\\\"]
weighted_hosts = { "origin-4" = 1 }
status = 307

[[routes]]
path_prefix = "/inner"
forward_to = "inner"

[inner]
weighted_hosts = { "origin-5:8000" = 1, "origin-6" = 1 }
eject = {}
"""

CONFIG = parse_config(POOLS, "pools.toml")

TO_1 = Decision(302, "pool-a", "origin-1", "http://origin-1")

LOOP = Decision(422, "pool-a", "origin-1", detail="a loop")

FORWARDED = Decision(200, "inner", "origin-5:8000", route="/inner/*", is_forward=True)

# 2 ms at the origin, bodies of 10 and 1000 bytes.
OUTCOME = Outcome(200, 2000, 1, 10, 1000)


def serve(
    scoreboard: Scoreboard, *decisions: Decision, microseconds: int = 10, pool_requested: str | None = None
) -> None:
    """One worker answers requests and ends."""
    logged = pool_requested, *HEAD[1:]

    async def answer() -> None:
        recorder = new_recorder(CONFIG, "off", scoreboard)
        for decision in decisions:
            outcome = OUTCOME if decision.is_forward else None
            recorder.write(decision, logged, "id", "/", monotonic_ns() - microseconds * 1000, CONFIG.hash, outcome)
        recorder.close()

    asyncio.run(answer())


# The same with a pool whose origins are found.
DISCOVERED = POOLS + b'[found]\ndiscover = { name = "found", port = 80 }\n'

# And with one whose origin is probed.
PROBED = DISCOVERED + b'[probed]\nweighted_hosts = { "127.0.0.1:1" = 1 }\nhealth_check = { path = "/" }\n'

# And with a route that has a limit.
LIMITED = PROBED + b'[[routes]]\npath = "/limited"\nforward_to = "inner"\nlimit = 7\n'


def new_scoreboard() -> Scoreboard:
    """The scoreboard of an instance that serves POOLS."""
    scoreboard = Scoreboard()
    scoreboard.common.started_ms = 1_600_000_000_000
    scoreboard.common.has_begun = scoreboard.common.has_been_ready = 1
    publish_loading(scoreboard, Loading(1_700_000_000.0, None, None, CONFIG.hash, 0))
    return scoreboard


def every_metric() -> str:
    """The metrics of an instance where each has a sample."""
    scoreboard = new_scoreboard()
    serve(scoreboard, TO_1, LOOP, FORWARDED)
    alive = new_recorder(CONFIG, "off", scoreboard)
    alive.forwards.failed("inner", "origin-6", "connection_refused")
    alive.forwards.report({("inner", "origin-6"): 1}, {"origin-6:80": (1, 1)}, 0)
    scoreboard.overrides.publish(pack([Override("inner", "origin-6", 100, 100, time(), 0.0, 60.0)]).encode())
    return ask("/metrics", scoreboard, pools=LIMITED).text


def ask(
    path: str,
    scoreboard: Scoreboard,
    *,
    goes_on: bool = True,
    method: str = "GET",
    token: str | None = None,
    only_local: bool = False,
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    pools: bytes = POOLS,
    provider: Provider | None = None,
    content: bytes | None = None,
) -> httpx.Response:
    async def answer() -> httpx.Response:
        config = parse_config(pools, "pools.toml")
        publisher = Publisher(scoreboard, "pools.toml", config, Loader("pools.toml"))
        discovery = Discovery(lambda _: provider or DnsProvider(lambda: None), config)
        await publisher.use_found(discovery.look())
        instance = Instance(scoreboard, publisher, Prober(scoreboard, config), discovery)
        transport = httpx.ASGITransport(create_admin_app(instance, token, lambda: goes_on, only_local=only_local))
        async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
            return await client.request(method, path, headers=headers, content=content)

    return asyncio.run(answer())
