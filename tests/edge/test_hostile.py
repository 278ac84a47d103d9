"""Hostile input: what a client writes is never a header of ours nor another host, and costs little, however much it is.

The figures that are promised are 50 ms of CPU and 1 MiB of memory. What decides here is the memory, and how many
bytes the parser gets to see; of CPU time a test allows ten times as much, for machines that have others to serve.
"""

import asyncio
import contextlib
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from pathlib import Path
from random import Random
from string import ascii_letters, digits
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import pytest
import uvicorn
from support.corpus import CORPUS, FIELDS, NO_TARGETS, SMUGGLED, TARGETS, raw
from support.wire import FRONTS, NEXT, POOLS, KeptTransport, Wire, head, new_recorder, served
from uvicorn.server import ServerState

from redirect.config.loader import parse_config
from redirect.core.forwarded import TrustedProxies
from redirect.edge.asgi import create_app
from redirect.edge.connection import HttpConnection
from redirect.edge.limits import (
    MAX_BODY_BYTES,
    MAX_FED_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADER_FIELDS,
    MAX_REQUEST_LINE_BYTES,
)
from redirect.edge.response import prefers_html

CPU_MS = 50
MEMORY = 1024 * 1024

# What an authority in a target of TARGETS is made of.
HOST = f"{ascii_letters}{digits}.-:[]"

# What a server takes from the kernel at once, at most.
READ = 256 * 1024

# How much is sent in a flood.
FLOOD = 8 * 1024 * 1024


def test_the_corpus_is_large() -> None:
    """There are at least 300 requests with names, no two of them the same."""
    assert len({*CORPUS.values()}) == len(CORPUS) >= 300


