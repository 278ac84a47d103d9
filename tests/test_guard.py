"""The table of answers, on the wire: each row is what comes in, the status, and the connection's fate."""

import gc
import weakref
from typing import Any

import pytest
from wire import Wire, head

from redirect.guard import BODY_LIMIT, FIELDS_LIMIT, HEADERS_LIMIT, PIECE, REQUEST_LINE_LIMIT

NEXT = head("GET /next HTTP/1.1")


def line_of(length: int) -> str:
    """A request line of `length` bytes."""
    return f"GET /{'a' * (length - len('GET / HTTP/1.1'))} HTTP/1.1"


def fields_of(size: int) -> str:
    """A field that makes the header section, with Host, `size` bytes long."""
    return f"X: {'a' * (size - len('Host: asked.example') - len('X: ') - 4)}"


def chunked(*chunks: bytes) -> bytes:
    """A POST whose body comes in `chunks`."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return head("POST / HTTP/1.1", "Transfer-Encoding: chunked") + body


ANSWERED_AND_OPEN = {
    "a request": (head("GET / HTTP/1.1"), 302),
    "any method of the registry": (head("PROPFIND / HTTP/1.1"), 302),
    "HEAD": (head("HEAD / HTTP/1.1"), 302),
    "a pool's own status": (head("GET / HTTP/1.1", "X-Redirect-Pool-ID: pool-b"), 307),
    "absolute form": (head("GET http://asked.example/x HTTP/1.1"), 302),
    "a loop": (head("GET / HTTP/1.1", host="ORIGIN-1.:80"), 422),
    "a loop by absolute form": (head("GET http://origin-1/ HTTP/1.1"), 422),
    "OPTIONS *": (head("OPTIONS * HTTP/1.1"), 204),
    "the longest request line": (head(line_of(REQUEST_LINE_LIMIT)), 302),
    "the largest header section": (head("GET / HTTP/1.1", fields_of(HEADERS_LIMIT)), 302),
    "the most fields": (head("GET / HTTP/1.1", *["X: 1"] * (FIELDS_LIMIT - 1)), 302),
    "the longest body": (head("POST / HTTP/1.1", f"Content-Length: {BODY_LIMIT}") + b"b" * BODY_LIMIT, 302),
    "the longest chunked body": (chunked(b"b" * (BODY_LIMIT - 1), b"b"), 302),
    "blanks behind a Host": (head("GET / HTTP/1.1", host="asked.example \t"), 302),
    "blanks behind a pool": (head("GET / HTTP/1.1", "X-Redirect-Pool-ID: \t pool-b \t"), 307),
    "blank lines before a request": (b"\r\n\r\n" + head("GET / HTTP/1.1"), 302),
}

ANSWERED_AND_CLOSED = {
    "HTTP/1.0": (head("GET / HTTP/1.0", host=None), 302),
    "Connection: close": (head("GET / HTTP/1.1", "Connection: close"), 302),
    "a body over the limit": (head("POST / HTTP/1.1", f"Content-Length: {BODY_LIMIT + 1}"), 302),
    "a chunked body over the limit": (chunked(b"b" * BODY_LIMIT, b"b"), 302),
    "Expect: 100-continue": (head("POST / HTTP/1.1", "Content-Length: 3", "Expect: 100-continue"), 302),
    "Upgrade": (head("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: h2c"), 302),
    "a websocket": (head("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: websocket"), 302),
    "no Host": (head("GET / HTTP/1.1", host=None), 400),
    "two Hosts": (head("GET / HTTP/1.1", "Host: asked.example"), 400),
    "an empty Host": (head("GET / HTTP/1.1", host=""), 400),
    "a Host with userinfo": (head("GET / HTTP/1.1", host="u@h"), 400),
    "a Host with a path": (head("GET / HTTP/1.1", host="h/x"), 400),
    "a Host with a comma": (head("GET / HTTP/1.1", host="h,i"), 400),
    "a Host with a blank": (head("GET / HTTP/1.1", host="h i"), 400),
    "a Host that is no UTF-8": (head("GET / HTTP/1.1", host="\xff"), 400),
    "CONNECT": (head("CONNECT asked.example:443 HTTP/1.1"), 400),
    "* with another method": (head("GET * HTTP/1.1"), 400),
    "a target of no form": (head("GET asked.example HTTP/1.1"), 400),
    "a target with another scheme": (head("GET ftp://asked.example/ HTTP/1.1"), 400),
    "a target with userinfo": (head("GET http://u@h/ HTTP/1.1"), 400),
    "raw high bytes in the target": (head("GET /\xff HTTP/1.1"), 400),
    "an unknown method": (head("BREW / HTTP/1.1"), 400),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "obsolete folding": (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "a length beside a coding": (
        head("POST / HTTP/1.1", "Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        400,
    ),
    "two lengths": (head("POST / HTTP/1.1", "Content-Length: 3", "Content-Length: 4"), 400),
    "a length that is no number": (head("POST / HTTP/1.1", "Content-Length: 3, 3"), 400),
    "an unknown coding": (head("POST / HTTP/1.1", "Transfer-Encoding: gzip"), 400),
    "a bad chunk": (head("POST / HTTP/1.1", "Transfer-Encoding: chunked") + b"zz\r\n", 400),
    "a request line over the limit": (head(line_of(REQUEST_LINE_LIMIT + 1)), 414),
    "a header section over the limit": (head("GET / HTTP/1.1", fields_of(HEADERS_LIMIT + 1)), 431),
    "a field without end": (b"GET / HTTP/1.1\r\nX: " + b"a" * 3 * HEADERS_LIMIT, 431),
    "blanks without end": (b"GET / HTTP/1.1\r\nX:" + b" " * 3 * HEADERS_LIMIT, 431),
    "too many fields": (head("GET / HTTP/1.1", *["X: 1"] * FIELDS_LIMIT), 431),
    "too many trailers": (chunked()[:-2] + b"X: 1\r\n" * FIELDS_LIMIT + b"\r\n", 431),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/2.0 in HTTP/1 framing": (head("GET / HTTP/2.0"), 505),
    "HTTP/1.2": (head("GET / HTTP/1.2"), 505),
    "HTTP/0.9": (head("GET / HTTP/0.9"), 505),
    "RTSP": (head("DESCRIBE /x RTSP/1.0"), 505),
    "ICE": (head("SOURCE /x ICE/1.0"), 505),
    "line ends without end": (b"\r\n" * HEADERS_LIMIT, 431),
}


@pytest.mark.parametrize(("sent", "status"), ANSWERED_AND_OPEN.values(), ids=ANSWERED_AND_OPEN)
def test_the_connection_goes_on(sent: bytes, status: int, wire: Wire) -> None:
    """A request that is understood is answered, and so is the next one on its connection."""
    answers, ended, records = wire.exchange(sent + NEXT)
    assert [answer.status for answer in answers] == [status, 302]
    assert answers[1].location == "http://origin-1/next"
    assert not ended
    assert [record["status"] for record in records] == [status, 302]


@pytest.mark.parametrize(("sent", "status"), ANSWERED_AND_CLOSED.values(), ids=ANSWERED_AND_CLOSED)
def test_the_connection_ends(sent: bytes, status: int, wire: Wire) -> None:
    """An answer that ends the connection says so, and nothing behind it is answered or logged."""
    answers, ended, records = wire.exchange(sent + NEXT)
    assert [answer.status for answer in answers] == [status]
    assert answers[0].headers["connection"] == "close"
    assert ended
    assert [record["status"] for record in records] == [status]


@pytest.mark.parametrize(
    ("sent", "status"),
    (ANSWERED_AND_OPEN | ANSWERED_AND_CLOSED).values(),
    ids=[*ANSWERED_AND_OPEN, *ANSWERED_AND_CLOSED],
)
def test_segments_do_not_matter(sent: bytes, status: int, wire: Wire) -> None:
    """However the network cuts a request, the answer, the record and the connection's fate are the same."""
    whole = wire.exchange(sent + NEXT)
    for size in (1, 7, 1000) if len(sent) < 2000 else (1021,):
        pieces = [(sent + NEXT)[at : at + size] for at in range(0, len(sent + NEXT), size)]
        assert wire.exchange(pieces).essence() == whole.essence()


