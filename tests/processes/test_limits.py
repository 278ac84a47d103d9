"""A limit of requests under way over several workers: exact, also where workers and the controller are killed."""

import os
import random
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from support.compose import until
from support.service import Running, controller, put_in_force, running, status, wait_for, workers
from support.threads import in_a_thread
from support.wire import head

LIMIT = 100
WORKERS = "4"

# In which what a worker held comes back, with a controller in its place.
BACK_SECONDS = 10.0


class Server(ThreadingHTTPServer):
    """Holds each request until it is released, but for those of /now."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = 0
        self.released = threading.Event()

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A worker was killed."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if not self.path.endswith("/now"):
            self.server.asked += 1
            self.server.released.wait()
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_request(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with in_a_thread(server):
        yield server
        server.released.set()


def limited(server: Server, **limits: Any) -> dict[str, Any]:
    """A configuration with a route for each name: /name."""
    routes = [{"path_prefix": f"/{name}", "forward_to": "p", "limit": limit} for name, limit in limits.items()]
    return {"routes": routes, "p": {"weighted_hosts": {server.name: 1}}}


class Clients:
    """Clients whose requests the origin holds."""

    def __init__(self, service: Running, server: Server) -> None:
        self.service = service
        self.server = server
        self.under_way: list[socket.socket] = []

    def ask(self, path: str = "/a") -> bool:
        """Sends a request; returns whether it is under way, or was refused as the limit is reached."""
        client = socket.create_connection(("127.0.0.1", self.service.port))
        before = self.server.asked
        client.sendall(head(f"GET {path} HTTP/1.1"))
        wait_for(lambda: self.server.asked > before or is_readable(client))
        if self.server.asked > before:
            self.under_way.append(client)
            return True
        answer = client.recv(65536)
        client.close()
        assert answer.startswith(b"HTTP/1.1 503 "), answer
        assert b"connection_limit_reached" in answer
        return False

    def fill(self, count: int, path: str = "/a") -> None:
        """Exactly so many more are taken, none before is refused."""
        assert [self.ask(path) for _ in range(count + 10)] == [True] * count + [False] * 10

    def fill_soon(self, count: int, path: str = "/a") -> None:
        """The same, where the first ones may be refused for a while."""
        deadline = time.monotonic() + BACK_SECONDS
        for _ in range(count):
            while not self.ask(path):
                assert time.monotonic() < deadline, "what came free is not given again"
        assert [self.ask(path) for _ in range(20)] == [False] * 20

    def lost(self) -> int:
        """How many were cut since the last time."""
        lost = [client for client in self.under_way if is_readable(client)]
        for client in lost:
            with suppress(ConnectionError):
                assert client.recv(65536) == b""
            client.close()
            self.under_way.remove(client)
        return len(lost)

    def end(self, count: int) -> None:
        """So many clients leave, with a reset: one that only stops to send still waits for its answer."""
        leaving, self.under_way = self.under_way[:count], self.under_way[count:]
        for client in leaving:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()

    def wait_for_under_way(self, count: int) -> None:
        wait_for(lambda: self.under_way_by_status() == count)

    def under_way_by_status(self, path: str = "/a/*") -> int:
        return int(status(self.service)["limits"][path]["under_way"])


def is_readable(client: socket.socket) -> bool:
    return bool(select.select([client], [], [], 0)[0])


@contextmanager
def serving(folder: Path, server: Server, **limits: Any) -> Iterator[Clients]:
    with running(folder, pools=limited(server, **limits), REDIRECT_WORKERS=WORKERS) as service:
        wait_for(lambda: len(workers(service)) == int(WORKERS))
        clients = Clients(service, server)
        try:
            yield clients
        finally:
            clients.end(len(clients.under_way))


def write(service: Running, server: Server, **limits: Any) -> None:
    put_in_force(service, tomli_w.dumps(limited(server, **limits)).encode())


def kill(clients: Clients) -> int:
    """Kills a worker; returns how many requests were under way in it."""
    killed = min(workers(clients.service))
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: killed not in (found := workers(clients.service)) and len(found) == int(WORKERS))
    return clients.lost()


def test_the_limit_is_exact_over_all_workers(tmp_path: Path, server: Server) -> None:
    """The 101st is refused, whichever worker it reaches, and none is refused at 99."""
    with serving(tmp_path, server, a=LIMIT) as clients:
        clients.fill(LIMIT)
        wait_for(lambda: sum(worker["connections"] > 0 for worker in status(clients.service)["workers"]) > 1)
        assert status(clients.service)["limits"] == {"/a/*": {"limit": LIMIT, "under_way": LIMIT}}
        for count in (1, 7, LIMIT):
            clients.end(count)
            clients.wait_for_under_way(LIMIT - count)
            clients.fill(count)
        server.released.set()
        clients.wait_for_under_way(0)


def test_what_a_killed_worker_held_comes_back(tmp_path: Path, server: Server) -> None:
    """Exactly that, again and again."""
    with serving(tmp_path, server, a=LIMIT) as clients:
        clients.fill(LIMIT)
        for _ in range(4):
            count = kill(clients)
            clients.fill_soon(count)
            assert clients.under_way_by_status() == len(clients.under_way) == LIMIT


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_killed_without_a_controller(how: signal.Signals, tmp_path: Path, server: Server) -> None:
    """What it held comes back with the next controller, and no more."""
    with serving(tmp_path, server, a=LIMIT) as clients:
        clients.fill(LIMIT)
        os.kill(controller(clients.service), how)
        count = kill(clients)
        clients.fill_soon(count)


def test_workers_that_are_killed_under_load(tmp_path: Path, server: Server) -> None:
    """Wherever they are, also between a token and its note."""
    with serving(tmp_path, server, a=5) as clients:
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                with suppress(OSError), socket.create_connection(("127.0.0.1", clients.service.port)) as client:
                    while not ended.is_set():
                        client.sendall(head("GET /a/now HTTP/1.1"))
                        if not client.recv(65536):
                            break

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        try:
            chance = random.Random(8)
            for _ in range(8):
                time.sleep(chance.uniform(0.1, 0.4))
                alive = until(lambda: workers(clients.service), bool, "a worker in the place of those killed")
                os.kill(chance.choice(sorted(alive)), signal.SIGKILL)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        wait_for(lambda: len(workers(clients.service)) == int(WORKERS) and clients.under_way_by_status() == 0)
        clients.fill_soon(5)


def test_a_limit_changes(tmp_path: Path, server: Server) -> None:
    """A raised one holds with the configuration; a lowered one once so many have ended, without any refused before."""
    with serving(tmp_path, server, a=20) as clients:
        clients.fill(20)
        write(clients.service, server, a=30)
        clients.fill(10)
        write(clients.service, server, a=10)
        assert not clients.ask()
        clients.end(15)
        clients.wait_for_under_way(15)
        assert [clients.ask() for _ in range(10)] == [False] * 10
        clients.end(15)
        clients.wait_for_under_way(0)
        clients.fill_soon(10)


def test_routes_come_and_go(tmp_path: Path, server: Server) -> None:
    """A route keeps what it counts, wherever it stands; one that comes counts by itself, also in a new worker."""
    with serving(tmp_path, server, a=3, b=5) as clients:
        clients.fill(5, "/b")
        write(clients.service, server, c=4, b=6)
        clients.fill(1, "/b")
        clients.fill(4, "/c")
        before = workers(clients.service)
        clients.service.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(workers(clients.service) - before) == int(WORKERS))
        assert not clients.ask("/b")
        assert not clients.ask("/c")
        assert {name: each["under_way"] for name, each in status(clients.service)["limits"].items()} == {
            "/c/*": 4, "/b/*": 6
        }  # fmt: skip


def test_the_queue_notices_what_comes_free_in_another_worker(tmp_path: Path, server: Server) -> None:
    with serving(tmp_path, server, a={"in_flight": 3, "queue": 30, "wait": 10}) as clients:
        assert [clients.ask() for _ in range(3)] == [True] * 3
        waiting = [socket.create_connection(("127.0.0.1", clients.service.port)) for _ in range(20)]
        for client in waiting:
            client.sendall(head("GET /a/now HTTP/1.1"))
        time.sleep(0.1)
        assert not any(map(is_readable, waiting))
        clients.end(1)
        wait_for(lambda: all(map(is_readable, waiting)))
        assert all(client.recv(65536).startswith(b"HTTP/1.1 200 ") for client in waiting)
        for client in waiting:
            client.close()
