"""Long bodies pass within the kernel, and by copies where it cannot: what either side sees is the same."""

import asyncio
import errno
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random

import pytest
from support.coroutines import until
from support.gateway import Client, Forwarding, Gateway
from support.origin import Call, answer, head, in_turn, says
from support.wire import head as request

from redirect.edge import forwarding as forwarding_client
from redirect.proxy.descriptors import DESCRIPTORS, Descriptors
from redirect.proxy.splice import LEAST_BYTES, PIPE_BYTES, Splice

LENGTH = 8 * LEAST_BYTES
BODY = Random(7).randbytes(LENGTH)
SMALL_BUFFER_BYTES = 64 * 1024
HEAD = head("200 OK", f"content-length: {LENGTH}")


def refuse(*_: object, **__: object) -> int:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


@pytest.fixture(params=[True, False], ids=["spliced", "copied"])
def is_spliced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """Whether the kernel passes long bodies; no descriptor is left behind either way."""
    if not request.param:
        monkeypatch.setattr("os.splice", refuse)
    yield request.param
    assert DESCRIPTORS.splices == 0


@asynccontextmanager
async def midway(own: Forwarding, route: str = "", *, is_spliced: bool) -> AsyncIterator[tuple[Gateway, Client, Call]]:
    """A client that has half of a long body, and the origin that has sent it."""
    calls: asyncio.Queue[Call] = asyncio.Queue()
    go = asyncio.Event()

    async def behave(call: Call) -> None:
        await call.write(HEAD + BODY[:1000])
        await go.wait()
        await call.write(BODY[1000 : LENGTH // 2])
        calls.put_nowait(call)
        await call.until_ended()

    async with own(route) as gateway:
        gateway.origin.default = behave
        client = await gateway.sent("GET / HTTP/1.1")
        await client.head()
        go.set()
        got = bytearray()
        while len(got) < LENGTH // 2:
            got += await client.piece()
        assert got == BODY[: LENGTH // 2]
        assert DESCRIPTORS.splices == is_spliced
        yield gateway, client, await calls.get()


async def test_a_long_body_comes_whole_and_is_counted(own: Forwarding, is_spliced: bool) -> None:
    """And the connections go on: that of the client, and that to the origin."""
    async with own() as gateway:
        gateway.origin.default = says(HEAD + BODY)
        client = await gateway.client()
        for _ in range(3):
            got = await client.ask("GET / HTTP/1.1")
            assert hashlib.sha256(got.body).digest() == hashlib.sha256(BODY).digest()
        assert len(gateway.origin.peers) == 1
        records = await gateway.records(3)
        keys = ("status", "bytes_out", "tries", "detail")
        assert [[record[key] for key in keys] for record in records] == [[200, LENGTH, 1, None]] * 3


@pytest.mark.parametrize(
    "route", ["retry_on = [503]", "cache = { stale_if_down = 60 }"], ids=["read by the parser", "cached"]
)
async def test_a_long_body_comes_whole_where_its_head_is_not_plain(route: str, own: Forwarding) -> None:
    async with own(route) as gateway:
        gateway.origin.default = says(HEAD, BODY)
        for _ in range(2):
            assert (await gateway.ask("GET / HTTP/1.1")).body == BODY


async def test_requests_behind_a_long_answer_get_theirs(own: Forwarding, is_spliced: bool) -> None:
    """They were sent, and read, while it passed."""
    async with own() as gateway:
        gateway.origin.on("/long", says(HEAD, BODY))
        client = await gateway.client()
        await client.send(b"".join(request(f"GET {path} HTTP/1.1") for path in ("/long", "/a", "/long", "/b")))
        assert [len((await client.answer()).body) for _ in range(4)] == [LENGTH, 2, LENGTH, 2]
        assert gateway.origin.targets == ["/long", "/a", "/long", "/b"]


async def test_bytes_behind_a_long_answer_are_nobodys(own: Forwarding, is_spliced: bool) -> None:
    """The connection that they came on is used no more."""
    async with own() as gateway:
        gateway.origin.default = in_turn(says(HEAD + BODY + answer(b"evil")), says(answer(b"good")))
        client = await gateway.client()
        assert (await client.ask("GET /1 HTTP/1.1")).body == BODY
        assert (await client.ask("GET /2 HTTP/1.1")).body == b"good"
        assert len(gateway.origin.peers) == 2


async def test_pieces_of_a_long_body_pass_as_they_come(own: Forwarding, is_spliced: bool) -> None:
    async with midway(own, is_spliced=is_spliced) as (_, client, call):
        for at in range(LENGTH // 2, LENGTH // 2 + 10):
            await call.write(BODY[at : at + 1])
            assert await client.piece() == BODY[at : at + 1]


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_long_body_that_is_cut_is_cut_for_the_client(how: str, own: Forwarding, is_spliced: bool) -> None:
    async with midway(own, is_spliced=is_spliced) as (gateway, client, call):
        call.close() if how == "close" else call.reset()
        assert await client.body() == (b"", None)
        record = await gateway.record()
        detail = "the answer was cut: it closed the connection before its answer was complete"
        assert (record["status"], record["bytes_out"], record["detail"]) == (200, LENGTH // 2, detail)


async def test_a_client_that_leaves_a_long_body_ends_it(own: Forwarding, is_spliced: bool) -> None:
    async with midway(own, is_spliced=is_spliced) as (gateway, client, _):
        client.reset()
        await gateway.origin.until_ended()
        record = await gateway.record()
        assert (record["status"], record["detail"]) == (499, "the client left")


async def test_a_client_that_leaves_unread_bytes_of_a_long_body_ends_it(own: Forwarding, is_spliced: bool) -> None:
    """It has taken no more for a while, so that the origin was not read either."""
    async with own(buffer=SMALL_BUFFER_BYTES) as gateway:
        gateway.origin.default = says(head("200 OK", f"content-length: {32 * LENGTH}") + BODY * 32)
        client = await gateway.client(buffer=SMALL_BUFFER_BYTES)
        await client.send(request("GET / HTTP/1.1"))
        await client.head()
        await asyncio.sleep(0.1)
        client.reset()
        record = await gateway.record()
        assert (record["status"], record["detail"]) == (499, "the client left")
        await gateway.origin.until_ended()


async def test_a_long_body_that_pauses_is_cut_as_idle(own: Forwarding, is_spliced: bool) -> None:
    async with midway(own, "timeouts = { idle = 0.2 }", is_spliced=is_spliced) as (gateway, client, _):
        assert await client.body() == (b"", None)
        assert (await gateway.record())["detail"] == "the answer was cut: nothing came for 0.2 s"
        await gateway.origin.until_ended()


async def test_a_long_body_that_its_client_does_not_take_is_cut_as_idle(
    own: Forwarding, is_spliced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it takes something it is not; and its origin has no part in it."""
    waiting = iter(range(10**9, 0, -1))
    is_taken = True
    monkeypatch.setattr(forwarding_client, "untaken", lambda _: next(waiting) if is_taken else 1)
    async with own("timeouts = { idle = 0.2 }", buffer=SMALL_BUFFER_BYTES) as gateway:
        gateway.origin.default = says(head("200 OK", f"content-length: {32 * LENGTH}") + BODY * 32)
        client = await gateway.client(buffer=SMALL_BUFFER_BYTES)
        await client.send(request("GET / HTTP/1.1"))
        await gateway.origin.until_asked()
        await asyncio.sleep(0.5)
        assert gateway.logged() == []
        assert DESCRIPTORS.splices <= is_spliced
        is_taken = False
        record = await gateway.record()
        assert record["detail"] == "the answer was cut: nothing was taken for 0.2 s"


async def test_a_long_body_goes_on_where_its_client_reads_late(own: Forwarding, is_spliced: bool) -> None:
    async with own(buffer=SMALL_BUFFER_BYTES) as gateway:
        gateway.origin.default = says(HEAD + BODY)
        client = await gateway.client(buffer=SMALL_BUFFER_BYTES)
        await client.send(request("GET / HTTP/1.1"))
        await asyncio.sleep(0.05)
        assert (await client.answer()).body == BODY
        assert (await client.ask("GET / HTTP/1.1")).body == BODY


async def test_a_worker_that_ends_cuts_its_long_bodies(own: Forwarding, is_spliced: bool) -> None:
    async with midway(own, is_spliced=is_spliced) as (gateway, client, _):
        for connection in list(gateway.handler.connections):
            connection.silence()
        assert await client.body() == (b"", None)
        assert (await gateway.record())["detail"] == "the worker ended"


@pytest.mark.parametrize("length", [LEAST_BYTES - 1000, LENGTH], ids=["short", "chunked"])
async def test_other_bodies_are_not_spliced(length: int, own: Forwarding, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> int:
        raise AssertionError

    monkeypatch.setattr("os.splice", fail)
    async with own() as gateway:
        body = BODY[:length]
        whole = head("200 OK", "transfer-encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (length, body)
        gateway.origin.default = says(whole if length == LENGTH else answer(body))
        assert (await gateway.ask("GET / HTTP/1.1")).body == body


Pairs = tuple[socket.socket, socket.socket, socket.socket, socket.socket]


class Kept:
    """What a splice says."""

    def __init__(self) -> None:
        self.size = 0
        self.said: list[str] = []

    def on_spliced(self, size: int) -> None:
        self.size += size

    def on_splice_end(self, *, is_followed: bool) -> None:
        self.said.append("followed" if is_followed else "end")

    def on_splice_cut(self) -> None:
        self.said.append("cut")

    def on_splice_left(self) -> None:
        self.said.append("left")


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    """The origin and our end, our other end and the client."""
    sockets = *socket.socketpair(), *socket.socketpair()
    for each in sockets:
        each.setblocking(False)
    yield sockets
    for each in sockets:
        each.close()
    assert DESCRIPTORS.splices == 0


async def until_said(kept: Kept) -> str:
    await until(lambda: kept.said)
    (said,) = kept.said
    return said


@pytest.mark.parametrize(("behind", "said"), [(b"", "end"), (b"x", "followed")])
async def test_what_follows_a_body_is_left_where_it_is(behind: bytes, said: str, pairs: Pairs) -> None:
    origin, source, sink, client = pairs
    kept = Kept()
    origin.send(b"body" + behind)
    Splice(kept, source.fileno(), sink.fileno(), 4)
    assert await until_said(kept) == said
    assert (kept.size, client.recv(100)) == (4, b"body")
    assert (source.recv(1) if behind else b"") == behind


async def test_descriptors_that_are_closed_and_used_again_meanwhile_are_not_written_to(pairs: Pairs) -> None:
    """The event loop closes a connection a moment before it says so, and another client may get its number."""
    origin, source, sink, client = pairs
    kept = Kept()
    splice = Splice(kept, source.fileno(), sink.fileno(), 2 * PIPE_BYTES)
    number = sink.fileno()
    sink.close()
    other, theirs = socket.socketpair()
    assert other.fileno() == number
    with other, theirs:
        origin.send(b"body")
        await until(lambda: kept.size >= 4)
        assert client.recv(100) == b"body"
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
    splice.stop()
    splice.stop()  # does no harm


async def test_a_sink_that_has_gone_ends_it(pairs: Pairs) -> None:
    origin, source, sink, client = pairs
    kept = Kept()
    client.close()
    origin.send(b"body")
    Splice(kept, source.fileno(), sink.fileno(), PIPE_BYTES)
    assert await until_said(kept) == "left"


def test_half_of_the_descriptors_of_connections_are_not_for_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 1024))
    of = Descriptors()
    of.clients, of.origins = 100, 50
    of.splices = 62
    assert of.allow_splice()  # 2 * 100 + 4 * 62 of 896 / 2
    of.splices = 63
    assert not of.allow_splice()
