"""Draining: a worker that ends answers on its connections once more, says that it was the last time, and leaves."""

import asyncio
import os
import random
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from support.clients import Client, Ended, both_workers, clients_of_both, drains
from support.connection import Connection
from support.service import CLIENT, Running, patched, running, wait_for, workers
from support.timed import A_LITTLE, CHUNKED, On, Timed, clock_in_place, runs_on
from support.wire import FRONTS, NEXT, head

from redirect.edge.limits import CLIENT_TIMEOUT_SECONDS, DRAIN_SECONDS
from redirect.processes.worker import Server

# How a connection may be when its worker ends: what was sent before that, and what is sent then.
STATES = {
    "new": (b"", NEXT),
    "idle": (NEXT, NEXT),
    "idle, with another request to come": (NEXT, head("GET /b HTTP/1.1", "X: 1")),
    "idle, and the app is asked": (NEXT, head("OPTIONS * HTTP/1.1")),
    "in the middle of a head": (NEXT[:20], NEXT[20:]),
    "in the middle of a body": (CHUNKED + b"4\r\nbo", b"dy\r\n0\r\n\r\n"),
    "in the middle of a body that was answered": (head("POST / HTTP/1.1", "Content-Length: 4") + b"bo", b"dy" + NEXT),
    "busy": (NEXT * 3, NEXT * 3),
}


