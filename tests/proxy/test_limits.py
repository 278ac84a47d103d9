"""A route with a limit: how many requests are under way, which wait, and which are refused."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

import pytest
from support.gateway import Answer, Forwarding, Gateway
from support.origin import SWITCH, UPGRADE, Call, Gate, answer, chunk, close_at_once, hang, head, in_turn, says
from support.wire import head as request

from redirect.core.routes import RequestLimit
from redirect.core.service import new_service
from redirect.proxy.exchange import KEPT_BYTES
from redirect.proxy.limits import Limits
from redirect.telemetry.scoreboard import Descriptor, Held, new_tokens

CHUNKED = "Transfer-Encoding: chunked"
QUEUE = "limit = { in_flight = 1, queue = 2, wait = 3 }"


async def say_target(call: Call) -> None:
    await call.body()
    await call.write(answer(call.asked.target.encode()))


async def arrived(gateway: Gateway) -> None:
    """Returns when what was sent has arrived: a request that was sent later was answered."""
    await asyncio.sleep(0.02)


def assert_full(got: Answer, detail: str) -> None:
    assert (got.status, got.detail, got.error) == (503, detail, "connection_limit_reached")
    assert got.all("Retry-After") == ["1"]


async def test_one_more_than_the_limit_is_refused_at_once(forwarding: Forwarding) -> None:
    """And one is taken again as soon as another has ended."""
    async with forwarding("limit = 3", conditions='path = "/api/smart"') as gateway:
        gateway.origin.default = gate = Gate(say_target)
        clients = [await gateway.begun("GET /api/smart HTTP/1.1") for _ in range(3)]
        for _ in range(2):
            assert_full(await gateway.ask("GET /api/smart HTTP/1.1"), "/api/smart has 3 requests under way, its limit")
        gate.open()
        assert [(await client.answer()).status for client in clients] == [200] * 3
        assert (await gateway.ask("GET /api/smart HTTP/1.1")).status == 200
        assert len(gateway.origin.asked) == 4
        refused = [each for each in await gateway.records(6) if each["status"] == 503]
        assert [(each["tries"], each["origin"], each["route"]) for each in refused] == [(0, None, "/api/smart")] * 2


async def test_a_connection_goes_on_behind_a_refusal(forwarding: Forwarding) -> None:
    async with forwarding("limit = 1") as gateway:
        gateway.origin.default = gate = Gate(say_target)
        first = await gateway.begun("GET /first HTTP/1.1")
        client = await gateway.client()
        for target in ("/a", "/b"):
            assert (await client.ask(f"GET {target} HTTP/1.1")).status == 503
        gate.open()
        assert (await first.answer()).status == 200
        assert (await client.ask("GET /c HTTP/1.1")).body == b"/c"
        assert gateway.origin.targets == ["/first", "/c"]


async def test_refusals_of_many_pipelined_requests_do_not_nest(forwarding: Forwarding) -> None:
    """Each ends in the call that begins the next one: 96 of them were more than Python's stack takes."""
    free = '[[routes]]\npath = "/free"\nforward_to = "origins"\n'
    async with forwarding("limit = 1", more=free) as gateway:
        gateway.origin.on("/free", gate := Gate(say_target))
        gateway.origin.on("/full", hang)
        await gateway.begun("GET /full HTTP/1.1")
        client = await gateway.client()
        many = b"".join(request(f"GET /{each} HTTP/1.1", host="a") for each in range(120))
        await client.send(request("GET /free HTTP/1.1") + many + request("GET /free HTTP/1.1"))
        await gateway.origin.until_asked(2)
        gate.open()
        answers = [await client.answer() for _ in range(122)]
        assert [got.status for got in answers] == [200, *[503] * 120, 200]


async def test_requests_one_after_another_are_never_refused(forwarding: Forwarding) -> None:
    async with forwarding("limit = 1") as gateway:
        client = await gateway.client()
        assert [(await client.ask("GET / HTTP/1.1")).status for _ in range(20)] == [200] * 20


