"""Clients that are late, over the network: they are cut off while others are served."""

import http.client
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from support.service import CLIENT, Running, running, wait_for
from support.wire import NEXT

pytestmark = pytest.mark.processes

SHORT = """
import sys
from redirect.edge import limits
limits.CLIENT_TIMEOUT_SECONDS, limits.READ_CHECK_SECONDS = 1.0, 0.1
from redirect.commands.main import cli


cli(["serve"])
"""


class Asking:
    """A client that asks all the time, on one connection, for as long as the block lasts. Whatever goes wrong is
    raised at its end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ended = threading.Event()
        self._client = ThreadPoolExecutor(1)
        self.answered = 0

    def __enter__(self) -> "Asking":
        self._asked = self._client.submit(self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._asked.result()
        self._client.shutdown()

    def _ask(self) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)) as client:
            while not self._ended.is_set():
                client.request("GET", "/")
                assert client.getresponse().read() == b""
                self.answered += 1


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
    with running(tmp_path, command=(sys.executable, "-c", SHORT)) as service, ExitStack() as stack:
        with Asking(service.port) as asking:
            answers = [*drip([stack.enter_context(begun(service.port)) for _ in range(1000)])]
        assert len(answers) == 1000
        assert all(answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n") for answer in answers)
        assert asking.answered > 0
        statuses = Counter(record["status"] for record in service.records(1000 + asking.answered))
        assert statuses == {408: 1000, 302: asking.answered}
        wait_for(lambda: connections(service) == 0)


def connections(service: Running) -> int:
    """How many connections the workers have."""
    return sum(int(worker["connections"]) for worker in CLIENT.get(f"{service.admin_url}/status").json()["workers"])


def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    """However much the kernel keeps for it."""
    with running(tmp_path, command=(sys.executable, "-c", SHORT)) as service:
        with socket.create_connection(("127.0.0.1", service.port)) as client:
            client.settimeout(30)
            with pytest.raises((ConnectionResetError, BrokenPipeError)):  # noqa: PT012
                while True:
                    client.sendall(NEXT * 1000)
        wait_for(lambda: connections(service) == 0)
