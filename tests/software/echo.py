"""An origin: a server of websockets, which echoes, on the port that its argument names."""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, serve


async def echo(websocket: ServerConnection) -> None:
    async for message in websocket:
        await websocket.send(message)


async def run() -> None:
    async with serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(run())