def test_answers_keep_their_order(wire: Wire) -> None:
    """Answers come in the order of the requests, the refusal that ends the connection last."""
    requests = [head(f"GET /{n} HTTP/1.1") for n in range(50)]
    answers, ended, _ = wire.exchange(b"".join(requests) + head("GET / HTTP/1.1", host=None) + NEXT)
    assert [answer.location for answer in answers] == [f"http://origin-1/{n}" for n in range(50)] + [None]
    assert answers[-1].status == 400
    assert ended


def test_refusals_are_problems(wire: Wire) -> None:
    """A refusal is application/problem+json with type, title, status and detail (RFC 9457)."""
    (answer,), _, _ = wire.exchange(head("GET / HTTP/1.1", host="h i"))
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.body == (
        b'{"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "the Host header is no host with '
        b'an optional port: a host name is made of letters, digits, - and _ between dots"}'
    )


def test_redirects_are_empty(wire: Wire) -> None:
    """A redirect has no body and says so."""
    (answer,), _, _ = wire.exchange(head("GET / HTTP/1.1"))
    assert (answer.headers["content-length"], answer.body) == ("0", b"")


def test_head_refused(wire: Wire) -> None:
    """A refused HEAD is answered with the head of the problem alone."""
    (answer,), _, _ = wire.exchange(head("HEAD / HTTP/1.1", host="origin-1"))
    assert answer.status == 422
    assert answer.body == b""


