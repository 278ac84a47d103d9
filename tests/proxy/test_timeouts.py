"""The four timeouts of a route, each with its beginning and its end."""

import asyncio
import socket
from collections.abc import Iterator

import pytest
from support.coroutines import until
from support.gateway import Forwarding
from support.origin import Call, Gate, answer, begins, chunk, goes_on, hang, head, in_turn, says
from support.wire import head as request

from redirect.edge import forwarding as forwarding_client
from redirect.proxy import exchange
from redirect.proxy.untaken import untaken

CHUNKED = "Transfer-Encoding: chunked"
# A timeout of 0.1 s has passed by then, also where deadlines are looked at now and then.
SOON_SECONDS = 0.6


def seconds(begin: float) -> float:
    return asyncio.get_running_loop().time() - begin


@pytest.fixture
def full() -> Iterator[str]:
    """Where connections are not refused and never made: a listener whose queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        host, port = listener.getsockname()
        waiting = []
        for _ in range(4):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex((host, port))
            waiting.append(connection)
        yield f"{host}:{port}"
        for connection in waiting:
            connection.close()


async def test_connect_ends_with_503(full: str, forwarding: Forwarding) -> None:
    async with forwarding("timeouts = { connect = 0.1 }\nretries = 0", hosts=f'"{full}" = 1') as gateway:
        begin = asyncio.get_running_loop().time()
        got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.error) == (503, "connection_timeout")
        assert got.has("retry-after")
        assert 0.08 < seconds(begin) < SOON_SECONDS


async def test_connect_is_followed_by_the_next_origin(full: str, forwarding: Forwarding) -> None:
    """Also for POST: nothing was sent."""
    async with forwarding("timeouts = { connect = 0.1 }", hosts=f'"{full}" = 1, {{}}') as gateway:
        client = await gateway.client()
        for _ in range(2):
            assert (await client.ask("POST / HTTP/1.1", "Content-Length: 1", body=b"b")).status == 200
        assert len(gateway.origin.asked) == 2
        assert sorted(record["tries"] for record in await gateway.records(2)) == [1, 2]


async def test_answer_ends_with_504(forwarding: Forwarding) -> None:
    async with forwarding("timeouts = { answer = 0.1 }") as gateway:
        gateway.origin.default = hang
        client = await gateway.client()
        begin = asyncio.get_running_loop().time()
        got = await client.ask("POST / HTTP/1.1", "Content-Length: 1", body=b"b")
        assert (got.status, got.error) == (504, "http_response_timeout")
        assert 0.08 < seconds(begin) < SOON_SECONDS
        await gateway.origin.until_ended()
        record = await gateway.record()
        assert (record["status"], record["origin_status"], record["action"]) == (504, None, "forward")
        assert record["detail"]
        gateway.origin.default = says(answer(b"ok"))
        assert (await client.ask("GET / HTTP/1.1")).body == b"ok"  # the client's connection goes on


async def drip(call: Call) -> None:
    await call.write(head("200 OK", CHUNKED))
    for _ in range(6):
        await asyncio.sleep(0.06)
        await call.write(chunk(b"d"))
    await call.write(b"0\r\n\r\n")


class Taken:
    """Stands in for what the kernel tells: how much waits for the other side, which takes some while it `goes_on`."""

    def __init__(self) -> None:
        self.waiting = 10**9
        self.goes_on = True

    def __call__(self, *_: object) -> int:
        self.waiting -= self.goes_on
        return self.waiting


async def test_a_client_that_reads_slowly_is_not_idle(own: Forwarding, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes until there is room for more."""
    monkeypatch.setattr(forwarding_client, "untaken", taken := Taken())
    async with own("timeouts = { idle = 0.2 }", buffer=64 * 1024) as gateway:
        gateway.origin.default = says(answer(b"d" * 50_000_000))
        client = await gateway.client(buffer=64 * 1024)
        await client.send(request("GET / HTTP/1.1"))
        await gateway.origin.until_asked()
        await asyncio.sleep(SOON_SECONDS)
        assert gateway.logged() == []
        taken.goes_on = False
        assert (await gateway.record())["detail"] == "the answer was cut: nothing was taken for 0.2 s"


