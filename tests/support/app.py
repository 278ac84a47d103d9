"""An origin: an app of Starlette, for uvicorn, with a page that uses all of it. `node.mjs` is the same for Node."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

MIB = 1024 * 1024
EVENTS = 5

# What the page has found out it writes into its own elements.
PAGE = f"""<!doctype html>
<title>Behind the gateway</title>
<p id=digest></p><p id=events></p><p id=chat></p>
<script>
const shown = (id, text) => document.getElementById(id).append(text);
fetch("digest", {{method: "POST", body: new Uint8Array({MIB})}})
  .then((got) => got.json())
  .then((got) => shown("digest", got.sha256));
const mark = Math.random(), events = new EventSource(`events?${{mark}}`);
events.onmessage = (event) => {{
  shown("events", event.data);
  fetch(`release?${{mark}}-${{event.data}}`, {{method: "POST"}});
  if (event.data == {EVENTS - 1}) events.close();
}};
const chat = new WebSocket(new URL("chat", location.href.replace("http", "ws")));
chat.onopen = () => chat.send("hello");
chat.onmessage = (event) => shown("chat", event.data);
</script>
"""

released: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


async def page(request: Request) -> Response:
    return HTMLResponse(PAGE)


async def digest(request: Request) -> Response:
    found, length = hashlib.sha256(), 0
    async for piece in request.stream():
        found.update(piece)
        length += len(piece)
    return JSONResponse({"method": request.method, "length": length, "sha256": found.hexdigest()})


async def download(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(int(request.url.query)):
            yield bytes([number]) * MIB

    return StreamingResponse(pieces())


async def events(request: Request) -> Response:
    """Sends the next one when the one before was released."""

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(EVENTS):
            yield b"data: %d\n\n" % number
            await released[f"{request.url.query}-{number}"].wait()

    return StreamingResponse(pieces(), media_type="text/event-stream")


async def release(request: Request) -> Response:
    released[request.url.query].set()
    return PlainTextResponse("released")


async def chat(websocket: WebSocket) -> None:
    await websocket.accept(websocket.scope["subprotocols"][0] if websocket.scope["subprotocols"] else None)
    async for text in websocket.iter_text():
        await websocket.send_text(text)


app = Starlette(
    routes=[
        Route("/page", page),
        Route("/digest", digest, methods=["GET", "POST", "PUT"]),
        Route("/download", download),
        Route("/events", events),
        Route("/release", release, methods=["GET", "POST"]),
        WebSocketRoute("/chat", chat),
    ]
)
