"""An origin of tunnels, on the port of the first argument: it agrees to every upgrade, and sends back what comes."""

import asyncio
import sys

import uvloop

# To the key that RFC 6455 has as an example in section 1.3.
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Tunnel(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._write = transport.write
        self._is_open = False

    def data_received(self, data: bytes) -> None:
        if self._is_open:
            self._write(data)
        elif data.endswith(b"\r\n\r\n"):  # a head comes in one piece over loopback
            self._is_open = b"upgrade: websocket" in data.lower()
            self._write(SWITCHED if self._is_open else PLAIN)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Tunnel, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
