"""Whatever a client sends, over real connections: answers, records, the end, and what reaches an origin, by the RFC.

`make conformance` sends all cases; one of 24 is sent with CONFORMANCE=short. With another SEED the generated ones
and the pieces are others.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import uvloop
from support.gateway import Client, Forwarding, Gateway
from support.wire import delivered, head, read_answers

from conformance.cases import PROBES, Case, cases
from conformance.judging import ROUTES, Judge, Seen, may_refuse
from conformance.recording import Recorded, RecordingOrigin, asked, forget
from conformance.strict import End, Reading, read
from redirect.edge.plain_head import READER, plain_head_reader

SEED = int(os.environ.get("SEED", "20261126"))
IS_SHORT = os.environ.get("CONFORMANCE") == "short"
GENERATED = int(os.environ.get("GENERATED", "2000"))

# Of the cases in a short round, one of so many.
STEP = 24

# Both fronts, the first with either reader of plain heads.
FRONTS = {"fast": ("fast", READER), "fast, Python": ("fast", "Python"), "connection": ("connection", READER)}

TOML = {
    "redirect": '[pool-a]\nweighted_hosts = { "conformance.example" = 1 }\nis_default = true\n',
    "respond": '[[routes]]\nrespond = { body = "ok" }\n[pool-a]\nweighted_hosts = { "conformance.example" = 1 }\n',
    "forward": '[[routes]]\nforward_to = "pool-a"\nretries = 0\n[pool-a]\nweighted_hosts = { "127.0.0.1:PORT" = 1 }\n',
}

# Ends each connection that waits for a request then, so that nothing has to be waited for.
LAST = head("GET /last HTTP/1.1", "Connection: close")

# For the answers to what came before the part of a request that never ends.
QUIET_SECONDS = 0.05
PATIENCE_SECONDS = 5.0


class Conversation:
    """A front that answers by a route, and the origin behind it."""

    def __init__(self, gateway: Gateway, route: str, log: Path, connections: list[Recorded]) -> None:
        self._gateway = gateway
        self._route = route
        self._log = log
        self._connections = connections

    async def faults(self, pieces: list[bytes]) -> list[str]:
        """What is wrong with what became of the pieces, on a connection of their own."""
        reading = read(b"".join(pieces))
        try:
            seen = await self.seen(pieces, reading)
        except Exception as error:  # whatever it is, it says which case it was
            return [f"{type(error).__name__}: {error}"]
        return Judge(self._route, reading, seen).judge()

    async def status(self, sent: bytes) -> int:
        """That of the answer to one request; it is the one that was logged."""
        client = await self._gateway.client()
        await client.send(sent)
        answer = await client.answer(sent.lstrip().partition(b" ")[0].decode())
        client.reset()
        (record,) = await self._gateway.records(1)
        os.truncate(self._log, 0)
        assert record["status"] == answer.status
        return answer.status

    async def seen(self, pieces: list[bytes], reading: Reading) -> Seen:
        forget(self._connections)
        client = await self._gateway.client()
        for piece in pieces:
            await client.send(piece)
            if len(pieces) > 1:
                await asyncio.sleep(0)
        received, ended = await _received(client, reading)
        self._gateway.clients.clear()
        records = self._gateway.logged()
        os.truncate(self._log, 0)
        methods = [record["method"] for record in records if record["status"] != 499]
        return Seen(read_answers(received, methods), ended, records, asked(self._connections))


async def _received(client: Client, reading: Reading) -> tuple[bytes, bool]:
    """All that came, and whether the connection was ended; where a request is not whole the client ends it."""
    reading_all = asyncio.create_task(client.everything())
    await asyncio.wait([reading_all], timeout=QUIET_SECONDS if reading.end is End.WITHIN else PATIENCE_SECONDS)
    ended = reading_all.done()
    if not ended:
        client.write_eof()
    received = await reading_all
    client.reset()
    if not ended:
        await asyncio.sleep(QUIET_SECONDS / 10)  # for the record of a client that left
    return received, ended


@contextlib.asynccontextmanager
async def conversing(front: str, route: str, folder: Path) -> AsyncIterator[Conversation]:
    way, reader = FRONTS.get(front, (front, READER))
    connections: list[Recorded] = []
    log = folder / "access.jsonl"
    loop = asyncio.get_running_loop()
    origin = await loop.create_server(lambda: RecordingOrigin(connections), "127.0.0.1", 0)
    toml = TOML[route].replace("PORT", str(origin.sockets[0].getsockname()[1]))
    try:
        async with Forwarding(way, log).serve(toml, []) as gateway:
            gateway.handler.reader._read_plain = plain_head_reader("X-Redirect-Pool-ID", reader)
            yield Conversation(gateway, route, log, connections)
    finally:
        origin.close()
        for recorded in connections:
            recorded.transport.abort()
        await asyncio.sleep(QUIET_SECONDS)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("front", FRONTS)
def test_every_case(front: str, route: str, runner: asyncio.Runner, tmp_path: Path) -> None:
    """Whole, or in pieces as a network may deliver them."""
    offset = [*FRONTS].index(front) + len(FRONTS) * [*ROUTES].index(route)
    chosen = [*islice(cases(SEED, GENERATED), offset % STEP, None, STEP)] if IS_SHORT else [*cases(SEED, GENERATED)]

    async def run() -> list[str]:
        random, wrong = Random(SEED), []
        async with conversing(front, route, tmp_path) as conversation:
            for case in chosen:
                pieces = [piece for piece in delivered(random, [case.sent, LAST]) if piece]
                found = await conversation.faults(pieces)
                wrong += [f"{case.name}: {fault}\n    {case.sent!r:.400}" for fault in found]
        return wrong

    wrong = runner.run(run())
    print(f"\n{front}, {route}: {len(chosen):,} cases, {len(wrong)} faults")
    assert not wrong, "\n".join(wrong[:100])


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("front", FRONTS)
def test_every_probe(front: str, route: str, runner: asyncio.Runner, tmp_path: Path) -> None:
    """The status and the end that the RFC asks for, in its own words."""

    async def run() -> list[str]:
        wrong = []
        async with conversing(front, route, tmp_path) as conversation:
            for probe in PROBES:
                seen = await conversation.seen([probe.sent, LAST], read(probe.sent + LAST))
                answer, *others = seen.answers
                due = {status or ROUTES[route] for status in probe.statuses}
                if answer.status not in due or probe.closes != (not others):
                    wrong.append(f"{probe.section}, {probe.name}: {answer.status}, {len(others)} more")
        return wrong

    assert runner.run(run()) == []


@pytest.mark.parametrize("route", ROUTES)
def test_every_good_request_behind_another_server(route: str, runner: asyncio.Runner, tmp_path: Path) -> None:
    """The app alone, under uvicorn's own protocol: what that reads, and refuses, is its own."""
    good = [case for case in cases(SEED, 0) if _is_good(case, route)][:: STEP if IS_SHORT else 1]

    async def run() -> list[str]:
        wrong = []
        async with conversing("asgi", route, tmp_path) as conversation:
            for case in good:
                status = await conversation.status(case.sent)
                if status != ROUTES[route]:
                    wrong.append(f"{case.name}: {status}")
        return wrong

    assert runner.run(run()) == []
    assert len(good) > 20


def _is_good(case: Case, route: str) -> bool:
    """Whether it is one request, of which uvicorn's protocol makes the same."""
    reading = read(case.sent)
    if reading.end is not End.WHOLE or len(reading.messages) != 1 or case.sent[:1] == b"\r":
        return False
    (message,) = reading.messages
    others = message.all(b"upgrade") or message.all(b"expect") or message.trailers  # it takes these for fields
    return message.version == b"1.1" and message.target[:1] == b"/" and not others and not may_refuse(message, route)
