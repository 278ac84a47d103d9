"""Clients that talk to a running service on connections that they keep."""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from support.service import Running, patched, wait_for, workers
from support.wire import NEXT


class Ended(Exception):  # noqa: N818  what a client is told, by word or by deed
    """The connection is at its end."""


class Client:
    """A client that keeps its connection and asks nothing twice."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.answered = 0

    def ask(self) -> bytes:
        """The answer's head; raises Ended if there is none."""
        try:
            self._socket.sendall(NEXT)
            answer = self._socket.recv(4096)
        except ConnectionError as error:
            raise Ended(repr(error)) from error
        if not answer.endswith(b"\r\n\r\n"):
            raise Ended(f"closed after {answer!r}")
        self.answered += 1
        return answer

    def is_ended(self) -> bool:
        """Whether the service closes the connection, in order and without a word."""
        return self._socket.recv(4096) == b""

    def close(self) -> None:
        self._socket.close()


class Load:
    """Clients that ask all the time, for as long as the block lasts: where they were sent, and what went wrong. They
    keep their connections, or have a new one for each request, so that every worker has its part."""

    def __init__(self, service: Running, clients: int = 4, *, keeps: bool = True) -> None:
        self.locations: list[str] = []
        self.faults: list[str] = []
        self._port = service.port
        self._keeps = keeps
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    @property
    def answered(self) -> int:
        return len(self.locations)

    def _ask(self) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            while not self._ended.is_set():
                try:
                    connection.request("GET", "/")
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status == 302:
                        self.locations.append(answer.headers["location"])
                    else:
                        self.faults.append(str(answer.status))
                except (OSError, http.client.HTTPException) as error:
                    self.faults.append(repr(error))
                    connection.close()
                if not self._keeps:
                    connection.close()


def both_workers(service: Running) -> set[int]:
    """The two workers, once there are two."""
    found: set[int] = set()

    def are_two() -> bool:
        nonlocal found
        found = workers(service)
        return len(found) == 2

    wait_for(are_two)
    return found


@contextmanager
def clients_of_both(service: Running) -> Iterator[list[Client]]:
    """Clients that were answered once, some by each of the two workers."""
    pids, clients = both_workers(service), list[Client]()
    with ExitStack() as stack:
        while {record["worker"] for record in service.records(len(clients))} != pids:
            for _ in range(8):
                clients.append(stack.enter_context(closing(Client(service.port))))
                clients[-1].ask()
        yield clients


def drains(seconds: float) -> tuple[str, ...]:
    """The command that serves with another DRAIN_SECONDS: so long that a slow machine does not matter, or short."""
    return patched(f"from redirect.edge import limits; limits.DRAIN_SECONDS = {seconds}")