def test_head_malformed(wire: Wire) -> None:
    """The method of a request is known although its target is not, so a HEAD's refusal has no body."""
    (answer,), _, (record,) = wire.exchange(head("HEAD /\xff HTTP/1.1"))
    assert (answer.status, answer.body) == (400, b"")
    assert (record["method"], record["path"]) == ("HEAD", None)


def test_pipelining_is_bounded(wire: Wire) -> None:
    """Of requests that a client sends in advance no more wait than one piece of its bytes holds; all are answered."""
    request = head("GET / HTTP/1.1", host="a")
    seen = wire.converse(request * 10_000)
    assert seen.sent.count(b"HTTP/1.1 302 Found\r\n") == 10_000
    assert seen.waited <= PIECE // len(request) + 1


def test_pipelining_leaves_time_for_others(wire: Wire) -> None:
    """Between two pieces of what one client has sent in advance the loop sees to others."""
    request = head("GET / HTTP/1.1", host="a")
    seen = wire.converse(request * 10_000)
    assert seen.sent.count(b"HTTP/1.1 302 Found\r\n") == 10_000
    assert seen.turns >= len(request) * 10_000 // PIECE


def test_a_client_that_does_not_read(wire: Wire) -> None:
    """For who pipelines and does not read a bounded number of bytes and requests waits. Once he reads he gets all."""
    request = head("GET / HTTP/1.1", host="a")
    seen = wire.converse(request * 10_000, high_water=10_000)
    assert seen.sent.count(b"HTTP/1.1 302 Found\r\n") == 10_000
    assert seen.waited <= PIECE // len(request) + 1
    assert 10_000 < seen.unread < 10_000 + (PIECE // len(request) + 2) * 200


def test_options_of_the_server(wire: Wire) -> None:
    """`OPTIONS *` lists methods and asks no pool."""
    (answer,), _, (record,) = wire.exchange(head("OPTIONS * HTTP/1.1"))
    assert answer.headers["allow"] == "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"
    assert (record["pool"], record["location"]) == (None, None)


def test_trailers_name_no_pool(wire: Wire) -> None:
    """A field behind the body is no header: it does not choose the pool."""
    trailed = chunked(b"body")[:-2] + b"X-Redirect-Pool-ID: pool-b\r\n\r\n"
    (answer,), _, (record,) = wire.exchange(trailed)
    assert answer.location == "http://origin-1/"
    assert record["pool_requested"] is None


def test_two_pools_are_one_unknown_name(wire: Wire) -> None:
    """Two pool headers are one value joined by a comma (RFC 9110, 5.3), which names no pool."""
    sent = head("GET / HTTP/1.1", "X-Redirect-Pool-ID: pool-b", "X-Redirect-Pool-ID: pool-b")
    (answer,), _, (record,) = wire.exchange(sent)
    assert answer.location == "http://origin-1/"
    assert (record["pool_requested"], record["pool"]) == ("pool-b, pool-b", "pool-a")


def test_smuggled_requests_stay_unheard(wire: Wire) -> None:
    """A second request inside a body is the body's, whatever it looks like."""
    inner = NEXT
    sent = head("POST /outer HTTP/1.1", f"Content-Length: {len(inner)}") + inner
    answers, _, _ = wire.exchange(sent)
    assert [answer.location for answer in answers] == ["http://origin-1/outer"]


def test_nothing_follows_the_last_answer(wire: Wire) -> None:
    """What is malformed behind an answer that ends the connection, in the same piece, is not answered too."""
    sent = head("POST / HTTP/1.1", "Expect: 100-continue", "Transfer-Encoding: chunked") + b"zz\r\n"
    answers, ended, records = wire.exchange(sent + NEXT)
    assert [answer.status for answer in answers] == [302]
    assert ended
    assert len(records) == 1


@pytest.mark.parametrize(
    "sent", [head("GET / HTTP/1.1"), chunked(b"body"), head("GET / HTTP/1.1", "Upgrade: x"), b"?\r\n"]
)
def test_a_connection_that_ended_is_no_garbage(sent: bytes, wire: Wire) -> None:
    """What a connection took is free once it ended, without a collector, which a reload takes its part away from."""
    made, protocol = [], wire.protocol

    def remembered(*arguments: Any) -> Any:
        connection = protocol(*arguments)
        made.append(weakref.ref(connection))
        return connection

    wire.protocol = remembered  # type: ignore[assignment]
    gc.collect()
    gc.disable()
    try:
        wire.exchange(sent)
        assert [connection() for connection in made] == [None]
    finally:
        gc.enable()
