"""A controller as a worker sees it: each connection gets the next of the answers that a test wrote."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing, suppress


class Controller:
    """`answers` are bytes, or None for an answer that never comes."""

    def __init__(self, *answers: bytes | None) -> None:
        self.asked: list[bytes] = []  # the requests, as they came
        self.late = False
        self.is_gone = False
        self._answers: Iterator[bytes | None] = iter(answers)
        self._tasks: list[asyncio.Task[None]] = []

    def connect(self) -> socket.socket:
        if self.is_gone:
            raise ConnectionRefusedError
        theirs, ours = socket.socketpair()
        self._tasks.append(asyncio.get_running_loop().create_task(self._answer(ours)))
        return theirs

    def is_late(self) -> bool:
        return self.late

    @property
    def under_way(self) -> int:
        """Connections that the worker has not closed."""
        return sum(not task.done() for task in self._tasks)

    async def _answer(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        with closing(writer), suppress(ConnectionError):
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            answer = next(self._answers)
            if answer is None:
                await reader.read()
                return
            writer.write(answer)
            await writer.drain()


def answered(body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    """An answer as uvicorn gives it on a connection that it closes."""
    lines = [f"HTTP/1.1 {status}", "date: Thu, 01 Jan 1970 00:00:00 GMT", f"content-length: {len(body)}", *fields]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode() + body