async def test_each_route_has_a_limit_of_its_own(forwarding: Forwarding) -> None:
    other = '[[routes]]\npath = "/other"\nforward_to = "origins"\nlimit = 1\n'
    free = '[[routes]]\npath = "/free"\nforward_to = "origins"\n'
    async with forwarding("limit = 1", more=other + free) as gateway:
        gateway.origin.on("/", hang)
        await gateway.begun("GET / HTTP/1.1")
        assert_full(await gateway.ask("GET /x HTTP/1.1"), "/* has 1 requests under way, its limit")
        assert (await gateway.ask("GET /other HTTP/1.1")).status == 200
        assert (await gateway.ask("GET /free HTTP/1.1")).status == 200


# Ends


async def is_answered(gateway: Gateway) -> None:
    assert (await gateway.ask("HEAD /ok HTTP/1.1")).status == 200


async def loses_its_origin(gateway: Gateway) -> None:
    gateway.origin.on("/closes", close_at_once)
    assert (await gateway.ask("POST /closes HTTP/1.1", "Content-Length: 0")).status == 502


async def is_cut(gateway: Gateway) -> None:
    gateway.origin.on("/cut", says(head("200 OK", "content-length: 5") + b"ab", close=True))
    assert (await gateway.ask("GET /cut HTTP/1.1")).is_cut


async def is_late(gateway: Gateway) -> None:
    gateway.origin.on("/late", hang)
    assert (await gateway.ask("GET /late HTTP/1.1")).status == 504


async def has_a_client_that_leaves(gateway: Gateway) -> None:
    gateway.origin.on("/hangs", hang)
    client = await gateway.begun("GET /hangs HTTP/1.1")
    client.reset()
    await gateway.origin.until_ended()


async def has_a_client_that_leaves_in_the_answer(gateway: Gateway) -> None:
    gateway.origin.on("/half", says(head("200 OK", "content-length: 5") + b"ab"))
    client = await gateway.sent("GET /half HTTP/1.1")
    await client.head()
    client.reset()
    await gateway.origin.until_ended()


async def does_not_go_on(gateway: Gateway) -> None:
    client = await gateway.sent("POST / HTTP/1.1", CHUNKED, body=chunk(b"a"))
    assert (await client.answer("POST")).status in (408, 504)


async def is_refused_in_its_middle(gateway: Gateway) -> None:
    client = await gateway.begun("POST / HTTP/1.1", CHUNKED, body=chunk(b"a"))
    await client.send(b"no chunk\r\n")
    assert (await client.answer("POST")).status in (0, 400)


ENDS: list[Callable[[Gateway], Awaitable[None]]] = [
    is_answered,
    loses_its_origin,
    is_cut,
    is_late,
    has_a_client_that_leaves,
    has_a_client_that_leaves_in_the_answer,
    does_not_go_on,
    is_refused_in_its_middle,
]


@pytest.mark.parametrize("end", ENDS, ids=[each.__name__ for each in ENDS])
async def test_a_request_is_no_longer_under_way_whatever_its_end(
    end: Callable[[Gateway], Awaitable[None]], forwarding: Forwarding
) -> None:
    """Exactly one more may be under way then, not two."""
    async with forwarding("limit = 1\nretries = 0\ntimeouts = { answer = 0.1, idle = 0.3 }") as gateway:
        await end(gateway)
        asked = len(gateway.origin.asked)
        gateway.origin.on("/again", hang)
        client = await gateway.sent("GET /again HTTP/1.1")
        await gateway.origin.until_asked(asked + 1)
        assert (await gateway.ask("GET / HTTP/1.1")).error == "connection_limit_reached"
        client.reset()


async def test_without_an_origin_nothing_is_under_way(forwarding: Forwarding) -> None:
    async with forwarding("limit = 1", hosts='"nowhere.invalid" = 1') as gateway:
        for _ in range(3):
            assert (await gateway.ask("GET / HTTP/1.1")).error == "dns_error"


