"""Descriptors: who comes when a worker has none left for him is let go at once, and nobody else notices."""

import contextlib
import http.client
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w
from support.service import Running, configs, running, wait_for, workers
from support.wire import FRONTS, head

from redirect.admin.listener import MAX_CONNECTIONS
from redirect.config.loader import content_hash
from redirect.edge.connection_limit import RESERVE, SAYING, ConnectionLimit

LIMIT = 256
MOST = LIMIT - RESERVE - 4  # of clients, per worker
CLIENTS = 1000
BATCH = 50  # at once

# The service with LIMIT descriptors, all its processes alike, and one of the fronts.
LIMITED = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))
from redirect.edge import connection as guard
from redirect.edge import fast_path as protocol
from redirect.processes import worker
fronts = {{"fast": protocol.FastPath, "starlette": guard.HttpConnection}}
worker.RedirectWorker.CONFIG_KWARGS["http"] = fronts[sys.argv[1]]
from redirect.commands.main import cli
cli(["serve"])
"""

# What a worker that turns round and round over a connection that it cannot take would use of a second, and more.
SPINNING = 0.2

HERE = head("GET /here HTTP/1.1")


@pytest.fixture(params=FRONTS)
def limited(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    log = str(tmp_path / "log")
    with running(tmp_path, command=(sys.executable, "-c", LIMITED, request.param), REDIRECT_ACCESS_LOG=log) as service:
        wait_for(lambda: len(workers(service)) == 2)
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
    """How many connections wait for a worker to take them; of more than a listener has room for the system keeps none,
    and does not tell the client."""
    for line in Path("/proc/net/tcp").read_text().splitlines():
        _, here, _, state, queues, *_ = line.split()
        if here.endswith(f":{port:04X}") and state == "0A":
            return int(queues.partition(":")[2], 16)
    raise AssertionError(f"nobody listens on port {port}")


def ended(clients: list[socket.socket]) -> set[socket.socket]:
    """Those whose connection the service has ended."""
    poll = select.poll()
    for client in clients:
        poll.register(client, select.POLLRDHUP)
    found = {descriptor for descriptor, _ in poll.poll(0)}
    return {client for client in clients if client.fileno() in found}


def is_answered(client: socket.socket) -> bool:
    """Whether it is redirected, and not let go."""
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


def test_more_clients_than_descriptors(limited: Running) -> None:
    """Of a thousand connections those that have room are served as ever and all others are closed; workers live and
    rest, probes are answered, the log says it once for each worker; and when they are gone, others are served."""
    before = workers(limited)
    with clients(limited.port) as all_clients:
        wait_for(lambda: len(ended(all_clients)) >= CLIENTS - 2 * MOST)
        served = [client for client in all_clients if is_answered(client)]
        assert MOST <= len(served) <= 2 * MOST
        wait_for(lambda: len(ended(all_clients)) == CLIENTS - len(served))
        assert is_healthy(limited)

        used = {pid: cpu_seconds(pid) for pid in before}
        time.sleep(1)
        assert max(cpu_seconds(pid) - used[pid] for pid in before) < SPINNING
        assert all(len(os.listdir(f"/proc/{pid}/fd")) < LIMIT - RESERVE // 2 for pid in before)
        assert all(is_answered(client) for client in served)

    wait_for(lambda: asked(limited.url, "/") == 302)
    assert [asked(limited.url, "/") for _ in range(100)] == [302] * 100
    assert workers(limited) == before
    assert limited.stderr().count("closed at once") in (1, 2)
    assert limited.stderr().count("Traceback") == 0


@pytest.mark.parametrize("limited", ["fast"], indirect=True)
def test_the_rest_goes_on(limited: Running, tmp_path: Path) -> None:
    """While no worker has room, the log is opened anew, another TOML is put in force, and a worker that dies is
    replaced by one that serves."""
    log, old = tmp_path / "log", tmp_path / "log.1"
    with clients(limited.port) as all_clients:
        wait_for(lambda: len(ended(all_clients)) >= CLIENTS - 2 * MOST)
        served = [client for client in all_clients if is_answered(client)]

        log.rename(old)
        limited.process.send_signal(signal.SIGUSR1)
        wait_for(log.exists)

        content = tomli_w.dumps({"p": {"weighted_hosts": {"new": 1}, "is_default": True}}).encode()
        limited.pools.write_bytes(content)
        wait_for(lambda: configs(limited) == {content_hash(content)})
        assert all(is_answered(client) for client in served)
        wait_for(lambda: log.read_text().count('"location":"http://new/here"') == len(served))

        before = workers(limited)
        os.kill(min(before), signal.SIGKILL)
        wait_for(lambda: len(workers(limited) - before) == 1)
        wait_for(lambda: asked(limited.url, "/") == 302)


@pytest.mark.parametrize("limited", ["fast"], indirect=True)
def test_more_clients_of_the_admin_listener(limited: Running) -> None:
    """Nor may they take what is for others: the public listener serves, and who says nothing, or half a head, is gone
    after a while."""
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


def room_of(limit: int, monkeypatch: pytest.MonkeyPatch) -> ConnectionLimit:
    monkeypatch.setattr("resource.getrlimit", lambda _: (limit, limit))
    return ConnectionLimit()


@pytest.mark.parametrize(
    ("limit", "most"), [(256, 192), (1024, 960), (1_048_576, 1_048_512), (128, 64), (100, 50), (20, 10)]
)
def test_how_much_room_there_is(limit: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All descriptors but those in reserve are for clients, and at least half of them."""
    room = room_of(limit, monkeypatch)
    assert room.is_left(most)
    assert not room.is_left(most + 1)


def test_a_worker_keeps_one_more_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many workers each has more to look at."""
    room = room_of(256, monkeypatch)
    room.reserve = RESERVE + 16
    assert room.is_left(176)
    assert not room.is_left(177)


def test_room_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no limit there is always room."""
    assert room_of(resource.RLIM_INFINITY, monkeypatch).is_left(10**9)


@pytest.mark.parametrize("up", [0.0, 1000.0])
def test_it_is_said_once_in_a_while(
    up: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says that clients are let go when it begins, and then once a minute how many they were. This holds
    on a machine that has been up for less than a minute, too."""
    now = up
    monkeypatch.setattr("redirect.edge.connection_limit.monotonic", lambda: now)
    room = room_of(256, monkeypatch)
    for _ in range(1000):
        room.is_left(193)
    assert len(caplog.messages) == 1
    now += SAYING
    room.is_left(193)
    room.is_left(193)
    assert len(caplog.messages) == 2
    assert caplog.messages[1].endswith("last: 1000")


def test_the_hard_limit_counts(tmp_path: Path) -> None:
    """The service takes as many descriptors as it may have, whatever it was given to begin with."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    given = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard})); "
        "from redirect.commands.main import cli; cli(['serve'])"
    )
    with running(tmp_path, command=(sys.executable, "-c", given)) as service:
        wait_for(lambda: len(workers(service)) == 2)
        assert {resource.prlimit(worker, resource.RLIMIT_NOFILE) for worker in workers(service)} == {(hard, hard)}
