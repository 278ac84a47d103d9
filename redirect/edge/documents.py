"""What the admin listener shows, for clients of the public one: a worker asks the controller for it.

The rule: a worker renders nothing. It asks over a connection of its own for each request, and answers 503 where the
controller does not: it may be being replaced.

A body is kept until the client has read it. So a worker has each document under way for a limited number of clients,
and those that do not read one leave the others to be asked for.
"""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple, Protocol
from urllib.parse import quote

import httptools

from redirect.core.decision import Decision
from redirect.core.routes import Route
from redirect.edge.response import ID, fields_and_body
from redirect.proxy.fields import Field

# Of a document, in a worker.
MAX_AT_ONCE = 16

# Metrics of 100,000 pools have that many, and take the controller ten seconds.
MAX_BODY_BYTES = 64 * 1024 * 1024
ANSWER_SECONDS = 30.0

# Between two looks at the controller's heartbeat.
CHECK_SECONDS = 0.2

_PIECE_BYTES = 64 * 1024
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
_OF_CONNECTION = (b"connection", b"date")


class Controller(Protocol):
    """The controller of the instance, as a worker reaches it."""

    def connect(self) -> socket.socket:
        """A connection on which it speaks HTTP, or the next one does. Raises OSError."""

    def is_late(self) -> bool:
        """Whether its last heartbeat is too long ago."""


class Answer(NamedTuple):
    """What is sent and recorded."""

    decision: Decision
    fields: list[Field]
    body: bytes

    def pieces(self) -> Iterable[tuple[bytes, bool]]:
        """The body, and whether more of it comes."""
        for start in range(0, len(self.body) or 1, _PIECE_BYTES):
            end = start + _PIECE_BYTES
            yield self.body[start:end], end < len(self.body)


class _Response:
    """What httptools reads."""

    def __init__(self) -> None:
        self.fields: list[Field] = []
        self.body = bytearray()
        self.is_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() not in _OF_CONNECTION:
            self.fields.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = True


class _TooLongError(Exception):
    """The body has over MAX_BODY_BYTES."""


class Documents:
    def __init__(self, controller: Controller | None = None) -> None:
        self._controller = controller
        self._under_way: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def answer(
        self, route: Route, target: str, request_id: str, headers: Iterable[Field]
    ) -> AsyncIterator[Answer]:
        """The answer to a request for `target` with this id and these fields; the block ends when it is sent."""
        document = route.show or ""
        if self._under_way[document] >= MAX_AT_ONCE:
            yield _refused(route, target, request_id, headers, f"{MAX_AT_ONCE} requests for {document} are under way")
            return
        self._under_way[document] += 1
        try:
            yield await self._ask(route, target, request_id, headers)
        finally:
            self._under_way[document] -= 1

    async def _ask(self, route: Route, target: str, request_id: str, headers: Iterable[Field]) -> Answer:
        controller = self._controller
        if controller is None:
            return _refused(route, target, request_id, headers, "there is no controller")
        asking = asyncio.create_task(_exchange(controller, _request(route.show or "", target, headers)))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while not asking.done():
                    if controller.is_late():
                        raise TimeoutError
                    await asyncio.wait({asking}, timeout=CHECK_SECONDS)
            status, response = asking.result()
        except (OSError, httptools.HttpParserError):  # a TimeoutError is an OSError
            return _refused(route, target, request_id, headers, "the controller does not answer")
        except _TooLongError:
            return _refused(route, target, request_id, headers, f"{route.show} has over {MAX_BODY_BYTES:,} bytes")
        finally:
            asking.cancel()
        decision = Decision(status, route=route.name, is_show=True)
        return Answer(decision, [(ID, request_id.encode()), *response.fields], bytes(response.body))


async def _exchange(controller: Controller, request: bytes) -> tuple[int, _Response]:
    reader, writer = await asyncio.open_unix_connection(sock=controller.connect())
    with contextlib.closing(writer):
        writer.write(request)
        response = _Response()
        parser = httptools.HttpResponseParser(response)
        while not response.is_complete:
            data = await reader.read(_PIECE_BYTES)
            if not data:
                raise ConnectionError
            parser.feed_data(data)
            if len(response.body) > MAX_BODY_BYTES:
                raise _TooLongError
        return parser.get_status_code(), response


def _request(document: str, target: str, headers: Iterable[Field]) -> bytes:
    """A GET also for a HEAD: its answer has the same fields."""
    _, mark, query = target.partition("?")
    path = f"/{document}{mark}{quote(query, safe=_VISIBLE, encoding='latin-1')}"
    accepted = [b"%b: %b\r\n" % field for field in headers if field[0].lower() in (b"accept", b"accept-encoding")]
    return b"GET %b HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n%b\r\n" % (path.encode(), b"".join(accepted))


def _refused(route: Route, target: str, request_id: str, headers: Iterable[Field], detail: str) -> Answer:
    decision = Decision(503, detail=detail, route=route.name, is_show=True)
    return Answer(decision, *fields_and_body(decision, target, request_id, headers))
