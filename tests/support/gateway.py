"""The gateway under test: a front on a port, scripted origins behind it, clients before it, all in one event loop.

The rule: whatever a test says, it says of each way in. Clients write bytes; answers are read with h11, a second
opinion on every byte.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import h11
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from redirect.config.loader import parse_config
from redirect.core.forwarded import TrustedProxies
from redirect.core.pools import Pool
from redirect.core.service import Service, balancers
from redirect.edge.asgi import create_app
from redirect.edge.connection import HttpConnection
from redirect.edge.documents import Controller
from redirect.edge.fast_path import FastPath
from redirect.edge.handler import RequestHandler
from redirect.telemetry import statistics
from redirect.telemetry.scoreboard import Scoreboard
from redirect.telemetry.snapshot import Forwards, Loading
from support.coroutines import PATIENCE_SECONDS, until
from support.origin import Fields, Origin, reset, started
from support.wire import head, new_recorder, served

# The ways in. Behind uvicorn's own protocol there is nothing but the ASGI app.
OWN: dict[str, type[HttpToolsProtocol]] = {"fast": FastPath, "connection": HttpConnection}
WAYS: dict[str, type[HttpToolsProtocol]] = {**OWN, "asgi": HttpToolsProtocol}

# What a server adds to each answer.
DATE = "Thu, 01 Jan 2026 00:00:00 GMT"

_ROUTE = """
[[routes]]
{conditions}
forward_to = "origins"
{route}

