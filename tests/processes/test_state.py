"""The numbers of a running service outlive a restart, in order or not, with REDIRECT_STATE_DIR."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support.service import CLIENT, Running, replace_controller, running, status, wait_for

pytestmark = pytest.mark.processes


def ask(service: Running, count: int) -> None:
    for _ in range(count):
        assert CLIENT.get(service.url).status_code == 302


def stats(service: Running) -> dict[str, Any]:
    found: dict[str, Any] = CLIENT.get(f"{service.admin_url}/stats").json()
    return found


def answered(service: Running) -> int:
    count: int = stats(service)["requests_count"]["success"]
    return count


@pytest.mark.slow
def test_numbers_outlive_a_restart(tmp_path: Path) -> None:
    """A stop in order loses nothing, kill -9 of all processes what was counted since the last write. A controller that
    ends writes; the next one counts nothing twice."""
    directory = tmp_path / "state"
    with running(tmp_path, REDIRECT_STATE_DIR=str(directory)) as service:
        ask(service, 20)
        wait_for(lambda: answered(service) == 20)
        before = stats(service)
        assert service.stop() == 0
    with running(tmp_path, REDIRECT_STATE_DIR=str(directory)) as service:
        after, state = stats(service), status(service)
        assert [after[key] for key in ("counted_since", "requests_count", "latency_ms")] == [
            before[key] for key in ("counted_since", "requests_count", "latency_ms")
        ]
        assert state["counted_since"] == before["counted_since"] < state["started_at"]
        assert state["kept"]["directory"] == str(directory)
        assert state["kept"]["error"] is None
        ask(service, 5)
        wait_for(lambda: answered(service) == 25)
        replace_controller(service, signal.SIGTERM)
        os.killpg(service.process.pid, signal.SIGKILL)
    with running(tmp_path, REDIRECT_STATE_DIR=str(directory)) as service:
        assert answered(service) == 25
        ask(service, 1)
        replace_controller(service)
        wait_for(lambda: answered(service) == 26)
        assert service.stop() == 0
        assert "the numbers are not kept" not in service.stderr()


def test_a_directory_that_cannot_be_used_stops_nothing(tmp_path: Path) -> None:
    """The service answers and counts; the error log and `/status` say what is in the way."""
    (tmp_path / "state").write_text("a file")
    with running(tmp_path, REDIRECT_STATE_DIR=str(tmp_path / "state")) as service:
        ask(service, 1)
        wait_for(lambda: answered(service) == 1)
        assert "File exists; make it a directory" in status(service)["kept"]["error"]
        assert f"REDIRECT_STATE_DIR: the numbers are not kept in {tmp_path}/state: File exists" in service.stderr()
