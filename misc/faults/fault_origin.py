"""An origin that forwards go to: a process that notes each POST, and behaves as it is told on standard input.

`slow SECONDS` answers so much later, `reset SHARE` resets the connections of that part of its requests without an
answer, `close 1` ends each connection with its answer, and `drop SECONDS` without a word within that time behind it; 0
ends each of them. TERM stops it in order. It notes the id of a POST in its file when the head has come, before anything
else happens: what is sent twice is there twice.

On asyncio's own loop, which lets connections wait where descriptors are missing, as most servers do.
"""

import asyncio
import os
import re
import signal
import socket
import struct
import sys
from random import Random

from forwards import answer_to

_HEAD = re.compile(rb"(\w+) /(\d*)\S* HTTP/1\.1\r\n(.*?)\r\n\r\n", re.DOTALL)
_ID = re.compile(rb"\r\nx-request-id: ([^\r\n]+)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_RESET = struct.pack("ii", 1, 0)  # lingers for 0 s

told = {"slow": 0.0, "reset": 0.0, "close": 0.0, "drop": 0.0}
random = Random(1)
connections: set["Connection"] = set()
is_stopping = asyncio.Event()


class Connection(asyncio.Protocol):
    def __init__(self, notes: int) -> None:
        self._notes = notes
        self._buffer = b""
        self._asked: tuple[bytes, int, int] | None = None  # id, length of the body, how much more is asked for

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            if self._asked is None:
                found = _HEAD.match(self._buffer)
                if found is None:
                    return
                self._buffer = self._buffer[found.end() :]
                self._note(found)
            assert self._asked is not None
            request_id, length, more = self._asked
            if len(self._buffer) < length:
                return
            body, self._buffer = self._buffer[:length], self._buffer[length:]
            self._asked = None
            if told["reset"] and random.random() < told["reset"]:
                self._reset()
                return
            answer = answer_to(request_id, body, more)
            if told["slow"]:
                asyncio.get_running_loop().call_later(told["slow"], self._answer, answer)
            else:
                self._answer(answer)

    def _note(self, found: re.Match[bytes]) -> None:
        request_id, length = _ID.search(found[0]), _LENGTH.search(found[0])
        named = request_id[1] if request_id else b"probe"
        if found[1] == b"POST":
            os.write(self._notes, named + b"\n")
        self._asked = named, int(length[1]) if length else 0, int(found[2] or 0)

    def _answer(self, body: bytes) -> None:
        closes = bool(told["close"]) or is_stopping.is_set()
        end = b"Connection: close\r\n" if closes else b""
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), end, body))
        if closes:
            self.transport.close()
        elif told["drop"]:
            asyncio.get_running_loop().call_later(random.random() * told["drop"], self.transport.close)

    def _reset(self) -> None:
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def stop(self) -> None:
        """Ends the connection, behind the answer to what has come."""
        if self._asked is None and not self._buffer and not told["slow"]:
            self.transport.close()


def obey() -> None:
    line = os.read(sys.stdin.fileno(), 4096).split()
    if not line:
        asyncio.get_running_loop().remove_reader(sys.stdin)
    for name, value in zip(line[::2], line[1::2], strict=True):
        told[name.decode()] = float(value)


async def serve(port: int, path: str) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # it tells of each connection that it could not accept
    notes = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    server = await loop.create_server(lambda: Connection(notes), "127.0.0.1", port, backlog=1024)
    loop.add_reader(sys.stdin, obey)
    loop.add_signal_handler(signal.SIGTERM, is_stopping.set)
    print("begun", flush=True)
    await is_stopping.wait()
    server.close()
    for connection in [*connections]:
        connection.stop()
    while connections:
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
