"""What a request leaves behind is freed at once: the garbage collector, which stops everything, has nothing to do.

What is frozen at a reload (`gc.freeze`), and is garbage later, would stay for long.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest
from support.coroutines import until
from support.gateway import Forwarding, Gateway
from support.origin import SWITCH, UPGRADE, Behaviour, close_at_once, hang, head, says, tunnel
from support.wire import head as request

CHUNKED = b"3\r\nabc\r\n0\r\n\r\n"
GET = request("GET / HTTP/1.1")
TUNNEL = request("GET / HTTP/1.1", *UPGRADE)

# Routes to an origin that refuses connections, and to one whose name does not exist.
NOWHERE = """
[[routes]]
path = "/refused"
forward_to = "refusing"
[[routes]]
path = "/unknown"
forward_to = "unknown"
[refusing]
weighted_hosts = { "127.0.0.1:1" = 1, "127.0.0.2:1" = 1 }
[unknown]
weighted_hosts = { "origin.invalid" = 1 }
"""


async def garbage(act: Callable[[], Awaitable[None]]) -> list[str]:
    """The kinds of what nothing refers to but other garbage, behind what is done several times."""
    await act()  # once before: what is made at the first time only may leave garbage
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(5):
            await act()
        gc.collect()
        return sorted({f"{type(found).__module__}.{type(found).__name__}" for found in gc.garbage})
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(request("GET /x HTTP/1.1"), 200, id="GET"),
        pytest.param(request("GET /x HTTP/1.1", "Connection: X-A", "X-A: b"), 200, id="a GET that is not plain"),
        pytest.param(request("POST /x HTTP/1.1", "Content-Length: 3") + b"abc", 200, id="POST"),
        pytest.param(request("PUT /x HTTP/1.1", "Transfer-Encoding: chunked") + CHUNKED, 200, id="PUT in chunks"),
        pytest.param(request("GET /full HTTP/1.1"), 503, id="refused"),
        pytest.param(request("GET /chunks HTTP/1.1"), 200, id="an answer in chunks"),
    ],
)
async def test_a_request_that_was_forwarded_is_no_garbage(sent: bytes, status: int, own: Forwarding) -> None:
    full = '[[routes]]\npath = "/full"\nforward_to = "origins"\nlimit = 1\n'
    async with own(more=full) as gateway:
        gateway.origin.on("/full", hang)
        await gateway.begun("GET /full HTTP/1.1")
        gateway.origin.on("/chunks", says(head("200 OK", "Transfer-Encoding: chunked") + CHUNKED))
        client = await gateway.client()

        async def ask() -> None:
            await client.send(sent)
            assert (await client.answer()).status == status

        assert await garbage(ask) == []


@pytest.mark.parametrize(
    ("behaviour", "sent", "got"),
    [
        pytest.param(tunnel, TUNNEL, len(SWITCH), id="in a tunnel"),
        pytest.param(hang, GET, 0, id="before the answer"),
        pytest.param(hang, request("POST / HTTP/1.1", "Content-Length: 9") + b"abc", 0, id="within the request"),
        pytest.param(says(head("200 OK", "Content-Length: 99") + b"abc"), GET, 50, id="within the answer"),
        pytest.param(hang, GET * 3, 0, id="with other requests behind it"),
    ],
)
async def test_what_a_client_leaves_is_no_garbage(behaviour: Behaviour, sent: bytes, got: int, own: Forwarding) -> None:
    async with own() as gateway:
        gateway.origin.default = behaviour

        async def leave() -> None:
            client = await gateway.client()
            asked = len(gateway.origin.asked)
            await client.send(sent)
            await gateway.origin.until_asked(asked + 1)
            await client.raw(got)
            client.reset()
            await nothing_is_open(gateway)

        assert await garbage(leave) == []


@pytest.mark.parametrize(
    ("behaviour", "sent"),
    [
        pytest.param(says(SWITCH, close=True), TUNNEL, id="a tunnel that the origin ends"),
        pytest.param(says(head("200 OK", "Content-Length: 9") + b"abc", close=True), GET, id="an answer that is cut"),
        pytest.param(close_at_once, GET, id="no answer"),
        pytest.param(says(b"220 ready\r\n", close=True), GET, id="no HTTP"),
        pytest.param(hang, GET, id="a late answer"),
        pytest.param(hang, request("GET /refused HTTP/1.1"), id="no connection"),
        pytest.param(hang, request("GET /unknown HTTP/1.1"), id="no address"),
    ],
)
async def test_what_an_origin_fails_is_no_garbage(behaviour: Behaviour, sent: bytes, own: Forwarding) -> None:
    async with own("timeouts = { answer = 0.1 }", more=NOWHERE) as gateway:
        gateway.origin.default = behaviour

        async def fail() -> None:
            client = await gateway.client()
            await client.send(sent)
            client.write_eof()
            await client.everything()
            client.close()
            await nothing_is_open(gateway)

        # A failed look-up of a name leaves some of the thread pool's.
        assert [kind for kind in await garbage(fail) if kind.startswith("redirect.")] == []


async def nothing_is_open(gateway: Gateway) -> None:
    await until(lambda: not gateway.handler.connections)
    await asyncio.sleep(0.01)  # for the connections to origins
