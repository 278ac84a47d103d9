"""What a protocol owes the app behind it: uvicorn's own tests of its protocols, where ours differ from them.

The app is any ASGI app here, and may break every rule of ASGI. The fast front leaves it `OPTIONS *`, HttpConnection
everything.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from support.wire import FRONTS, POOLS, KeptTransport, head, new_recorder, served
from uvicorn.server import ServerState

from redirect.config.loader import parse_config
from redirect.core.forwarded import TrustedProxies
from redirect.edge.asgi import create_app
from redirect.edge.connection import HttpConnection

App = Callable[[Any, Any, Any], Awaitable[Any]]

ASK = head("OPTIONS * HTTP/1.1", "X: y")
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"ok"}


class Behind:
    """An app as the worker serves it: with the handler that a connection uses."""

    def __init__(self, app: App) -> None:
        self._app = app
        pools = parse_config(POOLS, "pools.toml")
        front = create_app(pools, "X-Redirect-Pool-ID", TrustedProxies(""), new_recorder(pools, "off"), Random(1))
        self.state = SimpleNamespace(handler=front.state.handler)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        return await self._app(scope, receive, send)


class Connection:
    """A connection to `app` behind a protocol."""

    def __init__(self, protocol: type[HttpConnection], app: App, app_state: dict[str, Any] | None = None) -> None:
        config = served(Behind(app), interface="asgi3")
        self.state = ServerState()
        self.transport = KeptTransport("192.0.2.7", float("inf"))
        self.protocol = protocol(config, self.state, app_state or {}, asyncio.get_running_loop())
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)

    async def send(self, data: bytes) -> bytes:
        """What was answered, when the app has done what it can."""
        before = len(self.transport.sent)
        self.protocol.data_received(data)
        for _ in range(100):
            await asyncio.sleep(0)
        return self.transport.sent[before:]


@pytest.fixture(params=FRONTS)
def protocol(request: pytest.FixtureRequest) -> type[HttpConnection]:
    """The class of either front; what a test says of one holds for both."""
    return FRONTS[request.param]


def sending(*messages: dict[str, Any], fault: Exception | None = None, returns: object = None) -> App:
    """An app that sends just these."""

    async def app(scope: Any, receive: Any, send: Any) -> object:
        for message in messages:
            await send(message)
        if fault is not None:
            raise fault
        return returns

    return app


FAULTY = {
    "it fails before it answers": (sending(fault=RuntimeError("a secret")), b"HTTP/1.1 500 "),
    "it answers nothing": (sending(), b"HTTP/1.1 500 "),
    "it begins with the body": (sending(BODY), b"HTTP/1.1 500 "),
    "it begins with what is no answer": (sending({"type": "http.response.pathsend"}), b"HTTP/1.1 500 "),
    "it fails within the answer": (sending(START, fault=RuntimeError("a secret")), b"HTTP/1.1 200 "),
    "it answers by half": (sending(START), b"HTTP/1.1 200 "),
    "it answers less than it said": (sending(START, {**BODY, "body": b"o"}), b"HTTP/1.1 200 "),
    "it answers more than it said": (sending(START, {**BODY, "body": b"okay"}), b"HTTP/1.1 200 "),
    "it begins twice": (sending(START, START), b"HTTP/1.1 200 "),
    "it goes on behind the end": (sending(START, BODY, BODY), b"HTTP/1.1 200 "),
    "it fails behind the end": (sending(START, BODY, fault=RuntimeError("a secret")), b"HTTP/1.1 200 "),
    "it returns something": (sending(START, BODY, returns=123), b"HTTP/1.1 200 "),
    "a field has a line end": (
        sending({**START, "headers": [(b"x", b"y\r\nset-cookie: smuggled=1")]}, {**BODY, "body": b""}),
        b"",
    ),
}


@pytest.mark.parametrize(("app", "begins"), FAULTY.values(), ids=FAULTY)
def test_a_faulty_app(
    app: App, begins: bytes, protocol: type[HttpConnection], caplog: pytest.LogCaptureFixture
) -> None:
    """An app that breaks a rule is answered for as far as it can be; the connection ends, and the log says why."""

    async def run() -> None:
        connection = Connection(protocol, app)
        answered = await connection.send(ASK + ASK)
        assert answered.startswith(begins)
        assert answered.count(b"HTTP/1.1 ") <= 1
        assert b"secret" not in answered
        assert b"smuggled" not in answered
        assert connection.transport.ended
        assert await connection.send(ASK) == b""

    asyncio.run(run())
    assert [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_what_an_app_is_received(protocol: type[HttpConnection]) -> None:
    """The scope is as ASGI has it: path decoded, raw path and query as they came, names in lower case."""
    scopes: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send(START)
        await send(BODY)

    async def run() -> None:
        connection = Connection(protocol, app)
        await connection.send(ASK)
        if protocol is HttpConnection:
            await connection.send(head("POST /a%2Fb%C3%A9?c=%20&d HTTP/1.1", "X-Y: Z"))

    asyncio.run(run())
    first, *others = scopes
    assert (first["type"], first["asgi"]) == ("http", {"version": "3.0", "spec_version": "2.3"})
    assert (first["method"], first["path"], first["raw_path"], first["query_string"]) == ("OPTIONS", "*", b"*", b"")
    assert first["headers"] == [(b"host", b"asked.example"), (b"x", b"y")]
    assert (first["client"], first["server"]) == (("192.0.2.7", 50000), ("127.0.0.1", 8080))
    assert (first["http_version"], first["scheme"], first["root_path"]) == ("1.1", "http", "")
    for scope in others:
        assert (scope["method"], scope["path"]) == ("POST", "/a/b\xe9")
        assert (scope["raw_path"], scope["query_string"]) == (b"/a%2Fb%C3%A9", b"c=%20&d")
        assert (b"x-y", b"Z") in scope["headers"]


def test_the_state_of_the_lifespan(protocol: type[HttpConnection]) -> None:
    """Each request has a copy of what the lifespan left: its keys are its own, what they name is shared."""
    seen: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        state = scope["state"]
        seen.append((state["number"], list(state["shared"])))
        state["number"] = 0
        state["shared"].append(2)
        await send(START)
        await send(BODY)

    async def run() -> None:
        connection = Connection(protocol, app, {"number": 1, "shared": [1]})
        for _ in range(2):
            assert (await connection.send(ASK)).startswith(b"HTTP/1.1 200 ")

    asyncio.run(run())
    assert seen == [(1, [1]), (1, [1, 2])]


def test_fields_may_be_an_iterator(protocol: type[HttpConnection]) -> None:
    """An app may give the fields of its answer in any iterable, with letters that are not ASCII."""

    async def run() -> None:
        fields = iter([(b"content-length", b"2"), (b"x", b"<\t \xc2\xb5>")])
        answered = await Connection(protocol, sending({**START, "headers": fields}, BODY)).send(ASK)
        assert b"\r\nx: <\t \xc2\xb5>\r\n" in answered
        assert answered.endswith(b"\r\n\r\nok")

    asyncio.run(run())


def test_an_answer_without_a_length(protocol: type[HttpConnection]) -> None:
    """It is sent in chunks, ends once, and the connection goes on."""

    async def run() -> None:
        connection = Connection(protocol, sending({**START, "headers": []}, BODY))
        for _ in range(2):
            answered = await connection.send(ASK)
            assert answered.count(b"0\r\n\r\n") == 1
            assert b"transfer-encoding: chunked\r\n" in answered
        assert not connection.transport.ended

    asyncio.run(run())


def test_an_answer_that_closes(protocol: type[HttpConnection]) -> None:
    """An app may end the connection with its answer; what came behind the request is not answered then."""

    async def run() -> None:
        closing = {**START, "headers": [(b"content-length", b"2"), (b"connection", b"close")]}
        connection = Connection(protocol, sending(closing, BODY))
        assert (await connection.send(ASK + ASK)).count(b"HTTP/1.1 200 ") == 1
        assert connection.transport.ended

    asyncio.run(run())


@pytest.mark.parametrize("goes", ["before it is answered", "after"])
def test_a_client_that_goes(goes: str, protocol: type[HttpConnection]) -> None:
    """The app learns that the client has gone, or that its answer was sent, when it asks for more."""
    received: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if goes == "after":
            await send(START)
            await send(BODY)
        while not received or received[-1] != "http.disconnect":
            received.append((await receive())["type"])

    async def run() -> None:
        connection = Connection(protocol, app)
        await connection.send(ASK)
        if goes != "after":
            assert received == ["http.request"]
            connection.protocol.eof_received()
            connection.transport.close()
            connection.protocol.connection_lost(None)
            for _ in range(10):
                await asyncio.sleep(0)
        assert received[-1] == "http.disconnect"
        assert not connection.state.tasks

    asyncio.run(run())


def test_no_body_reaches_the_app() -> None:
    """A request is answered before its body has come; the body is thrown away then, and the next request is read."""
    bodies: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        bodies.append(message["body"])
        assert not message["more_body"]
        await send(START)
        await send(BODY)

    async def run() -> None:
        connection = Connection(HttpConnection, app)
        assert (await connection.send(head("POST / HTTP/1.1", "Content-Length: 4"))).startswith(b"HTTP/1.1 200 ")
        assert await connection.send(b"body") == b""
        chunked = head("POST / HTTP/1.1", "Transfer-Encoding: chunked") + b"4\r\nbody\r\n0\r\n\r\n"
        assert (await connection.send(chunked)).startswith(b"HTTP/1.1 200 ")
        assert (await connection.send(ASK)).startswith(b"HTTP/1.1 200 ")

    asyncio.run(run())
    assert bodies == [b""] * 3


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(["Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"], id="websocket"),
        pytest.param(["Connection: upgrade", "Upgrade: h2c"], id="h2c"),
        pytest.param(["Expect: 100-continue", "Content-Length: 4"], id="100-continue"),
    ],
)
def test_what_is_not_offered(
    fields: list[str], protocol: type[HttpConnection], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither an upgrade nor 100 Continue is given: there is one answer, the last, and no word of it in the log."""

    async def run() -> None:
        connection = Connection(protocol, sending(START, BODY))
        answered = await connection.send(head("OPTIONS * HTTP/1.1", *fields) + ASK)
        assert answered.startswith(b"HTTP/1.1 200 ")
        assert answered.count(b"HTTP/1.1 ") == 1
        assert b"connection: close\r\n" in answered
        assert connection.transport.ended

    asyncio.run(run())
    assert caplog.records == []
