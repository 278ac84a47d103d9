"""The error log of a route: what counts as a failure, and the lines."""

import json
import os
import re
from pathlib import Path
from time import monotonic_ns
from typing import Any

import pytest

from redirect.core.decision import Decision, Outcome
from redirect.core.routes import Route
from redirect.telemetry.failure_log import KEYS, FailureLogs, what_failed
from redirect.telemetry.log_writer import MAX_LINE_BYTES

UNANSWERED = Outcome(None, None, 2, 0, 0)


def decided(status: int, detail: str | None = None) -> Decision:
    return Decision(status, "orders", "orders-1:8080", detail=detail, route="/api/*", is_forward=True)


@pytest.mark.parametrize(
    ("status", "origin_status", "error", "what"),
    [
        pytest.param(200, 200, None, None, id="an answer"),
        pytest.param(404, 404, None, None, id="the client's fault, as the origin says"),
        pytest.param(500, 500, None, "status", id="an error of the origin"),
        pytest.param(503, 503, None, "status", id="an origin that is busy"),
        pytest.param(503, 200, None, None, id="the worker ended after another origin had answered"),
        pytest.param(503, None, None, None, id="the worker ended"),
        pytest.param(499, 500, None, None, id="a client that left"),
        pytest.param(408, None, None, None, id="a body that does not go on"),
        pytest.param(500, None, "proxy_internal_error", None, id="a fault of this program"),
        pytest.param(503, None, "connection_limit_reached", None, id="a limit of this service"),
        pytest.param(503, None, "destination_unavailable", "down", id="no origin"),
        pytest.param(503, None, "connection_refused", "refused", id="refused"),
        pytest.param(503, None, "connection_timeout", "unreachable", id="no connection in time"),
        pytest.param(503, None, "dns_error", "unreachable", id="no such name"),
        pytest.param(503, None, "tls_certificate_error", "unreachable", id="another certificate"),
        pytest.param(504, None, "http_response_timeout", "late", id="late"),
        pytest.param(200, 200, "http_response_timeout", "late", id="late within the answer"),
        pytest.param(101, 101, "http_response_timeout", None, id="a tunnel in which nothing came"),
        pytest.param(502, None, "http_response_incomplete", "cut", id="cut before the answer"),
        pytest.param(502, None, "connection_terminated", "cut", id="a used connection that was cut"),
        pytest.param(200, 200, "http_response_incomplete", "cut", id="cut within the answer"),
        pytest.param(502, None, "http_protocol_error", "broken", id="no HTTP"),
    ],
)
def test_what_counts_as_a_failure(status: int, origin_status: int | None, error: str | None, what: str | None) -> None:
    assert what_failed(status, origin_status, error) == what


def write(logs: FailureLogs, target: str, decision: Decision, path: str = "/api/7?token=x") -> None:
    logs.write(target, decision, UNANSWERED, "connection_refused", "GET", path, "id-1", monotonic_ns())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


async def test_a_line_has_every_key_in_order(tmp_path: Path) -> None:
    """The query, in which secrets may be, is left to the access log."""
    path, logs = tmp_path / "errors", FailureLogs()
    write(logs, str(path), decided(503, detail="it refused"))
    logs.close()
    (line,) = lines(path)
    assert list(line) == [key.name for key in KEYS]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert 0 <= line.pop("after_us") < 10_000_000
    assert line == {
        "request_id": "id-1",
        "route": "/api/*",
        "pool": "orders",
        "origin": "orders-1:8080",
        "method": "GET",
        "path": "/api/7",
        "what": "refused",
        "status": 503,
        "origin_status": None,
        "detail": "it refused",
        "tries": 2,
        "instance": os.uname().nodename,
        "worker": os.getpid(),
    }


@pytest.mark.parametrize("char", ["x", "\xff", "\x00", '"'])
async def test_a_line_is_short_whatever_the_client_sent(char: str, tmp_path: Path) -> None:
    path, logs = tmp_path / "errors", FailureLogs()
    write(logs, str(path), decided(503), "/" + char * 9000)
    logs.close()
    (line,) = lines(path)
    assert path.stat().st_size <= MAX_LINE_BYTES
    assert line["truncated"] is True
    assert ("/" + char * 9000).startswith(line["path"])


async def test_logs_are_open_while_a_configuration_names_them(tmp_path: Path) -> None:
    """The file is there before the first failure; a request that began before its log was closed is still logged."""
    old, new = tmp_path / "old", tmp_path / "new"
    logs = FailureLogs()
    logs.use([Route(error_log=str(old)), Route(error_log=str(old)), Route()])
    assert [*logs._writers] == [str(old)]
    assert old.read_bytes() == b""
    logs.use([Route(error_log=str(new))])
    assert [*logs._writers] == [str(new)]
    write(logs, str(old), decided(503))
    assert len(lines(old)) == 1
    logs.use([])
    assert not logs._writers


async def test_a_renamed_log_is_opened_again(tmp_path: Path) -> None:
    path, logs = tmp_path / "errors", FailureLogs()
    logs.use([Route(error_log=str(path))])
    path.rename(tmp_path / "errors.1")
    logs.reopen()
    write(logs, str(path), decided(503))
    logs.close()
    assert (len(lines(path)), lines(tmp_path / "errors.1")) == (1, [])


def test_a_log_that_cannot_be_opened_is_reported_by_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And tried again: the request does not fail."""
    logs = FailureLogs()
    target = str(tmp_path / "nowhere" / "errors")
    logs.use([Route(error_log=target)])
    assert f"error log {target}: lines wait" in caplog.text
    logs.close()


async def test_a_hyphen_is_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output is the access log's."""
    logs = FailureLogs()
    write(logs, "-", decided(503))
    logs.close()
    out, err = capfd.readouterr()
    assert (out, json.loads(err)["what"]) == ("", "refused")


async def test_a_pipe_that_is_not_read_holds_no_reload(tmp_path: Path) -> None:
    """What waits is lost: the event loop goes on."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    logs = FailureLogs()
    for _ in range(1000):
        write(logs, str(path), decided(503, detail="x" * 1000))
    before = monotonic_ns()
    logs.use([])
    assert monotonic_ns() - before < 500_000_000
    os.close(reading)
