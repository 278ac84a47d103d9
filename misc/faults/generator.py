"""The generator: a process that makes requests at a fixed rate over connections that it keeps, and tries none twice.

The rules: a request is due at its time, whether a connection is free for it or not, and its latency counts from
there: where the service stalls for a second, all requests of that second have waited. Failed is whatever has no good
answer (see mix): another one, none within ten seconds, or a connection that ends with the request on it. A
connection that ends without one, or with an answer that said so, is opened again, and that is all.

A process by itself, for nothing else should keep it from its work; what does (it shares the machine) is its lag: how
late it came, at worst, to what it does every millisecond. It says "begun" when it has begun, goes on until standard
input ends and `--at-least` requests are made, and prints what it saw, as JSON. Without `--rate` it asks as fast as it
is answered, which is how the peak is measured.
"""

import argparse
import asyncio
import gc
import json
import os
import sys
from array import array
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import forwards
import mix
import uvloop

TICK = 0.001
TIMEOUT = 10.0
SWEEP = 0.5  # seconds between two looks for requests that are older than that
AGAIN = 0.05  # seconds until a connection that was refused is tried again
MOST_SHOWN = 10_000  # failed requests that are told one by one


class Request(Protocol):
    def head(self) -> bytes:
        """All that is sent."""

    def is_whole(self, answer: bytes) -> bool: ...

    def fault_of(self, answer: bytes) -> str | None: ...