[origins]
weighted_hosts = {{ {hosts} }}
{pool}
"""


class Answer(NamedTuple):
    """One answer as a client reads it, with the names of its fields as they came."""

    status: int
    fields: Fields
    body: bytes
    trailers: Fields
    interim: list[tuple[int, Fields]]
    is_cut: bool

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    def has(self, name: str) -> bool:
        return bool(self.all(name))

    @property
    def detail(self) -> str:
        """What a refusal says to the client."""
        assert self.one("content-type") == "application/problem+json"
        assert json.loads(self.body)["status"] == self.status
        return str(json.loads(self.body)["detail"])

    @property
    def error(self) -> str | None:
        """The error that `Proxy-Status` names."""
        if not self.has("proxy-status"):
            return None
        parts = [part.strip() for part in self.one("proxy-status").split(";")]
        assert parts[0] == "redirect"
        (error,) = [part.removeprefix("error=") for part in parts if part.startswith("error=")]
        return error


class Client:
    """A connection to the gateway, or to any other server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = h11.Connection(h11.CLIENT)
        self._rest = b""  # read behind the last answer
        self.received = bytearray()  # of the current answer
        self.fields: Fields = []
        self.was_reset = False

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        with suppress(ConnectionError):
            await self._writer.drain()

    def write_eof(self) -> None:
        self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        reset(self._writer)

    async def ask(
        self, request_line: str, *fields: str, body: bytes = b"", host: str | None = "asked.example"
    ) -> Answer:
        """Sends a request and returns its answer."""
        await self.send(head(request_line, *fields, host=host) + body)
        return await self.answer(request_line.split(" ")[0])

    async def answer(self, method: str = "GET") -> Answer:
        """The next final answer, whole or cut, with the interim ones before it; of status 0 if there is none."""
        interim: list[tuple[int, Fields]] = []
        self.expect(method)
        response = await self.event()
        while isinstance(response, h11.InformationalResponse):
            interim.append((response.status_code, _fields(response)))
            response = await self.event()
        if response is None:
            return Answer(0, [], b"", [], interim, True)
        assert isinstance(response, h11.Response), response
        body, end = await self.body()
        trailers = _fields(end) if end else []
        return Answer(response.status_code, _fields(response), body, trailers, interim, end is None)

    def expect(self, method: str = "GET", *, upgrade: bool = False) -> None:
        """What comes next is the answer to a request of `method`."""
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
        upgrades = [("connection", "upgrade"), ("upgrade", "echo")] if upgrade else []
        self._parser.send(h11.Request(method=method, target="/", headers=[("host", "a"), *upgrades]))
        self._parser.send(h11.EndOfMessage())
        self.received = bytearray(self._rest)
        if self._rest:
            self._parser.receive_data(self._rest)
            self._rest = b""

    async def event(self) -> h11.Event | type[h11.PAUSED] | None:
        """The next event of the answer; None where the answer is cut."""
        data = b"?"
        try:
            while (event := self._parser.next_event()) is h11.NEED_DATA:
                data = await self.read()
                self.received += data
                self._parser.receive_data(data)
        except h11.RemoteProtocolError:
            if data:  # what came is no HTTP
                raise
            return None
        if isinstance(event, h11.EndOfMessage):
            self._rest = self._parser.trailing_data[0]
        if isinstance(event, h11.ConnectionClosed):
            return None
        return event  # type: ignore[return-value]

    async def head(self, method: str = "GET") -> h11.Response:
        """The head of the next answer, as soon as it is there."""
        self.expect(method)
        response = await self.event()
        assert isinstance(response, h11.Response), response
        return response

    async def switched(self) -> int:
        """The status of the answer to a request for an upgrade, whose fields it leaves in `fields`."""
        self.expect(upgrade=True)
        response = await self.event()
        assert isinstance(response, h11.InformationalResponse | h11.Response), response
        self.fields = _fields(response)
        return response.status_code

    async def piece(self) -> bytes:
        """The next piece of the body; empty at its end or where it is cut."""
        event = await self.event()
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def body(self) -> tuple[bytes, h11.EndOfMessage | None]:
        """The rest of the body and what ended it; None if it was cut."""
        body = bytearray()
        while isinstance(event := await self.event(), h11.Data):
            body += event.data
        assert event is None or isinstance(event, h11.EndOfMessage), event
        return bytes(body), event if isinstance(event, h11.EndOfMessage) and not self.was_reset else None

    async def read(self) -> bytes:
        """What comes next; empty at the end."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._reader.read(2**16)
        except ConnectionError:
            self.was_reset = True
            return b""

    async def raw(self, count: int) -> bytes:
        """Bytes that are no HTTP: of a tunnel."""
        if switched := self._parser.trailing_data[0]:
            self._rest, self._parser = switched, h11.Connection(h11.CLIENT)
        while len(self._rest) < count and (data := await self.read()):
            self._rest += data
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    async def everything(self) -> bytes:
        """All bytes until the connection ends."""
        everything, self._rest = bytearray(self._rest), b""
        while data := await self.read():
            everything += data
        return bytes(everything)

    async def is_ended(self) -> bool:
        """Whether the connection is ended without another byte."""
        return await self.everything() == b""


def _fields(event: h11.InformationalResponse | h11.Response | h11.EndOfMessage) -> Fields:
    headers: Any = event.headers
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.raw_items()]


async def connect(port: int, *, buffer: int | None = None) -> Client:
    """A client; with `buffer` its kernel buffers are that small."""
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    return Client(*await asyncio.open_connection(sock=connection))


class Gateway:
    """A running front, the origins behind it, its access log, and its numbers of forwards as of now."""

    def __init__(
        self,
        port: int,
        origins: list[Origin],
        records: Callable[[], list[dict[str, Any]]],
        numbers: Callable[[], Forwards],
        handler: RequestHandler,
    ) -> None:
        self.port = port
        self.handler = handler
        self.origins = origins
        self.clients: list[Client] = []
        self._records = records
        self.numbers = numbers

    @property
    def origin(self) -> Origin:
        return self.origins[0]

    async def client(self, *, buffer: int | None = None) -> Client:
        client = await connect(self.port, buffer=buffer)
        self.clients.append(client)
        return client

    async def until_asked(self) -> Origin:
        """The one origin that was asked, once it is."""
        await until(lambda: any(origin.asked for origin in self.origins))
        (origin,) = (origin for origin in self.origins if origin.asked)
        return origin

    async def sent(self, request_line: str, *fields: str, body: bytes = b"") -> Client:
        """A client that has sent this request."""
        client = await self.client()
        await client.send(head(request_line, *fields) + body)
        return client

    async def begun(self, request_line: str, *fields: str, body: bytes = b"") -> Client:
        """A client whose request the first origin has."""
        before = len(self.origin.asked)
        client = await self.sent(request_line, *fields, body=body)
        await self.origin.until_asked(before + 1)
        return client

    async def ask(
        self, request_line: str, *fields: str, body: bytes = b"", host: str | None = "asked.example"
    ) -> Answer:
        """The answer to one request on a connection of its own."""
        return await (await self.client()).ask(request_line, *fields, body=body, host=host)

    async def asked(
        self, request_line: str, *fields: str, body: bytes = b"", host: str | None = "asked.example"
    ) -> Any:
        """The request as the origin saw it, which answered it."""
        before = sum(len(origin.asked) for origin in self.origins)
        answer = await self.ask(request_line, *fields, body=body, host=host)
        assert sum(len(origin.asked) for origin in self.origins) == before + 1, answer
        return max((origin.asked[-1] for origin in self.origins if origin.asked), key=lambda asked: asked.time)

    def use(self, pool: Pool) -> None:
        """Has another pool in place of the one of its name, as a worker has when it was published."""
        before = self.handler.service
        config = before.config.with_pools([pool])
        service = Service(config, dict(balancers(config, Random(1), before=before)))
        self.handler.use(service)
        for balancer in before.balancers():
            service.succeed(balancer)

    def logged(self) -> list[dict[str, Any]]:
        """The records up to now."""
        return self._records()

    async def records(self, count: int) -> list[dict[str, Any]]:
        """The records, once there are so many; a moment later there are no more."""
        await until(lambda: len(self._records()) >= count)
        records = self._records()
        assert len(records) == count, records
        return records

    async def record(self) -> dict[str, Any]:
        (record,) = await self.records(1)
        return record


class Forwarding:
    """One of the ways in, to be started with the keys of a route and a pool."""

    def __init__(self, way: str, log: Path) -> None:
        self.way = way
        self._log = log

    @property
    def is_own(self) -> bool:
        """Whether the bytes of the connection are ours: ASGI knows no 1xx, no upgrade, no trailers, no half-close."""
        return self.way in OWN

    @asynccontextmanager
    async def __call__(
        self,
        route: str = "",
        *,
        conditions: str = 'path_prefix = "/"',
        pool: str = "",
        origins: int = 1,
        hosts: str = "{}",
        more: str = "",
        trusted: str = "",
        buffer: int | None = None,
        controller: Controller | None = None,
    ) -> AsyncIterator[Gateway]:
        """Runs the gateway before so many origins; `hosts` has further ones, `more` is TOML before the route."""
        async with AsyncExitStack() as stack:
            behind = [await stack.enter_async_context(started(buffer=buffer)) for _ in range(origins)]
            named = hosts.format(", ".join(f'"{origin.name}" = 1' for origin in behind))
            toml = more + _ROUTE.format(conditions=conditions, route=route, hosts=named, pool=pool)
            yield await stack.enter_async_context(self.serve(toml, behind, trusted, controller))
        await _settled()

    @asynccontextmanager
    async def serve(
        self, toml: str, origins: list[Origin], trusted: str = "", controller: Controller | None = None
    ) -> AsyncIterator[Gateway]:
        """Runs the gateway with a TOML of its own; the origins are those that it says."""
        pools = parse_config(toml.encode(), "gateway.toml")
        scoreboard = Scoreboard()
        recorder = new_recorder(pools, str(self._log), scoreboard)
        app = create_app(pools, "X-Redirect-Pool-ID", TrustedProxies(trusted), recorder, Random(1), controller)
        config = served(app, server_header=False, date_header=False)
        state = ServerState()
        if self.is_own:
            state.default_headers = [(b"date", DATE.encode())]
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: WAYS[self.way](config, state, {}, loop), "127.0.0.1", 0)

        def records() -> list[dict[str, Any]]:
            recorder.flush()
            return [json.loads(line) for line in self._log.read_text().splitlines()]

        def numbers() -> Forwards:
            recorder.flush()
            for _ in app.state.handler.forwarder.report():
                pass
            return statistics.snapshot(scoreboard, Loading(0.0)).forwards

        gateway = Gateway(server.sockets[0].getsockname()[1], origins, records, numbers, app.state.handler)
        with closing(recorder):
            try:
                yield gateway
            finally:
                server.close()
                for client in gateway.clients:
                    client.reset()
                # No connection outlives its client.
                await until(lambda: not state.connections and not state.tasks)


async def _settled() -> None:
    """Returns when connections whose other end was closed are let go."""
    for _ in range(5):
        await asyncio.sleep(0.001)
