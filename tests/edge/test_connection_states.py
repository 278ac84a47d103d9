"""The table of docs/decisions/0009-connection-states.md: what an event does in each state, and the state after it."""

import asyncio
import re
from pathlib import Path

import pytest
from support.timed import CHUNKED, On, Timed, clock_in_place, runs_on
from support.wire import NEXT, POOLS, head

from redirect.edge.deadlines import State
from redirect.edge.fast_path import FastPath
from redirect.proxy.connections import Connections

RECORD = Path(__file__, "../../../docs/decisions/0009-connection-states.md").resolve()
(_, *EVENTS), *ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in RECORD.read_text().splitlines()
    if line.count("|") == 8 and "---" not in line
]
TABLE = {
    f"{state}: {event}": (state, event, cell)
    for state, *cells in ROWS
    for event, cell in zip(EVENTS, cells, strict=True)
}

# What is sent before a connection is in a state; what then completes its request, and what is malformed there.
SENT = {
    "IDLE": (NEXT, NEXT, b"?"),
    "HEAD": (NEXT + NEXT[:20], NEXT[20:], b"?\0"),
    "BODY": (CHUNKED + b"4\r\nbo", b"dy\r\n0\r\n\r\n", b"dy?"),
    "PASSING": (head("POST /inner HTTP/1.1", "Transfer-Encoding: chunked") + b"4\r\nbo", b"dy\r\n0\r\n\r\n", b"dy?"),
    "DISCARDING": (head("POST / HTTP/1.1", "Content-Length: 4") + b"bo", b"dy", b"dy?"),
    "LAST": (head("OPTIONS * HTTP/1.1", "Connection: close"), NEXT, b"?"),
    "LINGERING": (head("GET / HTTP/1.1", "Connection: close"), NEXT, b"?"),
    "LATE": (NEXT[:20], NEXT[20:], b"?"),
    "SILENT": (NEXT, NEXT, b"?"),
}
ROUTE = b"""
[[routes]]
path_prefix = "/inner"
forward_to = "inner"

[inner]
weighted_hosts = { "127.0.0.1:1" = 1 }
"""
BLANK_LINES = b"\r\n" * 20_000
IN_A_CHUNK = b"dy\r\n0;" + b"x" * 40_000
TOO_MANY = {"HEAD": b"X" * 40_000, "BODY": IN_A_CHUNK, "PASSING": IN_A_CHUNK, "DISCARDING": b"dy" + BLANK_LINES}


async def never(*_: object) -> None:
    await asyncio.Event().wait()


@pytest.fixture
def on_a_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> On:
    """With a route to an origin that does not answer."""
    monkeypatch.setattr(Connections, "connect", never)
    return runs_on(FastPath, clock_in_place(monkeypatch), tmp_path / "log")


def time_passes(connection: Timed) -> None:
    """Without a cycle of the loop, in which the app would respond."""
    connection.clock.now += 100
    connection.protocol._check_deadline()


@pytest.mark.slow
@pytest.mark.parametrize(("state", "event", "expected"), TABLE.values(), ids=TABLE)
def test_the_table_holds(state: str, event: str, expected: str, on_a_connection: On) -> None:
    before, rest, malformed = SENT[state]

    async def test(connection: Timed) -> None:
        protocol, transport = connection.protocol, connection.transport
        connection.send(before)
        if state == "LATE":
            time_passes(connection)
        elif state == "SILENT":
            protocol.silence()
        assert protocol._state.name == state

        sent = len(transport.sent)
        match event:
            case "rest of the request":
                connection.send(rest)
            case "malformed bytes":
                connection.send(malformed)
            case "40,000 bytes too many":
                connection.send(TOO_MANY.get(state, BLANK_LINES))
            case "its time is over":
                time_passes(connection)
            case "worker stops, then rest":
                protocol.shutdown()
                connection.send(rest)
            case "worker has stopped":
                protocol.silence()
        while protocol._buffer:
            await asyncio.sleep(0)

        statuses = re.findall(r"HTTP/1.1 (\d+)", transport.sent[sent:].decode())
        end = "abort" if transport.aborted else "close" if transport.closed else "-"
        assert f"{' '.join(statuses) or end}, {protocol._state.name}" == expected

    on_a_connection(test, toml=ROUTE + POOLS)


def test_every_state_has_a_row() -> None:
    assert [row[0] for row in ROWS] == [state.name for state in State]


def test_the_last_response_lingers(on_a_connection: On) -> None:
    async def test(connection: Timed) -> None:
        await connection.ask(SENT["LAST"][0])
        assert connection.protocol._state.name == "LINGERING"

    on_a_connection(test)