class Connection(asyncio.Protocol):
    """A connection, and the request that is on it."""

    def __init__(self, generator: "Generator") -> None:
        self.generator = generator
        self.request: Request | None = None
        self.due = self.sent = 0.0
        self.answer = b""
        self.port = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]
        self.generator.is_free(self)

    def ask(self, request: Request, due: float) -> None:
        self.request, self.due, self.sent, self.answer = request, due, monotonic(), b""
        self.transport.write(request.head())

    def data_received(self, data: bytes) -> None:
        self.answer += data
        if self.request is None:  # a last word that nobody asked for; the end comes after it
            return
        if not self.request.is_whole(self.answer):
            return
        fault = self.request.fault_of(self.answer)
        self.ended(fault)
        if fault or b"\r\nconnection: close\r\n" in self.answer[: self.answer.index(b"\r\n\r\n") + 2].lower():
            self.transport.abort()
        else:
            self.generator.is_free(self)

    def eof_received(self) -> None:
        self.generator.is_ending(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self.request:
            how = "after half an answer" if self.answer else "without an answer"
            self.ended(f"connection {'reset' if error else 'closed'} {how}")
        self.generator.is_lost(self)

    def ended(self, fault: str | None) -> None:
        self.request = None
        self.generator.ended(self, fault)


class Generator:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._requests = _requests(options)
        self._interval = 1 / options.rate if options.rate else 0.0
        self._connections: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._free: deque[Connection] = deque()
        self._waiting: deque[float] = deque()  # when those requests were due that have no connection yet
        self._is_told_to_end = False
        self._made = self._done = self._opened = 0
        self._tick_due = self._next_due = self._began_at = self._lag = 0.0
        self._ended = asyncio.Event()
        self._latencies = array("d")
        self._worst = (0.0, 0.0)
        self._failed: list[tuple[float, int, str]] = []

    async def run(self) -> dict[str, Any]:
        for _ in range(self._options.connections):
            self._open()
        await asyncio.gather(*self._opening)
        self._loop.add_reader(sys.stdin, self._told)
        gc.collect()
        gc.disable()
        self._began_at = self._next_due = monotonic()
        self._tick_due = self._began_at + TICK
        self._loop.call_later(TICK, self._tick)
        self._loop.call_later(SWEEP, self._sweep)
        self._feed()
        print("begun", flush=True)
        await self._ended.wait()
        return self._seen()

    def _told(self) -> None:
        if not os.read(sys.stdin.fileno(), 1):
            self._loop.remove_reader(sys.stdin)
            self._is_told_to_end = True

    def _tick(self) -> None:
        now = monotonic()
        self._lag = max(self._lag, now - self._tick_due)
        self._feed(now)
        if self._is_over() and not self._waiting and self._made == self._done:
            self._ended.set()
            return
        self._tick_due = monotonic() + TICK
        self._loop.call_later(TICK, self._tick)

    def _is_over(self) -> bool:
        return self._is_told_to_end and self._made >= self._options.at_least

    def _feed(self, now: float = 0.0) -> None:
        """Makes the requests that are due, and hands out those that wait."""
        waiting, free = self._waiting, self._free
        if not self._interval:
            while free and not self._is_over():
                self._made += 1
                free.popleft().ask(next(self._requests), monotonic())
            return
        while self._next_due <= now and not self._is_over():
            self._made += 1
            waiting.append(self._next_due)
            self._next_due += self._interval
        while waiting and free:
            free.popleft().ask(next(self._requests), waiting.popleft())

    def _sweep(self) -> None:
        then = monotonic() - TIMEOUT
        for connection in [each for each in self._connections if each.request and each.sent < then]:
            connection.ended(f"no answer within {TIMEOUT:.0f} s")
            connection.transport.abort()
        self._loop.call_later(SWEEP, self._sweep)

    def _open(self) -> None:
        task = self._loop.create_task(self._connect())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        """Opens a connection. A client that cannot has failed, as much as one that is not answered."""
        host, port = self._options.host, self._options.port
        while True:
            self._opened += 1
            try:
                async with asyncio.timeout(TIMEOUT):
                    await self._loop.create_connection(lambda: Connection(self), host, port)
                return
            except OSError as error:  # TimeoutError is one
                self._made += 1
                self._done += 1
                self._fail(0, f"no connection: {type(error).__name__}")
            await asyncio.sleep(AGAIN)

    def is_free(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._free.append(connection)
        if self._waiting or not self._interval:
            self._feed()

    def is_ending(self, connection: Connection) -> None:
        """Nothing is asked on a connection of which we know that it ends."""
        if connection in self._free:
            self._free.remove(connection)

    def is_lost(self, connection: Connection) -> None:
        self.is_ending(connection)
        self._connections.discard(connection)
        if not self._ended.is_set():
            self._open()

    def ended(self, connection: Connection, fault: str | None) -> None:
        """The request on the connection has found its end, good or bad."""
        now = monotonic()
        latency = now - connection.due
        self._done += 1
        self._latencies.append(latency)
        self._worst = max(self._worst, (latency, connection.due - self._began_at))
        if fault or latency > TIMEOUT:
            self._fail(connection.port, fault or f"answered after more than {TIMEOUT:.0f} s")

    def _fail(self, port: int, fault: str) -> None:
        self._failed.append((monotonic(), port, fault))

    def _seen(self) -> dict[str, Any]:
        ordered = sorted(self._latencies)

        def at(share: float) -> float:
            return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]

        return {
            "requests": self._done,
            "seconds": monotonic() - self._began_at,
            "failed": len(self._failed),
            "faults": self._failed[:MOST_SHOWN],
            "p50_ms": at(0.5),
            "p99_ms": at(0.99),
            "worst_ms": 1000 * self._worst[0],
            "worst_at_s": self._worst[1],
            "lag_ms": 1000 * self._lag,
            "connections": self._opened,
        }


def _requests(options: argparse.Namespace) -> Iterator[Request]:
    if options.mix == "forwards":
        yield from forwards.requests()
    else:
        yield from mix.requests(options.pools.read_text())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("pools", type=Path, help="the TOML whose pools are asked for")
    parser.add_argument("--mix", choices=("redirects", "forwards"), default="redirects")
    parser.add_argument("--rate", type=float, default=0.0, help="requests per second; as fast as answered if left out")
    parser.add_argument("--at-least", type=int, default=0, help="requests to make even if told to end before")
    parser.add_argument("--connections", type=int, default=32)
    return parser.parse_args()


async def _run(options: argparse.Namespace) -> dict[str, Any]:
    return await Generator(options).run()


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_run(_options()))))
