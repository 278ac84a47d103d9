"""How a worker reaches the controller, and nothing else does.

The rule: there is no name to connect to. The master makes a pair of sockets before it forks; a worker makes a pair for
each connection and passes one end of it over the first pair to the controller, where it is as good as accepted. No file
is left, other users and other containers have no way in, and what was passed while there is no controller waits for
the next one.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from starlette.types import ASGIApp

from redirect.admin.listener import connections
from redirect.telemetry.scoreboard import Common, now_ms

# Milliseconds without a heartbeat after which the controller is not waited for. The master replaces it a second later.
LATE_MS = 2_000

_PASSED = b"."  # a message has at least one byte


class ControllerSocket:
    def __init__(self, common: Common) -> None:
        self._common = common
        self._workers, self._controllers = socket.socketpair()
        for each in (self._workers, self._controllers):
            each.setblocking(False)

    # In a worker

    def use_in_worker(self) -> None:
        self._controllers.close()

    def connect(self) -> socket.socket:
        """A connection to the controller. Raises OSError, also if too many wait for the next one."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._workers, [_PASSED], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        return ours

    def is_late(self) -> bool:
        heartbeat_ms: int = self._common.controller_heartbeat_ms
        return now_ms() - heartbeat_ms > LATE_MS

    # In the controller

    @contextlib.asynccontextmanager
    async def answering(self, app: ASGIApp) -> AsyncIterator[None]:
        """Answers on the connections that workers pass, until the block ends."""
        self._workers.close()
        loop = asyncio.get_running_loop()
        accepted: set[asyncio.Task[object]] = set()
        async with connections(app) as protocol:

            def accept() -> None:
                for connection in self._received():
                    task = loop.create_task(loop.connect_accepted_socket(protocol, connection))
                    accepted.add(task)
                    task.add_done_callback(accepted.discard)

            loop.add_reader(self._controllers, accept)
            try:
                yield
            finally:
                loop.remove_reader(self._controllers)

    def _received(self) -> list[socket.socket]:
        """The next connection; none where this process has no descriptor left for it, which ends it."""
        _, descriptors, _, _ = socket.recv_fds(self._controllers, len(_PASSED), 1)
        received = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        for each in received:
            each.setblocking(False)
        return received
