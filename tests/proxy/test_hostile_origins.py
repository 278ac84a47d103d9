"""Origins that are broken or hostile: what they send is one answer to one request, or a fault that is named."""

import asyncio

import pytest
from support.gateway import Forwarding, connect
from support.origin import Behaviour, Call, answer, begins, chunk, chunks, goes_on, head, in_turn, says, started

CHUNKED = "Transfer-Encoding: chunked"
OK = "HTTP/1.1 200 OK\r\n"
EVIL = answer(b"evil", "X-Evil: 1")


def raw(text: str) -> bytes:
    return text.encode("latin-1")


# Heads that could be read in two ways, or in none.
BROKEN = {
    "two lengths": head("200 OK", "Content-Length: 2", "Content-Length: 3") + b"okk",
    "two lengths in one field": head("200 OK", "Content-Length: 2, 3") + b"okk",
    "a length and chunks": head("200 OK", "Content-Length: 2", CHUNKED) + chunks(b"ok"),
    "chunks and a length": head("200 OK", CHUNKED, "Content-Length: 2") + chunks(b"ok"),
    "a length that is no number": head("200 OK", "Content-Length: x") + b"ok",
    "a length below 0": head("200 OK", "Content-Length: -1") + b"ok",
    "a length with a sign": head("200 OK", "Content-Length: +2") + b"ok",
    "a length of 2^64": head("200 OK", "Content-Length: 18446744073709551616") + b"ok",
    "an empty length": head("200 OK", "Content-Length: ") + b"ok",
    "an unknown coding": head("200 OK", "Transfer-Encoding: cow") + b"ok",
    "a coding behind chunked": head("200 OK", "Transfer-Encoding: chunked, gzip") + chunks(b"ok"),
    "chunked twice": head("200 OK", CHUNKED, CHUNKED) + chunks(b"ok"),
    "a folded field": raw(f"{OK}X: y\r\n z\r\nContent-Length: 2\r\n\r\nok"),
    "a folded length": raw(f"{OK}Content-Length:\r\n 2\r\n\r\nok"),
    "a blank before a colon": raw(f"{OK}Content-Length : 2\r\n\r\nok"),
    "a line without a colon": raw(f"{OK}X\r\nContent-Length: 2\r\n\r\nok"),
    "a field without a name": raw(f"{OK}: y\r\nContent-Length: 2\r\n\r\nok"),
    "a NUL in a value": raw(f"{OK}X: \0\r\nContent-Length: 2\r\n\r\nok"),
    "a CR in a value": raw(f"{OK}X: y\rz: 1\r\nContent-Length: 2\r\n\r\nok"),
    "a NUL in a reason": raw("HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok"),
    "an escape in a reason": raw("HTTP/1.1 200 \x1b[2J\r\nContent-Length: 2\r\n\r\nok"),
    "a NUL in a name": raw(f"{OK}X\0: y\r\nContent-Length: 2\r\n\r\nok"),
    "a field of 60 KiB": head("200 OK", "X: " + "a" * 60 * 1024, "Content-Length: 2") + b"ok",
    "101 fields": head("200 OK", *["X: y"] * 100, "Content-Length: 2") + b"ok",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 100,
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "HTTP/2": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "another protocol": b"RTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    "a status that is no number": b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok",
    "a status below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
    "an unasked 101": head("101 Switching Protocols", "Connection: upgrade", "Upgrade: x") + b"\x81\x05hello",
    "an unasked 101, then an answer": head("101 Switching Protocols") + answer(b"ok"),
}


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
async def test_what_is_no_answer_is_502(sent: bytes, forwarding: Forwarding) -> None:
    """No byte of it reaches the client, who goes on, and the connection is not used again."""
    async with forwarding("retries = 5", origins=2) as gateway:
        for origin in gateway.origins:
            origin.default = in_turn(says(sent), says(answer(b"next")))
        client = await gateway.client()
        got = await client.ask("GET / HTTP/1.1")
        assert got.status == 502
        assert got.error in ("http_protocol_error", "http_response_header_section_size")
        assert got.detail
        asked = [asked for origin in gateway.origins for asked in origin.asked]
        assert len(asked) == 1, "a broken answer is an answer: it is not tried again"
        for _ in range(2):
            got = await client.ask("GET / HTTP/1.1")
            assert got.body == b"next" or got.status == 502
        assert all(asked.nth == 1 or asked.connection for origin in gateway.origins for asked in origin.asked)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"HTTP/1.1 404 Not Fo", b"und here\r\nContent-Length: 0\r\n\r\n"], id="torn"),
        pytest.param([b"HTTP/1.1 404 Not Found here", b"\r\nContent-Length: 0\r\n\r\n"], id="torn behind it"),
        pytest.param(
            [head("103 Early"), b"HTTP/1.1 404 Not Found here\r\nContent-Length: 0\r\n\r\n"], id="behind a 103"
        ),
    ],
)
async def test_the_reason_is_that_of_the_answer_however_it_came(pieces: list[bytes], forwarding: Forwarding) -> None:
    """And where there is none, it is not that of another answer."""
    none = [head("103 Early"), b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]

    async def in_pieces(call: Call) -> None:
        for piece in pieces if len(call.origin.asked) == 1 else none:
            await call.write(piece)
            await asyncio.sleep(0.02)

    async with forwarding() as gateway:
        gateway.origin.default = in_pieces
        client = await gateway.client()
        for status, reason in ((404, b"Not Found here"), (200, b"")):
            got = await client.ask("GET / HTTP/1.1")
            assert got.status == status
            if forwarding.is_own:  # ASGI has no reason
                assert bytes(client.received).rpartition(b"HTTP/1.1 ")[2].startswith(b"%d %b\r\n" % (status, reason))