@pytest.mark.slow
@pytest.mark.parametrize("repeated", [False, True], ids=["first", "repeated"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_target_stays_behind_the_origin(target: str, repeated: bool, wire: Wire) -> None:
    """Whatever line end, host or script may be read into a target, Location has the origin, and the target's path
    as it came; no other field is there, and a client that follows it arrives at the origin."""
    path = target if target.startswith("/") else target.partition("//")[2].lstrip(HOST)
    sent = head(f"GET {target} HTTP/1.1")
    answer = wire.exchange([NEXT, sent] if repeated else [sent]).answers[-1]
    assert answer.location == f"http://origin-1{path if path.startswith('/') else '/' + path}"
    assert {*answer.headers} == {"x-request-id", "location", "content-length"}
    assert urlsplit(urljoin("http://asked.example/a/b", answer.location)).netloc == "origin-1"


@pytest.mark.slow
@pytest.mark.parametrize("target", NO_TARGETS)
def test_a_target_that_is_none(target: str, wire: Wire) -> None:
    """What no target may hold gives no Location, and nothing of it is in the answer."""
    (answer,) = wire.exchange(head(f"GET {target} HTTP/1.1") + NEXT).answers
    assert (answer.status, answer.location) == (400, None)
    assert {*answer.headers} == {"content-length", "content-type", "vary", "connection", "x-request-id"}
    assert b"evil" not in answer.body


@pytest.mark.slow
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: repr(field[:70]))
def test_a_field_stays_out_of_the_answer(field: str, wire: Wire) -> None:
    """No field of a request adds one to the answer, or changes the host or the path in it, from a trusted proxy too."""
    (answer,) = wire.exchange(head("GET /x HTTP/1.1", field), peer="127.0.0.1").answers
    assert {*answer.headers} == {"x-request-id", "location", "content-length"}
    scheme = "https" if field == "X-Forwarded-Proto: https" else "http"
    host = "origin-2.example.com" if field == "X-Redirect-Pool-ID: pool-b" else "origin-1"
    assert answer.location == f"{scheme}://{host}/x"


@pytest.mark.generated
@pytest.mark.slow
@pytest.mark.parametrize("target", ["/{}", "/?{}", "/x{}y", "//{}evil.example"])
def test_every_byte_in_a_target(target: str, wire: Wire) -> None:
    """Any byte either arrives in Location as it is, or there is no Location: nothing becomes a line end on the way."""
    for byte in range(256):
        sent = b"GET " + raw(target.format(chr(byte))) + b" HTTP/1.1\r\nHost: asked.example\r\n\r\n"
        for pieces in ([sent], [NEXT, sent]):
            answer = wire.exchange(pieces).answers[-1]
            if answer.location is None:
                assert answer.status in (400, 505)
                assert {*answer.headers} == {"content-length", "content-type", "vary", "connection", "x-request-id"}
            else:
                assert 0x20 <= byte < 0x7F
                assert answer.location == f"http://origin-1{target.format(chr(byte)).rstrip()}"
                assert {*answer.headers} == {"x-request-id", "location", "content-length"}


class CountedParser:
    """A parser that says how many bytes it was fed."""

    def __init__(self, parser: Any) -> None:
        self.fed = 0
        self._parser = parser

    def feed_data(self, data: bytes) -> None:
        self.fed += len(data)
        self._parser.feed_data(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


class Cost:
    """What a connection costs on which `pieces` are sent: CPU time, the most memory, and bytes that are parsed."""

    def __init__(
        self, protocol: type[HttpConnection], pieces: Callable[[], Iterable[bytes]], log: Path, *, traced: bool
    ) -> None:
        self.sent = b""
        self.ended = False
        self.fed = self.memory = 0  # bytes
        self.cpu_ms = 0.0
        asyncio.run(self._measure(protocol, pieces, log, traced))

    async def _measure(
        self, protocol: type[HttpConnection], pieces: Callable[[], Iterable[bytes]], log: Path, traced: bool
    ) -> None:
        pools = parse_config(POOLS, "pools.toml")
        with contextlib.closing(new_recorder(pools, str(log))) as recorder:
            app = create_app(pools, "X-Redirect-Pool-ID", TrustedProxies(""), recorder, Random(1))
            config = served(app)
            await self._connect(protocol, config, [NEXT])  # what a process makes once
            if traced:
                tracemalloc.start()
            started = time.process_time()
            await self._connect(protocol, config, pieces())
            self.cpu_ms = (time.process_time() - started) * 1e3
            if traced:
                self.memory = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()

    async def _connect(self, protocol: type[HttpConnection], config: uvicorn.Config, pieces: Iterable[bytes]) -> None:
        """Sends the pieces as the kernel would: the next one when the connection reads on."""
        state, transport = ServerState(), KeptTransport("192.0.2.7", float("inf"))
        connection: Any = protocol(config, state, {}, asyncio.get_running_loop())
        transport.protocol = connection
        connection.parser = parser = CountedParser(connection.parser)
        connection.connection_made(transport)
        for piece in pieces:
            connection.data_received(piece)
            while transport.is_reading_paused or state.tasks:
                await asyncio.sleep(0)
        self.sent, self.ended, self.fed = transport.sent, transport.ended, parser.fed
        transport.close()
        connection.connection_lost(None)


LINE = b"GET / HTTP/1.1\r\nHost: asked.example\r\n"
POST = b"POST / HTTP/1.1\r\nHost: asked.example\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD_FED = MAX_HEADER_BYTES + 3 * MAX_FED_BYTES


class Flood(NamedTuple):
    """What is sent first, what again and again behind it, how it is answered, and how much of it the parser may see."""

    begin: bytes
    again: bytes
    status: int
    most_fed: int
    read: int = READ
    length: int = FLOOD

    def pieces(self) -> Iterator[bytes]:
        """The bytes, as many at once as are read at once."""
        piece = self.again * (self.read // len(self.again))
        yield self.begin
        yield from repeat(piece, self.length // len(piece))


FLOODS = {
    "a field": Flood(LINE + b"X: ", b"a", 431, HEAD_FED),
    "a field, a KiB at a time": Flood(LINE + b"X: ", b"a", 431, HEAD_FED, 1024),
    "a field, a byte at a time": Flood(LINE + b"X: ", b"a", 431, HEAD_FED, 1, 2 * MAX_HEADER_BYTES),
    "a field's name": Flood(LINE, b"X", 431, HEAD_FED),
    "blanks": Flood(LINE + b"X:", b" ", 431, HEAD_FED),
    "long fields": Flood(LINE, b"X: " + b"a" * 1000 + b"\r\n", 431, HEAD_FED),
    "short fields": Flood(LINE, b"X: 1\r\n", 431, 2 * MAX_FED_BYTES),
    "101 fields": Flood(LINE + b"X: 1\r\n" * MAX_HEADER_FIELDS, b"\r\n", 431, 2 * MAX_FED_BYTES),
    "101 long fields": Flood(LINE + (b"X: " + b"a" * 300 + b"\r\n") * MAX_HEADER_FIELDS, b"\r\n", 431, HEAD_FED),
    "a target": Flood(b"GET /", b"a", 414, MAX_REQUEST_LINE_BYTES + 2 * MAX_FED_BYTES),
    "a method": Flood(b"", b"G", 400, MAX_FED_BYTES),
    "blank lines": Flood(b"", b"\r\n", 431, HEAD_FED),
    "a million tiny chunks": Flood(POST, b"1\r\na\r\n", 302, 6 * MAX_BODY_BYTES + 2 * MAX_FED_BYTES),
    "a million tiny chunks, one at a time": Flood(
        POST, b"1\r\na\r\n", 302, 6 * MAX_BODY_BYTES + 2 * MAX_FED_BYTES, 6, 7 * MAX_BODY_BYTES
    ),
    "tiny chunks with extensions": Flood(POST, b"1;a=b\r\na\r\n", 302, 10 * MAX_BODY_BYTES + 2 * MAX_FED_BYTES),
    "a body": Flood(head("POST / HTTP/1.1", f"Content-Length: {FLOOD}"), b"b", 302, MAX_FED_BYTES),
    "a chunk": Flood(POST + b"800000\r\n", b"b", 302, MAX_BODY_BYTES + 2 * MAX_FED_BYTES),
    "a chunk's length": Flood(POST, b"0", 431, HEAD_FED),
    "a chunk's extension": Flood(POST + b"1;", b"a", 431, HEAD_FED),
    "a trailer": Flood(POST + b"0\r\nX: ", b"a", 431, HEAD_FED),
    "trailers": Flood(POST + b"0\r\n", b"X: 1\r\n", 431, 2 * MAX_FED_BYTES),
    "requests behind the last answer": Flood(head("GET / HTTP/1.0"), SMUGGLED, 302, MAX_FED_BYTES),
    "no HTTP": Flood(b"", b"\x80\0\xff\x01", 400, MAX_FED_BYTES),
}


@pytest.mark.slow
@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("name", FLOODS)
def test_what_a_connection_costs(name: str, front: str, tmp_path: Path) -> None:
    """However much comes, little of it is looked at, next to none is kept, and it is answered once."""
    flood = FLOODS[name]
    cost = Cost(FRONTS[front], flood.pieces, tmp_path / "log", traced=True)
    cpu_ms = Cost(FRONTS[front], flood.pieces, tmp_path / "log", traced=False).cpu_ms
    print(f"{name}: {cpu_ms:.1f} ms of CPU, {cost.memory / 1024:.0f} KiB, {cost.fed} bytes parsed")
    assert cost.sent.startswith(b"HTTP/1.1 %d " % flood.status)
    assert cost.sent.count(b"content-length: ") == 1
    assert cost.ended
    assert cost.fed <= flood.most_fed
    assert cost.memory < MEMORY
    assert cpu_ms < 10 * CPU_MS


@pytest.mark.parametrize("unit", [b"a", b"a/", b"a/a,", b",", b"; ", b"a/a;q=", b" ", b"/"], ids=str)
def test_what_a_refusal_costs_that_asks_for_a_type(unit: bytes) -> None:
    """Accept is read for each of them, and may be as long as a header section."""
    started = time.process_time()
    prefers_html(unit * (MAX_HEADER_BYTES // len(unit)))
    assert (time.process_time() - started) * 1e3 < 10 * CPU_MS