async def test_an_origin_that_reads_slowly_is_not_idle(own: Forwarding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "untaken", taken := Taken())
    async with own("timeouts = { idle = 0.2 }", buffer=64 * 1024) as gateway:
        is_over = asyncio.Event()
        gateway.origin.default = lambda call: is_over.wait()  # type: ignore[assignment, return-value]
        client = await gateway.client(buffer=64 * 1024)
        sending = asyncio.create_task(
            client.send(request("POST / HTTP/1.1", "Content-Length: 50000000") + bytes(50_000_000))
        )
        await gateway.origin.until_asked()
        await asyncio.sleep(SOON_SECONDS)
        assert gateway.logged() == []
        taken.goes_on = False
        detail = (await gateway.record())["detail"]
        assert detail == "no answer from origins: the origin took nothing of the request for 0.2 s"
        sending.cancel()
        is_over.set()


async def test_what_the_other_side_has_not_taken_is_counted_in_the_kernel_as_well() -> None:
    """Where what the event loop holds stands still."""
    loop, read = asyncio.get_running_loop(), socket.socket()
    with socket.create_server(("127.0.0.1", 0)) as listener, read:
        read.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        read.connect(listener.getsockname())
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=listener.accept()[0])
        transport.write(bytes(30_000_000))
        await asyncio.sleep(0.1)
        before, held = untaken(transport), transport.get_write_buffer_size()
        assert 0 < held < before
        read.recv(20_000, socket.MSG_WAITALL)
        read.recv(200_000, socket.MSG_WAITALL)
        await until(lambda: untaken(transport) != before)
        assert untaken(transport) < before
        transport.abort()


@pytest.mark.parametrize("interim", ["", "HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK\r\nX: y\r\n"])
async def test_answer_ends_when_the_head_is_whole(interim: str, forwarding: Forwarding) -> None:
    """Neither an interim answer nor a part of the head is one."""
    async with forwarding("timeouts = { answer = 0.1 }") as gateway:
        gateway.origin.default = begins(interim.encode())
        assert (await gateway.ask("GET / HTTP/1.1")).status == 504


async def test_interim_answers_do_not_put_off_the_end_of_answer(forwarding: Forwarding) -> None:
    async with forwarding("timeouts = { answer = 0.1 }") as gateway:
        gateway.origin.default = goes_on(b"", head("102 Processing"))
        begin = asyncio.get_running_loop().time()
        assert (await gateway.ask("GET / HTTP/1.1")).status == 504
        assert seconds(begin) < SOON_SECONDS


async def test_answer_begins_with_the_last_byte_of_the_request(forwarding: Forwarding) -> None:
    """However long the client takes for its body."""
    async with forwarding("timeouts = { answer = 0.1 }") as gateway:
        client = await gateway.sent("POST / HTTP/1.1", "Content-Length: 5")
        for _ in range(5):
            await asyncio.sleep(0.06)
            await client.send(b"b")
        assert (await client.answer("POST")).status == 200


async def test_answer_does_not_limit_the_body(forwarding: Forwarding) -> None:
    async with forwarding("timeouts = { answer = 0.1 }") as gateway:
        gateway.origin.default = drip
        got = await gateway.ask("GET / HTTP/1.1")
        assert (got.body, got.is_cut) == (b"dddddd", False)


async def test_idle_cuts_an_answer_that_pauses(forwarding: Forwarding) -> None:
    async with forwarding("timeouts = { idle = 0.1 }") as gateway:
        gateway.origin.default = begins(head("200 OK", CHUNKED) + chunk(b"d"))
        begin = asyncio.get_running_loop().time()
        got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.body, got.is_cut) == (200, b"d", True)
        assert 0.08 < seconds(begin) < SOON_SECONDS
        await gateway.origin.until_ended()
        assert (await gateway.record())["detail"]


async def test_idle_does_not_limit_an_answer_that_goes_on(forwarding: Forwarding) -> None:
    async with forwarding("timeouts = { idle = 0.2 }") as gateway:
        gateway.origin.default = drip
        assert (await gateway.ask("GET / HTTP/1.1")).body == b"dddddd"


