"""A connection to an origin: writes requests, reads answers, and becomes a tunnel.

The rule: what an origin sends is the answer to the request that was sent, or the end of the connection. Bytes behind an
answer are never the answer to the next request. A body of known length is counted and passed, not parsed.

The exchange that a connection works for is told from within `data_received` or `connection_lost`; after `on_end` and
`on_lost` the connection works for none.
"""

import asyncio
import logging
import os
import re
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import IntEnum
from typing import Protocol

import httptools

from redirect.proxy.descriptors import DESCRIPTORS
from redirect.proxy.fields import Field, FieldError, ResponseFields, Traits, response_fields, trailer_fields
from redirect.proxy.plain_fields import plain_answer
from redirect.proxy.spellings import Spellings
from redirect.proxy.splice import LEAST_BYTES, Splice

MAX_HEAD_BYTES = 32 * 1024
MAX_HEAD_FIELDS = 100

# In which an origin may take what a tunnel left behind.
CLOSE_SECONDS = 10.0

# For SO_LINGER: what waits is thrown away.
_AT_ONCE = struct.pack("ii", 1, 0)

_UNKNOWN = -1
_READ_BYTES = 64 * 1024

_NO_HTTP = "http_protocol_error"
_SECTION_SIZE = "http_response_header_section_size"
_TOO_LARGE = f"its head, or its trailers, have more than {MAX_HEAD_FIELDS} fields or {MAX_HEAD_BYTES} bytes"
_INCOMPLETE = "http_response_incomplete", "it closed the connection before its answer was complete"
_STALE = "connection_terminated", _INCOMPLETE[1]
_BEGIN = b"HTTP/1."

# The parser refuses them in values, and not in a reason phrase.
_CONTROLS = bytes([*range(9), *range(10, 32), 127])

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-9][0-9]{2}) [\t -~]{0,64}\r\n")

_logger = logging.getLogger("gunicorn.error")


def _status_of(line: bytes) -> int:
    """The status of an answer that may have a body; 0 where that is not plain."""
    match = _STATUS_LINE.fullmatch(line)
    return 0 if match is None or match[1] in (b"204", b"304") else int(match[1])


_statuses = Spellings(_status_of)


def reset(transport: asyncio.Transport) -> None:
    """Ends the connection by a reset, which tells that this is not its end. What waits to be sent is thrown away."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()


class State(IntEnum):
    """What has come of the answer to the last request. A connection without an exchange rests, or is closed."""

    NOTHING = 0
    HEAD = 1  # a part of its head, or of one before it (1xx)
    BODY = 2  # its head
    TUNNEL = 3  # the switch to another protocol


NOTHING, HEAD, BODY, TUNNEL = State


class Asking(Protocol):
    """An exchange, as its connection to the origin sees it."""

    @property
    def is_complete(self) -> bool:
        """Whether all of the request was sent."""

    traits: Traits
    takes_plain: bool

    def sink(self) -> int | None:
        """The descriptor of the client's socket, where the rest of the body may go there past this program."""

    def on_passed(self, size: int) -> None:
        """So many bytes of the body went there."""

    def on_left(self) -> None:
        """The client takes no more of what goes there."""

    def on_plain(self, status: int, head: bytes, body: bytes, left: int) -> None: ...

    def on_interim(self, status: int, reason: bytes, fields: list[Field]) -> None: ...

    def on_head(self, status: int, reason: bytes, fields: list[Field], length: int | None) -> bool:
        """The length is that of the body, None if it is not known. Returns whether this answer is taken."""

    def on_switch(self, reason: bytes, fields: list[Field], protocol: bytes) -> None: ...

    def on_data(self, data: bytes) -> None: ...

    def flush(self) -> None:
        """No more will come at this moment."""

    def on_end(self, data: bytes, trailers: Sequence[Field]) -> None: ...

    def on_lost(self, error: str, detail: str) -> None:
        """The answer has no end; `error` is the name of RFC 9209, section 2.3: "connection_terminated" where nothing
        came on a connection that was used before."""

    def pause_request(self) -> None: ...

    def resume_request(self) -> None: ...


