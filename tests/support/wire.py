"""A connection without a network: bytes in, bytes out, through the real protocol, app and service.

The seam is asyncio's transport: the fake one keeps what is written. Answers are read with h11, a
second opinion on every byte.
"""

import asyncio
import contextlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import h11
import uvicorn
from uvicorn.server import ServerState

from redirect.config.loader import parse_config
from redirect.core.forwarded import TrustedProxies
from redirect.core.pools import Config
from redirect.edge.asgi import create_app
from redirect.edge.connection import HttpConnection
from redirect.edge.fast_path import FastPath
from redirect.telemetry.counters import Counters
from redirect.telemetry.log_writer import LogWriter
from redirect.telemetry.record import request_ids
from redirect.telemetry.recorder import Recorder
from redirect.telemetry.scoreboard import Scoreboard

POOLS = b"""
[pool-a]
weighted_hosts = { "origin-1" = 1 }
is_default = true

[pool-b]
weighted_hosts = { "origin-2.example.com" = 1 }
status = 307
"""

# What faces the client, by name: the protocol that the worker is given. Behind HttpConnection alone it is Starlette.
FRONTS: dict[str, type[HttpConnection]] = {"fast": FastPath, "starlette": HttpConnection}


# What differs from one request to the next.
VARYING = ("time", "request_id", "duration_us")


class Answer(NamedTuple):
    """One response as a client reads it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def location(self) -> str | None:
        return self.headers.get("location")

    @property
    def detail(self) -> str:
        """What a refusal says to the client."""
        return str(json.loads(self.body)["detail"])


class Outcome(NamedTuple):
    """What became of a connection: the answers in order, whether it was ended, and the access records."""

    answers: list[Answer]
    ended: bool
    records: list[dict[str, Any]]

    def essence(self) -> object:
        """All of it but what differs from one request to the next."""
        return self._replace(records=essential(self.records))


class Conversation(NamedTuple):
    """What was seen of a connection: the bytes sent, whether it was ended, the access log, the most requests
    that waited for an earlier one, the most bytes that waited for a client that reads at last, and in how many
    turns of the loop it was answered."""

    sent: bytes
    ended: bool
    log: bytes
    waited: int
    unread: int
    turns: int

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines()]

    @property
    def essence(self) -> object:
        """What two fronts have in common: all but what differs from one request to the next."""
        return self.sent, self.ended, essential(self.records)


def essential(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records without what differs from one request to the next."""
    return [{key: value for key, value in record.items() if key not in VARYING} for record in records]


class KeptSocket:
    """In the place of a transport's socket: it takes options, and the kernel knows nothing of it."""

    def __init__(self, peer: str) -> None:
        self._peer = peer

    def getpeername(self) -> tuple[str, int]:
        return self._peer, 50000

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 8080

    def setsockopt(self, *_: object) -> None:
        pass

    def fileno(self) -> int:
        raise OSError


class KeptTransport(asyncio.Transport):
    """A transport that keeps what is written to it, for a client that reads at once or only when asked to."""

    def __init__(self, peer: str, high_water: float) -> None:
        super().__init__({"socket": KeptSocket(peer)})
        self.sent = b""
        self.unread = 0
        self.is_reading_paused = False
        self.ended = False
        self.closed = False
        self.aborted = False
        self.high_water = high_water
        self.protocol: HttpConnection

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended, "written after the end"
        self.sent += bytes(data)
        was, self.unread = self.unread, self.unread + len(data)
        if was <= self.high_water < self.unread:
            self.protocol.pause_writing()

    def be_read(self, count: float = math.inf) -> None:
        """The client reads all that was sent to it, or so many bytes."""
        paused, self.unread = self.unread > self.high_water, self.unread - int(min(count, self.unread))
        if paused and self.unread <= self.high_water:
            self.protocol.resume_writing()

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = self.closed = True

    def abort(self) -> None:
        self.ended = self.closed = self.aborted = True

    def get_write_buffer_size(self) -> int:
        return 0 if self.high_water == math.inf else self.unread

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        self.is_reading_paused = False