async def test_a_tunnel_is_under_way_until_it_ends(own: Forwarding) -> None:
    async with own("limit = 1") as gateway:
        gateway.origin.on("/ws", says(SWITCH))
        client = await gateway.sent("GET /ws HTTP/1.1", *UPGRADE)
        assert await client.switched() == 101
        assert (await gateway.ask("GET / HTTP/1.1")).error == "connection_limit_reached"
        client.reset()
        await gateway.origin.until_ended()
        assert (await gateway.ask("GET / HTTP/1.1")).status == 200


# The queue


async def test_those_that_wait_are_served_in_their_order(forwarding: Forwarding) -> None:
    """And one more than the queue holds is refused at once."""
    async with forwarding(QUEUE) as gateway:
        gateway.origin.default = gate = Gate(say_target)
        first = await gateway.begun("GET /1 HTTP/1.1")
        second = await gateway.sent("GET /2 HTTP/1.1")
        await arrived(gateway)
        third = await gateway.sent("GET /3 HTTP/1.1")
        await arrived(gateway)
        assert_full(await gateway.ask("GET /4 HTTP/1.1"), "/* has 1 requests under way, its limit")
        assert gateway.origin.targets == ["/1"]
        gate.open()
        assert [(await client.answer()).body for client in (first, second, third)] == [b"/1", b"/2", b"/3"]
        assert gateway.origin.targets == ["/1", "/2", "/3"]
        assert (await gateway.ask("GET /5 HTTP/1.1")).status == 200


async def test_one_that_waits_too_long_is_refused(forwarding: Forwarding) -> None:
    async with forwarding("limit = { in_flight = 1, queue = 1, wait = 0.2 }") as gateway:
        gateway.origin.default = hang
        await gateway.begun("GET / HTTP/1.1")
        for _ in range(2):  # the first one has left the queue
            since = asyncio.get_running_loop().time()
            assert_full(await gateway.ask("GET / HTTP/1.1"), "/* has 1 requests under way, its limit")
            assert asyncio.get_running_loop().time() - since > 0.19


async def test_those_that_wait_go_on_where_a_reload_takes_the_limit_away(forwarding: Forwarding) -> None:
    """Those behind them do not wait either."""
    async with forwarding(QUEUE) as gateway:
        gateway.origin.default = gate = Gate(say_target)
        clients = [await gateway.begun("GET /1 HTTP/1.1")]
        clients += [await gateway.sent(f"GET {path} HTTP/1.1") for path in ("/2", "/3")]
        await arrived(gateway)
        config = gateway.handler.service.config
        routes = tuple(replace(route, limit=None) for route in config.routes)
        gateway.handler.use(new_service(replace(config, routes=routes), Random(1)))
        await gateway.origin.until_asked(3)
        gate.open()
        assert [(await client.answer()).body for client in clients] == [b"/1", b"/2", b"/3"]
        assert (await gateway.ask("GET /4 HTTP/1.1")).status == 200


async def leave_the_queue(gateway: Gateway, length: int, body: bytes) -> None:
    """A client whose request waits leaves, and another takes its place in the queue of one."""
    gateway.origin.default = gate = Gate(say_target)
    first = await gateway.begun("GET /1 HTTP/1.1")
    second = await gateway.sent("PUT /2 HTTP/1.1", f"Content-Length: {length}", body=body)
    await arrived(gateway)
    second.reset()
    assert (await gateway.record())["status"] == 499
    third = await gateway.sent("GET /3 HTTP/1.1")
    await arrived(gateway)
    gate.open()
    assert [(await client.answer()).body for client in (first, third)] == [b"/1", b"/3"]
    assert gateway.origin.targets == ["/1", "/3"]


@pytest.mark.parametrize("length", [0, KEPT_BYTES + 1])
async def test_a_client_that_leaves_is_taken_out_of_the_queue(length: int, forwarding: Forwarding) -> None:
    """Also where not all of its body is kept."""
    async with forwarding("limit = { in_flight = 1, queue = 1, wait = 3 }") as gateway:
        await leave_the_queue(gateway, length, bytes(length))


