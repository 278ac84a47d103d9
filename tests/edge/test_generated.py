"""Generated requests: the corpus, cut, doubled, swapped, spliced and split, from a seed that stays.

Whatever comes, a connection is answered, ended, or waits for more, and nothing of it stays behind. The bytes, the
records and the state of the connection are the same behind either front and either reader of plain heads. A million
take some ten minutes; with another seed they are others:

    GENERATED=1000000 SEED=1 .venv/bin/python -m pytest -s tests/edge/test_generated.py
"""

import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from support.generated import generated
from support.wire import (
    FRONTS,
    NEXT,
    POOLS,
    Answer,
    KeptTransport,
    essential,
    new_recorder,
    read_answers,
    served,
    settled,
)
from uvicorn.server import ServerState

from redirect.config.loader import parse_config
from redirect.core import authority
from redirect.core.forwarded import TrustedProxies
from redirect.edge.asgi import create_app
from redirect.edge.connection import HttpConnection
from redirect.edge.deadlines import IDLE, State
from redirect.edge.plain_head import READER, plain_head_reader
from redirect.telemetry.record import request_ids

SEED = int(os.environ.get("SEED", "20261121"))
REQUESTS = int(os.environ.get("GENERATED", "10000"))

# Each is held against the first, whose connection reads every request itself. Where there is no compiled reader, the
# second and the third are the same.
VARIANTS = [("starlette", READER), ("fast", READER), ("fast", "Python")]

STATUSES = {204, 302, 307, 400, 414, 422, 431, 501, 505}
FIELDS = {"location", "content-length", "content-type", "vary", "connection", "allow", "x-request-id"}
ORIGINS = ("http://origin-1/", "https://origin-1/", "http://origin-2.example.com/", "https://origin-2.example.com/")
# Among fewer requests the rarest answers may be missing, and AddressSanitizer still keeps more of what was freed.
ENOUGH = 10_000
# More pieces of memory, and more MiB, are left behind by whatever leaves something behind for each request.
MOST_LEFT = 3000
MOST_LEFT_MIB = 16


class Seen(NamedTuple):
    """What became of a connection. One that was `waiting` for another request was asked for /next then."""

    sent: bytes
    ended: bool
    records: list[dict[str, Any]]
    waiting: bool
    states: list[tuple[State, bytes]]  # behind each piece, with what it keeps for the parser


class Service:
    """A front that serves connection after connection, as a worker does."""

    def __init__(self, front: str, reader: str, log: Path) -> None:
        self._protocol = FRONTS[front]
        config = parse_config(POOLS, "pools.toml")
        self._recorder = new_recorder(config, str(log))
        app = create_app(config, "X-Redirect-Pool-ID", TrustedProxies("10.0.0.0/8"), self._recorder, Random(1))
        app.state.handler.request_ids = request_ids("0" * 16)  # the same in each
        self._handler = app.state.handler
        self._handler.reader._read_plain = plain_head_reader("X-Redirect-Pool-ID", reader)
        self._config = served(app)
        self._log = log.open("r+b")

    def close(self) -> None:
        self._recorder.close()
        self._log.close()

    def forget(self) -> None:
        """Empties what is remembered on purpose, and bounded."""
        assert len(self._handler.reader.names) <= 1024
        self._handler.reader.names.clear()

    async def converse(self, pieces: list[bytes]) -> Seen:
        """Sends `pieces` on a connection of their own, and one more request if it waits for one then."""
        connection, transport, state = self._connect()
        turns = 100 + sum(map(len, pieces))

        async def send(piece: bytes) -> None:
            nonlocal turns
            connection.data_received(piece)
            while state.tasks or connection._buffer:
                await asyncio.sleep(0)
                turns -= 1
                assert turns, "it hangs"

        states = []
        for piece in pieces:
            await send(piece)
            states.append((connection._state, connection._buffer))
        waiting = not transport.ended and connection._state is IDLE
        if waiting:
            await send(NEXT)
        ended = transport.ended
        transport.close()
        connection.connection_lost(None)
        return Seen(transport.sent, ended, self._logged(), waiting, states)

    async def abandon(self, pieces: list[bytes]) -> None:
        """Sends `pieces` and leaves, before the event loop runs again."""
        connection, transport, state = self._connect()
        for piece in pieces:
            connection.data_received(piece)
        transport.abort()
        connection.connection_lost(ConnectionResetError())
        await settled()
        assert not state.tasks
        assert not state.connections
        self._logged()

    def _connect(self) -> tuple[HttpConnection, KeptTransport, ServerState]:
        state, transport = ServerState(), KeptTransport("10.0.0.9", float("inf"))
        connection = transport.protocol = self._protocol(self._config, state, {}, asyncio.get_running_loop())
        connection.connection_made(transport)
        return connection, transport, state

    def _logged(self) -> list[dict[str, Any]]:
        self._recorder.flush()
        lines = self._log.read().splitlines()
        if self._log.tell() > 2**20:
            self._log.truncate(0)
            self._log.seek(0)
        assert all(len(line) < 4096 for line in lines)
        return [json.loads(line) for line in lines]


