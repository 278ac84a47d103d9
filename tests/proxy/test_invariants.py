"""Requests of all kinds at once: whatever becomes of them, each ends exactly once, and nothing of it is left."""

import asyncio
from random import Random

import pytest
from support.gateway import Forwarding, Gateway
from support.origin import answer, close_at_once, hang, head, says
from support.wire import head as request

CLIENTS = 12
REQUESTS = 6

KINDS = ("/plain", "/empty", "/chunked", "/early", "/behind", "/503", "/cut", "/closes", "/late")
ROUTES = {
    "plain": "",
    "limited": "limit = { in_flight = 3, queue = 4, wait = 0.2 }",
    "cached": "cache = { stale_if_down = 60 }\nlimit = { in_flight = 6, queue = 4, wait = 0.2 }",
    "retried": "retry_on = [503]\nretries = 1\ncache = { stale_if_down = 60 }",
}


def prepare(gateway: Gateway) -> None:
    for origin in gateway.origins:
        origin.on("/empty", says(answer(b"")))
        origin.on("/chunked", says(head("200 OK", "transfer-encoding: chunked") + b"2\r\nok\r\n0\r\n\r\n"))
        origin.on("/early", says(head("103 Early Hints", "link: </a>") + answer(b"ok")))
        origin.on("/behind", says(answer(b"ok") + b"x", close=True))
        origin.on("/503", says(head("503 Service Unavailable", "content-length: 2") + b"no"))
        origin.on("/cut", says(head("200 OK", "content-length: 5") + b"ab", close=True))
        origin.on("/closes", close_at_once)
        origin.on("/late", hang)


async def asks(gateway: Gateway, random: Random) -> int:
    """Returns how many answers it got, on a new connection after each that ended one; leaves within the last one."""
    answers = 0
    client = await gateway.client()
    for _ in range(REQUESTS):
        got = await client.ask(f"GET {random.choice(KINDS)} HTTP/1.1")
        answers += got.status != 0
        if got.is_cut or got.all("connection") == ["close"]:
            client = await gateway.client()
    await client.send(request("GET /late HTTP/1.1"))
    await asyncio.sleep(0.02)
    client.reset()
    return answers


@pytest.mark.parametrize("route", ROUTES)
async def test_nothing_is_left_of_requests_whatever_became_of_them(forwarding: Forwarding, route: str) -> None:
    more = "timeouts = { answer = 0.1, idle = 0.3 }\n" + ROUTES[route]
    async with forwarding(more, origins=2, pool="eject = { fails = 3 }") as gateway:
        prepare(gateway)
        random = Random(7)
        answers = await asyncio.gather(*[asks(gateway, Random(random.random())) for _ in range(CLIENTS)])
        assert sum(answers) == CLIENTS * REQUESTS
        forwarder = gateway.handler.forwarder
        records = await gateway.records(CLIENTS * (REQUESTS + 1))
        assert len({record["request_id"] for record in records}) == len(records)
        assert not forwarder._exchanges
        assert not +forwarder._requests
        assert not +forwarder._retries
        assert forwarder.cache.gathered == 0
        assert [found.requests for found in forwarder._of_destinations] == [0] * len(forwarder._of_destinations)
        assert [limit._held.tokens for limit in forwarder.limits._limits.values()] == [0] * ("limit" in more)
