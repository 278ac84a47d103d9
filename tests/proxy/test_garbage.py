"""What a request leaves behind is freed at once: the garbage collector, which stops everything, has nothing to do."""

import gc

import pytest
from support.gateway import Client, Forwarding
from support.origin import hang, head, says
from support.wire import head as request

CHUNKED = b"3\r\nabc\r\n0\r\n\r\n"


async def unreachable(client: Client, sent: bytes, status: int) -> list[object]:
    """What nothing refers to behind 20 such requests but other garbage."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(20):
            await client.send(sent)
            assert (await client.answer()).status == status
        gc.collect()
        return [*gc.garbage]
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
        other = await gateway.client()
        await other.send(request("GET /full HTTP/1.1"))
        await gateway.origin.until_asked()
        gateway.origin.on("/chunks", says(head("200 OK", "Transfer-Encoding: chunked") + CHUNKED))
        client = await gateway.client()
        await client.send(sent)
        assert (await client.answer()).status == status
        assert await unreachable(client, sent, status) == []
