"""Origins that are broken, each in its way, and what a client gets of them, within which time.

The rule: what is expected stands beside what an origin does; another status, another cause, or an answer later than the
route's timeouts allow, is a failure. After each, a good origin behind the same service answers.
"""

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from struct import pack
from typing import NamedTuple

from processes import service
from table import Table

TIMEOUT = 1  # seconds for each step of a route, and twice that for all of it
LATEST = 2 * TIMEOUT + 1.5  # seconds: with what a busy machine adds

_ERROR = re.compile(rb"\r\nproxy-status: redirect; error=(\w+)", re.IGNORECASE)
_ROUTE = """
[[routes]]
path_prefix = "/{name}"
forward_to = "{name}"
retries = 0
timeouts = {{ connect = {timeout}, answer = {timeout}, idle = {timeout}, total = {total} }}
[{name}]
scheme = "{scheme}"
weighted_hosts = {{ "{host}:{port}" = 1 }}
"""

OK = b"HTTP/1.1 200 OK\r\n"
CUT = "cut"

Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Kind(NamedTuple):
    """What an origin does once it was asked, and the status and cause that are due; `CUT` behind a head that passed."""

    name: str
    behave: Callable[[Peer], Awaitable[None]] | None
    status: str
    error: str = "-"
    scheme: str = "http"


def says(*pieces: bytes, pause: float = 0.0, closes: bool = True) -> Callable[[Peer], Awaitable[None]]:
    async def behave(peer: Peer) -> None:
        for piece in pieces:
            peer[1].write(piece)
            await peer[1].drain()
            await asyncio.sleep(pause)
        if not closes:
            await peer[0].read()

    return behave


def endless(first: bytes, piece: bytes, pause: float = 0.0) -> Callable[[Peer], Awaitable[None]]:
    async def behave(peer: Peer) -> None:
        peer[1].write(first)
        while not peer[1].is_closing():
            peer[1].write(piece)
            await peer[1].drain()
            await asyncio.sleep(pause)

    return behave


async def reset(peer: Peer) -> None:
    peer[1].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
    peer[1].transport.abort()


INCOMPLETE, NO_HTTP = "http_response_incomplete", "http_protocol_error"
LATE, TOO_LARGE = "http_response_timeout", "http_response_header_section_size"

KINDS = [
    Kind("refuses connections", None, "503", "connection_refused"),
    Kind("closes without a word", says(), "502", INCOMPLETE),
    Kind("resets the connection", reset, "502", INCOMPLETE),
    Kind("is silent", says(closes=False), "504", LATE),
    Kind("closes within the status line", says(b"HTTP/1.1 2"), "502", INCOMPLETE),
    Kind("closes within the head", says(OK + b"X: y\r\n"), "502", INCOMPLETE),
    Kind("stops within the head", says(OK + b"X: y\r\n", closes=False), "504", LATE),
    Kind("sends a head byte by byte", endless(OK, b"X", 0.05), "504", LATE),
    Kind("sends a head without end", endless(OK, b"X: y\r\n" * 100), "502", TOO_LARGE),
    Kind("sends a field of 64 KiB", says(OK + b"X: " + b"a" * 65_536 + b"\r\n\r\n"), "502", TOO_LARGE),
    Kind("closes within the body", says(OK + b"Content-Length: 10\r\n\r\nhello"), "200", CUT),
    Kind("stops within the body", says(OK + b"Content-Length: 10\r\n\r\nhello", closes=False), "200", CUT),
    Kind("sends a body byte by byte", endless(OK + b"Content-Length: 999\r\n\r\n", b"x", 0.1), "200", CUT),
    Kind("closes within a chunk", says(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe"), "200", CUT),
    Kind("sends a bad chunk", says(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"xx\r\n", pause=0.1), "200", CUT),
    Kind("states two lengths", says(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), "502", NO_HTTP),
    Kind("states a length that is none", says(OK + b"Content-Length: five\r\n\r\nhello"), "502", NO_HTTP),
    Kind("states a length and chunks",
         says(OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "502", NO_HTTP),
    Kind("sends more than the length", says(OK + b"Content-Length: 5\r\n\r\nhello, you", closes=False), "200"),
    Kind("speaks another protocol", says(b"SSH-2.0-OpenSSH_9.9\r\n", closes=False), "502", NO_HTTP),
    Kind("sends garbage", says(bytes(range(256)) * 100, closes=False), "502", NO_HTTP),
    Kind("sends 1xx without end", endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.01), "504", LATE),
    Kind("switches protocols unasked", says(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", closes=False), "502", NO_HTTP),
    Kind("speaks no TLS", says(OK + b"\r\n"), "503", "tls_protocol_error", "https"),
]  # fmt: skip


class Got(NamedTuple):
    status: str
    error: str
    seconds: float


@asynccontextmanager
async def serving(kind: Kind) -> AsyncIterator[int]:
    """The origin's port."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            if kind.scheme == "http":
                await reader.readuntil(b"\r\n\r\n")
            assert kind.behave
            await kind.behave((reader, writer))
        writer.close()

    if kind.behave is None:
        with socket.socket() as held:  # which does not listen, and keeps others from the port
            held.bind(("127.0.0.1", 0))
            yield held.getsockname()[1]
        return
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def ask(port: int, name: str) -> Got:
    """What one GET on a connection of its own gets."""
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /%b HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n" % name.encode())
    try:
        received = await asyncio.wait_for(reader.read(-1), 30)
    finally:
        writer.transport.abort()
    head, _, body = re.sub(rb"\AHTTP/1\.1 1\d\d .*?\r\n\r\n", b"", received).partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 1"):
        head, _, body = body.partition(b"\r\n\r\n")
    found = _ERROR.search(head)
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    is_whole = len(body) == int(length[1]) if length else body.endswith(b"0\r\n\r\n")
    error = found[1].decode() if found else "-" if is_whole else CUT
    return Got(head[9:12].decode(), error, time.monotonic() - begun)


async def measure() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    wrong = []
    kinds = [*KINDS, Kind("is good", says(OK + b"Content-Length: 2\r\n\r\nok"), "200")]
    async with AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(serving(kind)) for kind in kinds]
        toml = "".join(
            _ROUTE.format(
                name=f"origin-{number}", host="127.0.0.1", port=port, scheme=kind.scheme, timeout=TIMEOUT,
                total=2 * TIMEOUT,
            )
            for number, (kind, port) in enumerate(zip(kinds, ports, strict=True))
        )  # fmt: skip
        with service(toml.encode()) as running:
            for number, kind in enumerate(KINDS):
                got = await ask(running.target.port, f"origin-{number}")
                good = await ask(running.target.port, f"origin-{len(KINDS)}")
                if (got.status, got.error) != (kind.status, kind.error) or got.seconds > LATEST or good.status != "200":
                    wrong.append(f"{kind.name}: {got}, then {good}")
                rows.append((kind.name, got.status, got.error, f"{got.seconds:.1f}"))
    if wrong:
        raise RuntimeError("\n".join(wrong))
    return rows


def table() -> Table:
    note = f"With `timeouts` of {TIMEOUT} s for connect, answer and idle, {2 * TIMEOUT} s in total, and no retries."
    return Table("Broken origins", ("the origin", "status", "cause", "seconds"), asyncio.run(measure()), note)