@pytest.fixture(params=FRONTS)
def on_a_connection(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> On:
    return runs_on(FRONTS[request.param], clock_in_place(monkeypatch), tmp_path / "log")


@pytest.mark.parametrize(("before", "after"), STATES.values(), ids=STATES)
def test_the_next_answer_is_the_last(before: bytes, after: bytes, on_a_connection: On) -> None:
    """Whatever a connection does when the worker ends, it goes on; its next answer says that it closes, and it does."""

    async def test(connection: Timed) -> None:
        for answer in await connection.ask(before):
            assert "connection" not in answer.headers
        connection.protocol.shutdown()
        connection.protocol.shutdown()
        await connection.passes(DRAIN_SECONDS - A_LITTLE)
        assert connection.is_open
        (answer,) = await connection.ask(after)
        assert answer.status in (204, 302)
        assert answer.headers["connection"] == "close"
        assert not connection.is_open
        assert await connection.ask(NEXT) == []

    on_a_connection(test)


def test_the_answer_on_its_way_is_the_last(on_a_connection: On) -> None:
    """Where the app works on a request when the worker ends, its answer says that the connection closes."""

    async def test(connection: Timed) -> None:
        connection.send(head("OPTIONS * HTTP/1.1"))
        connection.protocol.shutdown()
        (answer,) = await connection.ask(NEXT)
        assert (answer.status, answer.headers["connection"]) == (204, "close")
        assert not connection.is_open

    on_a_connection(test)


@pytest.mark.parametrize("before", [b"", NEXT, NEXT + b"\r\n"], ids=["new", "idle", "blank lines"])
def test_an_idle_connection_is_closed(before: bytes, on_a_connection: On) -> None:
    """Who asks nothing more is not waited for: the connection is closed without a word, a moment later."""

    async def test(connection: Timed) -> None:
        await connection.ask(before)
        connection.protocol.shutdown()
        await connection.passes(DRAIN_SECONDS - A_LITTLE)
        assert connection.is_open
        assert await connection.passes(A_LITTLE) == []
        assert connection.transport.closed
        assert not connection.transport.aborted

    on_a_connection(test)


def test_there_is_time_for_all_of_it(on_a_connection: On) -> None:
    """A moment is half of what the worker has for its end, where that is little."""

    async def test(connection: Timed) -> None:
        connection.protocol.shutdown()
        await connection.passes(0.5)
        assert connection.transport.closed

    on_a_connection(test, timeout_graceful_shutdown=1)


@pytest.mark.parametrize("knows_the_head", [False, True])
@pytest.mark.parametrize(("before", "after"), STATES.values(), ids=STATES)
def test_silence(before: bytes, after: bytes, knows_the_head: bool, on_a_connection: On) -> None:
    """Whatever a connection does when the worker goes, nothing is answered or logged after that, not even late heads;
    what was answered before is not cut off."""

    async def test(connection: Timed) -> None:
        await connection.ask(NEXT * 2 if knows_the_head else b"")
        await connection.ask(before)
        records = connection.records()
        connection.protocol.silence()
        assert await connection.ask(after) == []
        assert await connection.ask(NEXT) == []
        assert await connection.passes(2 * CLIENT_TIMEOUT_SECONDS) == []
        assert connection.records() == records
        assert not connection.transport.closed

    on_a_connection(test)


@pytest.mark.parametrize("sent", [NEXT * 1000, head("OPTIONS * HTTP/1.1") * 3], ids=["many", "for the app"])
def test_silence_among_answers(sent: bytes, on_a_connection: On) -> None:
    """Nor are requests that came before, and wait for their turn or for the app."""

    async def test(connection: Timed) -> None:
        connection.send(sent)
        connection.protocol.silence()
        answered = connection.answers()
        assert len(connection.records()) == len(answered)
        assert await connection.ask(b"") == []

    on_a_connection(test)


def test_deadlines_stay(on_a_connection: On) -> None:
    """The end of the worker neither shortens nor prolongs the time of a head."""

    async def test(connection: Timed) -> None:
        await connection.ask(NEXT[:20])
        await connection.passes(3)
        connection.protocol.shutdown()
        await connection.passes(CLIENT_TIMEOUT_SECONDS - 3 - A_LITTLE)
        assert connection.is_open
        assert [answer.status for answer in await connection.passes(A_LITTLE)] == [408]

    on_a_connection(test)


async def test_a_connection_made_last() -> None:
    """A connection that the kernel handed over before the listener was closed, and that is made after, is told too."""
    config = uvicorn.Config(Starlette(), log_config=None, lifespan="off")
    config.load()
    server = Server(config)
    server.servers = []
    server.lifespan = config.lifespan_class(config)
    ending = asyncio.create_task(server.shutdown())
    await asyncio.sleep(0)
    connection = Connection()
    server.server_state.connections.add(connection.protocol)
    await asyncio.sleep(0.09)
    assert b"\r\nconnection: close\r\n" in connection.send(NEXT)
    server.server_state.connections.clear()
    await ending


class Clients:
    """Clients that ask for as long as the block lasts, each at its own pace. `lost` has the requests without an answer:
    how many their connection had answered before, and what happened."""

    def __init__(self, service: Running) -> None:
        self._port = service.port
        self._ended = threading.Event()
        self._threads = ThreadPoolExecutor(12)
        self.answered = 0
        self.lost: list[tuple[int, str]] = []

    def __enter__(self) -> "Clients":
        self._asking: list[Future[None]] = [self._threads.submit(self._ask, pace) for pace in [0.001, 0.01, 0.1] * 4]
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for asking in self._asking:
            asking.result()
        self._threads.shutdown()

    def _ask(self, pace: float) -> None:
        try:
            while not self._ended.is_set():
                with closing(Client(self._port)) as client:
                    self._ask_on(client, pace)
        except OSError as error:
            self.lost.append((0, repr(error)))

    def _ask_on(self, client: Client, pace: float) -> None:
        try:
            while not self._ended.is_set() and b"connection: close" not in client.ask():
                self.answered += 1
                time.sleep(pace * random.random())
        except Ended as error:
            self.lost.append((client.answered, str(error)))


def readiness(service: Running) -> int:
    """What /readyz says: asked again where the worker that was asked ended before it answered."""
    while True:
        with suppress(httpx.TransportError):
            return CLIENT.get(f"{service.admin_url}/readyz").status_code


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("how", ["HUP", "TERM to a worker"])
def test_workers_are_replaced_under_load(how: str, tmp_path: Path) -> None:
    """Clients that keep their connections and ask nothing twice lose nothing when workers are replaced."""
    with running(tmp_path, command=drains(30), REDIRECT_GRACEFUL_TIMEOUT="60") as service:
        with Clients(service) as clients:
            for _ in range(2):
                old = both_workers(service)
                answered = clients.answered
                wait_for(lambda: clients.answered > answered + 100)  # noqa: B023
                if how == "HUP":
                    service.process.send_signal(signal.SIGHUP)
                else:
                    old = {min(old)}
                    os.kill(min(old), signal.SIGTERM)
                wait_for(lambda: not any(lives(pid) for pid in old) and len(workers(service)) == 2)  # noqa: B023
        assert clients.lost == []
        assert service.stop() == 0


def test_a_worker_that_ends_does_not_speak_for_all(tmp_path: Path) -> None:
    """/readyz stays 200 while workers end and others take their places, whichever of them answers."""
    with running(tmp_path, command=drains(30), REDIRECT_GRACEFUL_TIMEOUT="60") as service:
        old = both_workers(service)
        with clients_of_both(service):
            service.process.send_signal(signal.SIGHUP)
            wait_for(lambda: len(workers(service) - old) == 2)
            assert workers(service) > old  # they wait for clients, and take connections to the admin listener
            assert {CLIENT.get(f"{service.admin_url}/readyz").status_code for _ in range(50)} == {200}


def test_the_master_goes_on_while_workers_end(tmp_path: Path) -> None:
    """While old workers wait for their clients, a changed file is loaded, also by them."""
    with running(tmp_path, command=drains(30), REDIRECT_GRACEFUL_TIMEOUT="60") as service:
        old = both_workers(service)
        with clients_of_both(service) as clients:
            service.process.send_signal(signal.SIGHUP)
            wait_for(lambda: len(workers(service) - old) == 2)
            service.pools.write_text('[p]\nis_default = true\nweighted_hosts = { "new" = 1 }\n')
            # One that ends refuses, as it may end before the others have it.
            wait_for(lambda: CLIENT.post(f"{service.admin_url}/reload").status_code == 200)
            assert workers(service) > old
            assert all(b"\r\nlocation: http://new/" in client.ask() for client in clients)


# Serves with workers that take half a second to begin.
SLOW_TO_BEGIN = """
import time
from redirect.processes import worker
worker.keep_freed_memory = lambda: time.sleep(0.5)
"""


def test_restarts_wait_until_the_workers_before_serve(tmp_path: Path) -> None:
    """Else each of several in a row would stop those that serve, and nobody would."""
    with running(tmp_path, command=patched(SLOW_TO_BEGIN)) as service:
        for _ in range(30):
            service.process.send_signal(signal.SIGHUP)
            time.sleep(0.05)
        begun = re.findall(r"(Booting worker with pid:|Started server process) \[?([0-9]+)", service.stderr())
    beginning: set[str] = set()
    for what, pid in begun:
        beginning ^= {pid}
        assert len(beginning) <= 2, f"{what} {pid}"
    assert len(begun) > 4


def test_a_stop_under_load(tmp_path: Path) -> None:
    """At the end of the service only connections that it never answered on are lost: it takes no new ones."""
    with running(tmp_path, command=drains(30), REDIRECT_GRACEFUL_TIMEOUT="60") as service, Clients(service) as clients:
        wait_for(lambda: clients.answered > 100)
        assert service.stop() == 0
    assert [lost for lost in clients.lost if lost[0] > 0] == []


@pytest.fixture
def draining(tmp_path: Path) -> Iterator[tuple[Running, list[Client]]]:
    """The service, told to stop, and connections that it answered on before, for which it waits. It takes its time."""
    with (
        running(tmp_path, command=drains(30), REDIRECT_GRACEFUL_TIMEOUT="60") as service,
        clients_of_both(service) as clients,
    ):
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: service.stderr().count("Waiting for connections to close") == 2)
        yield service, clients


