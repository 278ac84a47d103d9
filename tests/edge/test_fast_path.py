"""The fast front by itself: when it answers, which heads it keeps, and what it leaves to the app."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from support.connection import Broken, Connection
from support.wire import FRONTS, NEXT, KeptTransport, Wire, head
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from redirect.core.service import balancers
from redirect.edge.connection import HttpConnection
from redirect.edge.limits import MAX_FED_BYTES


def on_a_connection(test: Callable[[Connection], Any], **options: Any) -> None:
    async def run() -> None:
        outcome = test(Connection(**options))
        if asyncio.iscoroutine(outcome):
            await outcome

    asyncio.run(run())


def test_redirects_and_refusals_are_answered_at_once() -> None:

    def test(connection: Connection) -> None:
        begin, _, end = connection.send(NEXT).partition(b"x-request-id: ")
        assert begin == b"HTTP/1.1 302 Found\r\n"
        assert end[32:] == b"\r\nlocation: http://origin-1/next\r\ncontent-length: 0\r\n\r\n"
        assert connection.send(head("GET / HTTP/1.1", host="origin-1")).startswith(b"HTTP/1.1 422 ")
        assert connection.send(head("GET / HTTP/1.1", host=None)).startswith(b"HTTP/1.1 400 ")
        assert connection.state.tasks == set()
        assert connection.state.total_requests == 3

    on_a_connection(test)


def test_requests_behind_one_of_the_app_wait_for_its_answer() -> None:

    async def test(connection: Connection) -> None:
        assert connection.send(head("OPTIONS * HTTP/1.1") + NEXT) == b""
        assert connection.send(head("GET /last HTTP/1.1")) == b""
        answered = await connection.rest()
        assert [line for line in answered.split(b"\r\n") if line.startswith((b"HTTP", b"location"))] == [
            b"HTTP/1.1 204 No Content",
            b"HTTP/1.1 302 Found",
            b"location: http://origin-1/next",
            b"HTTP/1.1 302 Found",
            b"location: http://origin-1/last",
        ]
        assert connection.send(NEXT) != b""

    on_a_connection(test)


def test_a_request_with_a_known_head_waits_for_the_app_too() -> None:

    async def test(connection: Connection) -> None:
        connection.send(NEXT)
        connection.send(NEXT + head("OPTIONS * HTTP/1.1"))
        assert connection.send(NEXT) == b""
        assert (await connection.rest()).startswith(b"HTTP/1.1 204 ")

    on_a_connection(test)


def test_nothing_is_answered_at_once_while_writing_is_paused() -> None:

    def test(connection: Connection) -> None:
        connection.send(NEXT)
        connection.protocol.pause_writing()
        assert connection.send(NEXT) == b""
        connection.protocol.resume_writing()

    on_a_connection(test)


def test_the_answer_that_pauses_writing_is_the_last_at_once() -> None:

    def test(connection: Connection) -> None:
        connection.transport.high_water = 200  # reached by two answers
        assert connection.send(NEXT) != b""
        assert connection.send(head("GET / HTTP/1.1", "X: 1")) != b""
        assert connection.send(NEXT) == b""
        connection.transport.be_read()

    on_a_connection(test)


@pytest.mark.parametrize("known", [False, True])
def test_nothing_is_answered_after_a_fault(known: bool) -> None:
    """Whether or not the head of its request was known."""

    def test(connection: Connection) -> None:
        if known:
            connection.send(NEXT)
        config = connection.protocol.handler.service.config
        connection.protocol.handler.service = Broken(config, dict(balancers(config, Random(1))))
        assert connection.send(NEXT).startswith(b"HTTP/1.1 500 ")
        assert connection.send(NEXT) == b""

    on_a_connection(test)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(
            [
                head("POST / HTTP/1.1", "Transfer-Encoding: chunked") + b"14\r\n",
                b"GET / HTTP/1.1\r\nX: y\r\n0\r\n\r\n",
                b"GET /smuggled HTTP/1.1\r\nX: y\r\n0\r\n\r\n",
            ],
            id="a chunk that looks like a request",
        ),
        pytest.param(
            [
                head("POST / HTTP/1.1", "Content-Length: 16"),
                b"GET / HTTP/1.1\r\n" + head("GET /b HTTP/1.1"),
                b"GET /smuggled HTTP/1.1\r\n" + head("GET /b HTTP/1.1"),
            ],
            id="a body that looks like the line before a request",
        ),
        pytest.param(
            [head("GET / HTTP/1.1", "Content-Length: 4"), b"body", head("GET /smuggled HTTP/1.1", "Content-Length: 4")],
            id="a head that has a body",
        ),
        pytest.param([head("GET / HTTP/1.1", "Content-Length: 4")] * 3, id="a body that looks like its own head"),
        pytest.param(
            [head(f"GET /{n} HTTP/1.1") + head("GET /b HTTP/1.1", "X-Redirect-Pool-ID: pool-b") for n in range(3)],
            id="two requests",
        ),
    ],
)
def test_only_heads_of_whole_requests_are_kept(pieces: list[bytes], tmp_path: Path) -> None:
    """Not those of bytes that look like a request inside a body, or of a part of one."""
    seen = [Wire(front, tmp_path / front).converse([*pieces, b"body" + NEXT]) for front in ("fast", "starlette")]
    assert seen[0].essence == seen[1].essence


@pytest.mark.parametrize("given", [[], ["X-Request-ID: a.b-7"]])
@pytest.mark.parametrize("front", FRONTS)
def test_a_redirect_has_the_request_id_of_the_log(front: str, given: list[str], tmp_path: Path) -> None:
    """The client's, or one of its own for each request, also where a head is known."""
    pieces = [head(f"{method} /{n} HTTP/1.1", *given) for n in range(3) for method in ("GET", "HEAD")]
    answers, _, records = Wire(front, tmp_path / "log").exchange(pieces)
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert (ids, len({*ids})) == ([record["request_id"] for record in records], 1 if given else len(pieces))
    assert not given or ids[0] == "a.b-7"


