"""What a connection answers, in which order, and when it ends."""

import asyncio
import gc
import weakref
from random import Random
from typing import Any

import pytest
from httptools import HttpParserInvalidMethodError, HttpRequestParser
from support.connection import Connection
from support.corpus import ANSWERED_AND_CLOSED, ANSWERED_AND_OPEN, chunked
from support.wire import FRONTS, NEXT, POOLS, Wire, head, read_answers

from redirect.config.loader import parse_config
from redirect.core.service import new_service
from redirect.edge.connection import KNOWN_METHODS, HttpConnection
from redirect.edge.limits import MAX_FED_BYTES

FORWARDS = b'[[routes]]\npath_prefix = "/"\nforward_to = "p"\n[p]\nweighted_hosts = { "origin" = 1 }\n'


@pytest.mark.parametrize(("sent", "status"), ANSWERED_AND_OPEN.values(), ids=ANSWERED_AND_OPEN)
def test_a_valid_request_leaves_the_connection_open(sent: bytes, status: int, wire: Wire) -> None:
    answers, ended, records = wire.exchange(sent + NEXT)
    assert [answer.status for answer in answers] == [status, 302]
    assert answers[1].location == "http://origin-1/next"
    assert not ended
    assert [record["status"] for record in records] == [status, 302]


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "status"), ANSWERED_AND_CLOSED.values(), ids=ANSWERED_AND_CLOSED)
def test_a_refusal_or_last_answer_ends_the_connection(sent: bytes, status: int, wire: Wire) -> None:
    """It says so, and nothing behind it is answered or logged."""
    answers, ended, records = wire.exchange(sent + NEXT)
    assert [answer.status for answer in answers] == [status]
    assert answers[0].headers["connection"] == "close"
    assert ended
    assert [record["status"] for record in records] == [status]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "status"),
    (ANSWERED_AND_OPEN | ANSWERED_AND_CLOSED).values(),
    ids=[*ANSWERED_AND_OPEN, *ANSWERED_AND_CLOSED],
)
def test_how_the_network_cuts_a_request_does_not_matter(sent: bytes, status: int, wire: Wire) -> None:
    whole = wire.exchange(sent + NEXT)
    for size in (1, 7, 1000) if len(sent) < 2000 else (1021,):
        pieces = [(sent + NEXT)[at : at + size] for at in range(0, len(sent + NEXT), size)]
        assert wire.exchange(pieces).essence() == whole.essence()


@pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS)
def test_a_request_is_decided_once_its_head_is_read(front: type[HttpConnection]) -> None:
    """Routes that come while its body does have no part in it: they may forward, and what came of the body is gone."""
    forwards = new_service(parse_config(FORWARDS, "pools.toml"), Random(1))

    async def converse() -> bytes:
        connection = Connection(front)
        sent = connection.send(head("POST /x HTTP/1.1", "Transfer-Encoding: chunked") + b"1\r\na\r\n")
        connection.protocol.handler.service = forwards
        return sent + connection.send(b"0\r\n\r\n") + await connection.rest()

    (answer,) = read_answers(asyncio.run(converse()), ["POST"])
    assert answer.location == "http://origin-1/x"


def test_the_methods_that_are_known_are_those_of_the_parser() -> None:
    """A new version of it may know more, which would be refused here."""
    others = b"BREW CHECKIN LABEL MKREDIRECTREF ORDERPATCH UNCHECKOUT UPDATE VERSION-CONTROL get".split()
    for method in KNOWN_METHODS:
        HttpRequestParser(object()).feed_data(method + b" ")
    for method in others:
        with pytest.raises(HttpParserInvalidMethodError):
            HttpRequestParser(object()).feed_data(method + b" ")


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


@pytest.mark.slow
def test_pipelining_is_bounded(wire: Wire) -> None:
    """No more requests wait than one chunk of bytes holds; all are answered."""
    request = head("GET / HTTP/1.1", host="a")
    seen = wire.converse(request * 10_000)
    assert seen.sent.count(b"HTTP/1.1 302 Found\r\n") == 10_000
    assert seen.waited <= MAX_FED_BYTES // len(request) + 1