def test_a_stop_in_order(draining: tuple[Running, list[Client]]) -> None:
    """/readyz says 503 while connections are still answered; with the last of them the service ends, exit code 0."""
    service, clients = draining
    assert readiness(service) == 503
    *others, last = clients
    for client in others:
        assert b"\r\nconnection: close\r\n" in client.ask()
        assert client.is_ended()
    assert readiness(service) == 503
    assert b"\r\nconnection: close\r\n" in last.ask()
    for client in clients:
        client.close()
    assert service.process.wait(20) == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal(how: signal.Signals, draining: tuple[Running, list[Client]]) -> None:
    """A second signal ends the service at once, whatever waits; nothing that was answered is lost from the log."""
    service, clients = draining
    service.process.send_signal(how)
    assert service.process.wait(20) == 0
    assert len(service.records(len(clients))) == len(clients)


def test_two_signals_at_once(tmp_path: Path) -> None:
    """Two signals that the master hears together are two: the service ends at once."""
    with (
        running(tmp_path, command=drains(30), REDIRECT_GRACEFUL_TIMEOUT="60") as service,
        clients_of_both(service) as clients,
    ):
        for sig in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
            service.process.send_signal(sig)
        assert service.process.wait(20) == 0
        assert len(service.records(len(clients))) == len(clients)


