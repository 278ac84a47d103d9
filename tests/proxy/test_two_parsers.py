"""Two parsers in a row: whatever clients send, the origin is asked what was logged, no more and no less.

All that reaches the origin is read again by h11 and by gunicorn's parser, as other servers would. A hundred thousand
generated requests take some minutes; with another seed they are others:

    GENERATED=100000 SEED=1 .venv/bin/python -m pytest -s tests/proxy/test_two_parsers.py -k generated
"""

import asyncio
import os
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import gunicorn.config
import h11
import pytest
import uvloop
from gunicorn.http.errors import NoMoreData
from gunicorn.http.message import Request as GunicornRequest
from gunicorn.http.parser import RequestParser
from support.corpus import CORPUS
from support.gateway import OWN, Forwarding, Gateway
from support.generated import generated
from support.origin import Peer, answer, says
from support.wire import NEXT, head

SEED = int(os.environ.get("SEED", "20261126"))
REQUESTS = int(os.environ.get("GENERATED", "2000"))

# Requests to one gateway, and those at once.
BATCH = 2000
CLIENTS = 50

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


class Read(NamedTuple):
    """Methods and targets of the requests on a connection, and whether the last one has not ended."""

    requests: list[tuple[str, str]]
    is_unfinished: bool


def read_again(peer: Peer) -> Read:
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
        elif isinstance(event, h11.ConnectionClosed):  # nothing was sent on it
            return Read(requests, False)
        elif event is h11.NEED_DATA:
            is_unfinished = server.their_state is not h11.IDLE
            assert is_unfinished or server.trailing_data[0] == b"", "bytes behind the last request"
            return Read(requests, is_unfinished)
        elif isinstance(event, h11.EndOfMessage) and not server.trailing_data[0]:
            return Read(requests, False)


class _Request(GunicornRequest):  # type: ignore[misc]  # gunicorn has no types
    """Reads all that is framed well: which expectations, or fields that come twice, gunicorn serves is its own."""

    def _apply_header_policy(self, name: str, value: str, *_: Any, **__: Any) -> tuple[str, str]:
        return name, value


class _Parser(RequestParser):  # type: ignore[misc]
    mesg_class = _Request


def read_by_gunicorn(peer: Peer) -> list[tuple[str, str]]:
    """The requests by another reading of the RFC."""
    config = gunicorn.config.Config()
    config.set("limit_request_fields", 200)  # some are ours
    config.set("limit_request_field_size", 2**16)
    config.set("limit_request_line", 0)
    requests: list[tuple[str, str]] = []
    try:
        for request in _Parser(config, iter([bytes(peer.received)]), ("127.0.0.1", 1)):
            requests.append((request.method, request.uri))
            assert not request.should_close()
    except NoMoreData:
        pass
    return requests


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


@pytest.mark.generated
@pytest.mark.slow
@pytest.mark.parametrize("name", CORPUS, ids=[ascii(name) for name in CORPUS])
async def test_an_origin_is_asked_what_was_logged(name: str, own: Forwarding) -> None:
    """A request that never ended may have reached it in part; the log says that the client left or was refused."""
    async with own("retries = 0") as gateway:
        gateway.origin.default = says(answer(b"ok"))
        records = await send(gateway, CORPUS[name] + (b"" if name.startswith("unfinished") else NEXT))
        read = [read_again(peer) for peer in gateway.origin.peers]
        asked = Counter(cut(request) for each in read for request in each.requests)
        assert [read_by_gunicorn(peer) for peer in gateway.origin.peers] == [each.requests for each in read]
        assert asked <= logged(records), "the origin was asked more than was logged"
        assert asked >= logged(record for record in records if record["origin_status"]), "or less"
        assert "smuggled" not in repr(asked) or name in TWO_REQUESTS
        for each in read:
            assert not each.is_unfinished or any(record["status"] >= 400 for record in records)


def test_the_second_parser_finds_what_is_too_much() -> None:
    """A check of this file: h11 sees a request that was hidden."""
    peer = Peer.__new__(Peer)
    peer.received = bytearray()
    assert read_again(peer) == ([], False)
    assert read_by_gunicorn(peer) == []
    peer.received = bytearray(
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" + b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    whole = [("POST", "/a"), ("GET", "/b")]
    assert read_again(peer) == (whole, False)
    assert read_by_gunicorn(peer) == whole
    peer.received += b"POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"
    assert read_again(peer) == ([*whole, ("POST", "/c")], True)


async def converse(gateway: Gateway, pieces: list[bytes]) -> None:
    """Sends the pieces and a last request on a connection of their own, and reads until it ends."""
    client = await gateway.client()
    for piece in (*pieces, LAST):
        await client.send(piece)
    reading = asyncio.create_task(client.everything())
    await asyncio.wait([reading], timeout=QUIET_SECONDS)
    if not reading.done():  # it waits for the rest of a request, which never comes
        client.write_eof()
    await reading


LAST = head("GET /last HTTP/1.1", "Connection: close")


async def forwarded(gateway: Gateway, requests: list[list[bytes]]) -> int:
    """Sends all of the requests; of how many the origin was asked. It must be as many as the log says."""
    gateway.origin.default = says(answer(b"ok"))
    for at in range(0, len(requests), CLIENTS):
        await asyncio.gather(*(converse(gateway, pieces) for pieces in requests[at : at + CLIENTS]))
    await asyncio.sleep(QUIET_SECONDS)
    read = [read_again(peer).requests for peer in gateway.origin.peers]
    assert [read_by_gunicorn(peer) for peer in gateway.origin.peers] == read
    asked = Counter(cut(request) for requests in read for request in requests)
    records = gateway.logged()
    assert asked <= logged(records), "the origin was asked more than was logged"
    missing = logged(records) - asked
    assert missing <= logged(record for record in records if record["status"] in (400, 408, 499)), "or less"
    return sum(asked.values())


@pytest.mark.generated
@pytest.mark.slow
@pytest.mark.parametrize("way", OWN)
def test_an_origin_is_asked_what_was_logged_of_generated_requests(way: str, tmp_path: Path) -> None:
    random, count = generated(Random(SEED), REQUESTS), 0
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def run(batch: list[list[bytes]], number: int) -> int:
            async with Forwarding(way, tmp_path / f"{number}.jsonl")("retries = 0") as gateway:
                return await forwarded(gateway, batch)

        for number in range(0, REQUESTS, BATCH):
            count += runner.run(run([*islice(random, BATCH)], number))
    print(f"\nseed {SEED}, {way}: {REQUESTS} connections, {count} requests at the origin")
    assert count > REQUESTS / 2
