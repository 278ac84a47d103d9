"""The scripted Docker daemon in a thread of its own, for tests that wait for other processes."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.docker import Daemon, running_daemon


class Docker:
    def __init__(self, daemon: Daemon, loop: asyncio.AbstractEventLoop) -> None:
        self.daemon = daemon
        self._loop = loop

    def do(self, work: Callable[[Daemon], object]) -> None:
        async def call() -> None:
            work(self.daemon)

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)


@contextmanager
def docker(folder: Path) -> Iterator[Docker]:
    started: list[Docker] = []
    is_started, ended = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with running_daemon(folder / "docker.sock") as daemon:
            started.append(Docker(daemon, asyncio.get_running_loop()))
            is_started.set()
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert is_started.wait(10)
    (found,) = started
    try:
        yield found
    finally:
        found.do(lambda _: ended.set())
        thread.join(10)
