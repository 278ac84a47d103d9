"""Descriptors: a connection for which a worker has none left is closed at once, and no other is affected."""

import contextlib
import http.client
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clients import both_workers
from support.service import NEW, Running, patched, put_in_force, running, wait_for, workers
from support.wire import FRONTS, head

from redirect.admin.listener import MAX_CONNECTIONS
from redirect.proxy.descriptors import RESERVED_DESCRIPTORS

pytestmark = pytest.mark.processes

LIMIT = 256
MOST = LIMIT - RESERVED_DESCRIPTORS  # of clients, per worker
CLIENTS = 1000
BATCH = 50  # at once

# The service with LIMIT descriptors, all its processes alike, and one of the fronts. It waits for heads for longer than
# a thousand connections take on a busy machine.
LIMITED = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))
from redirect.edge import connection, fast_path, limits
from redirect.processes import worker
fronts = {{"fast": fast_path.FastPath, "starlette": connection.HttpConnection}}
limits.CLIENT_TIMEOUT_SECONDS = 60.0
worker.RedirectWorker.CONFIG_KWARGS["http"] = fronts[sys.argv[1]]
"""

# A worker that tries again and again to accept a connection that it cannot would use more than that of a second.
SPINNING_SECONDS = 0.2

HERE = head("GET /here HTTP/1.1")


@pytest.fixture(params=FRONTS)
def limited(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    log = str(tmp_path / "log")
    with running(tmp_path, command=patched(LIMITED, request.param), REDIRECT_ACCESS_LOG=log) as service:
        both_workers(service)
        yield service


@contextlib.contextmanager
def clients(port: int) -> Iterator[list[socket.socket]]:
    """CLIENTS connections at once, of which the test's own process may have as many as it likes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard < 2 * CLIENTS else max(soft, 2 * CLIENTS), hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        begun: list[socket.socket] = []
        while len(begun) < CLIENTS:
            begun += [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(BATCH)]
            wait_for(lambda: queued(port) == 0)
        yield begun


def queued(port: int) -> int:
    """How many connections wait for a worker to accept them. The system drops those that are too many, and does not
    tell the client."""
    for line in Path("/proc/net/tcp").read_text().splitlines():
        _, here, _, state, queues, *_ = line.split()
        if here.endswith(f":{port:04X}") and state == "0A":
            return int(queues.partition(":")[2], 16)
    raise AssertionError(f"nothing listens on port {port}")


def ended(clients: list[socket.socket]) -> set[socket.socket]:
    """Those whose connection the service has ended."""
    poll = select.poll()
    for client in clients:
        poll.register(client, select.POLLRDHUP)
    found = {descriptor for descriptor, _ in poll.poll(0)}
    return {client for client in clients if client.fileno() in found}


def is_answered(client: socket.socket) -> bool:
    """Whether it is redirected, and not closed."""
    client.settimeout(30)
    with contextlib.suppress(ConnectionError):
        client.sendall(HERE)
        return client.recv(4096).startswith(b"HTTP/1.1 302 ")
    return False


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def asked(url: str, path: str) -> int:
    """The status of the answer on a connection of its own; 0 if it was closed without one."""
    with contextlib.closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
        with contextlib.suppress(ConnectionError):
            connection.request("GET", path)
            return connection.getresponse().status
        return 0


def is_healthy(service: Running) -> bool:
    """Whether probes are answered, by either worker."""
    return all(asked(service.admin_url, "/healthz") == 200 for _ in range(20))


def test_connections_over_the_limit_are_closed_and_the_rest_served(limited: Running) -> None:
    """Of a thousand connections those within the limit are served and all others are closed. The workers live and use
    no CPU time, probes are answered, the log has one warning per worker; afterwards others are served."""
    before = workers(limited)
    with clients(limited.port) as all_clients:
        wait_for(lambda: len(ended(all_clients)) >= CLIENTS - 2 * MOST)
        served = [client for client in all_clients if is_answered(client)]
        assert MOST <= len(served) <= 2 * MOST
        wait_for(lambda: len(ended(all_clients)) == CLIENTS - len(served))
        assert is_healthy(limited)

        used = {pid: cpu_seconds(pid) for pid in before}
        time.sleep(1)
        assert max(cpu_seconds(pid) - used[pid] for pid in before) < SPINNING_SECONDS
        assert all(len(os.listdir(f"/proc/{pid}/fd")) < LIMIT - 32 for pid in before)
        assert all(is_answered(client) for client in served)

    wait_for(lambda: asked(limited.url, "/") == 302)
    assert [asked(limited.url, "/") for _ in range(100)] == [302] * 100
    assert workers(limited) == before
    assert limited.stderr().count("refused since") in (1, 2)
    assert limited.stderr().count("Traceback") == 0


@pytest.mark.parametrize("limited", ["fast"], indirect=True)
def test_a_full_worker_still_reopens_its_log_reloads_and_is_replaced(limited: Running, tmp_path: Path) -> None:
    log, old = tmp_path / "log", tmp_path / "log.1"
    with clients(limited.port) as all_clients:
        wait_for(lambda: len(ended(all_clients)) >= CLIENTS - 2 * MOST)
        served = [client for client in all_clients if is_answered(client)]

        log.rename(old)
        limited.process.send_signal(signal.SIGUSR1)
        wait_for(log.exists)

        put_in_force(limited, NEW)
        assert all(is_answered(client) for client in served)
        wait_for(lambda: log.read_text().count('"location":"http://new/here"') == len(served))

        before = workers(limited)
        os.kill(min(before), signal.SIGKILL)
        wait_for(lambda: len(workers(limited) - before) == 1)
        wait_for(lambda: asked(limited.url, "/") == 302)


@pytest.mark.parametrize("limited", ["fast"], indirect=True)
def test_clients_of_the_admin_listener_take_no_descriptors_of_others(limited: Running) -> None:
    """The public listener serves, and a client that sends nothing, or half a head, is cut off after a while."""
    before = workers(limited)
    with clients(int(limited.admin_url.rpartition(":")[2])) as all_clients:
        for client in all_clients[::2]:
            with contextlib.suppress(ConnectionError):
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX")
        wait_for(lambda: len(ended(all_clients)) >= CLIENTS - MAX_CONNECTIONS)
        assert [asked(limited.url, "/") for _ in range(100)] == [302] * 100
        wait_for(lambda: len(ended(all_clients)) == CLIENTS)
        assert is_healthy(limited)
    assert workers(limited) == before


def test_the_service_raises_its_limit_to_the_hard_limit(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    given = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard}))"
    with running(tmp_path, command=patched(given)) as service:
        assert {resource.prlimit(worker, resource.RLIMIT_NOFILE) for worker in both_workers(service)} == {(hard, hard)}
