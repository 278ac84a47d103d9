"""The access log and the numbers of a running service: what was answered is logged and counted, whatever happens."""

import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.clients import Load
from support.service import (
    CLIENT,
    ROOT,
    Running,
    ended,
    environment,
    free_port,
    is_ready,
    running,
    status,
    wait_for,
    whole_lines,
    workers,
)


def metrics(service: Running) -> dict[str, float]:
    """The metrics by name; those of several labels added up."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(CLIENT.get(f"{service.admin_url}/metrics").text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def ask(service: Running, count: int) -> int:
    """Asks `count` times, each on a connection of its own so that every worker has its part; how many answered."""
    answered = 0
    for _ in range(count):
        with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)) as connection:
            try:
                connection.request("GET", "/")
                answered += connection.getresponse().status == 302
            except (http.client.HTTPException, OSError):  # its worker ended before it answered
                continue
    return answered


def records(*files: Path) -> list[dict[str, Any]]:
    """The records in files, which end with whole lines: for when nobody writes any more."""
    assert {file.read_bytes()[-1:] for file in files} <= {b"", b"\n"}
    return records_so_far(*files)


def records_so_far(*files: Path) -> list[dict[str, Any]]:
    """The records that are there, while workers write. Of a write a reader may see a part."""
    return [json.loads(line) for file in files for line in whole_lines(file)]


def test_numbers_are_of_all_workers(tmp_path: Path) -> None:
    """Whichever worker answers, the metrics are of both, and they agree with the log and the statistics."""
    log = tmp_path / "log"
    with running(tmp_path, REDIRECT_ACCESS_LOG=str(log)) as service:
        count = 0
        while len({record["worker"] for record in records_so_far(log)} if count else ()) < 2:
            count += ask(service, 50)
            wait_for(lambda: len(records_so_far(log)) == count)  # noqa: B023
        wait_for(lambda: metrics(service)["redirect_access_log_lines_total"] == count)
        for _ in range(5):
            seen = metrics(service)
            assert seen["redirect_requests_total"] == seen["redirect_request_duration_seconds_count"] == count
            assert (seen["redirect_workers"], seen["redirect_access_log_dropped_total"]) == (2, 0)
        said = CLIENT.get(f"{service.admin_url}/stats").json()
        assert said["requests_count"] == {"success": count, "error": 0}
        assert workers(service) == {record["worker"] for record in records_so_far(log)}
        assert status(service)["configuration"]["hash"] == records_so_far(log)[0]["config"]


def test_connections_are_counted(tmp_path: Path) -> None:
    """Open connections of all workers are told within a moment."""
    with running(tmp_path) as service:
        clients = [http.client.HTTPConnection("127.0.0.1", service.port) for _ in range(10)]
        for client in clients:
            client.connect()
        wait_for(lambda: metrics(service)["redirect_connections"] == 10)
        for client in clients:
            client.close()
        wait_for(lambda: metrics(service)["redirect_connections"] == 0)


def test_what_is_under_way_is_gone_with_its_worker(tmp_path: Path) -> None:
    """Requests at an origin, and connections to it, are told within a moment, and no more once their worker was killed;
    what was counted stays, and a worker that stops in order leaves nothing under way either."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # its connections are made, and get no answer
        origin = f"127.0.0.1:{silent.getsockname()[1]}"
        pools = {"silent": {"weighted_hosts": {origin: 1}}, "gone": {"weighted_hosts": {f"127.0.0.1:{free_port()}": 1}}}
        routes = [{"path": "/", "forward_to": "silent"}, {"path": "/gone", "forward_to": "gone"}]
        with (
            running(tmp_path, pools={"routes": routes, **pools}, REDIRECT_WORKERS="1") as service,
            ExitStack() as stack,
        ):
            assert CLIENT.get(f"{service.url}/gone").status_code == 503
            for how in (signal.SIGKILL, signal.SIGTERM):
                for _ in range(3):
                    client = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
                    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                wait_for(lambda: metrics(service)["redirect_forwards_in_flight"] == 3)
                wait_for(lambda: metrics(service)["redirect_origin_connections"] == 3)
                (worker,) = workers(service)
                os.kill(worker, how)
                wait_for(lambda: metrics(service)["redirect_forwards_in_flight"] == 0)
                wait_for(lambda: metrics(service).get("redirect_origin_connections", 0) == 0)
                wait_for(lambda: workers(service) not in (set(), {worker}))  # noqa: B023
                assert metrics(service)["redirect_forward_failures_total"] == 1