async def test_equal_lengths_are_one_or_none(forwarding: Forwarding) -> None:
    """RFC 9110, section 8.6, allows both."""
    async with forwarding() as gateway:
        gateway.origin.default = says(head("200 OK", "Content-Length: 2", "Content-Length: 2") + b"ok")
        got = await gateway.ask("GET / HTTP/1.1")
        assert got.status == 502 or (got.all("Content-Length"), got.body) == (["2"], b"ok")


@pytest.mark.parametrize(
    "body",
    [head("199 Odd", f"Content-Length: {len(EVIL)}") + EVIL, head("199 Odd", CHUNKED) + chunks(EVIL)],
    ids=["length", "chunks"],
)
@pytest.mark.parametrize("before", [b"", head("103 Early Hints")], ids=["first", "behind a 103"])
async def test_an_informational_answer_has_no_body(before: bytes, body: bytes, forwarding: Forwarding) -> None:
    """No byte of one reaches the client, who would take it for an answer, and what follows for that to the next."""
    async with forwarding("retries = 0") as gateway:
        gateway.origin.on("/evil", says(before + body + answer(b"ok")))
        client = await gateway.client()
        got = await client.ask("GET /evil HTTP/1.1")
        assert (got.status, got.error, got.has("x-evil")) == (502, "http_protocol_error", False)
        got = await client.ask("GET / HTTP/1.1")
        assert (got.status, got.body) == (200, b"ok")


# Within the limits