# Serves; a worker that has closed its recorder says so, and waits for a file before it goes on.
CLOSES = """
import sys, time
from pathlib import Path
from redirect.edge import limits
from redirect.telemetry.recorder import Recorder
def close(self, close=Recorder.close):
    close(self)
    print("the recorder is closed", file=sys.stderr, flush=True)
    while not Path(sys.argv[1]).exists():
        time.sleep(0.01)
Recorder.close = close
limits.DRAIN_SECONDS = 30
"""


def test_requests_that_come_too_late(tmp_path: Path) -> None:
    """What is asked when the log is closed already is not answered, as nobody would know of it."""
    command = patched(CLOSES, str(tmp_path / "go on"))
    with (
        running(tmp_path, command=command, REDIRECT_GRACEFUL_TIMEOUT="60") as service,
        clients_of_both(service) as clients,
    ):
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: service.stderr().count("Waiting for connections to close") == 2)
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: service.stderr().count("the recorder is closed") == 2)
        with ThreadPoolExecutor(len(clients)) as threads:
            asked = [threads.submit(client.ask) for client in clients]
            time.sleep(0.1)  # until all have sent it; one that has not is not answered either
            (tmp_path / "go on").touch()
            assert [type(each.exception()) for each in asked] == [Ended] * len(clients)
        assert service.process.wait(20) == 0
        assert len(service.records(len(clients))) == len(clients)


def test_idle_connections_end_in_order(tmp_path: Path) -> None:
    """Connections on which nothing is asked are closed, not reset, and the service ends, exit code 0; by Ctrl-C too."""
    with running(tmp_path, command=drains(0.3)) as service, closing(Client(service.port)) as client:
        client.ask()
        service.process.send_signal(signal.SIGINT)
        assert client.is_ended()
        assert service.process.wait(20) == 0


@pytest.mark.processes
def test_forwards_that_the_end_of_a_stop_cuts_are_told(tmp_path: Path) -> None:
    """Those of a worker in one line, with their number."""
    with socket.create_server(("127.0.0.1", 0)) as origin, ExitStack() as clients:
        route = {"path_prefix": "/", "forward_to": "silent"}
        pools = {"routes": [route], "silent": {"weighted_hosts": {f"127.0.0.1:{origin.getsockname()[1]}": 1}}}
        with running(tmp_path, pools=pools, REDIRECT_WORKERS="1", REDIRECT_GRACEFUL_TIMEOUT="2") as service:
            for _ in range(3):
                clients.enter_context(socket.create_connection(("127.0.0.1", service.port))).sendall(NEXT)
                clients.enter_context(origin.accept()[0])
            assert service.stop() == 0
            assert service.stderr().count("under way and are cut, as the time to stop is over: 3") == 1