@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL], ids=["HUP", "TERM", "kill -9"])
def test_workers_that_end(how: signal.Signals, tmp_path: Path) -> None:
    """HUP, and TERM to a worker, lose no line and no count; kill -9 loses at most a batch, and tears nothing."""
    log = tmp_path / "log"
    with running(tmp_path, REDIRECT_ACCESS_LOG=str(log)) as service:
        with Load(service, keeps=False) as load:
            wait_for(lambda: len(records_so_far(log)) > 200)
            before = metrics(service)["redirect_requests_total"]
            for _ in range(3):
                worker = status(service)["workers"][0]["pid"]
                started = service.stderr().count("Started server process")
                os.kill(service.process.pid if how == signal.SIGHUP else worker, how)
                new = 2 if how == signal.SIGHUP else 1
                wait_for(lambda: service.stderr().count("Started server process") >= started + new)  # noqa: B023
                seen = metrics(service)["redirect_requests_total"]
                assert seen >= before
                before = seen
        wait_for(lambda: metrics(service)["redirect_workers"] == 2)
        if how != signal.SIGKILL:
            wait_for(lambda: metrics(service)["redirect_requests_total"] == len(records_so_far(log)) >= load.answered)
        assert service.stop() == 0
    logged = len(records(log))
    unheard = 3 * 2 * 4  # answered, but the client did not hear of it: at each end of a worker one per client
    assert load.answered - 3 * 100 * (how == signal.SIGKILL) <= logged <= load.answered + unheard


def test_a_stop_loses_no_line(tmp_path: Path) -> None:
    """What was answered just before the service stops is in the log."""
    with running(tmp_path) as service:
        answered = ask(service, 50)
        assert service.stop() == 0
        assert len(service.stdout().splitlines()) == answered == 50


def test_the_log_is_opened_again(tmp_path: Path) -> None:
    """USR1 to the master behind a rename, as logrotate sends it: no line is lost, all workers go on in the new file."""
    log = tmp_path / "log"
    files = [log]
    with running(tmp_path, REDIRECT_ACCESS_LOG=str(log)) as service:
        with Load(service, keeps=False) as load:
            for n in range(3):
                wait_for(lambda: len(records_so_far(log)) > 100)
                files.append(log.rename(tmp_path / f"log.{n}"))
                service.process.send_signal(signal.SIGUSR1)
                wait_for(log.exists)
            wait_for(lambda: len({record["worker"] for record in records_so_far(log)}) == 2)
        assert service.stop() == 0
        assert len(records(*files)) == load.answered


@pytest.fixture
def unread(tmp_path: Path) -> Iterator[tuple[Running, int]]:
    """The service, with an access log that goes into a pipe, and the end of it from which nobody reads yet."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    end = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with running(tmp_path, REDIRECT_ACCESS_LOG=str(fifo)) as service:
        yield service, end
    os.close(end)


def test_a_reader_that_stalls_costs_lines_only(unread: tuple[Running, int]) -> None:
    """A log that nobody reads stops no request; what was lost is counted, and told once somebody reads."""
    service, end = unread
    asked = 0
    with socket.create_connection(("127.0.0.1", service.port)) as client, client.makefile("rb") as answers:
        while metrics(service)["redirect_access_log_dropped_total"] < 20:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: %b\r\n\r\n" % (b"x" * 3500) * 100)
            for _ in range(100):
                assert answers.readline().startswith(b"HTTP/1.1 302 ")
                while answers.readline() != b"\r\n":
                    pass
            asked += 100
    read = b""

    def read_on() -> bool:
        nonlocal read
        with suppress(BlockingIOError):
            read += os.read(end, 1 << 20)
        if not read.endswith(b"\n"):
            return False
        told = [json.loads(line).get("lost", 0) for line in read.splitlines()]
        return bool(sum(told) + told.count(0) == asked)

    wait_for(read_on)
    assert metrics(service)["redirect_requests_total"] == asked
    lost = sum(json.loads(line).get("lost", 0) for line in read.splitlines())
    wait_for(lambda: metrics(service)["redirect_access_log_dropped_total"] == lost)


def test_a_start_with_closed_standard_input_and_error(tmp_path: Path) -> None:
    """It serves, and no socket or log has their numbers."""
    shell = f'exec {sys.executable} "$@" <&- 2>&-'
    command = ("bash", "-c", shell, "bash", *("-m", "redirect", "serve"))
    with running(tmp_path, command=command, REDIRECT_ACCESS_LOG=str(tmp_path / "log")) as service:
        assert CLIENT.get(f"{service.url}/").status_code == 302
        for pid in (service.process.pid, *workers(service)):
            assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 2)} == {"/dev/null"}


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_start_with_closed_standard_output(closed: str, tmp_path: Path) -> None:
    """An access log that is to go there would be lost, or in the error log's place; one in a file is not."""
    shell = f'exec {sys.executable} "$@" {closed}'
    command = ("bash", "-c", shell, "bash", *("-m", "redirect", "serve"))
    done = ended(*command)
    message = "REDIRECT_ACCESS_LOG: cannot open '-': Bad file descriptor; name another file\n"
    assert (done.returncode, done.stderr) == (2, "" if "2>&-" in closed else message)
    with running(tmp_path, command=command, REDIRECT_ACCESS_LOG=str(tmp_path / "log")) as service:
        assert CLIENT.get(f"{service.url}/").status_code == 302
        for pid in (service.process.pid, *workers(service)):
            assert os.readlink(f"/proc/{pid}/fd/1") == "/dev/null"