def test_two_requests_with_a_known_head_in_one_chunk_are_two() -> None:

    def test(connection: Connection) -> None:
        connection.send(NEXT)
        answered = connection.send(head("GET /a HTTP/1.1") + head("GET /b HTTP/1.1"))
        assert answered.count(b"HTTP/1.1 302") == 2
        assert b"location: http://origin-1/a\r\n" in answered

    on_a_connection(test)


def test_a_connection_keeps_the_last_head_and_no_long_one() -> None:

    def test(connection: Connection) -> None:
        for number in range(3):
            assert connection.send(head("GET / HTTP/1.1", f"X: {number}")).startswith(b"HTTP/1.1 302 ")
            kept = connection.protocol._last_end
            assert kept == head(" HTTP/1.1", f"X: {number}")
        connection.send(head("GET / HTTP/1.1", f"X: {'x' * MAX_FED_BYTES}"))
        assert connection.protocol._last_end == kept

    on_a_connection(test)


def test_a_connection_whose_heads_differ_keeps_few_and_finds_out_where_they_repeat_at_last() -> None:

    def test(connection: Connection) -> None:
        kept = 0
        for number in range(256):
            assert connection.send(head("GET / HTTP/1.1", f"X: {number}")).startswith(b"HTTP/1.1 302 ")
            kept += connection.protocol._last_end != b""
        assert kept < 10
        for _ in range(100):
            assert connection.send(NEXT).startswith(b"HTTP/1.1 302 ")
        assert NEXT.endswith(connection.protocol._last_end)

    on_a_connection(test)


def test_a_head_stays_known_behind_other_requests() -> None:
    """With other heads, with bodies, or of other methods."""

    def test(connection: Connection) -> None:
        named = "X-Request-ID: 1"
        sent = [
            head("GET /a HTTP/1.1", named),
            head("GET /b HTTP/1.1", named, "X-Redirect-Pool-ID: pool-b"),
            head("POST /c HTTP/1.1", named, "Content-Length: 4") + b"body",
            head("HEAD /d HTTP/1.1", named),
        ]
        answers = [connection.send(each) for each in sent]
        for _ in range(3):
            assert [connection.send(each) for each in sent] == answers

    on_a_connection(test)


@pytest.mark.parametrize("protocol", FRONTS.values(), ids=FRONTS)
def test_a_fault_is_answered_with_500_and_ends_the_connection(
    protocol: type[HttpConnection], caplog: pytest.LogCaptureFixture
) -> None:

    async def test(connection: Connection) -> None:
        config = connection.protocol.handler.service.config
        connection.protocol.handler.service = Broken(config, dict(balancers(config, Random(1))))
        answered = connection.send(NEXT * 3) + await connection.rest()
        assert answered.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert answered.count(b"HTTP/1.1") == 1
        assert b"secret" not in answered
        assert connection.transport.ended
        assert len(caplog.messages) == 1

    on_a_connection(test, protocol=protocol)


def test_a_lost_connection_has_no_timer() -> None:

    def test(connection: Connection) -> None:
        connection.send(head("GET / HTTP/1.1", "Connection: close"))
        timer = connection.protocol._timer
        connection.protocol.connection_lost(None)
        assert timer.cancelled()

    on_a_connection(test)


def test_the_app_sees_the_fields_of_the_head_and_no_trailers() -> None:

    async def test(connection: Connection) -> None:
        sent = head("POST / HTTP/1.1", "Transfer-Encoding: chunked", "X: 1") + b"0\r\nTrailer: 1\r\n\r\n"
        assert connection.send(sent) == b""
        names = [name for name, _ in connection.protocol.cycle.scope["headers"]]
        assert names == [b"host", b"transfer-encoding", b"x"]
        await connection.rest()

    on_a_connection(test, protocol=HttpConnection)


def test_default_fields_come_first_and_change_with_the_date() -> None:

    def test(connection: Connection) -> None:
        for date in (b"Fri, 20 Nov 2026 19:43:06 GMT", b"Fri, 20 Nov 2026 19:43:07 GMT"):
            connection.state.default_headers = [(b"date", date)]
            for sent in (NEXT, NEXT, head("GET / HTTP/1.1", host="origin-1")):
                assert connection.send(sent).split(b"\r\n")[1] == b"date: " + date

    on_a_connection(test)


@pytest.mark.parametrize("protocol", FRONTS.values(), ids=FRONTS)
def test_uvicorn_has_what_a_protocol_relies_on(protocol: type[HttpConnection]) -> None:
    """The attributes of uvicorn's protocol that a docstring names are there."""
    loop = asyncio.new_event_loop()
    parent = HttpToolsProtocol(uvicorn.Config(Starlette(), log_config=None), ServerState(), {}, loop)
    parent.connection_made(KeptTransport("192.0.2.7", 1e9))
    parent.on_message_begin()
    loop.close()
    named = (protocol.__doc__ or "").partition("Relies")[2].split("`")[1::2]
    assert len(named) >= 5
    for name in named:
        holder, _, attribute = name.rpartition(".")
        assert hasattr(getattr(parent, holder) if holder else parent, attribute), name
