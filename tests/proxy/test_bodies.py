"""Bodies pass both ways as they come, in frames of ours, and neither side is sent more than it takes."""

import asyncio
import socket
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest
from support.coroutines import PATIENCE_SECONDS, until
from support.gateway import Client, Forwarding, Gateway
from support.origin import Call, Gate, answer, begins, chunk, chunks, head, says
from support.wire import head as request

from redirect.edge import limits
from redirect.proxy.connections import Connections
from redirect.proxy.upstream import Upstream

CHUNKED = "Transfer-Encoding: chunked"
MIB = 2**20

# What a transfer of 64 MiB may have got ahead of a reader that reads nothing. Two pairs of kernel buffers take most
# of it: on Linux up to 6 MiB to receive and 4 MiB to send on each side of the gateway.
MOST_AHEAD_BYTES = 24 * MIB
SMALL_BUFFER_BYTES = 64 * 1024

# A body of 600 bytes, in a chunk for each.
SMALL_CHUNKS = chunks(*[b"\0"] * 600)

# Bodies by how they are framed: the fields, the bytes, and what they mean.
REQUESTS = {
    "none": ([], b"", b""),
    "a length": (["Content-Length: 5"], b"hello", b"hello"),
    "a length of 0": (["Content-Length: 0"], b"", b""),
    "a length behind thousands of zeros": ([f"Content-Length: {'0' * 5000}5"], b"hello", b"hello"),
    "chunked": ([CHUNKED], chunks(b"he", b"llo"), b"hello"),
    "chunked, empty": ([CHUNKED], chunks(), b""),
    "chunked, with extensions": ([CHUNKED], b'5;a="b"\r\nhello\r\n0;c\r\n\r\n', b"hello"),
    "chunked, with a trailer": ([CHUNKED], chunks(b"hello", trailers="X-Sum: 1\r\n"), b"hello"),
    "a request in the body": (["Content-Length: 24"], b"GET /evil HTTP/1.1\r\n\r\nxx", b"GET /evil HTTP/1.1\r\n\r\nxx"),
    "64 KiB and a byte": (["Content-Length: 65537"], b"b" * 65537, b"b" * 65537),
    "64 KiB and a byte in chunks": ([CHUNKED], chunks(b"b" * 65536, b"b"), b"b" * 65537),
}
ANSWERS = {
    "a length": (["Content-Length: 5"], b"hello", b"hello", False),
    "a length of 0": (["Content-Length: 0"], b"", b"", False),
    "chunked": ([CHUNKED], chunks(b"he", b"llo"), b"hello", False),
    "chunked, spelt otherwise": (["transfer-encoding: CHUNKED"], chunks(b"hello"), b"hello", False),
    "chunked, empty": ([CHUNKED], chunks(), b"", False),
    "chunked, with extensions": ([CHUNKED], b'5;a="b"\r\nhello\r\n0;c\r\n\r\n', b"hello", False),
    "until the close": (["X-A: b"], b"hello", b"hello", True),
    "until the close, empty": ([], b"", b"", True),
    "a length, and a close": (["Content-Length: 5", "Connection: close"], b"hello", b"hello", True),
}


def framing(gateway: Gateway) -> dict[str, list[str]]:
    """How the last request came to the origin."""
    asked = gateway.origin.asked[-1]
    return {name: asked.all(name) for name in ("content-length", "transfer-encoding")}


# Requests


