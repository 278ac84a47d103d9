"""Clients that leave, that only stop to send, and that stay."""

import asyncio
import json

import pytest
from support.gateway import Client, Forwarding, Gateway
from support.lateness import at_best, judge
from support.origin import Call, Gate, answer, chunk, echo, goes_on, hang, head, in_turn, says
from support.wire import head as request

from redirect.proxy.forwarder import CHECK_SECONDS

CHUNKED = "Transfer-Encoding: chunked"
# From the client's close to the origin's sight of it.
AT_ONCE_SECONDS = 0.05
# More requests than are read before the first is answered.
MANY = 200


def leave(client: Client, how: str) -> float:
    """Ends the client's side in one way; when that was."""
    getattr(client, how)()
    return asyncio.get_running_loop().time()


async def left(gateway: Gateway, since: float, seconds: float = AT_ONCE_SECONDS) -> None:
    """The origin sees its connection end at once, and the log calls it 499."""
    peer = await gateway.origin.until_ended()
    judge(peer.ended_at - since, seconds)
    record = await gateway.record()
    assert (record["status"], record["action"]) == (499, "forward")
    assert record["detail"]


@at_best
async def test_a_client_that_resets_while_the_origin_thinks_ends_its_work(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        gateway.origin.default = hang
        client = await gateway.begun("POST / HTTP/1.1", "Content-Length: 4", body=b"body")
        await left(gateway, leave(client, "reset"))
        assert (await gateway.records(1))[0]["bytes_in"] == 4


@at_best
async def test_a_client_that_closes_while_the_origin_thinks_ends_its_work(forwarding: Forwarding) -> None:
    """A close looks like that of one that only stops to send: it is asked by a 100 whether it still reads."""
    async with forwarding() as gateway:
        gateway.origin.default = hang
        client = await gateway.begun("GET / HTTP/1.1")
        await left(gateway, leave(client, "close"))


@at_best
async def test_a_client_that_closes_in_the_queue_of_a_limit_leaves_it(own: Forwarding) -> None:
    async with own("limit = { in_flight = 1, queue = 1, wait = 5 }") as gateway:
        gateway.origin.default = hang
        await gateway.begun("GET /first HTTP/1.1")
        second = await gateway.sent("GET /second HTTP/1.1")
        await asyncio.sleep(0.01)
        leave(second, "close")
        record = await gateway.record()
        assert (record["path"], record["status"], record["tries"]) == ("/second", 499, 0)


@at_best
async def test_a_client_that_resets_in_its_request_ends_it(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        gateway.origin.default = hang
        client = await gateway.begun("POST / HTTP/1.1", "Content-Length: 100", body=b"body")
        await left(gateway, leave(client, "reset"))


@at_best
async def test_a_client_that_closes_in_its_request_ends_it(forwarding: Forwarding) -> None:
    """What it still owes never comes."""
    async with forwarding() as gateway:
        gateway.origin.default = hang
        client = await gateway.begun("POST / HTTP/1.1", CHUNKED, body=chunk(b"body"))
        since = leave(client, "close")
        peer = await gateway.origin.until_ended()
        judge(peer.ended_at - since, AT_ONCE_SECONDS)
        assert (await gateway.record())["status"] in (400, 499)


@pytest.mark.parametrize("how", ["reset", "close"])
@at_best
async def test_a_client_that_leaves_in_its_answer_ends_it(how: str, forwarding: Forwarding) -> None:
    """A close is seen when the next piece cannot be delivered."""
    async with forwarding() as gateway:
        gateway.origin.default = goes_on(head("200 OK", CHUNKED), chunk(b"d" * 1000))
        client = await gateway.sent("GET / HTTP/1.1")
        assert (await client.head()).status_code == 200
        await client.piece()
        since = leave(client, how)
        peer = await gateway.origin.until_ended()
        judge(peer.ended_at - since, AT_ONCE_SECONDS * 2)
        record = await gateway.record()
        assert (record["status"], record["origin_status"]) == (499, 200)


@pytest.mark.parametrize("how", ["reset", "close"])
@at_best
async def test_a_client_that_leaves_behind_pipelined_requests_ends_all(how: str, own: Forwarding) -> None:
    """The first is aborted, the others are not begun."""
    async with own() as gateway:
        gateway.origin.default = hang
        client = await gateway.client()
        await client.send(request("GET /1 HTTP/1.1") + request("GET /2 HTTP/1.1"))
        await gateway.origin.until_asked()
        since = leave(client, how)
        peer = await gateway.origin.until_ended()
        judge(peer.ended_at - since, AT_ONCE_SECONDS)
        assert gateway.origin.targets == ["/1"]


@at_best
async def test_a_client_that_resets_while_it_is_not_read_is_seen_at_the_next_check(own: Forwarding) -> None:
    async with own() as gateway:
        gateway.origin.default = hang
        client = await gateway.client()
        await client.send(request("GET / HTTP/1.1") * MANY)
        await gateway.origin.until_asked()
        await left(gateway, leave(client, "reset"), CHECK_SECONDS + AT_ONCE_SECONDS)


async def test_a_client_that_resets_while_its_origin_takes_nothing_is_seen(own: Forwarding) -> None:
    """Long before `timeouts.idle`."""
    async with own(buffer=64 * 1024) as gateway:
        is_over = asyncio.Event()
        gateway.origin.default = lambda call: is_over.wait()  # type: ignore[assignment, return-value]
        client = await gateway.client(buffer=64 * 1024)
        size = 50_000_000
        sending = asyncio.create_task(client.send(request("POST / HTTP/1.1", f"Content-Length: {size}") + bytes(size)))
        await gateway.origin.until_asked()
        await asyncio.sleep(2 * CHECK_SECONDS)
        client.reset()
        await sending
        record = await gateway.record()
        assert (record["status"], record["detail"]) == (499, "the client left")
        is_over.set()


async def test_a_half_closed_client_that_is_not_read_gets_all_its_answers(own: Forwarding) -> None:
    async def think(call: Call) -> None:
        await asyncio.sleep(2 * CHECK_SECONDS)
        await call.write(answer(b"ok"))

    async with own() as gateway:
        gateway.origin.default = in_turn(think, says(answer(b"ok")))
        client = await gateway.client()
        await client.send(request("GET / HTTP/1.1") * MANY)
        client.write_eof()
        assert [(await client.answer()).body for _ in range(MANY)] == [b"ok"] * MANY
        assert await client.is_ended()


async def test_a_client_that_leaves_while_the_origin_is_connected_to_ends_it(forwarding: Forwarding) -> None:
    """192.0.2.0/24 is nowhere, so nothing is refused or reached; where it is refused at once, nothing is aborted."""
    async with forwarding("timeouts = { connect = 2 }\nretries = 0", hosts='"192.0.2.1:9" = 1') as gateway:
        client = await gateway.sent("GET / HTTP/1.1")
        await asyncio.sleep(0.02)
        client.reset()
        assert (await gateway.record())["status"] in (499, 503)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_half_closed_client_still_gets_its_answer(version: str, own: Forwarding) -> None:
    async with own() as gateway:
        gateway.origin.default = gate = Gate(says(answer(b"ok")))
        client = await gateway.begun(f"GET / HTTP/{version}")
        client.write_eof()
        await asyncio.sleep(0.02)
        assert not gateway.origin.peers[0].ended
        gate.open()
        got = await client.answer()
        assert (got.status, got.body, got.is_cut) == (200, b"ok", False)
        assert got.interim == ([(100, [])] if version == "1.1" else [])  # whether it is there
        assert await client.is_ended()
        assert (await gateway.record())["status"] == 200


async def test_a_half_closed_client_gets_all_its_answers(own: Forwarding) -> None:
    async with own() as gateway:
        client = await gateway.client()
        await client.send(request("GET /1 HTTP/1.1") + request("GET /2 HTTP/1.1") + request("GET /3 HTTP/1.1"))
        client.write_eof()
        assert [(await client.answer()).body for _ in range(3)] == [b"ok"] * 3
        assert await client.is_ended()
        assert gateway.origin.targets == ["/1", "/2", "/3"]


async def test_a_half_closed_client_gets_a_long_answer_to_a_long_request(own: Forwarding) -> None:
    body = b"0123456789abcdef" * 65536
    async with own() as gateway:
        gateway.origin.default = echo
        client = await gateway.sent("PUT / HTTP/1.1", f"Content-Length: {len(body)}", body=body)
        client.write_eof()
        got = await client.answer("PUT")
        assert (got.body == body, got.is_cut) == (True, False)


async def test_a_client_that_asks_for_the_end_gets_it_behind_the_answer(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        client = await gateway.client()
        got = await client.ask("GET / HTTP/1.1", "Connection: close")
        assert (got.body, got.all("Connection")) == (b"ok", ["close"])
        assert await client.is_ended()
        assert "close" not in gateway.origin.asked[0].all("Connection")


@pytest.mark.parametrize("began", [True, False], ids=["in its body", "before its head"])
async def test_no_request_is_lost_where_a_worker_stops_while_an_answer_comes(began: bool, own: Forwarding) -> None:
    """A head that says that the connection ends is its last one; behind another the client may ask once more."""
    release = asyncio.Event()

    async def pause(call: Call) -> None:
        if began:
            await call.write(head("200 OK", "Content-Length: 4") + b"ab")
        await release.wait()
        await call.write(b"cd" if began else answer(b"abcd"))

    async with own() as gateway:
        gateway.origin.default = in_turn(pause, says(answer(b"ok")))
        client = await gateway.sent("GET / HTTP/1.1")
        if began:
            await client.head()
        else:
            await gateway.origin.until_asked()
        for connection in gateway.handler.connections:
            connection.shutdown()
        release.set()
        if began:
            assert (await client.body())[0] == b"abcd"
            last = await client.ask("POST /next HTTP/1.1", "Content-Length: 1", body=b"b")
            assert last.body == b"ok"
        else:
            last = await client.answer()
        assert last.all("connection") == ["close"]
        assert await client.is_ended()


async def test_connections_to_an_origin_outlive_their_clients(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        for _ in range(3):
            assert (await gateway.ask("GET / HTTP/1.1", "Connection: close")).body == b"ok"
        assert [(asked.connection, asked.nth) for asked in gateway.origin.asked] == [(0, 1), (0, 2), (0, 3)]


async def test_no_answer_is_logged_twice(forwarding: Forwarding) -> None:
    """A client that leaves behind its answer has got it."""
    async with forwarding() as gateway:
        client = await gateway.client()
        await client.ask("GET / HTTP/1.1")
        client.reset()
        await asyncio.sleep(0.02)
        assert json.dumps([record["status"] for record in await gateway.records(1)]) == "[200]"
