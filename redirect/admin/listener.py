"""The admin listener: the admin application behind uvicorn, for a few connections that have little time."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

MAX_CONNECTIONS = 64

MAX_HEAD_BYTES = 64 * 1024

# In which a client has to take something of what waits for it.
MAX_UNREAD_SECONDS = 10.0

# Seconds, at the end, for the requests on connections that were accepted last, and for the answers to them.
LAST_REQUESTS_SECONDS, LAST_ANSWERS_SECONDS = 0.1, 0.8


class AdminProtocol(HttpToolsProtocol):
    """uvicorn's protocol, for so many connections as there may be. The time that it gives a connection between two
    requests is all that there is until the head of the first one has come, or of the next one, to its end. A head that
    is too large, and a client that does not read, end the connection.

    Relies on these of its parent: `send_400_response`, `connections`, `timeout_keep_alive`, that
    `_unset_keepalive_if_required` is what cancels `timeout_keep_alive_task`, and that `cycle` is that of the request
    which was read last.
    """

    _head_bytes = 0  # since the last head was complete
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(MAX_UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client may send no more, and wait for its answers. The rest of a request never comes."""
        cycle = self.cycle
        is_waiting = cycle is not None and not cycle.more_body and not cycle.response_complete
        if is_waiting:
            cycle.keep_alive = False
        return is_waiting

    def _unset_keepalive_if_required(self) -> None:
        """What the parent does when bytes come, whatever they are; on a connection that has ended it does nothing."""

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        super()._unset_keepalive_if_required()
        super().on_headers_complete()


@contextlib.asynccontextmanager
async def answering(app: ASGIApp, listener: socket.socket) -> AsyncIterator[None]:
    """Answers on `listener` until the block ends, and then the requests that have come by then."""
    async with connections(app) as protocol:
        listening = await asyncio.get_running_loop().create_server(protocol, sock=listener)
        try:
            yield
        finally:
            listening.close()


@contextlib.asynccontextmanager
async def connections(app: ASGIApp) -> AsyncIterator[Callable[[], AdminProtocol]]:
    """What makes the protocol of a connection. Where the block ends, none may be made any more, and those there are end
    when they are answered."""
    config = uvicorn.Config(
        app, ws="none", lifespan="off", log_config=None, proxy_headers=False, access_log=False, server_header=False
    )
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()
    try:
        yield lambda: AdminProtocol(config, state, {}, loop)
    finally:
        await asyncio.sleep(LAST_REQUESTS_SECONDS)
        for connection in list(state.connections):
            connection.shutdown()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=LAST_ANSWERS_SECONDS)