@pytest.mark.parametrize("missing", [0, 1])
async def test_a_client_that_leaves_while_it_is_not_read_is_taken_out_of_the_queue(
    missing: int, own: Forwarding
) -> None:
    async with own("limit = { in_flight = 1, queue = 1, wait = 3 }") as gateway:
        await leave_the_queue(gateway, 4 * KEPT_BYTES, bytes(4 * KEPT_BYTES - missing))


async def test_the_body_of_one_that_waits_arrives_whole(forwarding: Forwarding) -> None:
    body = b"0123456789abcdef" * 16_384
    async with forwarding(QUEUE) as gateway:
        gateway.origin.default = gate = Gate(say_target)
        await gateway.begun("GET / HTTP/1.1")
        client = await gateway.client()
        asking = asyncio.create_task(client.ask("POST /body HTTP/1.1", f"Content-Length: {len(body)}", body=body))
        await arrived(gateway)
        gate.open()
        assert (await asking).status == 200
        assert gateway.origin.asked[-1].body == body


async def test_a_body_that_is_malformed_is_refused_while_the_request_waits(own: Forwarding) -> None:
    async with own(QUEUE) as gateway:
        gateway.origin.default = gate = Gate(say_target)
        await gateway.begun("GET / HTTP/1.1")
        client = await gateway.sent("POST /x HTTP/1.1", CHUNKED, body=b"no chunk\r\n")
        assert (await client.answer("POST")).status == 400
        gate.open()
        assert gateway.origin.targets == ["/"]
        assert (await gateway.ask("GET /again HTTP/1.1")).status == 200


async def test_a_request_that_waits_blames_no_origin_for_its_long_body(forwarding: Forwarding) -> None:
    """What is not kept of the body is not taken meanwhile: no origin has got it."""
    async with forwarding(f"{QUEUE}\ntimeouts = {{ idle = 0.2 }}") as gateway:
        gateway.origin.default = gate = Gate(say_target)
        first = await gateway.begun("GET / HTTP/1.1")
        second = await gateway.client()
        body = b"x" * 200_000
        await second.send(request("POST /long HTTP/1.1", f"Content-Length: {len(body)}") + body[:100_000])
        await asyncio.sleep(0.5)
        gate.open()
        assert (await first.answer()).status == 200
        await second.send(body[100_000:])
        assert (await second.answer("POST")).status == 200


async def test_one_that_waited_too_long_makes_way_for_another_route_with_a_limit(own: Forwarding) -> None:
    """On its connection, within the look at the deadlines, which goes on after that."""
    other = '[[routes]]\npath = "/other"\nforward_to = "origins"\nlimit = { in_flight = 1, queue = 1, wait = 0.1 }\n'
    async with own("limit = { in_flight = 1, queue = 1, wait = 0.1 }", more=other) as gateway:
        gateway.origin.on("/", hang)
        gateway.origin.on("/other", hang)
        await gateway.begun("GET / HTTP/1.1")
        client = await gateway.client()
        await client.send(request("GET /late HTTP/1.1") + request("GET /other HTTP/1.1"))
        assert (await client.answer()).status == 503
        await gateway.origin.until_asked(2)
        assert_full(await gateway.ask("GET /other HTTP/1.1"), "/other has 1 requests under way, its limit")


async def test_a_client_that_was_not_asked_for_its_body_waits_in_the_queue(forwarding: Forwarding) -> None:
    """For `wait`, and not for `idle` alone."""
    async with forwarding(f"{QUEUE}\ntimeouts = {{ idle = 0.1 }}") as gateway:
        gate = Gate(says(answer(b"first")))
        gateway.origin.default = in_turn(gate, says(answer(b"later")))
        first = await gateway.begun("GET / HTTP/1.1")
        second = await gateway.sent("POST / HTTP/1.1", "Content-Length: 1", "Expect: 100-continue")
        await asyncio.sleep(0.5)
        gate.open()
        assert (await first.answer()).status == 200
        await second.send(b"b")
        assert (await second.answer("POST")).body == b"later"


