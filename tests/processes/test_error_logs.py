"""Error logs of routes in a running service: standard error, a reload, and USR1."""

import json
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomli_w
from support.service import CLIENT, Running, configs, controller, running, wait_for, whole_lines, workers

pytestmark = [pytest.mark.processes, pytest.mark.slow]

REFUSED = "127.0.0.1:1"


def pools(error_log: str) -> dict[str, Any]:
    route = {"path_prefix": "/", "forward_to": "down", "error_log": error_log}
    return {"routes": [route], "down": {"weighted_hosts": {REFUSED: 1}}}


def failures(path: Path) -> list[str]:
    """The ids of the requests in that log."""
    return [json.loads(line)["request_id"] for line in whole_lines(path) if line.startswith("{")]


def fail(service: Running, request_id: str) -> None:
    assert CLIENT.get(service.url, headers={"X-Request-ID": request_id}).status_code == 503


def reload(service: Running) -> httpx.Response:
    return CLIENT.post(f"{service.admin_url}/reload", timeout=30)


def test_logs_are_opened_closed_and_opened_again(tmp_path: Path) -> None:
    """A hyphen is standard error; a reload opens what it names in every worker; USR1 follows a rename. A log that
    cannot be opened refuses the reload, until its directory is there."""
    log = tmp_path / "logs" / "errors.jsonl"
    with running(tmp_path, pools=pools("-")) as service:
        fail(service, "first")
        wait_for(lambda: failures(tmp_path / "stderr") == ["first"])
        assert len(service.records(1)) == 1

        service.pools.write_text(tomli_w.dumps(pools(str(log))))
        refused = reload(service)
        assert refused.status_code >= 400
        assert "there is no directory" in refused.text
        log.parent.mkdir()
        assert reload(service).status_code == 200
        assert len(configs(service)) == 1
        fail(service, "second")
        wait_for(lambda: failures(log) == ["second"])

        renamed = log.rename(log.with_name("errors.1"))
        service.process.send_signal(signal.SIGUSR1)
        wait_for(log.exists)

        def is_followed() -> bool:
            """Whichever worker answers, it opens the new file in the end."""
            fail(service, "third")
            return bool(failures(log))

        wait_for(is_followed)
        assert failures(renamed)[0] == "second"
        assert failures(tmp_path / "stderr") == ["first"]
        assert service.stop() == 0


def test_as_json_all_processes_write_nothing_else(tmp_path: Path) -> None:
    """gunicorn's and uvicorn's lines, the controller's, and by their side those of the error log of a route."""
    down = {"weighted_hosts": {REFUSED: 1}, "health_check": {"path": "/", "interval": 0.1, "timeout": 0.1, "fails": 1}}
    with running(tmp_path, pools=pools("-") | {"down": down}, REDIRECT_LOG_FORMAT="json") as service:
        fail(service, "first")
        wait_for(lambda: "is down" in service.stderr())
        by_process = {service.process.pid, controller(service), *workers(service)}
        service.stop()
        lines = [json.loads(line) for line in service.stderr().splitlines()]
    assert "first" in [line.get("request_id") for line in lines]
    messages = [line for line in lines if "message" in line]
    assert {line["pid"] for line in messages} == by_process
    for begin in ("Starting gunicorn", "Started server process", f"{REFUSED} is down"):
        assert any(line["message"].startswith(begin) for line in messages)
