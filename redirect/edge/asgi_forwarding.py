"""The client's side of a request that is forwarded, behind any ASGI server.

The rule: what the exchange calls and what ASGI awaits meet in a queue, which is bounded by pausing the origin. ASGI
knows neither informational responses nor other protocols: the first are left out, the second are refused. That a client
has left is the next message, which is not asked for while an origin does not take the rest of a request.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from starlette.types import Message, Receive, Send

from redirect.core.decision import Decision
from redirect.edge.response import fields_and_body
from redirect.proxy.exchange import Exchange
from redirect.proxy.fields import Field

# Bytes that wait to be sent before the origin is paused.
MAX_WAITING_BYTES = 64 * 1024

NO_SWITCH = Decision(501, detail="this server does not switch to another protocol")


class AsgiClient:
    exchange: Exchange
    takes_plain = False  # ASGI has fields one by one
    adds_date = True

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()  # None is their end
        self._waiting_bytes = 0
        self._is_taking = asyncio.Event()
        self._is_taking.set()

    async def run(self, receive: Receive, send: Send) -> None:
        """Carries the exchange to its end."""
        self.exchange.begin()
        reading = asyncio.create_task(self._read(receive))
        try:
            await self._send(send)
        finally:
            reading.cancel()
            self.exchange.client_lost()  # where the server gave up
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    async def _read(self, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.exchange.on_left()
                return
            if body := message.get("body"):
                self.exchange.request_data(body)
            if message.get("more_body"):
                await self._is_taking.wait()
            else:
                self.exchange.request_end()

    async def _send(self, send: Send) -> None:
        while (message := await self._messages.get()) is not None:
            self._waiting_bytes -= len(message.get("body", b""))
            await send(message)
            if self._messages.empty():
                self.exchange.resume_answer()

    def _body(self, data: bytes, *, more: bool) -> None:
        self._waiting_bytes += len(data)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self.exchange.pause_answer()
        self._messages.put_nowait({"type": "http.response.body", "body": data, "more_body": more})

    # For the exchange

    def interim(self, status: int, reason: bytes, fields: list[Field]) -> None:
        pass

    def head(self, status: int, reason: bytes, fields: list[Field], length: int | None) -> None:
        if not self.exchange.is_complete:
            fields.append((b"connection", b"close"))
        if status == 304:  # servers hold a length against the body that comes
            fields = [field for field in fields if field[0].lower() != b"content-length"]
        self._messages.put_nowait({"type": "http.response.start", "status": status, "headers": fields})

    def plain(self, head: bytes, body: bytes, *, is_whole: bool) -> None:
        raise AssertionError("it takes none")

    def data(self, data: bytes) -> None:
        self._body(data, more=True)

    def sink(self) -> None:
        """What is sent is the server's to send."""

    def flush(self) -> None:
        pass

    def end(self, data: bytes, trailers: Sequence[Field]) -> None:
        self._body(data, more=False)
        self._messages.put_nowait(None)

    def switch(self, reason: bytes, fields: list[Field], protocol: bytes) -> None:
        raise AssertionError("no other protocol was asked for")

    def take_back(self) -> bool:
        return False  # it goes out at once

    def cut(self) -> None:
        """Without the end of a response the server cuts the connection."""
        self._messages.put_nowait(None)

    def refuse(self, decision: Decision) -> None:
        exchange = self.exchange
        decision = replace(decision, close=not exchange.is_complete)
        fields, body = fields_and_body(decision, exchange.target, exchange.request_id, exchange.lines)
        self._messages.put_nowait({"type": "http.response.start", "status": decision.status, "headers": fields})
        self._messages.put_nowait({"type": "http.response.body", "body": body})
        self._messages.put_nowait(None)

    def pause(self) -> None:
        self._is_taking.clear()

    def resume(self) -> None:
        self._is_taking.set()

    def has_left(self) -> bool:
        return False  # the server says so

    def untaken(self) -> int:
        return self._waiting_bytes