async def test_a_deadline_of_the_route_holds_in_the_queue(forwarding: Forwarding) -> None:
    async with forwarding(f"{QUEUE}\ntimeouts = {{ total = 0.2 }}") as gateway:
        gateway.origin.default = hang
        await gateway.begun("POST / HTTP/1.1", "Content-Length: 1")  # without its body
        waited = await gateway.ask("GET / HTTP/1.1")
        assert (waited.status, waited.error) == (504, "connection_limit_reached")
        assert "under way, its limit" in waited.detail


# Several workers


def workers(count: int, tokens: int) -> tuple[list[Limits], list[Held]]:
    """The limits of so many workers that share so many tokens, and what each notes of them. As in processes of their
    own, each has its own descriptor."""
    notes = [(Held * 1)() for _ in range(count)]
    shared = new_tokens(tokens)
    limits = [Limits([Descriptor(os.dup(shared))], held) for held in notes]
    return limits, [held[0] for held in notes]


class Exchange:
    """An exchange that only notes what becomes of it."""

    def __init__(self) -> None:
        self.is_under_way = self.is_refused = False

    def go_on(self) -> None:
        self.is_under_way = True

    def refuse_full(self) -> None:
        self.is_refused = True


async def test_workers_share_a_limit() -> None:
    """The queue of one notices what comes free in another; each notes how many tokens it holds."""
    limit = RequestLimit(2, queue=1)
    (here, there), held = workers(2, tokens=2)
    first, second, third, fourth = (Exchange() for _ in range(4))
    assert here.enter(first, limit)
    assert there.enter(second, limit)
    assert not there.enter(third, limit)
    assert not there.enter(fourth, limit)
    assert (third.is_refused, fourth.is_refused) == (False, True)
    assert [each.tokens for each in held] == [1, 1]
    here.leave(first, limit)
    await asyncio.sleep(0.01)
    assert third.is_under_way
    assert [each.tokens for each in held] == [0, 2]
    for exchange in (second, third, fourth, second):  # an end counts once
        there.leave(exchange, limit)
    assert [each.tokens for each in held] == [0, 0]
    assert all(each.steps % 2 == 0 for each in held)
    again = [Exchange() for _ in range(4)]
    assert [here.enter(exchange, limit) for exchange in again] == [True, True, False, False]


async def test_what_another_worker_was_faster_to_take_is_waited_for() -> None:
    """All workers with a queue wake where a token comes free."""
    limit = RequestLimit(1, queue=1)
    (first, *others), _ = workers(3, tokens=1)
    holder, waiting = Exchange(), [Exchange() for _ in others]
    assert first.enter(holder, limit)
    for limits, exchange in zip(others, waiting, strict=True):
        assert not limits.enter(exchange, limit)
    first.leave(holder, limit)
    await asyncio.sleep(0.01)
    assert sorted(exchange.is_under_way for exchange in waiting) == [False, True]
    for limits, exchange in zip(others, waiting, strict=True):
        if exchange.is_under_way:
            limits.leave(exchange, limit)
    await asyncio.sleep(0.01)
    assert all(exchange.is_under_way for exchange in waiting)


async def test_a_limit_that_is_gone_holds_up_no_request_that_comes_to_it_later() -> None:
    """As one behind another on its connection does. The controller has taken the tokens."""
    (limits,), (held,) = workers(1, tokens=0)
    limit, exchange = RequestLimit(1, queue=1), Exchange()
    limits.use(set())
    assert limits.enter(exchange, limit)
    limits.leave(exchange, limit)
    assert held.tokens == 0
    limits.use({limit.index})
    assert not limits.enter(exchange, limit)
    limits.leave(exchange, limit)
