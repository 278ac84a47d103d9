"""A connection: framing, limits and the order of requests, decided once for every front.

The rule: a request within the limits is given to the front as it was read; one that is not is given to it with its
refusal, so that it waits for the responses before it, is answered, and is logged like any other.

After the response that ends the connection nothing on it is read: a proxy in front of us may have read what follows
differently.
"""

import asyncio
import re
from math import inf
from time import monotonic_ns
from typing import Any, NamedTuple
from urllib.parse import unquote

import httptools
from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from redirect.core.decision import FAULT, Decision
from redirect.core.forward import Forward
from redirect.core.request import Request
from redirect.core.routes import METHODS, Route
from redirect.edge import limits
from redirect.edge.deadlines import BODY, DISCARDING, HEAD, IDLE, LAST, LINGERING, PASSING, SILENT, TimedConnection
from redirect.edge.forwarding import ForwardingClient
from redirect.edge.handler import RequestHandler
from redirect.edge.reader import EXTENSION, OTHER_VERSION, peer_of
from redirect.edge.response import whole
from redirect.proxy.descriptors import DESCRIPTORS
from redirect.proxy.exchange import Exchange

# Methods of RTSP and ICE: the parser takes their requests for HTTP's, and shows their versions as such.
NOT_HTTP = frozenset(
    b"ANNOUNCE DESCRIBE FLUSH GET_PARAMETER PAUSE PLAY RECORD REDIRECT SET_PARAMETER SETUP SOURCE TEARDOWN".split()
)

# All that the parser knows.
KNOWN_METHODS = NOT_HTTP | {b"CONNECT", b"PRI"} | {method.encode() for method in METHODS}

# A method, behind line ends that are skipped. What is longer is none.
_METHOD = re.compile(rb"[\r\n]*([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32})( ?)")


class _Pending(NamedTuple):
    """A request that is read but for its chunked body, with the fields of its head."""

    request: Request
    close: bool
    headers: list[tuple[bytes, bytes]]


class _Stop(Exception):  # noqa: N818  not an error: how a callback ends the parser
    """Ends the parser from one of its callbacks, with the refusal of the request or because the last response is
    decided."""

    def __init__(self, refusal: Decision | None = None) -> None:
        self.refusal = refusal