def test_a_standard_output_that_is_closed_later(tmp_path: Path) -> None:
    """A service whose standard output was closed goes on, and stops with exit code 0."""
    port, admin_port = free_port(), free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "redirect", "serve", "--port", str(port), "--workers", "1"],
        cwd=ROOT,
        env=environment(REDIRECT_ADMIN_BIND=f"127.0.0.1:{admin_port}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        wait_for(lambda: is_ready(f"http://127.0.0.1:{admin_port}"))
        process.stdout.close()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert {client.get("/").status_code for _ in range(300)} == {302}
    finally:
        process.terminate()
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0
    assert stderr.count(b"Broken pipe") == 1
    assert b"300 lines were lost" in stderr


def test_a_full_disk_costs_lines_only(tmp_path: Path) -> None:
    """A disk that is full stops no request, and tears no line."""
    log = tmp_path / "log"
    with running(tmp_path, REDIRECT_ACCESS_LOG=str(log)) as service:
        for worker in workers(service):
            resource.prlimit(worker, resource.RLIMIT_FSIZE, (50_000, 50_000))
        assert ask(service, 300) == 300
        wait_for(lambda: "No space left" in service.stderr() or "File too large" in service.stderr())
        assert ask(service, 10) == 10
        assert service.stop() == 0
    assert 0 < len(records(log)) < 300


def test_the_admin_listener_beyond_loopback(tmp_path: Path) -> None:
    """Where others reach the admin listener it wants a token, and a start without one says so."""
    bind = f"0.0.0.0:{free_port()}"
    admin_url = bind.replace("0.0.0.0", "http://127.0.0.1")
    with running(tmp_path, admin_url=admin_url, REDIRECT_ADMIN_BIND=bind) as service:
        assert "without REDIRECT_ADMIN_TOKEN the admin listener answers /healthz, /readyz and /metrics only" in (
            service.stderr()
        )
        assert CLIENT.get(f"{admin_url}/metrics").status_code == 200
        assert CLIENT.get(f"{admin_url}/status").status_code == 403
    (tmp_path / "other").mkdir()
    with running(
        tmp_path / "other", admin_url=admin_url, REDIRECT_ADMIN_BIND=bind, REDIRECT_ADMIN_TOKEN="s3cret"
    ) as service:
        assert "REDIRECT_ADMIN_TOKEN" not in service.stderr()
        assert CLIENT.get(f"{admin_url}/status").status_code == 401
        assert CLIENT.get(f"{admin_url}/status", auth=("anybody", "s3cret")).status_code == 200


def test_a_reload_that_fails_is_told(tmp_path: Path) -> None:
    """A bad file at HUP is told by the metrics and the status, until a good one is loaded."""
    with running(tmp_path) as service:
        good = service.pools.read_text()
        loaded = metrics(service)["redirect_config_last_reload_success_timestamp_seconds"]
        service.pools.write_text("[p]\nweighted_hosts = {}\n")
        service.process.send_signal(signal.SIGHUP)
        wait_for(lambda: metrics(service)["redirect_config_last_reload_successful"] == 0)
        configuration = status(service)["configuration"]
        assert f"{service.pools}:2:18: p.weighted_hosts: " in configuration["last_error"]
        assert metrics(service)["redirect_config_last_reload_success_timestamp_seconds"] == loaded
        service.pools.write_text(good)
        service.process.send_signal(signal.SIGHUP)
        wait_for(lambda: metrics(service)["redirect_config_last_reload_successful"] == 1)
        assert metrics(service)["redirect_config_last_reload_success_timestamp_seconds"] > loaded
