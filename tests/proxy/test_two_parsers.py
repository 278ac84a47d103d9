"""Two parsers in a row: whatever clients send, the origin is asked what was logged, no more and no less.

All that reaches the origin is read again by h11, as another server would.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

import h11
import pytest
from support.corpus import CORPUS
from support.gateway import Forwarding, Gateway
from support.origin import Peer, answer, says
from support.wire import NEXT

# What is hidden in these from a service that answers without reading on is an ordinary second request for a gateway:
# the first has no body, or one that ends before it, and no other protocol is spoken behind it.
TWO_REQUESTS = {
    f"answered last: the end: {name}"
    for name in (
        *["Expect: 100-continue, no body", "an expectation among others", "an expectation before chunks"],
        *["Upgrade: h2c", "Upgrade: h2c with HTTP2-Settings", "Upgrade with chunks"],
    )
}

# For the answers to come, and the connection to end or not.
QUIET_SECONDS = 0.05


def read_again(peer: Peer) -> list[tuple[str, str]]:
    """Methods and targets of the requests on a connection; whole ones only."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    server.receive_data(bytes(peer.received))
    requests: list[tuple[str, str]] = []
    while True:
        event = server.next_event()
        if isinstance(event, h11.Request):
            requests.append((event.method.decode(), event.target.decode("latin-1")))
        elif event is h11.PAUSED:
            server.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            server.send(h11.EndOfMessage())
            server.start_next_cycle()
        elif event is h11.NEED_DATA:
            if server.their_state is h11.IDLE:
                assert server.trailing_data[0] == b"", "bytes behind the last request"
            return requests
        elif isinstance(event, h11.EndOfMessage) and not server.trailing_data[0]:
            return requests


def unfinished(peer: Peer) -> bool:
    """Whether the last request on a connection has not ended."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    server.receive_data(bytes(peer.received))
    while (event := server.next_event()) is not h11.NEED_DATA:
        if event is h11.PAUSED:
            server.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            server.send(h11.EndOfMessage())
            server.start_next_cycle()
        elif isinstance(event, h11.EndOfMessage) and not server.trailing_data[0]:
            return False
    return server.their_state is not h11.IDLE


def cut(request: tuple[str, str]) -> tuple[str, str]:
    """As the log may have it: without the question mark of an empty query, and not all of a long target."""
    return request[0], request[1].removesuffix("?")[:1000]


def logged(records: Iterable[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """The same of what the gateway says it sent."""
    return Counter(
        cut((record["method"], record["path"] + (f"?{record['query']}" if record["query"] else "")))
        for record in records
        if record["action"] == "forward" and record["tries"]
    )


async def send(gateway: Gateway, sent: bytes) -> list[dict[str, Any]]:
    """Sends the bytes and waits until all is still; what was logged."""
    client = await gateway.client()
    await client.send(sent)
    reading = asyncio.create_task(client.everything())
    await asyncio.wait([reading], timeout=QUIET_SECONDS)
    client.reset()
    await asyncio.gather(reading, return_exceptions=True)
    await asyncio.sleep(0.005)
    return gateway.logged()


@pytest.mark.slow
@pytest.mark.parametrize("name", CORPUS, ids=[ascii(name) for name in CORPUS])
async def test_an_origin_is_asked_what_was_logged(name: str, own: Forwarding) -> None:
    """A request that never ended may have reached it in part; the log says that the client left or was refused."""
    async with own("retries = 0") as gateway:
        gateway.origin.default = says(answer(b"ok"))
        records = await send(gateway, CORPUS[name] + (b"" if name.startswith("unfinished") else NEXT))
        asked = Counter(cut(request) for peer in gateway.origin.peers for request in read_again(peer))
        assert asked <= logged(records), "the origin was asked more than was logged"
        assert asked >= logged(record for record in records if record["origin_status"]), "or less"
        assert "smuggled" not in repr(asked) or name in TWO_REQUESTS
        for peer in gateway.origin.peers:
            assert not unfinished(peer) or any(record["status"] >= 400 for record in records)


def test_the_second_parser_finds_what_is_too_much() -> None:
    """A check of this file: h11 sees a request that was hidden."""
    peer = Peer.__new__(Peer)
    peer.received = bytearray(
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" + b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    assert read_again(peer) == [("POST", "/a"), ("GET", "/b")]
    assert not unfinished(peer)
    peer.received += b"POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"
    assert read_again(peer)[2:] == [("POST", "/c")]
    assert unfinished(peer)