LIMITS = {
    "100 fields": head("200 OK", *["X: y"] * 99, "Content-Length: 2") + b"ok",
    "a field of 30 KiB": head("200 OK", "X: " + "a" * 30 * 1024, "Content-Length: 2") + b"ok",
    "no reason": b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
    "no blank behind a colon": b"HTTP/1.1 200 OK\r\nContent-Length:2\r\n\r\nok",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("sent", LIMITS.values(), ids=LIMITS)
async def test_what_is_within_the_limits_passes(sent: bytes, forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        gateway.origin.default = says(sent)
        client = await gateway.client()
        for _ in range(2):
            got = await client.ask("GET / HTTP/1.1")
            assert (got.status, got.body) == (200, b"ok")


ENDLESS = [b"x-%d: aaaaaaaa\r\n", b"a", b"x: " + b"a" * 1000 + b"\r\n"]


def endless(begin: bytes, piece: bytes) -> Behaviour:
    return goes_on(begin + b"X: ", piece * 100, pause=0.001)


@pytest.mark.parametrize("piece", ENDLESS, ids=str)
async def test_a_head_without_end_is_given_up_early(piece: bytes, forwarding: Forwarding) -> None:
    async with forwarding("retries = 0") as gateway:
        gateway.origin.default = endless(raw(OK), piece)
        got = await gateway.ask("GET / HTTP/1.1")
        assert got.status == 502
        await gateway.origin.until_ended()


@pytest.mark.parametrize("piece", ENDLESS, ids=str)
async def test_trailers_without_end_are_given_up_early(piece: bytes, forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        gateway.origin.default = endless(head("200 OK", CHUNKED) + b"2\r\nok\r\n0\r\n", piece)
        got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.is_cut) == (200, True)
        await gateway.origin.until_ended()
        assert "its trailers" in (await gateway.record())["detail"]


async def test_more_trailers_than_a_head_may_have_fields_are_no_answer(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        trailers = b"X: y\r\n" * 101
        gateway.origin.default = says(head("200 OK", CHUNKED) + b"2\r\nok\r\n0\r\n" + trailers + b"\r\n")
        assert (await gateway.ask("GET / HTTP/1.1")).is_cut


# Bytes behind an answer

WHOLE = {
    "a length": answer(b"ok"),
    "a length of 0": answer(b""),
    "chunked": head("200 OK", CHUNKED) + chunks(b"ok"),
    "204": head("204 No Content"),
    "304": head("304 Not Modified"),
}
BEHIND = {"an answer": EVIL, "garbage": b"\0" * 100, "a line end": b"\r\n", "a byte": b"x", "half an answer": EVIL[:20]}


@pytest.mark.parametrize("when", ["at once", "later"])
@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
@pytest.mark.parametrize("sent", WHOLE.values(), ids=WHOLE)
async def test_bytes_behind_an_answer_never_answer_the_next_request(
    sent: bytes, behind: bytes, when: str, forwarding: Forwarding
) -> None:
    """Neither this client's nor another's."""

    async def say(call: Call) -> None:
        if when == "at once":
            await call.write(sent + behind)
        else:
            await call.write(sent)
            await asyncio.sleep(0.01)
            await call.write(behind)

    async with forwarding("retries = 0") as gateway:
        gateway.origin.on("/evil", say)
        client = await gateway.client()
        got = await client.ask("GET /evil HTTP/1.1")
        assert got.status == int(sent[9:12])
        assert got.body in (b"ok", b"")
        if when == "later":
            await asyncio.sleep(0.02)
        for other in (client, await gateway.client()):
            got = await other.ask("GET / HTTP/1.1")
            assert (got.status, got.body, got.has("x-evil")) == (200, b"ok", False)
        if behind != b"\r\n":
            assert [asked.connection for asked in gateway.origin.asked] == [0, 1, 1]


async def test_a_body_to_head_never_answers_the_next_request(forwarding: Forwarding) -> None:
    async with forwarding("retries = 0") as gateway:
        gateway.origin.on("/evil", says(head("200 OK", f"Content-Length: {len(EVIL)}") + EVIL))
        client = await gateway.client()
        assert (await client.ask("HEAD /evil HTTP/1.1")).body == b""
        got = await client.ask("GET / HTTP/1.1")
        assert (got.status, got.body, got.has("x-evil")) == (200, b"ok", False)


async def test_an_answer_before_its_request_never_answers_it(forwarding: Forwarding) -> None:
    """An origin that speaks first does not know what it answers; what came with the request is the best guess."""
    async with forwarding("retries = 0") as gateway:
        gateway.origin.greeting = EVIL
        client = await gateway.client()
        first = await client.ask("GET /1 HTTP/1.1")
        second = await client.ask("GET /2 HTTP/1.1")
        assert second.has("x-evil") <= first.has("x-evil")
        assert (first.status, second.status) != (200, 200) or len(gateway.origin.peers) == 2


# Bodies

BAD_CHUNKS = {
    "no size": b"x\r\nok\r\n0\r\n\r\n",
    "a size that is too short": b"1\r\nok\r\n0\r\n\r\n",
    "a size that is too long": b"5\r\nok\r\n0\r\n\r\n",
    "a size of 2^64": b"10000000000000000\r\nok\r\n",
    "a size below 0": b"-2\r\nok\r\n0\r\n\r\n",
    "bare line feeds": b"2\nok\n0\n\n",
}


@pytest.mark.parametrize("bad", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
@pytest.mark.parametrize("first", [b"", chunk(b"good")], ids=["at once", "behind a good one"])
async def test_bad_chunks_cut_the_answer(bad: bytes, first: bytes, forwarding: Forwarding) -> None:
    """Or are 502, where nothing of it was passed yet."""
    async with forwarding("retries = 0") as gateway:
        gateway.origin.default = says(head("200 OK", CHUNKED) + first + bad, close=True)
        got = await gateway.ask("GET / HTTP/1.1")
        assert (got.is_cut and got.status in (0, 200)) or got.status == 502
        record = await gateway.record()
        assert record["detail"]
        assert got.status in (0, record["status"])


async def test_an_answer_that_begins_with_a_bad_chunk_is_502(own: Forwarding) -> None:
    """The connection goes on, and an old answer is used where there is one. Behind ASGI the head goes out at once."""
    async with own("retries = 0\ncache = { stale_if_down = 60 }") as gateway:
        gateway.origin.default = says(head("200 OK", CHUNKED) + BAD_CHUNKS["a size below 0"])
        client = await gateway.client()
        got = await client.ask("GET / HTTP/1.1")
        record = await gateway.record()
        assert (got.status, got.error) == (502, "http_protocol_error")
        assert (record["status"], record["origin_status"], record["bytes_out"]) == (502, 200, 0)
        gateway.origin.default = in_turn(
            says(answer(b"good")), says(head("200 OK", CHUNKED) + BAD_CHUNKS["a size below 0"])
        )
        assert (await client.ask("GET / HTTP/1.1")).body == b"good"
        got = await client.ask("GET / HTTP/1.1")
        assert (got.body, got.all("Cache-Status")) == (b"good", ['redirect; hit; detail="http protocol error"'])


async def test_an_origin_that_answers_early_and_often_says_one_answer(forwarding: Forwarding) -> None:
    """While the request is under way."""
    async with forwarding("retries = 0") as gateway:
        gateway.origin.on("/early", begins(answer(b"first") + EVIL))
        got = await gateway.ask("POST /early HTTP/1.1", "Content-Length: 4", body=b"body")
        assert (got.status, got.body) == (200, b"first")
        assert (await gateway.ask("GET / HTTP/1.1")).body == b"ok"


async def test_many_interim_answers_are_bounded_by_the_timeout(forwarding: Forwarding) -> None:
    async with forwarding("retries = 0\ntimeouts = { total = 0.2 }") as gateway:
        gateway.origin.default = goes_on(b"", head("103 Early Hints"))
        got = await gateway.ask("GET / HTTP/1.1")
        assert got.status in (502, 504)
        await gateway.origin.until_ended()


async def test_the_origin_is_reached_without_the_gateway() -> None:
    """A check of the script: `EVIL` is an answer that a client would take."""
    async with started() as origin:
        origin.greeting = EVIL
        client = await connect(origin.port)
        got = await client.answer()
        client.close()
    assert (got.status, got.body, got.has("x-evil")) == (200, b"evil", True)
