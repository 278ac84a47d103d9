"""The guard: what a connection owes before a front is asked.

The rule: framing, limits and the fate of the connection are decided here, once, for every front. A
request that passes is handed over as it was read; one that does not is handed over with its refusal,
so that it waits for the answers before it, is answered, and is logged like any other.

After an answer that ends the connection nothing on it is heard: what follows may be read differently
by somebody in front of us.

A connection has one timer. No request starts or stops it, which would cost more than the request: it
looks what the client has to do next and since when, and ends the connection of one that is late.
"""

import asyncio
from collections.abc import Callable
from math import inf
from random import random
from time import monotonic_ns
from typing import Any, NamedTuple
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from redirect.core.decision import FAULT, Decision
from redirect.core.request import Request
from redirect.edge.connection_limit import CONNECTION_LIMIT
from redirect.edge.handler import RequestHandler
from redirect.edge.reader import EXTENSION, OTHER_VERSION

REQUEST_LINE_LIMIT = 8 * 1024
HEADERS_LIMIT = 32 * 1024
FIELDS_LIMIT = 100
BODY_LIMIT = 64 * 1024

# What arrives is fed to the parser in pieces, for two reasons. The parser joins the parts of a field again
# and again, so a field has to be refused before it is complete: pieces that complete nothing are counted.
# And a client may pipeline for ever: no piece is fed while requests wait, so no more than a piece of them does.
PIECE = 4 * 1024

# What the parser takes for a request although it is one of RTSP or ICE, whose versions it shows as HTTP's.
NOT_HTTP = frozenset(
    b"ANNOUNCE DESCRIBE FLUSH GET_PARAMETER PAUSE PLAY RECORD REDIRECT SET_PARAMETER SETUP SOURCE TEARDOWN".split()
)

# Seconds that a client may take: from the first byte of a request to the end of its head, however it drips;
# from one piece to the next of a body that is thrown away; and to read any of what waits for it. So long it may
# also take to send its first byte, as nginx has it: who connects has something to ask, and browsers that connect
# in advance connect again. Between two requests it is the server's keep-alive time.
PATIENCE = 10.0

# Seconds between two looks at a client for which bytes wait: whether it reads any is seen only so.
LOOK = 1.0

# Seconds for a client that was late to read that it was.
LAST_WORD = 0.5

# Seconds for which a connection without a request stays open when the worker ends, or half of what the worker
# has for all of its end: a client that asks meanwhile is answered, and told that this was the last time.
DRAIN = 2.0

# Seconds for a client that is still sending to read the last answer. Closing with unread bytes makes
# the kernel reset the connection, and the answer is lost on the way.
LINGER = 2.0


class _Waiting(NamedTuple):
    """A request that is read and waits for the end of its body, with the fields of its head."""

    request: Request
    close: bool
    headers: list[tuple[bytes, bytes]]


class _Stop(Exception):  # noqa: N818  not an error: how a callback tells the parser to end
    """Ends the parser from one of its callbacks; the last answer is decided."""