# The same few answers come again and again.
@lru_cache(maxsize=4096)
def answers_of(sent: bytes, methods: tuple[str | None, ...]) -> list[Answer]:
    return read_answers(sent, methods)


def check(one: Seen, others: list[Seen]) -> Counter[int]:
    """Holds what became of a request against the rules, and the others against it; the answers by status."""
    answers = answers_of(one.sent, tuple(record["method"] for record in one.records))
    statuses = [answer.status for answer in answers]
    assert statuses == [record["status"] for record in one.records]
    assert STATUSES.issuperset(statuses)
    for answer in answers:
        assert FIELDS.issuperset(answer.headers)
        assert answer.location is None or answer.location.startswith(ORIGINS)
    closing = [answer.headers.get("connection") == "close" for answer in answers]
    assert closing == [False] * (len(answers) - one.ended) + [True] * one.ended
    if one.waiting:
        assert not one.ended
        assert answers, "it reads nothing any more"
        assert answers[-1].location == "http://origin-1/next"
    for other in others:
        assert one._replace(records=essential(one.records)) == other._replace(records=essential(other.records))
    return Counter(statuses)


async def converse(services: list[Service], requests: Iterator[list[bytes]]) -> Counter[int]:
    """Sends the requests to each service; the answers by status."""
    statuses: Counter[int] = Counter()
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    for pieces in requests:
        try:
            one, *others = [await service.converse(pieces) for service in services]
            statuses += check(one, others)
            assert not faults, faults
        except BaseException:
            print(f"\nto be added to tests/support/corpus.py: {b''.join(pieces)!r}\nin pieces of {[*map(len, pieces)]}")
            raise
    return statuses


def blocks(services: list[Service]) -> int:
    """How many pieces of memory the process holds, without what is remembered on purpose."""
    for service in services:
        service.forget()
    authority.parse.cache_clear()
    answers_of.cache_clear()
    gc.collect()
    return sys.getallocatedblocks()


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[list[Service]]:
    """A service of each variant."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.closing(Service(front, reader, folder / f"{number}.jsonl")))
            for number, (front, reader) in enumerate(VARIANTS)  # of which two may be the same
        ]


@pytest.mark.generated
@pytest.mark.slow
def test_generated_requests(tmp_path: Path) -> None:
    """Nothing crashes, hangs or grows; no answer is 5xx but 505; h11 reads them all; fronts and readers agree."""

    async def run() -> None:
        with serving(tmp_path) as services:
            random, started = Random(SEED), time.monotonic()
            statuses = await converse(services, generated(random, REQUESTS // 2))
            half, half_mib = blocks(services), peak_mib()
            statuses += await converse(services, generated(random, REQUESTS // 2))
            end, end_mib = blocks(services), peak_mib()
            print(
                f"\nseed {SEED}: {REQUESTS} requests to each variant in {time.monotonic() - started:.0f} s; answers",
                end=" ",
            )
            print(", ".join(f"{status}: {count}" for status, count in sorted(statuses.items())), end="; ")
            print(f"from half to end {half} to {end} pieces of memory, at most {half_mib:.1f} to {end_mib:.1f} MiB")
            if REQUESTS >= ENOUGH:
                assert statuses.keys() == STATUSES
                assert end - half < MOST_LEFT
                assert end_mib - half_mib < MOST_LEFT_MIB

    asyncio.run(run())


@pytest.mark.generated
@pytest.mark.slow
def test_clients_that_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A client that sends any of it and leaves at once leaves no task, no connection and no error behind."""

    async def run() -> None:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        with serving(tmp_path) as services:
            for pieces in generated(Random(SEED), REQUESTS // 10):
                for service in services:
                    await service.abandon(pieces)
                assert not faults, pieces
                assert all(record.levelno < logging.ERROR for record in caplog.records), pieces

    asyncio.run(run())