class Clock:
    """The running loop, but for its timers: these are due when the time passes that a test lets pass. Stands in
    for `monotonic_ns` too."""

    def __init__(self) -> None:
        self.now = 0.0  # as on a machine that starts just now
        self._timers: list[asyncio.TimerHandle] = []

    def __call__(self) -> int:
        return int(self.now * 1e9)

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio.get_running_loop(), name)

    def call_later(self, seconds: float, callback: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(self.now + seconds, callback, args, asyncio.get_running_loop())
        self._timers.append(timer)
        return timer

    def timers(self) -> list[asyncio.TimerHandle]:
        """Those that are still to come, the next one first."""
        self._timers = sorted(timer for timer in self._timers if not timer.cancelled())
        return self._timers

    async def passes(self, seconds: float) -> None:
        end = self.now + seconds
        await settled()
        while (timers := self.timers()) and timers[0].when() <= end + 1e-6:
            timer = timers.pop(0)
            self.now = max(self.now, timer.when())
            timer._run()
            await settled()
        self.now = end


async def settled() -> None:
    """Returns when the app has done what it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def new_recorder(config: Config, target: str, scoreboard: Scoreboard | None = None) -> Recorder:
    """A recorder of a worker by itself, that logs to `target`."""
    slot = (scoreboard or Scoreboard()).make_slot(0)
    return Recorder(Counters(slot, config), None if target == "off" else LogWriter(target))


def served(app: Any, **options: Any) -> uvicorn.Config:
    """What a protocol of uvicorn is given, as a worker has it."""
    config = uvicorn.Config(
        app, log_config=None, ws="none", lifespan="off", proxy_headers=False, access_log=False, **options
    )
    config.load()
    return config


class Wire:
    """Connections to one of the fronts, with the access log in a file."""

    def __init__(self, front: str, log: Path) -> None:
        self.protocol = FRONTS[front]
        self.log = log

    def exchange(self, pieces: bytes | Sequence[bytes], **options: Any) -> Outcome:
        """Sends `pieces` on one connection, each after the answers to those before it."""
        seen = self.converse(pieces, **options)
        methods = [record["method"] for record in seen.records]
        return Outcome(read_answers(seen.sent, methods), seen.ended, seen.records)

    def converse(
        self,
        pieces: bytes | Sequence[bytes],
        *,
        pools: bytes = POOLS,
        peer: str = "192.0.2.7",
        trusted: str = "127.0.0.1",
        high_water: float = math.inf,
    ) -> Conversation:
        """The same, seen as bytes. Beyond `high_water` unread bytes the transport pauses writing; the client reads
        them when all is still."""
        pieces = [pieces] if isinstance(pieces, bytes) else pieces
        (conversation,) = self.converse_often([pieces], pools, peer=peer, trusted=trusted, high_water=high_water)
        return conversation

    def converse_often(
        self,
        conversations: Iterable[Sequence[bytes]],
        pools: bytes,
        *,
        peer: str = "192.0.2.7",
        trusted: str = "127.0.0.1",
        high_water: float = math.inf,
    ) -> list[Conversation]:
        """Many conversations with one service, each on a connection of its own, one after another."""

        async def converse() -> list[Conversation]:
            config = parse_config(pools, "pools.toml")
            recorder = new_recorder(config, str(self.log))
            app = create_app(config, "X-Redirect-Pool-ID", TrustedProxies(trusted), recorder, Random(1))
            app.state.handler.request_ids = request_ids("0" * 16)  # the same in each run
            with contextlib.closing(recorder):
                return [
                    await self._converse(served(app), pieces, KeptTransport(peer, high_water))
                    for pieces in conversations
                ]

        return asyncio.run(converse())

    async def _converse(
        self, config: uvicorn.Config, pieces: Sequence[bytes], transport: KeptTransport
    ) -> Conversation:
        state = ServerState()
        connection = transport.protocol = self.protocol(config, state, {}, asyncio.get_running_loop())
        connection.connection_made(transport)
        waited = unread = turns = 0
        for piece in pieces:
            connection.data_received(piece)
            while state.tasks or connection._buffer or transport.unread > transport.high_water:
                waited = max(waited, len(connection.pipeline))
                if connection.flow.write_paused and connection._feeding is None:
                    assert transport.is_reading_paused or not connection._buffer
                    unread = max(unread, transport.unread)
                    transport.be_read()
                await asyncio.sleep(0)
                turns += 1
        ended = transport.ended
        transport.close()
        connection.connection_lost(None)
        del transport.protocol  # as a real one does
        return Conversation(transport.sent, ended, self._logged(connection.handler.recorder), waited, unread, turns)

    def _logged(self, recorder: Recorder) -> bytes:
        """What was logged since this was asked last."""
        recorder.flush()
        with self.log.open("r+b") as file:
            logged = file.read()
            file.truncate(0)
        return logged


def read_answers(sent: bytes, methods: Sequence[str | None]) -> list[Answer]:
    """The answers in `sent`, to requests of `methods`: an answer to HEAD has no body."""
    answers = []
    for method in methods:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method or "GET", target="/", headers=[("host", "a")]))
        client.send(h11.EndOfMessage())
        client.receive_data(sent)
        response = client.next_event()
        assert isinstance(response, h11.Response), response
        body = b""
        while isinstance(event := client.next_event(), h11.Data):
            body += bytes(event.data)
        assert isinstance(event, h11.EndOfMessage), event
        sent = client.trailing_data[0]
        headers = {name.decode(): value.decode("latin-1") for name, value in response.headers}
        answers.append(Answer(response.status_code, headers, body))
    assert sent == b"", "bytes behind the last answer"
    return answers


def head(request_line: str, *fields: str, host: str | None = "asked.example") -> bytes:
    """A request's head in HTTP/1.1's bytes; characters are bytes."""
    lines = [request_line, *([f"Host: {host}"] if host is not None else []), *fields]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


NEXT = head("GET /next HTTP/1.1")


def delivered(random: Random, requests: list[bytes]) -> list[bytes]:
    """The requests as pieces: one each, all at once, cut anywhere, or byte by byte."""
    how, whole = random.random(), b"".join(requests)
    if how < 0.5:
        return requests
    if how < 0.7:
        return [whole]
    if how < 0.95 or len(whole) > 1000:
        cuts = sorted(random.randrange(len(whole) + 1) for _ in range(random.randint(1, 10)))
        return [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True) if begin < end]
    return [whole[at : at + 1] for at in range(len(whole))]