@pytest.mark.parametrize(("fields", "sent", "body"), REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_a_request_reaches_the_origin_with_its_body(
    method: str, fields: list[str], sent: bytes, body: bytes, forwarding: Forwarding
) -> None:
    """A known length stays one, everything else is chunked."""
    async with forwarding() as gateway:
        client = await gateway.client()
        for n in range(2):
            got = await client.ask(f"{method} /{n} HTTP/1.1", *fields, body=sent)
            assert (got.status, got.body) == (200, b"ok")
            assert gateway.origin.asked[-1].body == body
            length = [str(len(body)) for field in fields if field.startswith("Content-Length")]
            codings = ["chunked"] if CHUNKED in fields else []
            assert framing(gateway) == {"content-length": length, "transfer-encoding": codings}
        assert gateway.origin.targets == ["/0", "/1"]
        assert [record["bytes_in"] for record in await gateway.records(2)] == [len(body)] * 2


@pytest.mark.parametrize("length", [True, False], ids=["length", "chunked"])
async def test_pieces_of_a_request_pass_as_they_come(length: bool, forwarding: Forwarding) -> None:
    """The origin has its head before the body, and each piece before the next is sent."""
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def note(call: Call) -> None:
        arrived.put_nowait(b"")
        for _ in range(3):
            arrived.put_nowait(await call.peer.exactly(3) if length else await one_chunk(call))
        await call.write(answer(b"noted"))
        call.close()

    async with forwarding() as gateway:
        gateway.origin.default = note
        client = await gateway.sent("POST / HTTP/1.1", "Content-Length: 9" if length else CHUNKED)
        assert await arrived.get() == b""
        for piece in (b"abc", b"def", b"ghi"):
            await client.send(piece if length else chunk(piece))
            assert await arrived.get() == piece
        await client.send(b"" if length else b"0\r\n\r\n")
        assert (await client.answer()).body == b"noted"


async def test_small_chunks_that_came_together_pass_together(own: Forwarding) -> None:
    """Each by itself would take as much time as a large one, both ways."""
    sizes: list[int] = []

    async def note(call: Call) -> None:
        while sizes[-1:] != [0]:
            sizes.append(len(await one_chunk(call)))
        await call.write(head("200 OK", CHUNKED) + SMALL_CHUNKS)

    async with own() as gateway:
        gateway.origin.default = note
        client = await gateway.sent("POST / HTTP/1.1", CHUNKED, "Connection: close", body=SMALL_CHUNKS)
        answered = await client.everything()
        assert answered.count(b"\0") == 600
        assert answered.count(b"\r\n1\r\n") < 10
    assert sum(sizes) == 600
    assert len(sizes) < 10


async def one_chunk(call: Call) -> bytes:
    size = int(await call.peer.until(b"\r\n"), 16)
    return (await call.peer.exactly(size + 2))[:-2]


@pytest.mark.parametrize(("fields", "sent", "body"), list(REQUESTS.values())[:3], ids=list(REQUESTS)[:3])
async def test_requests_of_http_1_0_pass_as_1_1(
    fields: list[str], sent: bytes, body: bytes, forwarding: Forwarding
) -> None:
    async with forwarding() as gateway:
        client = await gateway.client()
        got = await client.ask("POST /x HTTP/1.0", *fields, body=sent)
        assert (got.status, got.body) == (200, b"ok")
        assert await client.is_ended()
        assert (gateway.origin.asked[0].line, gateway.origin.asked[0].body) == ("POST /x HTTP/1.1", body)


async def test_pipelined_requests_are_answered_in_their_order(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        for n in range(5):
            gateway.origin.on(f"/{n}", says(answer(b"%d" % n)))
        client = await gateway.client()
        posts = [request(f"POST /{n} HTTP/1.1", "Content-Length: 3") + b"abc" for n in range(0, 5, 2)]
        gets = [request(f"GET /{n} HTTP/1.1") for n in range(1, 5, 2)]
        await client.send(posts[0] + gets[0] + posts[1] + gets[1] + posts[2])
        assert [(await client.answer()).body for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
        assert gateway.origin.targets == ["/0", "/1", "/2", "/3", "/4"]
        assert [asked.body for asked in gateway.origin.asked] == [b"abc", b"", b"abc", b"", b"abc"]


async def test_a_forward_and_other_answers_keep_their_order(forwarding: Forwarding) -> None:
    constant = '[[routes]]\npath = "/constant"\nrespond = { body = "constant" }\n'
    async with forwarding(more=constant) as gateway:
        gateway.origin.on("/late", gate := Gate(says(answer(b"late"))))
        client = await gateway.client()
        await client.send(
            request("GET /late HTTP/1.1") + request("GET /constant HTTP/1.1") + request("GET /x HTTP/1.1")
        )
        await gateway.origin.until_asked()
        gate.open()
        assert [(await client.answer()).body for _ in range(3)] == [b"late", b"constant", b"ok"]
        actions = [record["action"] for record in await gateway.records(3)]
        assert actions == ["forward", "respond", "forward"]


@pytest.mark.parametrize("bad", [b"x\r\n", b"0\r\n\r", b"1\r\na\r\n0\r\n" + b"x: y\r\n" * 101 + b"\r\n"])
async def test_a_refusal_waits_for_the_answers_before_it(bad: bytes, own: Forwarding) -> None:
    """It is not taken for the answer to another request, and its own one reaches no origin."""
    async with own() as gateway:
        gateway.origin.on("/late", gate := Gate(says(answer(b"late"))))
        client = await gateway.client()
        refused = request("POST /refused HTTP/1.1", CHUNKED) + bad
        await client.send(request("GET /late HTTP/1.1") + request("GET /x HTTP/1.1") + refused)
        await client.send(request("GET /smuggled HTTP/1.1"))
        await gateway.origin.until_asked()
        await asyncio.sleep(0.02)
        gate.open()
        assert [(await client.answer()).body for _ in range(2)] == [b"late", b"ok"]
        assert (await client.answer()).status in (400, 431)
        assert await client.is_ended()
        assert gateway.origin.targets == ["/late", "/x"]
        assert [record["path"] for record in await gateway.records(3)] == ["/late", "/x", "/refused"]


# Answers


@pytest.mark.parametrize(("fields", "sent", "body", "close"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_reaches_the_client_with_its_body(
    fields: list[str], sent: bytes, body: bytes, close: bool, forwarding: Forwarding
) -> None:
    """A known length stays one, everything else is chunked, and the client's connection goes on in any case."""
    async with forwarding() as gateway:
        gateway.origin.default = says(head("200 OK", *fields) + sent, close=close)
        client = await gateway.client()
        for _ in range(2):
            got = await client.ask("GET / HTTP/1.1")
            assert (got.status, got.body, got.is_cut) == (200, body, False)
            is_known = any(field.startswith("Content-Length") for field in fields)
            assert (got.has("content-length"), got.has("transfer-encoding")) == (is_known, not is_known)
        assert [record["bytes_out"] for record in await gateway.records(2)] == [len(body)] * 2


@pytest.mark.parametrize(("fields", "sent", "body", "close"), ANSWERS.values(), ids=ANSWERS)
async def test_clients_of_http_1_0_get_no_chunks(
    fields: list[str], sent: bytes, body: bytes, close: bool, own: Forwarding
) -> None:
    """What has no length ends with the connection. uvicorn's protocol sends chunks, so this is not asked of ASGI."""
    async with own() as gateway:
        early = head("103 Early Hints", "Link: </a>")
        gateway.origin.default = says(early + head("200 OK", *fields) + sent, close=close)
        client = await gateway.client()
        got = await client.ask("GET / HTTP/1.0")
        assert (got.status, got.body, got.is_cut, got.interim) == (200, body, False, [])
        assert not got.has("transfer-encoding")
        assert got.has("content-length") == any(field.startswith("Content-Length") for field in fields)
        assert await client.is_ended()


BODYLESS = {
    "HEAD": ("HEAD", head("200 OK", "Content-Length: 1024")),
    "HEAD of chunks": ("HEAD", head("200 OK", CHUNKED)),
    "HEAD of nothing": ("HEAD", head("200 OK")),
    "204": ("GET", head("204 No Content")),
    "304": ("GET", head("304 Not Modified", "ETag: x")),
    "304 with a length": ("GET", head("304 Not Modified", "Content-Length: 1024")),
}


@pytest.mark.parametrize(("method", "sent"), BODYLESS.values(), ids=BODYLESS)
async def test_connections_are_used_again_after_an_answer_without_a_body(
    method: str, sent: bytes, forwarding: Forwarding
) -> None:
    async with forwarding() as gateway:
        gateway.origin.on("/bodyless", says(sent))
        client = await gateway.client()
        got = await client.ask(f"{method} /bodyless HTTP/1.1")
        assert (got.status, got.body) == (int(sent[9:12]), b"")
        lengths = [line[16:] for line in sent.decode().split("\r\n") if line.startswith("Content-Length")]
        assert not got.all("content-length") or got.all("content-length") == lengths
        assert (await client.ask("GET / HTTP/1.1")).body == b"ok"
        assert [(asked.connection, asked.nth) for asked in gateway.origin.asked] == [(0, 1), (0, 2)]


async def test_the_length_of_an_answer_to_head_is_passed(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        gateway.origin.default = says(head("200 OK", "Content-Length: 1024"))
        assert (await gateway.ask("HEAD / HTTP/1.1")).all("content-length") == ["1024"]


@pytest.mark.parametrize("framed", ["chunked", "length", "close"])
async def test_the_head_of_an_answer_and_each_piece_pass_as_they_come(framed: str, forwarding: Forwarding) -> None:
    """As server-sent events need it: the head before any body, and each piece before the next is written."""
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def stream(call: Call) -> None:
        fields = {"chunked": [CHUNKED], "length": ["Content-Length: 12"], "close": []}[framed]
        await call.write(head("200 OK", "Content-Type: text/event-stream", *fields))
        while (piece := await pieces.get()) is not None:
            await call.write(chunk(piece) if framed == "chunked" else piece)
        await call.write(b"0\r\n\r\n" if framed == "chunked" else b"")
        if framed == "close":
            call.close()

    async with forwarding() as gateway:
        gateway.origin.default = stream
        client = await gateway.sent("GET / HTTP/1.1")
        assert (await client.head()).status_code == 200
        for piece in (b"one\n", b"two\n", b"six\n"):
            pieces.put_nowait(piece)
            assert await client.piece() == piece
        pieces.put_nowait(None)
        rest, end = await client.body()
        assert rest == b""
        assert end is not None


@pytest.mark.parametrize("asked_for", [True, False], ids=["asked for", "not asked for"])
async def test_trailers_reach_a_client_that_said_it_takes_them(asked_for: bool, own: Forwarding) -> None:
    whole = head("200 OK", CHUNKED) + chunks(b"body", trailers="X-Sum: 7\r\nx-sum: 8\r\n")
    async with own() as gateway:
        gateway.origin.default = says(whole)
        client = await gateway.client()
        for _ in range(2):
            got = await client.ask("GET / HTTP/1.1", *(["TE: trailers"] if asked_for else []))
            assert got.body == b"body"
            assert got.trailers == ([("X-Sum", "7"), ("x-sum", "8")] if asked_for else [])


async def test_trailers_never_make_an_answer_another_one(forwarding: Forwarding) -> None:
    """Fields of framing in them are no framing."""
    bad = "Content-Length: 99\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nX: y\r\n"
    async with forwarding() as gateway:
        gateway.origin.on("/bad", says(head("200 OK", CHUNKED) + chunks(b"body", trailers=bad), close=True))
        client = await gateway.client()
        got = await client.ask("GET /bad HTTP/1.1", "TE: trailers")
        names = {name.lower() for name, _ in got.trailers}
        assert not names & {"content-length", "transfer-encoding", "connection"}
        assert got.is_cut or (await client.ask("GET / HTTP/1.1")).body == b"ok"


# Interim answers and expectations


async def test_early_hints_reach_the_client_before_the_answer(own: Forwarding) -> None:
    release = asyncio.Event()

    async def hint(call: Call) -> None:
        await call.write(head("103 Early Hints", "Link: </a>", "Link: </b>"))
        await release.wait()
        await call.write(answer(b"ok"))

    async with own() as gateway:
        gateway.origin.default = hint
        client = await gateway.client()
        for _ in range(2):
            release.clear()
            await client.send(request("GET / HTTP/1.1"))
            client.expect()
            early = await client.event()
            assert getattr(early, "status_code", None) == 103
            assert b"Link: </a>\r\nLink: </b>" in client.received
            release.set()
            final = await client.event()
            assert getattr(final, "status_code", None) == 200
            assert (await client.body())[0] == b"ok"
        assert len(gateway.origin.peers) == 1


@pytest.mark.parametrize("interim", ["100 Continue", "102 Processing", "103 Early Hints", "199 Odd"])
@pytest.mark.parametrize("count", [1, 3])
async def test_unexpected_interim_answers_do_no_harm(interim: str, count: int, forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        gateway.origin.default = says(head(interim) * count + answer(b"ok"))
        client = await gateway.client()
        for _ in range(2):
            got = await client.ask("GET / HTTP/1.1")
            assert (got.status, got.body) == (200, b"ok")
            assert [status for status, _ in got.interim] in ([], [int(interim[:3])] * count)
        assert len(gateway.origin.peers) == 1


@pytest.mark.parametrize("field", ["Connection: close", "Proxy-Connection: close", "Connection: close, x"])
@pytest.mark.parametrize("interim", ["100 Continue", "103 Early Hints"])
@pytest.mark.parametrize("framing", ["Content-Length: 2", "Transfer-Encoding: chunked", "Connection: close"])
async def test_the_answer_follows_an_interim_one_that_says_close(
    interim: str, field: str, framing: str, forwarding: Forwarding
) -> None:
    """Which is said of the connection, and the answer is what ends it."""
    body = chunks(b"ok") if "chunked" in framing else b"ok"
    async with forwarding("retries = 0") as gateway:
        gateway.origin.default = says(head(interim, field) + head("200 OK", framing) + body, close="close" in framing)
        for _ in range(2):
            got = await gateway.ask("GET / HTTP/1.1")
            assert (got.status, got.body) == (200, b"ok")


async def test_a_length_where_there_is_no_body_does_not_pass(own: Forwarding) -> None:
    """RFC 9110, section 8.6: a client that counts on it would wait, or take the next answer for the body."""
    async with own() as gateway:
        early, none = head("103 Early Hints", "Content-Length: 4"), head("204 No Content", "Content-Length: 5", "X: y")
        gateway.origin.default = says(early + none)
        client = await gateway.client()
        for _ in range(2):
            got = await client.ask("GET / HTTP/1.1")
            assert (got.status, got.all("X"), got.body) == (204, ["y"], b"")
        assert b"content-length" not in client.received.lower()
        assert len(gateway.origin.peers) == 1


async def test_an_old_origin_that_sends_chunks_is_not_asked_again_on_its_connection(forwarding: Forwarding) -> None:
    """Its framing may be that of an intermediary that does not know them (RFC 9112, section 6.1)."""
    async with forwarding() as gateway:
        old = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"ok")
        gateway.origin.default = says(old)
        client = await gateway.client()
        for _ in range(2):
            assert (await client.ask("GET / HTTP/1.1")).body == b"ok"
        assert len(gateway.origin.peers) == 2


@pytest.mark.parametrize(("field", "trailers"), [("Proxy-Connection: close", ""), ("X: y", "Connection: close\r\n")])
async def test_an_origin_that_ends_its_connection_in_other_words_is_not_asked_again_on_it(
    field: str, trailers: str, forwarding: Forwarding
) -> None:
    """The parser reads nothing behind such an answer."""
    async with forwarding() as gateway:
        gateway.origin.default = says(head("200 OK", CHUNKED, field) + chunks(b"ok", trailers=trailers))
        client = await gateway.client()
        for _ in range(2):
            assert (await client.ask("GET / HTTP/1.1")).body == b"ok"
        assert len(gateway.origin.peers) == 2


@pytest.mark.parametrize("framed", ["Content-Length: 5", CHUNKED])
async def test_a_client_that_expects_100_sends_its_body_after_the_origins_100(
    framed: str, forwarding: Forwarding
) -> None:
    ask_for_it = asyncio.Event()

    async def wants(call: Call) -> None:
        assert call.asked.all("Expect") == ["100-continue"]
        await ask_for_it.wait()
        await call.write(head("100 Continue"))
        await call.write(answer(await call.body()))

    async with forwarding() as gateway:
        gateway.origin.default = wants
        client = await gateway.begun("POST / HTTP/1.1", framed, "Expect: 100-continue")
        ask_for_it.set()
        client.expect("POST")
        assert getattr(await client.event(), "status_code", None) == 100
        await client.send(b"hello" if framed != CHUNKED else chunks(b"hello"))
        response = await client.event()
        assert getattr(response, "status_code", None) == 200
        assert (await client.body())[0] == b"hello"
        gateway.origin.default = says(answer(b"next"))
        assert (await client.ask("GET / HTTP/1.1")).body == b"next"


async def test_what_an_old_client_expects_is_not_passed(forwarding: Forwarding) -> None:
    """It knows no 100 (RFC 9110, section 10.1.1)."""
    async with forwarding() as gateway:
        asked = await gateway.asked("POST / HTTP/1.0", "Content-Length: 2", "Expect: 100-continue", body=b"ok")
        assert (asked.all("Expect"), asked.body) == ([], b"ok")


async def test_no_100_is_said_before_the_origin_says_it(own: Forwarding) -> None:
    """A final answer in its place is passed, and ends the connection: the body may come or not."""
    async with own() as gateway:
        gateway.origin.default = begins(answer(b"no", status="417 Expectation Failed"))
        client = await gateway.sent("POST / HTTP/1.1", "Content-Length: 5", "Expect: 100-continue")
        got = await client.answer("POST")
        assert (got.status, got.body, got.interim) == (417, b"no", [])
        assert got.all("Connection") == ["close"]
        assert await client.is_ended()
        await gateway.origin.until_ended()


# Early answers


@asynccontextmanager
async def uploading(client: Client, size: int) -> AsyncIterator[None]:
    """While that many bytes are sent, or as many as are taken."""

    async def send() -> None:
        for _ in range(size // 65536):
            await client.send(b"z" * 65536)

    task = asyncio.create_task(send())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("framed", ["length", "chunked"])
async def test_an_early_answer_is_passed_while_the_client_sends(framed: str, own: Forwarding) -> None:
    """Then both connections end: the rest of the body is not read. The origin reads none of it and closes."""
    size = 8_000_000 // 65536 * 65536
    async with own() as gateway:
        gateway.origin.default = begins(answer(b"big", "Connection: close", status="413 Content Too Large"))
        client = await gateway.client()
        fields = f"Content-Length: {size}" if framed == "length" else CHUNKED
        await client.send(request("POST / HTTP/1.1", fields) + (b"" if framed == "length" else b"%x\r\n" % size))
        async with uploading(client, size):
            got = await client.answer("POST")
            assert (got.status, got.body, got.is_cut) == (413, b"big", False)
            assert got.all("connection") == ["close"]
            peer = await gateway.origin.until_ended()
            assert peer.count < size, "the whole body was sent behind the answer"
        record = await gateway.record()
        assert (record["status"], record["origin_status"], record["tries"]) == (413, 413, 1)


async def test_an_early_answer_is_passed_where_the_origin_closes_at_once(own: Forwarding) -> None:
    """With a part of the request unread: where it runs by itself, a write often fails before the answer is read."""
    count, size = 20, 8_000_000 // 65536 * 65536

    def refuse(listener: socket.socket) -> None:
        for _ in range(count):
            with listener.accept()[0] as connection:
                connection.recv(10_000)
                connection.sendall(answer(b"big", "Connection: close", status="413 Content Too Large"))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_SECONDS)  # else it would wait for good where a request fails
        asked = asyncio.get_running_loop().run_in_executor(None, refuse, listener)
        async with own(hosts=f'"127.0.0.1:{listener.getsockname()[1]}" = 1') as gateway:
            for _ in range(count):
                client = await gateway.sent("POST / HTTP/1.1", f"Content-Length: {size}")
                async with uploading(client, size):
                    got = await client.answer("POST")
                    assert (got.status, got.body, got.is_cut) == (413, b"big", False)
        await asked


async def test_a_client_that_reads_only_when_it_has_sent_all_gets_an_early_refusal(own: Forwarding) -> None:
    """The rest of the body is read, and discarded."""
    async with own() as gateway:
        await gateway.origin.stop()
        client = await gateway.sent("POST / HTTP/1.1", f"Content-Length: {32 * MIB}", body=bytes(32 * MIB))
        assert (await client.answer("POST")).status == 503


@pytest.mark.parametrize("seconds", [0, 0.1], ids=["at once", "when nothing more can be sent"])
async def test_an_early_answer_ends_the_connection_of_an_origin_that_reads_nothing(
    seconds: float, own: Forwarding
) -> None:
    """Whether it closes or not: nobody waits for it to take the rest of a request that is answered."""
    is_answered = asyncio.Event()

    async def refuse(call: Call) -> None:
        await is_full.wait()
        await call.write(answer(b"big", status="413 Content Too Large"))
        await is_answered.wait()

    is_full = asyncio.Event()
    async with own(buffer=SMALL_BUFFER_BYTES) as gateway:
        gateway.origin.default = refuse
        client = await gateway.sent("POST / HTTP/1.1", f"Content-Length: {64 * MIB}")
        async with uploading(client, 64 * MIB):
            await gateway.origin.until_asked()
            await asyncio.sleep(seconds)
            is_full.set()
            assert (await client.answer("POST")).status == 413
        connection = gateway.origin.peers[0].socket
        established = b"\x01"
        await until(lambda: connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != established)
        is_answered.set()


# Cut answers


@asynccontextmanager
async def cut(
    forwarding: Forwarding, sent: bytes, *, how: str, version: str = "1.1"
) -> AsyncIterator[tuple[Gateway, Client]]:
    """A client that was given the head of an answer that is cut then."""
    go = asyncio.Event()

    async def behave(call: Call) -> None:
        await call.write(sent)
        await go.wait()
        call.close() if how == "close" else call.reset()

    async with forwarding() as gateway:
        gateway.origin.default = behave
        client = await gateway.sent(f"GET / HTTP/{version}")
        assert (await client.head()).status_code == 200
        go.set()
        yield gateway, client


CUTS = {
    "length": head("200 OK", "Content-Length: 100") + b"x" * 50,
    "length, before its first byte": head("200 OK", "Content-Length: 100"),
    "chunked": head("200 OK", CHUNKED) + chunk(b"hello"),
    "chunked, in a chunk": head("200 OK", CHUNKED) + b"a\r\nhello",
    "chunked, in the last one": head("200 OK", CHUNKED) + chunk(b"hello") + b"0\r\n",
}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("sent", CUTS.values(), ids=CUTS)
async def test_a_cut_answer_is_cut_for_the_client(sent: bytes, how: str, forwarding: Forwarding) -> None:
    async with cut(forwarding, sent, how=how) as (gateway, client):
        _, end = await client.body()
        assert end is None
        record = await gateway.record()
        assert (record["status"], record["origin_status"], record["tries"]) == (200, 200, 1)
        assert record["detail"]


@pytest.mark.parametrize("sent", [CUTS["chunked"], CUTS["length"]], ids=["chunked", "length"])
async def test_a_cut_answer_is_cut_for_a_client_of_http_1_0(sent: bytes, own: Forwarding) -> None:
    """Where only a close ends the answer, only a reset tells that it is cut."""
    async with cut(own, sent, how="close", version="1.0") as (_, client):
        assert (await client.body())[1] is None
        assert client.was_reset or b"Content-Length" in sent


async def test_a_worker_that_ends_cuts_what_a_close_would_end(own: Forwarding) -> None:
    async with cut(own, CUTS["chunked"], how="close", version="1.0") as (gateway, client):
        for connection in list(gateway.handler.connections):
            connection.silence()
        assert (await client.body())[1] is None
        assert client.was_reset


async def test_a_client_that_stops_reading_is_not_told_that_it_has_all(
    own: Forwarding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a whole answer that only a close ends, where its end waits here for longer than a client may rest."""
    monkeypatch.setattr(limits, "CLIENT_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(limits, "READ_CHECK_SECONDS", 0.05)
    loop = asyncio.get_running_loop()
    async with own() as gateway:
        gateway.origin.default = says(head("200 OK", CHUNKED) + chunks(b"d" * MIB))
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not gateway.handler.connections:
                    await asyncio.sleep(0.001)
                (connection,) = gateway.handler.connections
                sink = connection.transport.get_extra_info("socket")
                sink.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
                await loop.sock_sendall(client, request("GET / HTTP/1.0"))
                while not gateway.logged():
                    await loop.sock_recv(client, 4096)
                while gateway.handler.connections:
                    await asyncio.sleep(0.01)
            with suppress(ConnectionResetError):
                while await loop.sock_recv(client, 2**16):
                    pass
                raise AssertionError("it ends as a whole answer does")


async def test_a_reset_cuts_an_answer_that_a_close_would_end(forwarding: Forwarding) -> None:
    async with cut(forwarding, head("200 OK") + b"hello", how="reset") as (_, client):
        assert (await client.body())[1] is None


# Backpressure


async def stalled(count: Callable[[], int]) -> int:
    """The count, once it has not grown for a while."""
    before, still = -1, 0
    while still < 5:
        await asyncio.sleep(0.02)
        now = count()
        still = still + 1 if now == before else 0
        before = now
    return before


@pytest.mark.slow
@pytest.mark.parametrize("framed", ["length", "chunked", "close"])
async def test_a_client_that_does_not_read_stops_the_origin(framed: str, forwarding: Forwarding) -> None:
    """And goes on when it does: the whole of it arrives."""
    piece, count, written = b"d" * 65536, 64 * MIB // 65536, 0

    async def download(call: Call) -> None:
        nonlocal written
        fields = {"length": [f"Content-Length: {64 * MIB}"], "chunked": [CHUNKED], "close": []}[framed]
        await call.write(head("200 OK", *fields))
        whole = chunk(piece) if framed == "chunked" else piece
        for _ in range(count):
            await call.write(whole)
            written += len(piece)
        await call.write(b"0\r\n\r\n" if framed == "chunked" else b"")
        call.close()

    async with forwarding(buffer=SMALL_BUFFER_BYTES) as gateway:
        gateway.origin.default = download
        client = await gateway.client(buffer=SMALL_BUFFER_BYTES)
        await client.send(request("GET / HTTP/1.1"))
        await gateway.origin.until_asked()
        assert await stalled(lambda: written) < MOST_AHEAD_BYTES
        assert (await client.head()).status_code == 200
        received = 0
        while read := await client.piece():
            received += len(read)
        assert received == written == 64 * MIB
        record = await gateway.record()
        assert (record["status"], record["bytes_out"], record["detail"]) == (200, 64 * MIB, None)


@pytest.mark.slow
@pytest.mark.parametrize("framed", ["length", "chunked"])
async def test_an_origin_that_does_not_read_stops_the_client(framed: str, forwarding: Forwarding) -> None:
    piece, count, taken, go = b"u" * 65536, 64 * MIB // 65536, 0, asyncio.Event()

    async def read_later(call: Call) -> None:
        await go.wait()
        await call.write(answer(b"%d" % len(await call.body())))

    async def send(client: Client) -> None:
        nonlocal taken
        for _ in range(count):
            await client.send(piece if framed == "length" else chunk(piece))
            taken += len(piece)
        await client.send(b"" if framed == "length" else b"0\r\n\r\n")

    async with forwarding(buffer=SMALL_BUFFER_BYTES) as gateway:
        gateway.origin.default = read_later
        client = await gateway.client(buffer=SMALL_BUFFER_BYTES)
        fields = f"Content-Length: {64 * MIB}" if framed == "length" else CHUNKED
        await client.send(request("POST / HTTP/1.1", fields))
        sending = asyncio.create_task(send(client))
        await gateway.origin.until_asked()
        assert await stalled(lambda: taken) < MOST_AHEAD_BYTES
        go.set()
        await sending
        assert (await client.answer("POST")).body == b"%d" % (64 * MIB)
        assert (await gateway.record())["bytes_in"] == 64 * MIB


@pytest.mark.slow
async def test_an_origin_that_is_full_at_once_stops_the_client(
    own: Forwarding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was kept until there was a connection fills it."""
    connect, taken, may_connect, ends = Connections.connect, 0, asyncio.Event(), asyncio.Event()

    async def late(connections: Connections, seconds: float) -> Upstream:
        await may_connect.wait()
        upstream = await connect(connections, seconds)
        upstream.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        upstream.transport.set_write_buffer_limits(high=1024)
        return upstream

    async def read_nothing(call: Call) -> None:
        await ends.wait()
        call.reset()

    async def send(client: Client) -> None:
        nonlocal taken
        for _ in range(64):
            await client.send(b"u" * MIB)
            taken += MIB

    monkeypatch.setattr(Connections, "connect", late)
    async with own(buffer=SMALL_BUFFER_BYTES) as gateway:
        gateway.origin.default = read_nothing
        client = await gateway.client(buffer=SMALL_BUFFER_BYTES)
        await client.send(request("POST / HTTP/1.1", f"Content-Length: {64 * MIB}"))
        sending = asyncio.create_task(send(client))
        assert await stalled(lambda: taken) < MOST_AHEAD_BYTES
        may_connect.set()
        await gateway.origin.until_asked()
        assert await stalled(lambda: taken) < MOST_AHEAD_BYTES
        sending.cancel()
        ends.set()
        client.reset()


# Large ones


def random_pieces(seed: int, size: int) -> Iterator[bytes]:
    """Pieces of odd sizes, `size` bytes in all."""
    random = Random(seed)
    while size:
        piece = random.randbytes(min(size, random.choice([1, 100, 4096, 70_000])))
        size -= len(piece)
        yield piece


@pytest.mark.parametrize("framed", ["length", "chunked"])
async def test_a_large_upload_and_its_echo_arrive_as_they_were_sent(framed: str, forwarding: Forwarding) -> None:
    pieces = [*random_pieces(1, 3 * MIB)]
    sum_of_all = zlib.crc32(b"".join(pieces))

    async def echo(call: Call) -> None:
        body = await call.body()
        await call.write(head("200 OK", f"Content-Length: {len(body)}" if framed == "length" else CHUNKED))
        for piece in pieces:
            await call.write(piece if framed == "length" else chunk(piece))
        await call.write(b"" if framed == "length" else b"0\r\n\r\n")

    async with forwarding() as gateway:
        gateway.origin.default = echo
        client = await gateway.sent("PUT / HTTP/1.1", f"Content-Length: {3 * MIB}" if framed == "length" else CHUNKED)
        for piece in pieces:
            await client.send(piece if framed == "length" else chunk(piece))
        await client.send(b"" if framed == "length" else b"0\r\n\r\n")
        got = await client.answer("PUT")
        assert zlib.crc32(gateway.origin.asked[0].body) == sum_of_all
        assert (zlib.crc32(got.body), got.is_cut) == (sum_of_all, False)


async def test_many_clients_get_each_their_own_answer(forwarding: Forwarding) -> None:
    async def echo(call: Call) -> None:
        await call.write(answer(call.asked.target.encode() + await call.body()))

    async def talk(gateway: Gateway, n: int) -> None:
        client = await gateway.client()
        for turn in range(5):
            body = b"%d" % n * 100
            got = await client.ask(f"POST /{n}/{turn} HTTP/1.1", f"Content-Length: {len(body)}", body=body)
            assert got.body == f"/{n}/{turn}".encode() + body

    async with forwarding() as gateway:
        gateway.origin.default = echo
        await asyncio.gather(*(talk(gateway, n) for n in range(20)))
        assert len(gateway.origin.asked) == 100
        assert len(gateway.origin.peers) <= 20


@pytest.mark.parametrize("field", ["Connection", "Proxy-Connection"])
async def test_a_trailer_that_closes_is_answered_as_the_last_request(field: str, own: Forwarding) -> None:
    """The parser reads nothing behind it, so the client must not wait there."""
    async with own() as gateway:
        client = await gateway.client()
        got = await client.ask("POST / HTTP/1.1", CHUNKED, body=b"0\r\n%b: close\r\n\r\n" % field.encode())
        assert (got.status, got.all("connection")) == (200, ["close"])
        assert await client.is_ended()
