"""The guard: what a connection owes before a front is asked.

The rule: framing, limits and the fate of the connection are decided here, once, for every front. A
request that passes is handed over as it was read; one that does not is handed over with its refusal,
so that it waits for the answers before it, is answered, and is logged like any other.

After an answer that ends the connection nothing on it is heard: what follows may be read differently
by somebody in front of us.
"""

import asyncio
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from redirect.decision import FAULT, Decision
from redirect.request import EXTENSION, OTHER_VERSION, Asked, Received, read

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

# Seconds for a client that is still sending to read the last answer. Closing with unread bytes makes
# the kernel reset the connection, and the answer is lost on the way.
LINGER = 2.0


class _Stop(Exception):  # noqa: N818  not an error: how a callback tells the parser to end
    """Ends the parser from one of its callbacks; the last answer is decided."""


class Guard(HttpToolsProtocol):
    """uvicorn's httptools protocol with our limits in front of its app.

    Relies on these of its parent: `parser`, `url`, `headers`, `scope`, `cycle`, `pipeline`, `flow`,
    `transport`, `loop`, `logger`, `expect_100_continue`, `_unset_keepalive_if_required`; on
    `on_headers_complete` making a cycle from `scope` that starts no earlier than the loop's next turn; and
    on `on_response_complete` being called after each answer and starting the next request in `pipeline`.
    """

    # Connection state
    _deaf = False  # the last answer of the connection is decided
    _unfed = b""  # arrived, and waits for the requests before it
    _lingering: "_LingeringTransport"
    # Request state
    _open = False  # begun and not handed over
    _in_head = False
    _waits_for_body = False
    _unfinished = 0  # bytes fed since the parser last completed something
    _head_bytes = 0
    _fields = 0
    _body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._lingering = _LingeringTransport(transport, self.loop)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._unfed += data
        self._feed_on()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._unfed and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._feed_on()

    def _feed_on(self) -> None:
        """Feeds what has arrived as far as no request waits for the answer to another."""
        while self._unfed and not self._deaf and not self.pipeline:
            piece, self._unfed = self._unfed[:PIECE], self._unfed[PIECE:]
            self._feed(piece)
        if self._deaf:
            self._unfed = b""
        if self._unfed:
            self.flow.pause_reading()

    def _feed(self, piece: bytes) -> None:
        self._unfinished += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            return  # handed over with the connection's end
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Stop):
                self.logger.error("Exception in the protocol", exc_info=error.__context__)
                self._refuse(FAULT)
        except httptools.HttpParserError as error:
            in_url = isinstance(error, httptools.HttpParserInvalidURLError)
            if in_url:
                self.url = b""  # how much of it was read depends on where the network cut it
            known = self.parser.get_http_version() in ("0.0", "1.0", "1.1")
            refusal = _refusal(400, f"the request is malformed: {error}") if known else OTHER_VERSION
            self._refuse(refusal, method_known=in_url or bool(self.url))
        else:
            if self._unfinished > HEADERS_LIMIT:
                self._refuse(_refusal(431, f"{HEADERS_LIMIT} bytes came without completing a header field"))

    # Parser callbacks

    def on_message_begin(self) -> None:
        if self._deaf:
            raise _Stop
        super().on_message_begin()
        self._open = self._in_head = True
        self._unfinished = self._head_bytes = self._fields = self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._unfinished = 0
        if len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1") > REQUEST_LINE_LIMIT:
            self._refuse(_refusal(414, f"the request line is longer than {REQUEST_LINE_LIMIT} bytes"))
            raise _Stop

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unfinished = 0
        self._fields += 1
        self._head_bytes += len(name) + len(value) + len(": \r\n")
        if self._fields > FIELDS_LIMIT or self._head_bytes > HEADERS_LIMIT:
            limits = f"{FIELDS_LIMIT} fields or {HEADERS_LIMIT} bytes"
            self._refuse(_refusal(431, f"the header section has more than {limits}"))
            raise _Stop
        if self._in_head:  # a trailer comes after the body and must not speak for the head
            # The parser leaves blanks behind a value; they are not part of it (RFC 9110, section 5.5).
            super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        self._in_head = False
        length, chunked = _framing(self.headers)
        if self.parser.should_upgrade() or self.expect_100_continue or length > BODY_LIMIT:
            self._pass_on(close=True)
        elif chunked:
            self._waits_for_body = True  # a bad chunk turns the answer into 400, wherever it was cut
        else:
            self._pass_on()

    def on_body(self, body: bytes) -> None:
        """Throws the body away; a chunked one tells its length only by and by."""
        self._unfinished = 0
        self._body_bytes += len(body)
        if self._waits_for_body and self._body_bytes > BODY_LIMIT:
            self._pass_on(close=True)
            raise _Stop

    def on_message_complete(self) -> None:
        self._unfinished = 0
        if self._waits_for_body:
            self._pass_on()
        super().on_message_complete()

    # Handing over

    def _pass_on(self, *, close: bool = False) -> None:
        method = self.parser.get_method()
        if method in NOT_HTTP:
            self._refuse(OTHER_VERSION)
            return
        received = read(method.decode("ascii"), self.url, self.headers, self.parser.get_http_version())
        self._hand_over(received, close)

    def _refuse(self, refusal: Decision, *, method_known: bool = True) -> None:
        if not self._open:
            super().on_message_begin()
        received = read("", self.url, self.headers, "")
        self._hand_over(received._replace(asked=refusal), close=True)
        if not method_known:
            self.scope["method"] = ""

    def _hand_over(self, received: Received, close: bool) -> None:
        """Starts the app on the request, behind those that came before it on the connection."""
        self._open = self._waits_for_body = False
        self.url = b"/"  # uvicorn takes the target apart and fails at `*`; what it makes of it is replaced
        super().on_headers_complete()
        asked = received.asked
        path, _, query = (asked.target if isinstance(asked, Asked) else received.target).partition("?")
        self.scope["path"] = unquote(path)
        self.scope["raw_path"] = path.encode("latin-1")
        self.scope["query_string"] = query.encode("latin-1")
        self.scope["extensions"] = {EXTENSION: received}  # type: ignore[dict-item]
        self.cycle.transport = self._lingering  # type: ignore[assignment]
        if close or (isinstance(asked, Decision) and asked.close):
            self.cycle.keep_alive = False
        self._deaf = not self.cycle.keep_alive


def _refusal(status: int, detail: str) -> Decision:
    return Decision(status, detail=detail, close=True)


def _framing(headers: list[tuple[bytes, bytes]]) -> tuple[int, bool]:
    """The length that the head names, 0 if none, and whether the body is chunked. The parser has
    refused lengths that differ or are no numbers, and a length beside a coding."""
    length, chunked = 0, False
    for name, value in headers:
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            chunked = True
    return length, chunked


class _LingeringTransport:
    """The transport as a cycle sees it: its close gives the client time to read the last answer, as
    nginx's lingering_close does. What arrives meanwhile is thrown away by the deaf guard."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self._transport = transport
        self._loop = loop

    def close(self) -> None:
        if not self._transport.is_closing():
            self._transport.write_eof()
            self._loop.call_later(LINGER, self._transport.close)