class HttpConnection(HttpToolsProtocol):
    """uvicorn's httptools protocol with our limits in front of its app, which has a `state.handler`.

    Relies on these of its parent: `config`, `parser`, `url`, `headers`, `scope`, `client`, `scheme`,
    `cycle`, `pipeline`, `flow`, `transport`, `loop`, `logger`, `timeout_keep_alive`, `connections`,
    `server_state.total_requests`; on `on_message_begin` making a `scope` that `on_headers_complete`
    completes and makes a cycle from, which starts no earlier than the loop's next turn; and on
    `on_response_complete` being called after each answer, to give the next request in `pipeline` to
    `_start_asgi_task`, and being the only one that starts a timer.
    """

    # Beside uvicorn's: with over thirty attributes an instance gets a dict of its own, two KiB and slower.
    __slots__ = (
        "_body_bytes",
        "_deaf",
        "_draining",
        "_fed",
        "_for_cycles",
        "_in_message",
        "_keep_alive",
        "_lingering",
        "_open",
        "_peer",
        "_scheme",
        "_since",
        "_stuck",
        "_turn",
        "_unfed",
        "_unfinished",
        "_waiting",
        "_watch",
        "_written",
        "handler",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.handler: RequestHandler = config.app.state.handler  # type: ignore[union-attr]

        # Connection state
        self._deaf = False  # the last answer of the connection is decided
        self._draining = False  # the next answer is the last
        self._unfed = b""  # arrived, and waits for its turn, or for the requests before it
        self._turn: asyncio.Handle | None = None  # the loop's, to feed on
        self._watch: asyncio.TimerHandle  # when to look at the client again
        self._keep_alive: float = self.timeout_keep_alive  # seconds
        # When the last answer was sent, or when the request began or went on after that, by `monotonic_ns`.
        self._since = 0
        self._stuck: tuple[int, int] | None = None  # while bytes wait for the client: how far it has read, since when
        self._written = 0  # bytes, counted only meanwhile
        self._lingering: asyncio.TimerHandle | None = None  # until the connection is closed for good

        # Request state
        self._in_message = False
        self._open = False  # begun and not handed over
        self._waiting: _Waiting | None = None
        self._unfinished = 0  # bytes fed since the parser last completed something
        self._fed = 0  # bytes since the piece in which it began
        self._body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._for_cycles = _TransportForCycles(transport, self._write, self._hang_up)
        self._peer = self.client[0] if self.client else None
        self._scheme = self.scheme or "http"
        # It counts as idle for so long already that PATIENCE is left.
        self._since = monotonic_ns() - int((self._keep_alive - PATIENCE) * 1e9)
        # At random, lest connections that were made together are looked at together from then on.
        self._look_in(PATIENCE * (1 + random()) / 2)
        if not CONNECTION_LIMIT.is_left(len(self.connections)):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # Both know this object. A ring of garbage that was frozen meanwhile (`gc.freeze`) would never be found.
        self._for_cycles = self.cycle = None  # type: ignore[assignment]
        self._unfed = b""
        for handle in (self._watch, self._lingering, self._turn):
            if handle:
                handle.cancel()

    def data_received(self, data: bytes) -> None:
        self._unfed += data
        self._feed_on()

    def on_response_complete(self) -> None:
        """uvicorn's, without the timer that it starts after each answer."""
        self.server_state.total_requests += 1
        self._since = monotonic_ns()
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        self._feed_on()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch.cancel()
        self._look_in(0)

    def shutdown(self) -> None:
        """The worker ends: the next answer is the last. May be called again."""
        if self._draining or self._deaf:
            return
        self._draining = True
        if self._is_answering() and not self.cycle.response_started:
            self._deaf = True
            self.cycle.keep_alive = False
        self._keep_alive = min(DRAIN, (self.config.timeout_graceful_shutdown or inf) / 2)
        if not self._in_message:
            self._since = monotonic_ns()
        self._watch.cancel()
        self._look_in(self._keep_alive)

    def silence(self) -> None:
        """The worker goes: nothing is answered any more, as nobody would log it. What was answered goes out."""
        self._deaf = True
        self.pipeline.clear()
        self._for_cycles.silence()

    # Deadlines

    def _look_in(self, seconds: float) -> None:
        """Looks at the client in so many seconds, or as soon as it may be late with what it begins meanwhile."""
        self._watch = self.loop.call_later(min(seconds, PATIENCE, self._keep_alive), self._look)

    def _look(self) -> None:
        """Ends the connection if the client is late, or else looks again when it may be."""
        now = monotonic_ns()
        if self._is_stuck(now):
            self.transport.abort()
            return
        left = self._left(now)
        if left > 0:
            self._look_in(min(left, LOOK) if self._stuck else left)
        elif self._open:
            self._refuse_late()
            self._watch = self.loop.call_later(LAST_WORD, self.transport.abort)
        else:
            self.transport.close()
            self._look_in(inf)  # bytes that still wait keep it open

    def _left(self, now: int) -> float:
        """Seconds that the client has for what it has to do next."""
        if self._deaf or self._unfed or self._is_answering():
            return inf
        return (PATIENCE if self._in_message else self._keep_alive) - (now - self._since) / 1e9

    def _is_stuck(self, now: int) -> bool:
        """Whether for PATIENCE the client has read nothing of what waits for it, whatever it has asked meanwhile."""
        unread = self.transport.get_write_buffer_size()
        read = self._written - unread
        if not unread:
            self._stuck = None
        elif self._stuck is None or self._stuck[0] < read:
            self._stuck = read, now
        return self._stuck is not None and now - self._stuck[1] >= PATIENCE * 1e9

    def _write(self, data: bytes) -> None:
        if self._stuck is not None:
            self._written += len(data)
        self.transport.write(data)

    def _refuse_late(self) -> None:
        late = "body did not go on for" if self._waiting else "head did not end within"
        self._refuse(_refusal(408, f"the request's {late} {PATIENCE:g} seconds"), method_known=bool(self.url))

    def _is_answering(self) -> bool:
        """Whether the app still works on a request of this connection."""
        return self.cycle is not None and not self.cycle.response_complete

    def _feed_on(self) -> None:
        """Feeds a piece of what has arrived, if no request waits for the answer to another; the next at the
        loop's next turn, so that a client that sends many requests at once leaves time for others."""
        if self._unfed and not self._deaf and not self.pipeline:
            piece, self._unfed = self._unfed[:PIECE], self._unfed[PIECE:]
            self._feed(piece)
        if self._deaf:
            self._unfed = b""
        if not self._unfed:
            self.flow.resume_reading()
            return
        self.flow.pause_reading()
        if not self.pipeline and self._turn is None:
            self._turn = self.loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        self._feed_on()

    def _feed(self, piece: bytes) -> None:
        self._unfinished += len(piece)
        self._fed += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            return  # handed over with the connection's end
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Stop):
                self.logger.error("Exception in the protocol", exc_info=error.__context__)
                if not self._deaf:
                    self._refuse(FAULT)
        except httptools.HttpParserError as error:
            if not self._deaf and not self._refuse_too_long():
                self._refuse_malformed(error)
        else:
            if not self._deaf:
                self._refuse_too_long()

    # Parser callbacks

    def on_message_begin(self) -> None:
        if self._deaf:
            raise _Stop
        self._begin()

    def on_url(self, url: bytes) -> None:
        self.url += url
        self._unfinished = 0
        # The method is asked for only where it can matter: no known one is half of the limit long.
        if len(self.url) > REQUEST_LINE_LIMIT // 2:
            line = len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1")
            if line > REQUEST_LINE_LIMIT:
                self._refuse(_refusal(414, f"the request line is longer than {REQUEST_LINE_LIMIT} bytes"))
                raise _Stop

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called for trailers too, after the head was read."""
        self.headers.append((name, value))
        self._unfinished = 0

    def on_headers_complete(self) -> None:
        if self._refuse_too_long():
            raise _Stop
        parser, reader = self.parser, self.handler.reader
        method, version = parser.get_method(), parser.get_http_version()
        if method in NOT_HTTP:
            self._refuse(OTHER_VERSION)
            raise _Stop
        fields = reader.fields(self.headers)
        request = reader.read(method.decode("ascii"), self.url, fields, version, self._peer, self._scheme)
        close = (
            version != "1.1" or not parser.should_keep_alive() or (request.answer is not None and request.answer.close)
        )
        # The parser has refused lengths that differ or are no numbers, and a length beside a coding.
        length = fields.get("content-length", "").lstrip("0")  # int() raises for thousands of them
        unread = (
            len(length) > len(str(BODY_LIMIT))
            or int(length or 0) > BODY_LIMIT
            or "100-continue" in fields.get("expect", "").lower()
        )
        if unread or parser.should_upgrade():
            self._pass_on(request, close=True)
        elif "transfer-encoding" in fields:
            # A bad chunk turns the answer into 400, wherever it was cut. Trailers are counted, and say nothing.
            self._waiting = _Waiting(request, close, self.headers)
            self.headers = [*self.headers]
            self._since = monotonic_ns()
        else:
            self._pass_on(request, close=close)

    def on_body(self, body: bytes) -> None:
        """Throws the body away; a chunked one tells its length only by and by."""
        self._unfinished = 0
        self._since = monotonic_ns()
        self._body_bytes += len(body)
        if self._waiting and self._body_bytes > BODY_LIMIT:
            self._pass_on(self._waiting.request, close=True)
            raise _Stop

    def on_message_complete(self) -> None:
        self._in_message = False
        self._unfinished = 0
        if self._waiting:
            if self._refuse_too_long():
                raise _Stop
            close = self._waiting.close or not self.parser.should_keep_alive()  # a trailer may have said so
            self._pass_on(self._waiting.request, close=close)

    # Handing over

    def _begin(self) -> None:
        self.url = b""
        self.headers = []
        self._in_message = self._open = True
        self._since = monotonic_ns()
        self._waiting = None
        self._unfinished = self._fed = self._body_bytes = 0

    def _refuse_too_long(self) -> bool:
        """Refuses a head, or trailers, over the limits: asked when they end, and where a piece ends."""
        if self._unfinished > HEADERS_LIMIT:
            self._refuse(_refusal(431, f"{HEADERS_LIMIT} bytes came without completing a header field"))
        elif self._open and (len(self.headers) > FIELDS_LIMIT or self._header_bytes() > HEADERS_LIMIT):
            limits = f"{FIELDS_LIMIT} fields or {HEADERS_LIMIT} bytes"
            self._refuse(_refusal(431, f"the header section has more than {limits}"))
        else:
            return False
        return True

    def _header_bytes(self) -> int:
        if self._fed + PIECE <= HEADERS_LIMIT:
            return 0  # not counted: there cannot be too many
        return sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)

    def _refuse_malformed(self, error: httptools.HttpParserError) -> None:
        in_url = isinstance(error, httptools.HttpParserInvalidURLError)
        if in_url:
            self.url = b""  # how much of it was read depends on where the network cut it
        known = self.parser.get_http_version() in ("0.0", "1.0", "1.1")
        refusal = _refusal(400, f"the request is malformed: {error}") if known else OTHER_VERSION
        self._refuse(refusal, method_known=in_url or bool(self.url))

    def _refuse(self, refusal: Decision, *, method_known: bool = True) -> None:
        if not self._open:
            self._begin()
        request = self._waiting.request if self._waiting else self._read(method_known)
        self._pass_on(request._replace(answer=refusal), close=True)

    def _read(self, method_known: bool) -> Request:
        """What is known of a request that was not read to its end."""
        reader = self.handler.reader
        method = self.parser.get_method().decode("ascii") if method_known else ""
        return reader.read(method, self.url, reader.fields(self.headers), "", self._peer, self._scheme)

    def _pass_on(self, request: Request, *, close: bool) -> None:
        if self._waiting:
            self.headers = self._waiting.headers
        close = close or self._draining
        self._open = False
        self._waiting = None
        self._deaf = close
        self.hand_over(request, close=close)

    def _hang_up(self) -> None:
        """Ends the connection, but gives the client time to read the last answer, as nginx's lingering_close
        does. What arrives meanwhile is thrown away."""
        self._deaf = True
        self.pipeline.clear()
        if not self.transport.is_closing():
            self.transport.write_eof()
            self._lingering = self.loop.call_later(LINGER, self.transport.close)

    def hand_over(self, request: Request, *, close: bool) -> None:
        """Starts the app on the request, behind those that came before it on the connection.

        The connection ends with its answer if it is to `close`.
        """
        headers = [(name.lower(), value) for name, value in self.headers]
        super().on_message_begin()
        self.headers += headers
        self.url = b"/"  # uvicorn takes the target apart and fails at `*`; what it makes of it is replaced
        super().on_headers_complete()
        path, _, query = request.target.partition("?")
        super().on_message_complete()  # whatever body comes is thrown away
        self.scope["method"] = request.method
        self.scope["path"] = unquote(path)
        self.scope["raw_path"] = path.encode("latin-1")
        self.scope["query_string"] = query.encode("latin-1")
        self.scope["extensions"] = {EXTENSION: request}  # type: ignore[dict-item]
        self.cycle.transport = self._for_cycles  # type: ignore[assignment]
        self.cycle.keep_alive = not close


def _refusal(status: int, detail: str) -> Decision:
    return Decision(status, detail=detail, close=True)


class _TransportForCycles:
    """The transport as uvicorn's cycles see it: its close hangs up."""

    def __init__(
        self, transport: asyncio.Transport, write: Callable[[bytes], None], hang_up: Callable[[], None]
    ) -> None:
        self._write = write
        self.is_closing = transport.is_closing
        self.close = hang_up

    def write(self, data: bytes) -> None:
        if not self.is_closing():  # uvloop raises where the client has gone
            self._write(data)

    def silence(self) -> None:
        """Throws away what cycles send from now on."""
        self._write = lambda data: None
