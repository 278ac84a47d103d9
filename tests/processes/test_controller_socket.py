"""The socket over which workers reach the controller, within one process."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator

import pytest
from starlette.types import Receive, Scope, Send

from redirect.processes.controller_socket import LATE_MS, ControllerSocket
from redirect.telemetry.scoreboard import Common, Scoreboard, now_ms

REQUEST = b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


@pytest.fixture
def common() -> Common:
    return Scoreboard().common


@pytest.fixture
def tested(common: Common) -> Iterator[ControllerSocket]:
    """A socket that leaves no descriptor behind."""
    before = os.listdir("/proc/self/fd")
    tested = ControllerSocket(common)
    yield tested
    tested._workers.close()
    tested._controllers.close()  # and with it what waits there
    assert os.listdir("/proc/self/fd") == before


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the path."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def test_a_connection_waits_for_the_next_controller(tested: ControllerSocket) -> None:
    async def test() -> None:
        streams = [await asyncio.open_unix_connection(sock=tested.connect()) for _ in range(3)]
        for _, writer in streams:
            writer.write(REQUEST)
        async with tested.answering(app):
            for reader, writer in streams:
                assert (await reader.read()).endswith(b"/x\r\n0\r\n\r\n")
                writer.close()

    asyncio.run(test())


def test_connections_that_are_too_many_are_refused(tested: ControllerSocket) -> None:
    """As many wait as the kernel keeps."""
    made: list[socket.socket] = []
    with contextlib.suppress(BlockingIOError):
        while len(made) < 10_000:
            made.append(tested.connect())
    assert 50 < len(made) < 10_000
    for each in made:
        each.close()


def test_a_controller_is_late_two_seconds_after_its_heartbeat(tested: ControllerSocket, common: Common) -> None:
    assert tested.is_late()  # before the first
    common.controller_heartbeat_ms = now_ms()
    assert not tested.is_late()
    common.controller_heartbeat_ms = now_ms() - LATE_MS - 1
    assert tested.is_late()
