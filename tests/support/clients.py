"""Clients that talk to a running service on connections that they keep."""

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from support.service import Running, wait_for, workers
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


def patched(drain: float) -> tuple[str, ...]:
    """The command that serves with another DRAIN_SECONDS: so long that a slow machine does not matter, or short."""
    return (
        sys.executable,
        "-c",
        f"from redirect.edge import limits; limits.DRAIN_SECONDS = {drain}; "
        "from redirect.commands.main import cli; cli(['serve'])",
    )
