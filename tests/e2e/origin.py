"""Runs in a container of the stack, with the standard library alone: an origin whose paths behave in their own ways.

Each request is a line on standard output as soon as its head has come: its X-Request-ID, method and target.
"""

import asyncio
import base64
import hashlib
import os
import signal
from collections import defaultdict

from support.origin import Behaviour, Call, Origin, answer, chunk, head

PORT = 8080
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
PIECES = 5
MIB = 1024 * 1024

released: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


def argument(call: Call) -> str:
    """The query of the request."""
    return call.asked.target.partition("?")[2]


async def digest(call: Call) -> None:
    """Says what it was asked, and the SHA-256 of the body."""
    body = await call.body()
    await call.write(answer(f"{call.asked.line}\n{len(body)}\n{hashlib.sha256(body).hexdigest()}\n".encode()))


async def fields(call: Call) -> None:
    """Says which fields it was asked with."""
    await call.body()
    await call.write(answer(call.asked.head))


async def received(call: Call) -> None:
    """How many bytes have come up to now, on all connections."""
    await call.write(answer(str(sum(peer.count for peer in call.origin.peers)).encode()))


async def download(call: Call) -> None:
    """So many MiB as the query says, each of one byte repeated."""
    count = int(argument(call))
    await call.write(head("200 OK", f"content-length: {count * MIB}"))
    for number in range(count):
        await call.write(bytes([number]) * MIB)


async def events(call: Call) -> None:
    """Sends the next one when the one before was released."""
    await call.write(head("200 OK", "content-type: text/event-stream", "transfer-encoding: chunked"))
    for number in range(PIECES):
        await call.write(chunk(b"data: %d\n\n" % number))
        await released[f"{argument(call)}-{number}"].wait()
    await call.write(b"0\r\n\r\n")


async def release(call: Call) -> None:
    released[argument(call)].set()
    await call.write(answer(b"released"))


async def hold(call: Call) -> None:
    """Answers when it is released."""
    await call.body()
    await released[argument(call)].wait()
    await call.write(answer(b"held"))


async def refuse(call: Call) -> None:
    """Answers without reading the body."""
    await call.write(answer(b"too large", "connection: close", status="413 Content Too Large"))
    await call.until_ended()


async def die(call: Call) -> None:
    await call.body()
    os._exit(1)


async def chat(call: Call) -> None:
    """Echoes the messages of a WebSocket, each of one frame, and its close."""
    accept = base64.b64encode(hashlib.sha1(call.asked.one("sec-websocket-key").encode() + GUID).digest()).decode()
    await call.write(
        head("101 Switching Protocols", "connection: upgrade", "upgrade: websocket", f"sec-websocket-accept: {accept}")
    )
    call.closed = True
    first, opcode = b"", 0
    while opcode != 8:
        first, second = await call.peer.exactly(1), (await call.peer.exactly(1))[0]
        opcode, size, length = first[0] & 15, second & 127, b""
        if size > 125:
            length = await call.peer.exactly(2 if size == 126 else 8)
        mask = await call.peer.exactly(4)
        masked = await call.peer.exactly(int.from_bytes(length) if length else size)
        data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))
        await call.write(first + bytes([size]) + length + data)


BEHAVIOURS: dict[str, Behaviour] = {
    "/fields": fields,
    "/received": received,
    "/download": download,
    "/events": events,
    "/release": release,
    "/hold": hold,
    "/refuse": refuse,
    "/die": die,
    "/chat": chat,
}


def noted(behaviour: Behaviour) -> Behaviour:
    async def behave(call: Call) -> None:
        asked = call.asked
        print(*asked.all("x-request-id"), asked.method, asked.target, flush=True)
        await behaviour(call)

    return behave


async def serve() -> None:
    origin = Origin("0.0.0.0", PORT)
    origin.default = noted(digest)
    for path, behaviour in BEHAVIOURS.items():
        origin.on(path, noted(behaviour))
    await origin.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(serve())
