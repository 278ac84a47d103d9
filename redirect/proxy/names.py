"""The addresses of an origin's name, as new connections need them.

The rule: a name server that is silent holds up the requests for its names, and no others. libuv has four threads for
all lookups of a process, so four requests for one such name would take them all, for 10 s and longer. Here each lookup
has a thread of its own, and requests that need the same name meanwhile wait for the same one, so that there are few.
"""

import asyncio
import errno
import socket
from contextlib import suppress
from threading import Thread
from time import monotonic
from typing import Any

# A lookup that takes longer may have lost its question or its answer: what comes later begins another.
MAX_SHARED_SECONDS = 2.0

# As `socket.getaddrinfo` has them.
Addresses = list[tuple[Any, ...]]


class Name:
    def __init__(self, host: str, port: int) -> None:
        self._host = host.encode("ascii")  # which Python then passes on as it is
        self._port = port
        self._lookup: asyncio.Future[Addresses] | None = None
        self._began_at = 0.0

    async def addresses(self) -> Addresses:
        """Raises OSError."""
        lookup = self._lookup
        if lookup is None or lookup.done() or monotonic() >= self._began_at + MAX_SHARED_SECONDS:
            lookup = self._begin()
        await asyncio.wait((lookup,))  # unlike `await lookup`, it may be cancelled without ending the lookup
        return lookup.result()

    def _begin(self) -> asyncio.Future[Addresses]:
        loop = asyncio.get_running_loop()
        lookup = loop.create_future()
        thread = Thread(target=self._look_up, args=(loop, lookup), name="lookup", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # there are as many as the system allows
            raise OSError(errno.EAGAIN, str(error)) from None
        self._lookup, self._began_at = lookup, monotonic()
        return lookup

    def _look_up(self, loop: asyncio.AbstractEventLoop, lookup: asyncio.Future[Addresses]) -> None:
        found: Addresses | OSError
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            found = error
        with suppress(RuntimeError):  # the event loop has ended meanwhile
            loop.call_soon_threadsafe(_end, lookup, found)


def _end(lookup: asyncio.Future[Addresses], found: Addresses | OSError) -> None:
    if isinstance(found, OSError):
        lookup.set_exception(found)
        lookup.exception()  # retrieved, as there may be no request that still waits for it
    else:
        lookup.set_result(found)
