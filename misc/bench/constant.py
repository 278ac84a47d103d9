"""The floor: one redirect, always the same, answered by a bare uvloop protocol on the port of the first argument.

It reads nothing but where a request ends. No service in Python on uvloop can be cheaper.
"""

import asyncio
import sys

import uvloop

ANSWER = (
    b"HTTP/1.1 302 Found\r\ndate: Fri, 20 Nov 2026 19:43:06 GMT\r\n"
    b"location: http://origin-1.example.com/endpoint/path?x=1&y=2\r\ncontent-length: 0\r\n\r\n"
)


class Constant(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._write = transport.write

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):  # the load sends one request at a time, in one piece or in several
            self._write(ANSWER)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Constant, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