async def test_idle_ends_a_request_that_pauses(forwarding: Forwarding) -> None:
    """The client is late, not the origin."""
    async with forwarding("timeouts = { idle = 0.1 }") as gateway:
        gateway.origin.default = hang
        client = await gateway.sent("POST / HTTP/1.1", "Content-Length: 5", body=b"b")
        got = await client.answer("POST")
        assert got.status in (408, 504)
        assert await client.is_ended()
        await gateway.origin.until_ended()


async def test_a_client_that_was_not_asked_for_its_body_is_not_late(forwarding: Forwarding) -> None:
    """The origin is, which says neither 100 nor anything else."""
    async with forwarding("timeouts = { answer = 0.3, idle = 0.1 }") as gateway:
        gateway.origin.default = hang
        client = await gateway.client()
        begin = asyncio.get_running_loop().time()
        await client.send(request("POST / HTTP/1.1", "Content-Length: 5", "Expect: 100-continue"))
        got = await client.answer("POST")
        assert (got.status, got.error) == (504, "http_response_timeout")
        assert seconds(begin) > 0.25
        assert await client.is_ended()


async def test_a_client_that_was_asked_for_its_body_and_pauses_is_late(forwarding: Forwarding) -> None:
    async with forwarding("timeouts = { answer = 5, idle = 0.1 }") as gateway:
        gateway.origin.default = begins(head("100 Continue"))
        client = await gateway.sent("POST / HTTP/1.1", "Content-Length: 5", "Expect: 100-continue")
        assert (await client.answer("POST")).status == 408


async def test_idle_does_not_limit_the_origin_before_its_head(forwarding: Forwarding) -> None:
    """That is what `answer` does: the request is sent, and nothing is between two pieces."""
    async with forwarding("timeouts = { idle = 0.1, answer = 5 }") as gateway:
        gateway.origin.default = gate = Gate(says(answer(b"ok")))
        client = await gateway.sent("GET / HTTP/1.1")
        await asyncio.sleep(0.35)
        gate.open()
        assert (await client.answer()).body == b"ok"


async def test_total_ends_with_504_before_the_head(forwarding: Forwarding) -> None:
    async with forwarding("timeouts = { total = 0.1 }") as gateway:
        gateway.origin.default = hang
        got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.error) == (504, "http_response_timeout")
        await gateway.origin.until_ended()


async def test_total_cuts_an_answer_that_goes_on(forwarding: Forwarding) -> None:
    async with forwarding("timeouts = { total = 0.2 }") as gateway:
        gateway.origin.default = goes_on(head("200 OK", CHUNKED), chunk(b"d"))
        begin = asyncio.get_running_loop().time()
        got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.is_cut) == (200, True)
        assert 0.18 < seconds(begin) < 0.2 + SOON_SECONDS


async def test_total_is_of_all_tries_together(forwarding: Forwarding) -> None:
    async def late(call: Call) -> None:
        await asyncio.sleep(0.07)
        call.close()

    async with forwarding("timeouts = { total = 0.1 }\nretries = 5", origins=6) as gateway:
        for origin in gateway.origins:
            origin.default = late
        begin = asyncio.get_running_loop().time()
        assert (await gateway.ask("GET / HTTP/1.1")).status == 504
        assert seconds(begin) < 0.1 + SOON_SECONDS / 2


async def test_total_of_one_request_is_none_of_the_next(forwarding: Forwarding) -> None:
    """Nor does a late answer reach it."""
    async with forwarding("timeouts = { total = 0.1 }") as gateway:
        gateway.origin.default = in_turn(hang, says(answer(b"ok")))
        client = await gateway.client()
        assert (await client.ask("GET / HTTP/1.1")).status == 504
        for _ in range(2):
            await asyncio.sleep(0.06)
            assert (await client.ask("GET / HTTP/1.1")).body == b"ok"


@pytest.mark.parametrize("which", ["answer", "idle", "total"])
async def test_a_quick_answer_meets_no_timeout(which: str, forwarding: Forwarding) -> None:
    async with forwarding(f"timeouts = {{ {which} = 0.1 }}") as gateway:
        client = await gateway.client()
        for _ in range(3):
            assert (await client.ask("GET / HTTP/1.1")).status == 200
        await asyncio.sleep(0.15)
        assert (await client.ask("GET / HTTP/1.1")).status == 200