@pytest.mark.slow
def test_pipelining_leaves_the_event_loop_time_for_others(wire: Wire) -> None:
    request = head("GET / HTTP/1.1", host="a")
    seen = wire.converse(request * 10_000)
    assert seen.sent.count(b"HTTP/1.1 302 Found\r\n") == 10_000
    assert seen.turns >= len(request) * 10_000 // MAX_FED_BYTES


@pytest.mark.slow
def test_a_client_that_does_not_read_costs_a_bounded_number_of_bytes(wire: Wire) -> None:
    """And of requests. Once it reads, it gets all answers."""
    request = head("GET / HTTP/1.1", host="a")
    seen = wire.converse(request * 10_000, high_water=10_000)
    assert seen.sent.count(b"HTTP/1.1 302 Found\r\n") == 10_000
    assert seen.waited <= MAX_FED_BYTES // len(request) + 1
    assert 10_000 < seen.unread < 10_000 + (MAX_FED_BYTES // len(request) + 2) * 200


def test_options_of_the_server(wire: Wire) -> None:
    """`OPTIONS *` lists methods and asks no pool."""
    (answer,), _, (record,) = wire.exchange(head("OPTIONS * HTTP/1.1"))
    assert answer.headers["allow"] == "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"
    assert (record["pool"], record["location"]) == (None, None)


def test_options_of_a_server_that_the_target_names(wire: Wire) -> None:
    """A target without a path is `*` then (RFC 9112, section 3.2.4)."""
    for target, is_pool in (("http://a.example", False), ("http://a.example/", True), ("http://a.example?x", True)):
        (answer,), _, (record,) = wire.exchange(head(f"OPTIONS {target} HTTP/1.1"))
        assert (record["pool"] is not None, "allow" in answer.headers) == (is_pool, not is_pool)


def test_trailers_name_no_pool(wire: Wire) -> None:
    """A field behind the body is no header: it does not choose the pool."""
    trailed = chunked(b"body")[:-2] + b"X-Redirect-Pool-ID: pool-b\r\n\r\n"
    (answer,), _, (record,) = wire.exchange(trailed)
    assert answer.location == "http://origin-1/"
    assert record["pool_requested"] is None


@pytest.mark.parametrize(
    ("peer", "fields", "scheme", "client"),
    [
        ("127.0.0.1", ["Proto: https", "Proto: http", "For: 192.0.2.9", "For: 127.0.0.1"], "https", "192.0.2.9"),
        ("127.0.0.1", ["Proto: https", "Proto: https"], "https", "127.0.0.1"),
        ("192.0.2.7", ["Proto: https, https", "For: 192.0.2.9"], "http", "192.0.2.7"),
    ],
    ids=["read past the trusted", "equal", "untrusted"],
)
def test_several_forwarded_fields_are_one_list(
    peer: str, fields: list[str], scheme: str, client: str, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    seen = wire.exchange(head("GET / HTTP/1.1", *[f"X-Forwarded-{field}" for field in fields]), peer=peer)
    assert seen.answers[0].location == f"{scheme}://origin-1/"
    assert seen.records[0]["client_ip"] == client
    assert ("X-Forwarded fields of 192.0.2.7 are ignored" in caplog.text) == (peer == "192.0.2.7")


def test_two_pools_are_one_unknown_name(wire: Wire) -> None:
    """Two pool headers are one value joined by a comma (RFC 9110, 5.3), which names no pool."""
    sent = head("GET / HTTP/1.1", "X-Redirect-Pool-ID: pool-b", "X-Redirect-Pool-ID: pool-c")
    (answer,), _, (record,) = wire.exchange(sent)
    assert answer.location == "http://origin-1/"
    assert (record["pool_requested"], record["pool"]) == ("pool-b, pool-c", "pool-a")


@pytest.mark.parametrize("field", ["X: plain", "Connection: close"])
def test_an_odd_host_is_redirected(field: str, wire: Wire) -> None:
    """It is legal by RFC 3986, and can only not be a loop."""
    (answer,), _, (record,) = wire.exchange(head("GET /x HTTP/1.1", field, host="foo-.x.example"))
    assert (answer.status, answer.location) == (302, "http://origin-1/x")
    assert record["host"] == "foo-.x.example"


@pytest.mark.parametrize("field", ["X: plain", "Connection: close"])
@pytest.mark.parametrize(
    ("peer", "said", "status", "host"),
    [
        ("127.0.0.1", "ORIGIN-1:80", 422, "ORIGIN-1:80"),
        ("127.0.0.1", "other.example", 302, "other.example"),
        ("127.0.0.1", "u@h", 422, "origin-1"),
        ("192.0.2.7", "other.example", 422, "origin-1"),
    ],
    ids=["the loop behind a proxy", "Host is the proxy's own", "no host", "untrusted"],
)
def test_the_host_asked_for_is_what_a_trusted_proxy_says(
    peer: str, said: str, status: int, host: str, field: str, wire: Wire
) -> None:
    """Where it rewrites Host, a loop would have no end."""
    asked = "inner.example" if status == 422 and host == said else "origin-1"
    sent = head("GET /x HTTP/1.1", f"X-Forwarded-Host: {said}", field, host=asked)
    (answer,), _, (record,) = wire.exchange(sent, peer=peer)
    assert (answer.status, record["host"]) == (status, host)


@pytest.mark.parametrize("target", ["/x", "http://target.example/x"])
def test_routes_see_the_host_that_a_trusted_proxy_says(target: str, wire: Wire) -> None:
    pools = b'[[routes]]\nhost = "*.shop.example"\nrespond = { status = 403 }\n' + POOLS
    sent = head(f"GET {target} HTTP/1.1", "X-Forwarded-Host: A.Shop.example")
    (answer,), _, _ = wire.exchange(sent, peer="127.0.0.1", pools=pools)
    assert answer.status == 403


@pytest.mark.parametrize(("status", "has_length"), [(200, True), (204, False), (304, False), (404, True)])
def test_a_constant_answer_states_a_length_where_it_may(status: int, has_length: bool, wire: Wire) -> None:
    """RFC 9110, section 8.6: that of a 304 would be the length of a 200."""
    pools = b"[[routes]]\nrespond = { status = %d }\n" % status + POOLS
    (answer,), _, _ = wire.exchange(head("GET / HTTP/1.1"), pools=pools)
    assert (answer.status, "content-length" in answer.headers) == (status, has_length)


@pytest.mark.parametrize("field", ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nHost: b"])
def test_a_refusal_of_a_head_does_not_wait_for_the_body(field: str, wire: Wire) -> None:
    version = "HTTP/1.1" if "Host" in field else "HTTP/1.0"
    answers, ended, _ = wire.exchange(head(f"POST / {version}", field))
    assert ([answer.status for answer in answers], ended) == ([400], True)


@pytest.mark.parametrize(
    ("sent", "title"),
    [
        (head("GET / HTTP/1.1", host="origin-1"), b"422 Unprocessable Content"),
        (head(f"GET /{'a' * 9000} HTTP/1.1"), b"414 URI Too Long"),
    ],
    ids=["422", "414"],
)
def test_the_reason_phrase_is_the_title(sent: bytes, title: bytes, wire: Wire) -> None:
    """Both are those of RFC 9110, on every version of Python."""
    seen = wire.converse(sent).sent
    assert seen.startswith(b"HTTP/1.1 " + title + b"\r\n")
    assert b'"title": "' + title[4:] + b'"' in seen


def test_equal_pools_are_one(wire: Wire) -> None:
    sent = head("GET / HTTP/1.1", "X-Redirect-Pool-ID: pool-b", "X-Redirect-Pool-ID: pool-b ")
    (answer,), _, (record,) = wire.exchange(sent)
    assert answer.location == "http://origin-2.example.com/"
    assert (record["pool_requested"], record["pool"]) == ("pool-b", "pool-b")


def test_a_request_inside_a_body_is_not_answered(wire: Wire) -> None:
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent", [head("GET / HTTP/1.1"), chunked(b"body"), head("GET / HTTP/1.1", "Upgrade: x"), b"?\r\n"]
)
def test_a_connection_that_ended_is_freed_without_the_collector(sent: bytes, wire: Wire) -> None:
    """After a reload frozen garbage would never be collected."""
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
