"""The client's side of a request that is forwarded, on a connection of ours.

The rule: the framing is ours. A length passes as it is, an answer of unknown length goes out in chunks to HTTP/1.1 and
ends with the connection otherwise. What came in one read goes out in one write, and a head that came alone at once.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl

from redirect.core.decision import Decision
from redirect.proxy.exchange import Exchange
from redirect.proxy.fields import Field
from redirect.proxy.untaken import is_reset, untaken
from redirect.proxy.upstream import reset

_LAST_CHUNK = b"0\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# In which most resets come; the exchange looks for later ones.
_RESET_SECONDS = 0.02


class Connection(Protocol):
    """A connection of a client, as a request that is forwarded sees it."""

    transport: asyncio.Transport
    flow: FlowControl
    is_at_end: bool  # the client sends no more

    def write(self, data: bytes) -> None: ...

    def on_forwarded(self, *, closes: bool) -> None:
        """The answer was written."""

    def refuse_forward(self, decision: Decision, exchange: Exchange, *, closes: bool) -> None:
        """Sends a response of ours."""

    def feed_soon(self) -> None:
        """Reads on from the client: more of the request, or what it sends into a tunnel."""


class ForwardingClient:
    __slots__ = (
        "_connection", "_ends_with_connection", "_has_head", "_head", "_is_chunked", "_is_http11", "closes", "exchange",
    )  # fmt: skip

    exchange: Exchange
    takes_plain, adds_date = True, False

    def __init__(self, connection: Connection, *, is_http11: bool, closes: bool) -> None:
        self._connection = connection
        self._is_http11 = is_http11
        self.closes = closes  # the connection ends with this answer
        self._has_head = False
        self._head = b""  # of the answer, not sent yet
        self._is_chunked = self._ends_with_connection = False

    def end_connection(self) -> None:
        """The connection is to end with this answer, if that can still say so. Else the client may send another request
        before it knows."""
        self.closes = self.closes or not self._has_head

    def waits_for_switch(self) -> bool:
        """Whether what follows the request may belong to another protocol."""
        return self.exchange.traits.upgrade and self.exchange.is_complete

    def interim(self, status: int, reason: bytes, fields: list[Field]) -> None:
        if self._is_http11:
            self._connection.write(_head(status, reason, fields) + b"\r\n")

    def head(self, status: int, reason: bytes, fields: list[Field], length: int | None) -> None:
        if length is None:
            self._is_chunked = self._is_http11
            if self._is_chunked:
                fields.append((b"transfer-encoding", b"chunked"))
            else:
                self.closes = self._ends_with_connection = True
        self._head = _head(status, reason, fields) + self._head_end()

    def plain(self, head: bytes, body: bytes, *, is_whole: bool) -> None:
        self._connection.write(head + self._head_end() + body)
        if is_whole:
            self._connection.on_forwarded(closes=self.closes)
        elif self._connection.flow.write_paused:
            self.exchange.pause_answer()

    def _head_end(self) -> bytes:
        self._has_head = True
        if self.closes or self._ends_unclear():
            self.closes = True
            return b"connection: close\r\n\r\n"
        return b"\r\n"

    def _ends_unclear(self) -> bool:
        """Whether what follows the request may be no other request."""
        return not self.exchange.is_complete or self.exchange.traits.upgrade

    def data(self, data: bytes) -> None:
        if self._is_chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head:
            data, self._head = self._head + data, b""
        self._connection.write(data)
        if self._connection.flow.write_paused:
            self.exchange.pause_answer()

    def sink(self) -> int | None:
        transport = self._connection.transport
        if self._is_chunked or self._head or transport.get_write_buffer_size() or transport.is_closing():
            return None
        return transport.get_extra_info("socket").fileno()  # type: ignore[no-any-return]

    def flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._connection.write(head)

    def end(self, data: bytes, trailers: Sequence[Field]) -> None:
        if self._is_chunked:
            last = b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in trailers]) if trailers else _LAST_CHUNK
            data = (b"%x\r\n%b\r\n" % (len(data), data) if data else b"") + last
        if data or self._head:
            self._connection.write(self._head + data)
        self._connection.on_forwarded(closes=self.closes)

    def switch(self, reason: bytes, fields: list[Field], protocol: bytes) -> None:
        self.closes = True
        switched = [*fields, (b"connection", b"upgrade"), (b"upgrade", protocol)]
        self._connection.write(_head(101, reason, switched) + b"\r\n")
        self._connection.feed_soon()

    def take_back(self) -> bool:
        if not self._head:
            return False
        self._head = b""
        self._has_head = self._is_chunked = self._ends_with_connection = False
        return True

    def cut(self) -> None:
        transport = self._connection.transport
        if self._ends_with_connection:  # only a reset tells that this is not its end
            reset(transport)
        else:
            transport.abort()

    def refuse(self, decision: Decision) -> None:
        if self._ends_unclear():
            self.closes = True
        self._connection.refuse_forward(decision, self.exchange, closes=self.closes)

    def pause(self) -> None:
        self._connection.flow.pause_reading()

    def resume(self) -> None:
        self._connection.feed_soon()

    def ask_whether_left(self) -> None:
        """Of a client that sends no more only an answer tells whether it still reads: if it has gone, its kernel resets
        the connection. Clients read past a 100 that they did not ask for (RFC 9110, section 15.2)."""
        if self._is_http11 and not self._has_head:
            self._connection.write(_CONTINUE)
            asyncio.get_running_loop().call_later(_RESET_SECONDS, self.exchange.look)

    def has_left(self) -> bool:
        connection = self._connection
        return (connection.flow.read_paused or connection.is_at_end) and is_reset(connection.transport)

    def untaken(self) -> int:
        return untaken(self._connection.transport)


def _head(status: int, reason: bytes, fields: list[Field]) -> bytes:
    return b"HTTP/1.1 %d %b\r\n%b" % (status, reason, b"".join([b"%b: %b\r\n" % field for field in fields]))
