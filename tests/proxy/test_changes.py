"""Origins that leave while requests are under way: what has begun is finished, and nothing more is sent there."""

import asyncio
import gc
from dataclasses import replace

from support.gateway import Forwarding, Gateway
from support.origin import Gate, Origin, answer, close_at_once, says

from redirect.core.balancer import Balancer
from redirect.core.discovery import Discover
from redirect.core.forward import Forward
from redirect.core.health import HealthStatus

LATE = says(answer(b"late"))


def keep(gateway: Gateway, *kept: Origin, none_found: str | None = None) -> None:
    """Has the pool these origins from now on, as a worker does when they were published."""
    pool = gateway.handler.service.config.pools["origins"]
    names = [origin.name for origin in kept]
    origins = tuple(origin for origin in pool.origins if origin.name in names)
    gateway.use(replace(pool, origins=origins, discover=Discover("a", port=80), none_found=none_found))


async def test_what_has_begun_is_finished_and_nothing_more_is_sent(forwarding: Forwarding) -> None:
    """Connections that rest there are closed."""
    gate = Gate(LATE)
    async with forwarding(origins=2) as gateway:
        leaving, staying = gateway.origins
        leaving.on("/slow", gate)
        while not leaving.asked:
            await gateway.ask("GET / HTTP/1.1")  # a connection rests there
        before = len(leaving.asked)
        staying.on("/slow", gate)
        slow = [asyncio.create_task(gateway.ask("GET /slow HTTP/1.1")) for _ in range(2)]
        await leaving.until_asked(before + 1)
        keep(gateway, staying)
        assert [(await gateway.ask("GET / HTTP/1.1")).status for _ in range(4)] == [200] * 4
        assert len(leaving.asked) == before + 1
        gate.open()
        assert [(each.status, each.body) for each in await asyncio.gather(*slow)] == [(200, b"late")] * 2
        await leaving.until_ended()


async def test_connections_to_an_origin_that_is_stopped_end_at_once_or_behind_their_answers(
    forwarding: Forwarding,
) -> None:
    """There are servers that wait for them to end. Before the next request to it there is a new one."""
    async with forwarding() as gateway:
        origin = gateway.origin
        origin.on("/slow", gate := Gate(LATE))
        slow = asyncio.create_task(gateway.ask("GET /slow HTTP/1.1"))
        await origin.until_asked()
        await gateway.ask("GET / HTTP/1.1")  # a connection rests there
        status = HealthStatus(False, 0, 0, "docker stops it", member="draining")
        for _ in gateway.handler.forwarder.uses_health({"origins": {origin.name: status}, "gone": {"a": status}}):
            pass
        await origin.until_ended(1)
        gate.open()
        assert (await slow).body == b"late"
        await origin.until_ended(0)
        assert (await gateway.ask("GET / HTTP/1.1")).status == 200
        for _ in gateway.handler.forwarder.uses_health({"origins": {origin.name: status._replace(member="down")}}):
            pass
        assert (await gateway.ask("GET / HTTP/1.1")).status == 200
        assert len(origin.peers) == 3


async def test_a_request_that_is_tried_again_gets_no_origin_that_left(forwarding: Forwarding) -> None:
    gate = Gate(close_at_once)
    async with forwarding("retries = 2", origins=2) as gateway:
        for origin in gateway.origins:
            origin.default = gate
        asking = asyncio.create_task(gateway.ask("GET / HTTP/1.1"))
        keep(gateway, await gateway.until_asked())
        gate.open()
        assert (await asking).status == 502
        assert sum(len(origin.asked) for origin in gateway.origins) == 1


async def test_what_lives_long_keeps_no_balancers_between_its_own_and_the_one_in_use(forwarding: Forwarding) -> None:
    def balancers_alive() -> int:
        gc.collect()
        return sum(isinstance(each, Balancer) for each in gc.get_objects())

    async with forwarding(origins=2) as gateway:
        forward = gateway.handler.service.decide_by_route("GET", "/", None, "http", ("asked.example", 80))
        assert isinstance(forward, Forward)
        before = balancers_alive()
        for _ in range(20):
            keep(gateway, *gateway.origins)
        assert balancers_alive() <= before + 1
        keep(gateway, gateway.origins[0])
        assert len(forward.balancer.pool.origins) == 1


async def test_without_origins_the_answer_says_why(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        gateway.origin.default = close_at_once
        keep(gateway, none_found="no container with app=shop was found")
        refused = await gateway.ask("GET / HTTP/1.1")
        assert (refused.status, refused.one("retry-after")) == (503, "5")
        assert refused.one("proxy-status") == "redirect; error=destination_unavailable"
        assert refused.detail == "origins is configured, but no container with app=shop was found"
        assert (await gateway.record())["detail"] == refused.detail


async def test_what_is_under_way_still_counts_where_other_origins_were_found(forwarding: Forwarding) -> None:
    """So the one with fewer requests is picked after a change, too."""
    gate = Gate(LATE)
    async with forwarding(pool='pick = "least_requests"', origins=3) as gateway:
        keep(gateway, *gateway.origins)  # they are found from here on
        for origin in gateway.origins:
            origin.on("/slow", gate)
        slow = asyncio.create_task(gateway.ask("GET /slow HTTP/1.1"))
        busy = await gateway.until_asked()
        free = next(origin for origin in gateway.origins if origin is not busy)
        keep(gateway, busy, free)
        (balancer,) = gateway.handler.service.balancers()
        picked = {balancer.pick() for _ in range(50)}
        assert {each.origin.name: each.requests for each in picked} == {busy.name: 1, free.name: 0}
        gate.open()
        assert (await slow).status == 200
        assert {each.requests for each in picked} == {0}