class Upstream(asyncio.Protocol):
    """`rest` takes a connection that waits for the next request, `forget` one that is lost."""

    __slots__ = (
        "_forget", "_has_no_body", "_headers", "_is_paused", "_is_reusable", "_left", "_parser", "_pieces", "_reason",
        "_rest", "_splice", "_state", "_unparsed_bytes", "exchange", "has_end", "idle_since", "is_reused", "transport",
    )  # fmt: skip

    def __init__(self, rest: "Callable[[Upstream], None]", forget: "Callable[[Upstream], None]") -> None:
        # Connection
        self._rest = rest
        self._forget = forget
        self._parser: httptools.HttpResponseParser
        self.transport: asyncio.Transport
        self.exchange: Asking | None = None
        self.is_reused = False  # it has answered a request before
        self.idle_since = 0.0  # by `monotonic`
        self._is_paused = False  # nothing is read here

        # Request
        self._state = NOTHING
        self._has_no_body = False  # whatever the head of the answer says
        self._is_reusable = False
        self.has_end = True  # a length or a last chunk tells the end of the answer from its being cut
        self._left = _UNKNOWN  # bytes of the body that are still to come, if they are counted
        self._pieces: list[bytes] = []  # of the body, that the parser found in what came last
        self._splice: Splice | None = None  # passes the rest of it
        self._unparsed_bytes = 0  # since a part of the head was complete
        self._reason = b""
        self._headers: list[Field] = []

    def _renew_parser(self) -> None:
        """One that reads on behind `Connection: close`: where an informational response has it, the answer follows."""
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(lenient_keep_alive=True)

    @property
    def is_held_up(self) -> bool:
        """Whether the client takes no more of the answer for now."""
        return self._is_paused if self._splice is None else self._splice.is_blocked

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._renew_parser()
        DESCRIPTORS.origins += 1

    def ask(self, exchange: Asking, request: bytes, *, is_head: bool) -> None:
        """Sends what there is of a request: its head, and the body as far as it came."""
        self.exchange = exchange
        self._state = NOTHING
        self._is_reusable, self.has_end, self._has_no_body = False, True, is_head
        self._unparsed_bytes = 0
        self.transport.write(request)

    def pause(self) -> None:
        """Reads no more of the answer for now."""
        self._is_paused = True
        self.transport.pause_reading()

    def resume(self) -> None:
        if self._is_paused and self._splice is None:
            self._is_paused = False
            self.transport.resume_reading()

    def abort(self) -> None:
        """Ends the connection; the exchange is not told."""
        self._stop_splice()
        self.exchange = None
        self.transport.abort()

    def close(self) -> None:
        """The same, but what was written is sent, as long as the origin takes it."""
        self.exchange = None
        self.transport.close()
        if self.transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.transport.abort)

    # From the event loop

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:  # bytes that answer nothing
            self.transport.abort()
            return
        if self._state is NOTHING:
            self._state = HEAD
            if exchange.takes_plain and not self._has_no_body and self._answer_plain(exchange, data):
                return
            if not _BEGIN.startswith(data[: len(_BEGIN)]):  # the parser reads RTSP as well
                self._fail(_NO_HTTP, "what it sent is no HTTP")
                return
        if self._state is TUNNEL:
            exchange.on_data(data)
        elif self._left > 0:
            self._pass_counted(exchange, data)
        else:
            self._parse(exchange, data)

    def _answer_plain(self, exchange: Asking, data: bytes) -> bool:
        """Passes on an answer without the parser; returns whether it is plain."""
        line = data[: data.find(b"\n") + 1]
        status = _statuses[line]
        found = plain_answer(data, line) if status else None
        if found is None:
            return False
        head, body_begin, length = found
        left = length - (len(data) - body_begin)
        if left < 0 or body_begin > MAX_HEAD_BYTES:
            return False
        self._state = BODY
        body = data[body_begin:]
        if left:
            self._is_reusable = True
            self._left = left
            exchange.on_plain(status, head, body, left)
            self._pass_by(exchange)
        else:
            self.exchange = None
            self.is_reused = True
            self._is_reusable = exchange.is_complete
            self._end_request(exchange)
            exchange.on_plain(status, head, body, 0)
        return True

    def _pass_counted(self, exchange: Asking, data: bytes) -> None:
        self._left -= len(data)
        if self._left > 0:
            exchange.on_data(data)
            self._pass_by(exchange)
            return
        if self._left < 0:
            data, self._is_reusable = data[: self._left], False
        self._end_counted(exchange, data)

    def _end_counted(self, exchange: Asking, data: bytes) -> None:
        self._renew_parser()  # this one waits for the body that it was not given
        self._end(exchange, data)
        self._end_request(exchange)

    def _pass_by(self, exchange: Asking) -> None:
        """Has the kernel pass the rest of a long body, where it can."""
        if self._left < LEAST_BYTES or self.exchange is not exchange or self._is_paused or not exchange.is_complete:
            return
        sink, transport = exchange.sink(), self.transport
        if sink is None or transport.get_write_buffer_size() or transport.get_extra_info("sslcontext") is not None:
            return
        with suppress(OSError):  # then it is read and written here
            self._splice = Splice(self, transport.get_extra_info("socket").fileno(), sink, self._left)
            self.pause()

    def _stop_splice(self) -> None:
        splice, self._splice = self._splice, None
        if splice is not None:
            splice.stop()

    def _parse(self, exchange: Asking, data: bytes) -> None:
        self._unparsed_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._state is TUNNEL and (rest := data[upgrade.args[0] :]):
                exchange.on_data(rest)
            return
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._pass_pieces()
            if isinstance(cause, FieldError):
                self._fail(cause.error or _NO_HTTP, str(cause))
                return
            if cause is not None:
                _logger.error("a fault while an answer was read", exc_info=cause)
            self._fail(_NO_HTTP, f"what it sent is no HTTP: {error}")
            return
        self._pass_pieces()
        if self.exchange is None:
            self._end_request(exchange)
        elif self._unparsed_bytes > MAX_HEAD_BYTES:  # trailers are limited, too
            self._fail(_SECTION_SIZE, _TOO_LARGE)
        else:
            exchange.flush()

    def _pass_pieces(self) -> None:
        if self._pieces and self.exchange is not None:
            self.exchange.on_data(self._joined())

    def _joined(self) -> bytes:
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body

    def eof_received(self) -> None:
        exchange = self.exchange
        if exchange is not None and not self.has_end:
            self._end(exchange, b"")
            self._leave(exchange)

    def connection_lost(self, exc: Exception | None) -> None:
        DESCRIPTORS.origins -= 1
        self._stop_splice()
        self._forget(self)
        if exc is not None and self.exchange is not None and self.transport.get_extra_info("sslcontext") is None:
            self._read_rest()
        self._tell_lost(*(_STALE if self.is_reused and self._state is NOTHING else _INCOMPLETE))
        del self._parser  # each refers to the other, and would wait for the garbage collector

    def _read_rest(self) -> None:
        """What came before the end: an origin may answer and close before it has read the request, and then a write
        fails first, behind which the event loop reads nothing."""
        descriptor = self.transport.get_extra_info("socket").fileno()
        with suppress(OSError):
            while self.exchange is not None and (data := os.read(descriptor, _READ_BYTES)):
                self.data_received(data)

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.pause_request()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.resume_request()

    # From the kernel's passing of a body

    def on_spliced(self, size: int) -> None:
        if self.exchange is not None:
            self.exchange.on_passed(size)

    def on_splice_end(self, *, is_followed: bool) -> None:
        self._splice = None
        if self.exchange is not None:
            self._is_reusable = self._is_reusable and not is_followed
            self._end_counted(self.exchange, b"")

    def on_splice_cut(self) -> None:
        self._splice = None
        self._fail(*_INCOMPLETE)

    def on_splice_left(self) -> None:
        self._splice = None
        if self.exchange is not None:
            self.exchange.on_left()

    # From the parser

    def on_message_begin(self) -> None:
        self._reason, self._headers = b"", []
        if self.exchange is None:  # bytes behind an answer
            self._is_reusable = False

    def on_status(self, reason: bytes) -> None:
        if reason.translate(None, _CONTROLS) != reason:
            raise FieldError("its reason phrase has control characters", 502)
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        headers, self._headers, self._unparsed_bytes = self._headers, [], 0
        _check_size(headers)
        status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise FieldError(f"it speaks HTTP/{version}", 502)
        if status < 100:
            raise FieldError(f"its status is {status}", 502)
        read = response_fields(headers)
        if read.length is not None and (status < 200 or status == 204):  # RFC 9110, section 8.6
            read = read._replace(fields=[field for field in read.fields if field[0].lower() != b"content-length"])
        if status == 101:
            self._switch(exchange, read)
        elif status < 200:
            exchange.on_interim(status, self._reason, read.fields)
        else:
            self._answer(exchange, status, read)

    def _switch(self, exchange: Asking, read: ResponseFields) -> None:
        if not exchange.traits.upgrade or read.upgrade is None:
            raise FieldError("it switches to a protocol that was not asked for", 502)
        self._state = TUNNEL
        exchange.on_switch(self._reason, read.fields, read.upgrade)

    def _answer(self, exchange: Asking, status: int, read: ResponseFields) -> None:
        self._state = BODY
        has_no_body = self._has_no_body or status in (204, 304)
        self.has_end = has_no_body or read.length is not None or read.is_chunked
        is_current = self._parser.get_http_version() == "1.1"
        is_kept = is_current if self._has_no_body or read.is_chunked else self._parser.should_keep_alive()
        self._is_reusable = is_kept and b"close" not in read.connection and self.has_end
        if not exchange.on_head(status, self._reason, read.fields, 0 if has_no_body else read.length):
            self._headers, self.exchange = [], None  # another origin is asked
            self.transport.abort()
        elif self._has_no_body:  # the parser cannot be told so
            self._renew_parser()
            self._end(exchange, b"")
        elif read.length is not None and not has_no_body:
            self._left = read.length

    def on_body(self, body: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self._is_reusable = False
            return
        if self._state is not BODY:  # the parser reads one where the status is none that it knows (1xx)
            raise FieldError("its informational response has a body", 502)
        self._unparsed_bytes = 0
        if self._left > 0:
            self._left -= len(body)
        self._pieces.append(body)  # to be passed in one write: there may be thousands

    def on_message_complete(self) -> None:
        exchange = self.exchange
        if exchange is None or self._state is not BODY:
            return
        _check_size(self._headers)
        # Also where Proxy-Connection or a trailer says that it is the last answer.
        self._is_reusable = self._is_reusable and self._parser.should_keep_alive()
        self._end(exchange, self._joined(), trailer_fields(self._headers))

    # Ends of an exchange

    def _end(self, exchange: Asking, data: bytes, trailers: Sequence[Field] = ()) -> None:
        self.exchange = None
        self._left = _UNKNOWN
        self.is_reused = True
        self._is_reusable = self._is_reusable and exchange.is_complete
        exchange.on_end(data, trailers)

    def _end_request(self, exchange: Asking) -> None:
        """Waits for the next request, once it is known whether bytes followed the answer."""
        if self._is_reusable and not self.transport.is_closing():
            if self._is_paused:
                self.resume()
            self._rest(self)
        else:
            self._leave(exchange)

    def _leave(self, exchange: Asking) -> None:
        """Ends the connection, with a reset where a part of the request was not sent: it is answered without that, and
        the kernel would hold what it has for an origin that reads nothing."""
        if self.transport.get_write_buffer_size() or not exchange.is_complete:
            reset(self.transport)
        else:
            self.transport.close()

    def _fail(self, error: str, detail: str) -> None:
        self.transport.abort()
        self._tell_lost(error, detail)

    def _tell_lost(self, error: str, detail: str) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.on_lost(error, detail)


def _check_size(fields: list[Field]) -> None:
    if len(fields) > MAX_HEAD_FIELDS or sum([len(name) + len(value) for name, value in fields]) > MAX_HEAD_BYTES:
        raise FieldError(_TOO_LARGE, 502, _SECTION_SIZE)
