"""A scripted origin: each path has a behaviour, and everything that it was asked is kept.

The rule: bytes out are written by the script, bytes in are kept as they came. A behaviour that leaves a body unread
closes the connection. A path without a behaviour reads the request and answers `ok`.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

# Of one connection, for a second opinion; what is behind them is only counted.
KEPT_BYTES = 4 * 1024 * 1024
_READ_BYTES = 64 * 1024

Fields = list[tuple[str, str]]


@dataclass
class Asked:
    """One request: its head as it came, its body as it was framed, and on which connection it was the how manieth."""

    head: bytes
    connection: int
    nth: int
    time: float
    body: bytes = b""
    trailers: Fields = field(default_factory=list)

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def fields(self) -> Fields:
        return fields_of(self.head)

    def all(self, name: str) -> list[str]:
        """The values of a field, in order, whatever the case of its name."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value


def fields_of(head: bytes) -> Fields:
    """The fields of a head, with their names as they came."""
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return [(name, value.strip(" \t")) for name, _, value in pairs]


class Peer:
    """A connection to the origin, as the origin sees it."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.received = bytearray()  # all that came, up to a limit
        self.count = 0
        self.ended: str | None = None  # "eof" or "reset"
        self.ended_at = 0.0
        self.asked = 0
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()
        self.end = asyncio.Event()

    @property
    def socket(self) -> socket.socket:
        return self._writer.get_extra_info("socket")  # type: ignore[no-any-return]

    async def more(self) -> bool:
        """Reads what is there; False at the end."""
        try:
            data = await self._reader.read(_READ_BYTES)
        except ConnectionError:
            data = b""
            self.ended = self.ended or "reset"
        self._buffer += data
        self.count += len(data)
        if self.count <= KEPT_BYTES:
            self.received += data
        if not data and not self.ended_at:
            self.ended = self.ended or "eof"
            self.ended_at = asyncio.get_running_loop().time()
            self.end.set()
        return bool(data)

    async def until(self, end: bytes) -> bytes:
        """Everything up to `end`, with it."""
        while (at := self._buffer.find(end)) < 0:
            if not await self.more():
                raise EOFError
        return self.take(at + len(end))

    async def exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not await self.more():
                raise EOFError
        return self.take(count)

    async def at_once(self) -> bytes:
        """What came next, however much that is; empty at the end."""
        if not self._buffer:
            await self.more()
        return self.take(len(self._buffer))

    def take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def until_ended(self) -> str:
        """How the other side ended the connection, once it has."""
        while await self.more():
            self._buffer.clear()
        return str(self.ended)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        with suppress(ConnectionError):
            await self._writer.drain()

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Ends the connection with a RST."""
        reset(self._writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with a RST, unless it is ended already."""
    if writer.transport.is_closing():
        return
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@dataclass
class Call:
    """What a behaviour is given: the request, and the connection to answer it on."""

    origin: "Origin"
    asked: Asked
    peer: Peer
    closed: bool = False

    async def body(self) -> bytes:
        """Reads the request's body to its end."""
        asked = self.asked
        if asked.all("transfer-encoding"):
            body = bytearray()
            while size := int((await self.peer.until(b"\r\n")).split(b";")[0], 16):
                body += (await self.peer.exactly(size + 2))[:-2]
            asked.body = bytes(body)
            lines = b""
            while (line := await self.peer.until(b"\r\n")) != b"\r\n":
                lines += line
            asked.trailers = fields_of(b"\r\n" + lines)
        elif asked.all("content-length"):
            asked.body = await self.peer.exactly(int(asked.one("content-length")))
        return asked.body

    async def write(self, data: bytes) -> None:
        await self.peer.write(data)

    def close(self) -> None:
        self.closed = True
        self.peer.close()

    def reset(self) -> None:
        self.closed = True
        self.peer.reset()

    async def until_ended(self) -> str:
        self.closed = True
        return await self.peer.until_ended()


Behaviour = Callable[[Call], Awaitable[None]]


class Origin:
    """Serves on a port of its own, from `start` to `stop`."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.asked: list[Asked] = []
        self.peers: list[Peer] = []
        self.behaviours: dict[str, Behaviour] = {}
        self.default: Behaviour = says(answer(b"ok"))
        self.faults: list[BaseException] = []
        self.greeting = b""  # said before anything is asked
        self.host = host
        self.port = port
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def targets(self) -> list[str]:
        return [asked.target for asked in self.asked]

    def on(self, path: str, behaviour: Behaviour) -> None:
        """What becomes of requests for `path`, whatever their query."""
        self.behaviours[path] = behaviour

    async def start(self, receive_buffer: int | None = None, tls: ssl.SSLContext | None = None) -> None:
        listener = socket.create_server((self.host, self.port))
        if receive_buffer:  # both are inherited by what it accepts
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, receive_buffer)
        self._server = await asyncio.start_server(self._accept, sock=listener, ssl=tls)
        self.port = listener.getsockname()[1]

    def close_listener(self) -> None:
        """Takes no other connection."""
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        """Stops to listen, and ends all connections."""
        self.close_listener()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for peer in self.peers:
            peer.close()

    async def until(self, is_so: Callable[[], bool], seconds: float = 2) -> None:
        """Returns once it is so; asked whenever a connection or a request came."""
        async with asyncio.timeout(seconds):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    async def until_asked(self, count: int = 1) -> Asked:
        """The last of the first `count` requests, once its head has come."""
        await self.until(lambda: len(self.asked) >= count)
        return self.asked[count - 1]

    async def until_ended(self, connection: int = 0, seconds: float = 2) -> Peer:
        """The connection, once it is ended."""
        await self.until(lambda: len(self.peers) > connection, seconds)
        peer = self.peers[connection]
        async with asyncio.timeout(seconds):
            await peer.end.wait()
        return peer

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(len(self.peers), reader, writer)
        self.peers.append(peer)
        self._changed.set()
        writer.write(self.greeting)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(peer)
        except (EOFError, ConnectionError):
            pass
        except asyncio.CancelledError:
            pass  # the streams of asyncio would log it
        except Exception as error:  # shown by the test: nothing awaits this task
            self.faults.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, peer: Peer) -> None:
        while True:
            head = await peer.until(b"\r\n\r\n")
            peer.asked += 1
            asked = Asked(head, peer.number, peer.asked, asyncio.get_running_loop().time())
            self.asked.append(asked)
            self._changed.set()
            call = Call(self, asked, peer)
            await self.behaviours.get(asked.target.partition("?")[0], self.default)(call)
            if call.closed:
                return


@asynccontextmanager
async def started(
    behaviour: Behaviour | None = None, tls: ssl.SSLContext | None = None, buffer: int | None = None
) -> AsyncIterator[Origin]:
    origin = Origin()
    origin.default = behaviour or origin.default
    await origin.start(buffer, tls)
    try:
        yield origin
    finally:
        await origin.stop()
    assert origin.faults == []


# Behaviours


def says(*pieces: bytes, close: bool = False, reset: bool = False) -> Behaviour:
    """Reads the request, writes the pieces, and goes on or ends the connection."""

    async def behave(call: Call) -> None:
        await call.body()
        for piece in pieces:
            await call.write(piece)
        if reset:
            call.reset()
        elif close:
            call.close()

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """The first time the first one, and so on; the last one from then on."""
    left = list(behaviours)

    async def behave(call: Call) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(call)

    return behave


class Gate:
    """Waits until it is opened, and goes on as another behaviour."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._opened = asyncio.Event()

    async def __call__(self, call: Call) -> None:
        await self._opened.wait()
        await self._behaviour(call)

    def open(self) -> None:
        self._opened.set()


def begins(data: bytes) -> Behaviour:
    """Writes this, and nothing more until the other side ends the connection."""

    async def behave(call: Call) -> None:
        await call.write(data)
        await call.until_ended()

    return behave


def goes_on(begin: bytes, piece: bytes, pause: float = 0.01) -> Behaviour:
    """Writes a piece after each pause, until the other side ends the connection."""

    async def behave(call: Call) -> None:
        await call.write(begin)
        while not call.peer.ended:
            await call.write(piece)
            with suppress(TimeoutError):
                await asyncio.wait_for(call.peer.more(), pause)
        call.close()

    return behave


async def echo(call: Call) -> None:
    """Answers with the body of the request."""
    await call.write(answer(await call.body()))


async def tunnel(call: Call) -> None:
    """Switches to another protocol and says everything again, until the other side ends."""
    await call.write(SWITCH)
    call.closed = True
    while data := await call.peer.at_once():
        await call.write(data)


async def hang(call: Call) -> None:
    """Reads the request, says nothing, and notes how the connection ended."""
    await call.body()
    await call.until_ended()


async def close_at_once(call: Call) -> None:
    """Reads the request and closes without a word."""
    await call.body()
    call.close()


async def reset_at_once(call: Call) -> None:
    await call.body()
    call.reset()


def answer(body: bytes = b"", *fields: str, status: str = "200 OK") -> bytes:
    """An answer of a known length."""
    return head(status, f"content-length: {len(body)}", *fields) + body


def head(status: str, *fields: str) -> bytes:
    """The head of an answer; characters are bytes."""
    return "".join(f"{line}\r\n" for line in [f"HTTP/1.1 {status}", *fields, ""]).encode("latin-1")


# Another protocol is asked for, and spoken from here on.
UPGRADE = ["Connection: Upgrade", "Upgrade: echo", "Sec-WebSocket-Key: dGhl", "sec-websocket-version: 13"]
SWITCH = head("101 Switching Protocols", "Connection: upgrade", "Upgrade: echo", "Sec-WebSocket-Accept: x=")


def chunks(*pieces: bytes, trailers: str = "") -> bytes:
    """A whole chunked body."""
    return b"".join(chunk(piece) for piece in pieces) + b"0\r\n" + trailers.encode("latin-1") + b"\r\n"


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)
