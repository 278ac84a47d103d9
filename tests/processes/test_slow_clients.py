"""Clients that are late, over the network: they are cut off while others are served."""

import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from support.clients import Load
from support.service import Running, patched, running, status, wait_for
from support.wire import NEXT

pytestmark = pytest.mark.processes

SHORT = """
import sys
from redirect.edge import limits
limits.CLIENT_TIMEOUT_SECONDS, limits.READ_CHECK_SECONDS = 1.0, 0.1
"""


def drip(clients: list[socket.socket]) -> Iterator[bytes]:
    """Sends byte after byte on every connection until the service has ended it; what each was answered."""
    answers = dict.fromkeys(clients, b"")
    while answers:
        for client in list(answers):
            with suppress(BlockingIOError):
                while answer := client.recv(4096):
                    answers[client] += answer
                yield answers.pop(client)
                continue
            with suppress(ConnectionError):
                client.send(b"x")
        time.sleep(0.05)


def begun(port: int) -> socket.socket:
    """A connection on which a request has begun."""
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"GET / HTTP/1.1\r\nX: ")
    client.setblocking(False)
    return client


def test_clients_that_send_byte_by_byte_get_408_while_others_are_served(tmp_path: Path) -> None:
    with running(tmp_path, command=patched(SHORT)) as service, ExitStack() as stack:
        with Load(service, 1) as load:
            answers = [*drip([stack.enter_context(begun(service.port)) for _ in range(1000)])]
        assert len(answers) == 1000
        assert all(answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n") for answer in answers)
        assert load.answered > 0
        assert load.faults == []
        statuses = Counter(record["status"] for record in service.records(1000 + load.answered))
        assert statuses == {408: 1000, 302: load.answered}
        wait_for(lambda: connections(service) == 0)


def connections(service: Running) -> int:
    """How many connections the workers have."""
    return sum(int(worker["connections"]) for worker in status(service)["workers"])


def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    """However much the kernel keeps for it."""
    with running(tmp_path, command=patched(SHORT)) as service:
        with socket.create_connection(("127.0.0.1", service.port)) as client:
            client.settimeout(30)
            with pytest.raises((ConnectionResetError, BrokenPipeError)):  # noqa: PT012
                while True:
                    client.sendall(NEXT * 1000)
        wait_for(lambda: connections(service) == 0)
