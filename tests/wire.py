"""A connection without a network: bytes in, bytes out, through the real protocol, app and service.

The seam is asyncio's transport: the fake one keeps what is written. Answers are read with h11, a
second opinion on every byte.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import h11
import uvicorn
from uvicorn.server import ServerState

from redirect.access_log import AccessLog
from redirect.app import create_app
from redirect.config import parse_config
from redirect.forwarded import TrustedProxies
from redirect.protocol import Guard

POOLS = b"""
[pool-a]
weighted_hosts = { "origin-1" = 1 }
is_default = true

[pool-b]
weighted_hosts = { "origin-2.example.com" = 1 }
status = 307
"""


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


class Conversation(NamedTuple):
    """What was seen on a connection: the bytes sent, whether it was ended, the most requests that waited."""

    sent: bytes
    ended: bool
    waited: int


class KeptTransport(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self, peer: str) -> None:
        super().__init__({"peername": (peer, 50000), "sockname": ("127.0.0.1", 8080)})
        self.sent = b""
        self.ended = False
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended, "written after the end"
        self.sent += bytes(data)

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def exchange(
    pieces: bytes | Sequence[bytes],
    *,
    log: Path,
    pools: bytes = POOLS,
    peer: str = "192.0.2.7",
    trusted: str = "127.0.0.1",
) -> Outcome:
    """Sends `pieces` on one connection, each after the answers to those before it."""
    log.unlink(missing_ok=True)
    sent, ended, _ = converse(pieces, log=log, pools=pools, peer=peer, trusted=trusted)
    records = [json.loads(line) for line in log.read_bytes().splitlines()]
    return Outcome(read_answers(sent, [record["method"] for record in records]), ended, records)


def converse(
    pieces: bytes | Sequence[bytes],
    *,
    log: Path,
    pools: bytes = POOLS,
    peer: str = "192.0.2.7",
    trusted: str = "127.0.0.1",
) -> Conversation:
    """The same, seen as bytes."""
    access_log = AccessLog(str(log))
    app = create_app(
        parse_config(pools, "pools.toml"), "X-Redirect-Pool-ID", TrustedProxies(trusted), access_log, Random(1)
    )
    conversation = asyncio.run(_converse(app, [pieces] if isinstance(pieces, bytes) else pieces, peer))
    access_log.close()
    return conversation


async def _converse(app: Any, pieces: Sequence[bytes], peer: str) -> Conversation:
    config = uvicorn.Config(app, log_config=None, ws="none", lifespan="off", proxy_headers=False, access_log=False)
    config.load()
    state = ServerState()
    transport = KeptTransport(peer)
    guard = Guard(config, state, {}, asyncio.get_running_loop())
    guard.connection_made(transport)
    waited = 0
    for piece in pieces:
        guard.data_received(piece)
        while state.tasks:
            waited = max(waited, len(guard.pipeline))
            await asyncio.sleep(0)
    ended = transport.ended
    transport.close()
    guard.connection_lost(None)
    return Conversation(transport.sent, ended, waited)


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
