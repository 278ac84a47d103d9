"""The states of a connection, and how long a client may take in each of them.

The rule: a client has a limited time for whatever it has to do next. A connection has one timer, and no request
starts or stops it, which would cost more than the request: when it fires, the state and the time since its start
decide whether the connection ends. docs/decisions/0009-connection-states.md has the table of events and actions.
"""

import asyncio
from enum import IntEnum
from math import inf
from random import random
from time import monotonic_ns
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from redirect.core.decision import Decision
from redirect.edge import limits
from redirect.edge.forwarding import ForwardingClient
from redirect.proxy.untaken import untaken
from redirect.proxy.upstream import reset


class State(IntEnum):
    """From LAST on nothing is read any more."""

    IDLE = 0  # between two requests, or before the first
    HEAD = 1  # a request has begun
    BODY = 2  # of a chunked body, whose end decides the response
    PASSING = 3  # a body that is forwarded
    DISCARDING = 4  # a body whose request has its response already
    LAST = 5  # the last response is decided
    LINGERING = 6  # and sent
    LATE = 7  # the last response is a 408
    SILENT = 8  # the worker has stopped: nothing is sent any more either


IDLE, HEAD, BODY, PASSING, DISCARDING, LAST, LINGERING, LATE, SILENT = State

# Those in which a client that sends on gets more time, but not without end.
_BOUNDED = (BODY, DISCARDING, LINGERING)


class TimedConnection(HttpToolsProtocol):
    """uvicorn's protocol with deadlines in place of its keep-alive timer."""

    __slots__ = (
        "_buffer", "_forwarding", "_keep_alive", "_read_progress", "_since", "_state", "_timer", "_until", "_written",
    )  # fmt: skip

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._state = IDLE
        self._buffer = b""  # received, and not fed to the parser yet
        self._forwarding: ForwardingClient | None = None  # the request that is forwarded at this moment, or the tunnel

        # Timers
        self._timer: asyncio.TimerHandle
        self._keep_alive: float = self.timeout_keep_alive  # seconds
        self._since = 0  # `monotonic_ns` when the state began, or the client last did what it has to do in it
        self._until = inf  # `monotonic_ns` when the state is over, whatever the client does
        self._read_progress: tuple[int, int] | None = None  # while bytes wait: how many the client read, since when
        self._written = 0  # bytes, counted only meanwhile

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # As if it had been idle for so long that limits.CLIENT_TIMEOUT_SECONDS remain.
        self._since = monotonic_ns() - int((self._keep_alive - limits.CLIENT_TIMEOUT_SECONDS) * 1e9)
        # At random, so that connections made together are not checked together from then on.
        seconds = min(limits.CLIENT_TIMEOUT_SECONDS * (1 + random()) / 2, self._keep_alive)
        self._timer = self.loop.call_later(seconds, self._check_deadline)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._timer.cancel()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._check_in(0)

    def _refuse(self, refusal: Decision) -> None:
        """Answers the request that has begun, and ends the connection."""
        raise NotImplementedError

    def _is_answering(self) -> bool:
        """Whether the app works on a request of this connection, or one is forwarded."""
        return self._forwarding is not None or (self.cycle is not None and not self.cycle.response_complete)

    def _enter(self, state: State) -> None:
        self._state = state
        self._since = monotonic_ns()

    def _check_in(self, seconds: float) -> None:
        """Checks in so many seconds, or as soon as the client may be late with what it begins meanwhile."""
        self._timer.cancel()
        seconds = min(seconds, limits.CLIENT_TIMEOUT_SECONDS, self._keep_alive)
        self._timer = self.loop.call_later(seconds, self._check_deadline)

    def _check_deadline(self) -> None:
        now, state = monotonic_ns(), self._state
        left = self._seconds_left(now)
        if self._is_stalled(now):
            reset(self.transport)  # without it what the kernel has would end as a whole answer does
        elif state is LATE and left <= 0:
            self.transport.abort()
        elif left > 0:
            self._check_in(min(left, limits.READ_CHECK_SECONDS) if self._read_progress else left)
        elif state in (HEAD, BODY):
            late = limits.BODY_TOO_SLOW if now >= self._until else limits.BODY_TIMEOUT
            self._refuse(late if state is BODY else limits.HEAD_TIMEOUT)
            self._enter(LATE)
            self._check_in(limits.LATE_SECONDS)
        else:
            self.transport.close()
            self._check_in(inf)  # bytes that still wait keep it open

    def _seconds_left(self, now: int) -> float:
        """Seconds that the client has for what it has to do next; infinite where it is not its turn."""
        state = self._state
        if state in (LAST, SILENT) or (state < LAST and (self._buffer or self._is_answering())):
            return inf
        others = {IDLE: self._keep_alive, LINGERING: limits.LINGER_SECONDS, LATE: limits.LATE_SECONDS}
        left = others.get(state, limits.CLIENT_TIMEOUT_SECONDS) - (now - self._since) / 1e9
        return min(left, (self._until - now) / 1e9) if state in _BOUNDED else left

    def _is_stalled(self, now: int) -> bool:
        """Whether the client has read nothing of what waits for it for so long, whatever it sent. While a request is
        forwarded its exchange has a limit of its own."""
        if self._forwarding is not None or not self.transport.get_write_buffer_size():
            self._read_progress = None
            return False
        read = self._written - untaken(self.transport)
        if self._read_progress is None or self._read_progress[0] < read:
            self._read_progress = read, now
        return now - self._read_progress[1] >= limits.CLIENT_TIMEOUT_SECONDS * 1e9
