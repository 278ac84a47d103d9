"""Connections under a clock that a test moves."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from redirect.edge.connection import HttpConnection
from support.connection import Connection
from support.wire import Answer, Clock, head, read_answers

KEEP_ALIVE = 75


CHUNKED = head("POST /late HTTP/1.1", "Transfer-Encoding: chunked")


A_LITTLE = 0.01


class Timed(Connection):
    """A connection to one of the fronts, whose time is the clock's."""

    def __init__(self, protocol: type[HttpConnection], clock: Clock, log: Path, **options: Any) -> None:
        super().__init__(protocol, loop=clock, log=str(log), **{"timeout_keep_alive": KEEP_ALIVE} | options)
        self.clock = clock
        self._log = log
        self._read = 0

    async def ask(self, data: bytes, *methods: str) -> list[Answer]:
        """Sends `data`, which holds requests of `methods`; the answers."""
        self.send(data)
        await self.rest()
        return self.answers(*methods)

    async def passes(self, seconds: float, *methods: str) -> list[Answer]:
        """Lets time pass; the answers meanwhile, to requests of `methods`."""
        await self.clock.passes(seconds)
        return self.answers(*methods)

    def answers(self, *methods: str) -> list[Answer]:
        sent, self._read = self.transport.sent[self._read :], len(self.transport.sent)
        return read_answers(sent, methods or ["GET"] * sent.count(b"HTTP/1.1 "))

    def records(self) -> list[dict[str, Any]]:
        self.recorder.flush()
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    @property
    def is_open(self) -> bool:
        return not self.transport.ended


Test = Callable[[Timed], Coroutine[Any, Any, None]]


On = Callable[..., None]


def clock_in_place(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replaces the monotonic clock in every module of the service: a duration between two clocks is wrong, and is
    negative where the machine has been up for less than the fake clock says."""
    clock = Clock()
    for name, module in [*sys.modules.items()]:
        if name.startswith("redirect."):
            for function, stand_in in (("monotonic_ns", clock), ("monotonic", lambda: clock.now)):
                if hasattr(module, function):
                    monkeypatch.setattr(module, function, stand_in)
    return clock


def runs_on(protocol: type[HttpConnection], clock: Clock, log: Path) -> On:
    """Runs a test on a connection of `protocol`."""

    def run(test: Test, **options: Any) -> None:
        async def converse() -> None:
            connection = Timed(protocol, clock, log, **options)
            with closing(connection.recorder):
                await test(connection)

        asyncio.run(converse())

    return run