class HttpConnection(TimedConnection):
    """uvicorn's httptools protocol with our limits in front of its app, which has a `state.handler`.

    Relies on these of its parent: `config`, `parser`, `app`, `app_state`, `asgi_version`, `root_path`, `url`,
    `headers`, `client`, `server`, `scheme`, `cycle`, `pipeline`, `flow`, `transport`, `loop`, `logger`,
    `access_logger`, `access_log`, `timeout_keep_alive`, `connections`, `server_state.total_requests`,
    `server_state.default_headers`; on `_start_asgi_task` starting a task no earlier than the loop's next cycle; and on
    uvicorn's RequestResponseCycle calling on_response after each response, and nothing of its transport but write,
    close and is_closing, which are this class's own.
    """

    # Beside uvicorn's: with over thirty attributes an instance gets a dict of its own, two KiB and slower.
    __slots__ = (
        "_body_bytes", "_draining", "_feeding", "_incomplete_bytes", "_is_starting", "_message_bytes",
        "_part_of_method", "_pending", "_unknown_method", "_upload", "handler", "is_at_end",
    )  # fmt: skip

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Process
        self.handler: RequestHandler = self.config.app.state.handler  # type: ignore[union-attr]
        self.handler.connections = self.connections

        # Connection
        self._draining = False  # the worker stops: the next response is the last
        self.is_at_end = False  # the client sends no more
        self._is_starting = False  # a request that waited
        self._feeding: asyncio.Handle | None = None  # the next call of `_feed`

        # Request
        self._part_of_method = b""  # that has come; nothing of such a request was fed
        self._unknown_method = b""
        self._pending: _Pending | None = None  # in BODY
        self._upload: ForwardingClient | None = None  # that takes the body in PASSING, or what follows a switch
        self._pieces: list[bytes] = []  # of a body that is passed on, found in the chunk that is fed
        self._message_bytes = 0  # fed after the chunk in which the request began
        self._incomplete_bytes = 0  # fed since the parser last completed something
        self._body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client:
            self.client = peer_of(self.client) or "", self.client[1]
        DESCRIPTORS.clients = len(self.connections)
        if not DESCRIPTORS.allow_client():
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        DESCRIPTORS.clients = len(self.connections)
        # The cycle refers to this connection, and so do exchanges to their clients. Circular garbage that was frozen
        # (`gc.freeze`) would not be freed.
        self.cycle = None  # type: ignore[assignment]
        self._buffer = b""
        if self._forwarding:
            self._forwarding.exchange.client_lost()
        for client in {self._forwarding, self._upload, *self.pipeline}:
            if isinstance(client, ForwardingClient):
                del client.exchange
        self.pipeline.clear()
        self._forwarding = self._upload = None
        if self._feeding:
            self._feeding.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._feed()

    def on_response_complete(self) -> None:
        """uvicorn's, without the timer that it starts after each response."""
        self.server_state.total_requests += 1
        self._since = monotonic_ns()
        if self.transport.is_closing():
            return
        self._start_next()
        self._feed()

    def _start_next(self) -> None:
        """Answers the requests that wait, up to one that takes time. One that is refused at once calls this again."""
        if self._is_starting:
            return
        self._is_starting = True
        try:
            while self.pipeline and self._forwarding is None and not self.transport.is_closing():
                waiting = self.pipeline.pop()
                if isinstance(waiting, ForwardingClient):
                    self._forwarding = waiting
                    waiting.exchange.begin()
                else:
                    self._start_asgi_task(*waiting)
                    break
        finally:
            self._is_starting = False

    def shutdown(self) -> None:
        """The worker stops: the next response is the last. May be called again."""
        if self._draining or self._state >= LAST:
            return
        self._draining = True
        if self._state is IDLE:
            self._since = monotonic_ns()
        if self._forwarding is not None:
            self._forwarding.end_connection()
        elif self._is_answering() and not self.cycle.response_started:
            self._state = LAST
            self.cycle.keep_alive = False
        self._keep_alive = min(limits.DRAIN_SECONDS, (self.config.timeout_graceful_shutdown or inf) / 2)
        self._check_in(self._keep_alive)

    def silence(self) -> bool:
        """The worker has stopped: nothing is answered any more, as it would not be logged. What was answered is
        still sent. Returns whether a forward was under way."""
        self._state = SILENT
        self.pipeline.clear()
        forwarding, self._forwarding, self._upload = self._forwarding, None, None
        if forwarding:
            forwarding.exchange.stop()
            forwarding.cut()
        self._feed()
        return forwarding is not None

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """A client may send no more, and wait for its answers. The rest of a request never comes."""
        forwarding = self._forwarding
        if not self._is_answering():
            return None
        if forwarding and (forwarding.exchange.is_tunnel or (self._state is PASSING and self._upload is forwarding)):
            return None
        self.is_at_end = True
        if self._state is PASSING and self._upload is not None:
            self.pipeline.remove(self._upload)  # type: ignore[arg-type]
            self._upload = None
            self._state = LAST
        if forwarding:
            forwarding.ask_whether_left()
        return True

    def forget_head(self) -> None:
        """What is known of the last head may mean something else from now on."""

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._forwarding is not None:
            self._forwarding.exchange.pause_answer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._forwarding is not None:
            self._forwarding.exchange.resume_answer()

    # The transport as uvicorn's cycles see it

    def is_closing(self) -> bool:
        return self.transport.is_closing()

    def write(self, data: bytes) -> None:
        if self._state is SILENT or self.transport.is_closing():  # uvloop raises where the client has gone
            return
        if self._read_progress is not None:
            self._written += len(data)
        self.transport.write(data)

    def close(self) -> None:
        """Ends the connection, but gives the client time to read the last response, as nginx's lingering_close does.
        What arrives meanwhile is discarded; of a client that sends no more nothing does."""
        self.pipeline.clear()
        if self._state < LINGERING:
            self._enter(LINGERING)
            self._until = self._since + limits.ALL_LINGER_SECONDS * 1e9
            self._check_in(limits.LINGER_SECONDS)
        if self.is_at_end:
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write_eof()
            self.flow.resume_reading()  # of a body that its origin did not take

    # Feeding the parser

    def _feed(self) -> None:
        """Feeds a chunk of the buffer, unless a request waits for the response to another, or an origin does not take
        the body; the next chunk in the next cycle of the loop, so that a client that sends many requests at once leaves
        time for others."""
        if self._forwarding is not None and self._forwarding.exchange.is_tunnel:
            self._feed_tunnel(self._forwarding.exchange)
            return
        if self._buffer and self._state < LAST and self._may_feed():
            if self._state is IDLE or self._part_of_method:
                self._look_at_method()
            is_counted = self._upload is not None and not self._upload.exchange.traits.is_chunked
            size = limits.MAX_PASSED_BYTES if is_counted else limits.MAX_FED_BYTES
            chunk, self._buffer = self._buffer[:size], self._buffer[size:]
            self._parse(chunk)
        if self._state >= LAST:
            if self._buffer and self._state is LINGERING:
                self._since = monotonic_ns()
            self._buffer = b""
        if self.is_at_end and not self._buffer and not self._is_answering() and self._state < LAST:
            self.transport.close()  # within a request that has no end
        elif self._buffer or self._is_full():
            self.flow.pause_reading()
            if self._buffer and self._may_feed():
                self.feed_soon()
        else:
            self.flow.resume_reading()

    def _feed_tunnel(self, tunnel: Exchange) -> None:
        data, self._buffer = self._buffer, b""
        if data:
            tunnel.request_data(data)
        if not tunnel.is_full:
            self.flow.resume_reading()

    def _look_at_method(self) -> None:
        """Looks at that of the request with which the buffer begins, once it is whole. One that the parser does not
        know is fed as another, so that what is wrong with the rest of the head counts first. Where such a request is in
        one chunk with one before it, it is malformed to the parser."""
        self._buffer, self._part_of_method = self._part_of_method + self._buffer, b""
        found = _METHOD.match(self._buffer)
        if found is None:
            return
        if not found[2] and found.end() == len(self._buffer):
            self._buffer, self._part_of_method = b"", self._buffer
            if self._state is IDLE:
                self.on_message_begin()
        elif found[2] and found[1] not in KNOWN_METHODS:
            self._unknown_method = found[1]
            self._buffer = b"POST" + self._buffer[found.end(1) :]

    def _may_feed(self) -> bool:
        return not self.pipeline and not self._is_full() and not (self._upload and self._upload.waits_for_switch())

    def _is_full(self) -> bool:
        return self._upload is not None and self._upload.exchange.is_full

    def feed_soon(self) -> None:
        """Feeds in the next cycle of the loop: this one may be within the parser."""
        if self._feeding is None:
            self._feeding = self.loop.call_soon(self._feed_next)

    def _feed_next(self) -> None:
        self._feeding = None
        self._feed()

    def _parse(self, chunk: bytes) -> None:
        in_target = False
        self._incomplete_bytes += len(chunk)
        self._message_bytes += len(chunk)
        try:
            self.parser.feed_data(chunk)
            refusal = self._exceeded_limit()
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_pieces()
            if self._state < LAST:  # the request is forwarded, and what follows is its body, or may be other requests
                self._buffer = chunk[upgrade.args[0] :] + self._buffer
                self._renew_parser()
            return
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if isinstance(cause, _Stop):
                refusal = cause.refusal
            else:
                self.logger.error("Exception in the protocol", exc_info=cause)
                refusal = FAULT
        except httptools.HttpParserError as error:
            in_target = isinstance(error, httptools.HttpParserInvalidURLError)
            # Of a version that ends early the parser keeps the rest of the request before, if it has read one.
            is_ours = self.parser.get_http_version() in ("0.0", "0.1", "1.0", "1.1")
            refusal = self._exceeded_limit() or (limits.malformed(error) if is_ours else OTHER_VERSION)
        self._pass_pieces()
        if refusal is not None and self._state is PASSING and self._upload:
            self._upload.exchange.refuse_request(refusal)
            if self._upload is not self._forwarding:  # it waits for others, and is answered in its turn
                self._upload, self._state = None, LAST
        elif refusal is not None and self._state < LAST:
            self._refuse(refusal, in_target=in_target)

    def _pass_pieces(self) -> None:
        if self._pieces and self._upload is not None:
            self._upload.exchange.request_data(b"".join(self._pieces))
        self._pieces.clear()

    def _renew_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        if self._state is PASSING and self._upload is not None:
            # The parser skips the body of a request to upgrade, and this one has to know only where it ends.
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % self._upload.exchange.traits.framing)
            self.headers = []

    def _exceeded_limit(self) -> Decision | None:
        """The refusal of a head, or trailers, over the limits: asked when they end, and where a chunk ends."""
        if self._incomplete_bytes > limits.MAX_HEADER_BYTES:
            return limits.FIELD_TOO_LONG
        if self._state in (HEAD, BODY, PASSING):
            if len(self.headers) > limits.MAX_HEADER_FIELDS:
                return limits.HEADERS_TOO_LARGE
            if self._message_bytes + limits.MAX_FED_BYTES > limits.MAX_HEADER_BYTES:  # else there cannot be too many
                header_bytes = sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)
                if header_bytes > limits.MAX_HEADER_BYTES:
                    return limits.HEADERS_TOO_LARGE
        return None

    # Parser callbacks

    def on_message_begin(self) -> None:
        if self._state >= LAST:
            raise _Stop
        if self._state is PASSING:  # see `_renew_parser`
            return
        self.url = b""
        self.headers = []
        self._incomplete_bytes = self._message_bytes = self._body_bytes = 0
        self._until = inf
        if self._state is not HEAD:  # else a part of its method has come before
            self._state = HEAD
            self._since = monotonic_ns()

    def on_url(self, url: bytes) -> None:
        self.url += url
        self._incomplete_bytes = 0
        # The method is asked for only where it can matter: no known one is half of the limit long.
        if len(self.url) > limits.MAX_REQUEST_LINE_BYTES // 2:
            line = len(self._unknown_method or self.parser.get_method()) + len(self.url) + len("  HTTP/1.1")
            if line > limits.MAX_REQUEST_LINE_BYTES:
                raise _Stop(limits.LINE_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called for trailers too, after the head was read."""
        self.headers.append((name, value))
        self._incomplete_bytes = 0

    def on_headers_complete(self) -> None:
        if self._state is PASSING:
            return
        if refusal := self._exceeded_limit():
            raise _Stop(refusal)
        parser, reader = self.parser, self.handler.reader
        method, version = self._unknown_method or parser.get_method(), parser.get_http_version()
        if method in NOT_HTTP:
            raise _Stop(OTHER_VERSION)
        fields = reader.fields(self.headers)
        peer = self.client[0] if self.client else None
        request = reader.read(method.decode("ascii"), self.url, fields, version, peer, self.scheme or "http")
        if self._unknown_method and request.answer is None:
            raise _Stop(limits.unknown_method(method))
        decision = self.decide(request)
        if isinstance(decision, Forward):
            decision = self._forward(decision, request, version, peer)
            if decision is None:
                return
        request = request._replace(answer=decision)
        # The parser has refused lengths that differ or are no numbers, and a length beside a coding.
        length = fields.get("content-length", "").lstrip("0")  # int() raises for thousands of them
        unread = (
            len(length) > len(str(limits.MAX_BODY_BYTES))
            or int(length or 0) > limits.MAX_BODY_BYTES
            or "100-continue" in fields.get("expect", "").lower()
            or parser.should_upgrade()
        )
        is_refused = request.answer is not None and request.answer.close
        close = unread or is_refused or version != "1.1" or not parser.should_keep_alive()
        if "transfer-encoding" in fields and not unread and not is_refused:
            # A bad chunk turns the response into 400, wherever it was cut. Trailers are counted, and say nothing.
            self._pending = _Pending(request, close, self.headers)
            self.headers = [*self.headers]
            self._enter(BODY)
        else:
            self._end_request(request, close=close)

    def decide(self, request: Request) -> Decision | Forward | None:
        """What becomes of the request; None if the controller answers. Decided before the body comes: an origin gets
        it, for others it is discarded."""
        decision = self.handler.answer(request, self.headers)
        return None if isinstance(decision, Route) else decision

    def on_body(self, body: bytes) -> None:
        """Passes on the body, or discards it; only its end tells the length of a chunked one."""
        self._incomplete_bytes = 0
        if self._upload is not None:
            self._pieces.append(body)  # to be passed in one write: there may be hundreds
            return
        self._since = monotonic_ns()
        if not self._body_bytes:
            self._until = self._since + limits.BODY_SECONDS * 1e9
        self._body_bytes += len(body)
        if self._pending and self._body_bytes > limits.MAX_BODY_BYTES:
            self._end_request(self._pending.request, close=True)
            raise _Stop

    def on_message_complete(self) -> None:
        self._incomplete_bytes = 0
        if self._upload is not None:
            if refusal := self._exceeded_limit():
                raise _Stop(refusal)
            self._pass_pieces()
            if self._upload.exchange.is_complete or not self.parser.should_upgrade():
                self._end_upload(self._upload)
            return
        if self._pending:
            if refusal := self._exceeded_limit():
                raise _Stop(refusal)
            close = self._pending.close or not self.parser.should_keep_alive()  # a trailer may have said so
            self._end_request(self._pending.request, close=close)
        if self._state in (DISCARDING, PASSING):  # or it was answered at once in its origin's place
            self._state = IDLE

    # Forwarding

    def _forward(self, forward: Forward, request: Request, version: str, peer: str | None) -> Decision | None:
        """Begins to forward the request, or lets it wait for those before it; returns the refusal if it must not be."""
        is_http11 = version == "1.1"
        closes = not is_http11 or not self.parser.should_keep_alive() or self._draining
        client = ForwardingClient(self, is_http11=is_http11, closes=closes)
        exchange = self.handler.exchange(client, forward, request, self.headers, version, peer, monotonic_ns())
        if isinstance(exchange, Decision):
            return exchange
        client.exchange = exchange
        self._upload = client
        self.headers = []  # trailers, which end here
        self._state = PASSING
        if self._is_answering():
            self.pipeline.appendleft(client)  # type: ignore[arg-type]
        else:
            self._forwarding = client
            exchange.begin()
        return None

    def _end_upload(self, upload: ForwardingClient) -> None:
        """The body was read to its end."""
        upload.closes = upload.closes or not self.parser.should_keep_alive()  # a trailer may have said so
        upload.exchange.request_end()
        is_switching = upload.waits_for_switch()
        if not is_switching:
            self._upload = None
        if self._state is PASSING:
            self._state = LAST if upload.closes and not is_switching else IDLE

    def on_forwarded(self, *, closes: bool) -> None:
        """The answer was written, and the connection goes on if it is not to close."""
        self.server_state.total_requests += 1
        self._since = monotonic_ns()
        forwarding, self._forwarding = self._forwarding, None
        if self._upload is forwarding:
            self._upload = None
        if forwarding:
            del forwarding.exchange  # each refers to the other, and would wait for the garbage collector
        if self.transport.is_closing():
            return
        if self.is_at_end and not self.pipeline and not self._buffer:
            self.transport.close()
            return
        if closes:
            self.close()
            return
        self._start_next()
        if self._buffer or self.flow.read_paused:
            self.feed_soon()

    def refuse_forward(self, decision: Decision, exchange: Exchange, *, closes: bool) -> None:
        default, method, target = self.server_state.default_headers, exchange.method, exchange.target
        self.write(whole(default, decision, method, target, exchange.request_id, exchange.lines, close=closes))
        self.on_forwarded(closes=closes)

    # Answering

    def _refuse(self, refusal: Decision, *, in_target: bool = False) -> None:
        """Answers with what is known of a request that was not read to its end, or only to somewhere `in_target`."""
        if self._state not in (HEAD, BODY):
            self.on_message_begin()
        if self._pending:
            request = self._pending.request
        else:
            method = (self._unknown_method or self.parser.get_method()).decode("ascii") if self.url or in_target else ""
            target = b"" if in_target else self.url  # how much of it was read depends on where the network cut it
            reader, peer = self.handler.reader, self.client[0] if self.client else None
            request = reader.read(method, target, reader.fields(self.headers), "", peer, self.scheme or "http")
        self._end_request(request._replace(answer=refusal), close=True)

    def _end_request(self, request: Request, *, close: bool) -> None:
        if self._pending:
            self.headers = self._pending.headers
            self._pending = None
        close = close or self._draining
        self._state = LAST if close else DISCARDING
        self.respond(request, close=close)

    def respond(self, request: Request, *, close: bool) -> None:
        """Starts the app on the request, behind those before it on the connection, which ends with its response if it
        is to `close`."""
        path, _, query = request.target.partition("?")
        scope: HTTPScope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": self.parser.get_http_version(),
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "method": request.method,
            "root_path": self.root_path,
            "path": unquote(path),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "headers": [(name.lower(), value) for name, value in self.headers],
            "state": self.app_state.copy(),
            "extensions": {EXTENSION: request},  # type: ignore[dict-item]
        }
        is_waiting = self._is_answering()
        self.cycle = RequestResponseCycle(
            scope=scope,
            transport=self,  # type: ignore[arg-type]
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=not close,
            on_response=self.on_response_complete,
        )
        self.cycle.more_body = False  # whatever body comes is discarded
        self.cycle.message_event.set()
        if is_waiting:
            self.pipeline.appendleft((self.cycle, self.app))
        else:
            self._start_asgi_task(self.cycle, self.app)
