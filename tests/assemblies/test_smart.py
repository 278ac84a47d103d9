"""The smart proxy: what its owner requires, asked of the assembly on a real engine, with the mock server behind it."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from support.assemblies import ASSEMBLIES, Answer, Assembly
from support.compose import running, until

WORKERS, LIMIT, TIMEOUT_SECONDS = 3, 8, 3
SMART = "/api/smart"


class Smart(Assembly):
    def __init__(self, *more: str, **variables: str) -> None:
        settings = {"WORKERS": str(WORKERS), "REQ_LIMIT": str(LIMIT), "REQ_TIMEOUT": str(TIMEOUT_SECONDS)}
        super().__init__("smart", *more, **{"MOCK_PORT": "0", **settings, **variables})

    def mock(self, method: str, target: str, body: str | None = None) -> Answer:
        """What the mock server answers to a client that asks it directly."""
        port = int(self.compose("port", "mock", "8080").split(":")[-1])
        connection = HTTPConnection("127.0.0.1", port, timeout=15)
        connection.request(method, target, body)
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
        return answer

    def plays(self, *steps: tuple[str, int, int]) -> None:
        assert self.mock("POST", "/setscenario", json.dumps(steps)).status == 200

    def requests(self) -> list[float]:
        """When the remote service was asked, since the scenario was set."""
        stamps: list[float] = self.mock("GET", "/requests").json()
        return stamps

    def errors(self) -> list[dict[str, Any]]:
        log = self.compose("exec", "-T", "gateway", "cat", "/var/log/redirect/backend_errors.log")
        return [json.loads(line) for line in log.splitlines()]

    def error(self, request_id: str) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [line for line in self.errors() if line["request_id"] == request_id]

        return until(found, lambda lines: bool(lines), f"the error of {request_id}")[0]


@pytest.fixture(scope="module")
def smart() -> Iterator[Smart]:
    with running(Smart()) as assembly:
        yield assembly


def test_the_remote_service_is_asked_and_its_answer_returned(smart: Smart) -> None:
    smart.plays(("hello", 200, 0), ("short and stout", 418, 0))
    first, second, usual = (smart.ask(f"{SMART}?x=1") for _ in range(3))
    assert (first.status, first.body, second.status, second.body) == (200, b"hello", 418, b"short and stout")
    assert (usual.status, usual.body, len(smart.requests())) == (200, b"ok", 3)


@pytest.mark.parametrize("target", ["/", "/api", "/api/smart/", "/api/smarter", "/requests"])
def test_there_is_one_endpoint(smart: Smart, target: str) -> None:
    assert smart.ask(target).status == 404


def test_it_is_asked_with_get_only(smart: Smart) -> None:
    answer = smart.ask(SMART, "POST", body="x")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("status", [500, 503])
def test_an_error_of_the_remote_service_is_returned_and_noted(smart: Smart, status: int) -> None:
    request_id = f"error-{status}"
    smart.plays(("broken", status, 0))
    answer = smart.ask(SMART, headers={"X-Request-ID": request_id})
    assert (answer.status, answer.body) == (status, b"broken")
    expected = {"what": "status", "status": status, "origin_status": status, "origin": "mock:8080", "path": SMART}
    error = smart.error(request_id)
    assert {key: error[key] for key in expected} == expected


def test_a_request_that_is_late_is_stopped_and_noted(smart: Smart) -> None:
    """After the timeout; and it is not sent again."""
    smart.plays(("late", 200, 1000 * TIMEOUT_SECONDS + 2000))
    began = time.monotonic()
    answer = smart.ask(SMART, headers={"X-Request-ID": "late"})
    seconds = time.monotonic() - began
    assert (answer.status, TIMEOUT_SECONDS <= seconds < TIMEOUT_SECONDS + 1.5) == (504, True), seconds
    assert (smart.error("late")["what"], len(smart.requests())) == ("late", 1)


def test_what_the_client_did_wrong_is_not_noted(smart: Smart) -> None:
    smart.plays(("no such thing", 404, 0), ("broken", 500, 0))
    for request_id in ("client", "behind-the-client"):
        smart.ask(SMART, headers={"X-Request-ID": request_id})
    smart.error("behind-the-client")
    assert "client" not in [line["request_id"] for line in smart.errors()]


def test_the_limit_is_exact_over_all_workers(smart: Smart) -> None:
    """So many requests are under way, all others are refused at once."""
    asked = 4 * LIMIT
    smart.plays(*[("slow", 200, 2000)] * asked)

    def ask(_: int) -> tuple[Answer, float]:
        began = time.monotonic()
        return smart.ask(SMART), time.monotonic() - began

    with ThreadPoolExecutor(asked) as executor:
        answers = [*executor.map(ask, range(asked))]
    assert Counter(answer.status for answer, _ in answers) == {200: LIMIT, 503: asked - LIMIT}
    refused = [(answer, seconds) for answer, seconds in answers if answer.status == 503]
    assert {answer.headers["retry-after"] for answer, _ in refused} == {"1"}
    assert max(seconds for _, seconds in refused) < 1.5
    assert len(smart.requests()) == LIMIT
    smart.plays()
    assert smart.ask(SMART).status == 200


def test_there_are_as_many_workers_as_the_environment_says(smart: Smart) -> None:
    script = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:9000/metrics').read().decode())"
    assert f"redirect_workers {WORKERS}.0\n" in smart.compose("exec", "-T", "gateway", "python", "-c", script)


def test_the_mock_server_notes_when_requests_came_since_the_scenario_was_set(smart: Smart) -> None:
    """A request is noted when it comes, and not when it is answered."""
    smart.plays(("slow", 200, 1000))
    before = time.time()
    with ThreadPoolExecutor(1) as executor:
        asking = executor.submit(smart.ask, SMART)
        (stamp,) = until(smart.requests, lambda stamps: len(stamps) == 1, "the request came")
        assert not asking.done()
        assert before <= stamp <= time.time()
        assert asking.result().body == b"slow"
    smart.plays()
    assert smart.requests() == []


NO_SCENARIOS = ['{"a": 1}', "x", '["abc"]', '[["a", "200", 0]]', '[["a", 99, 0]]', '[["a", 200, "x"]]', "[[1, 200, 0]]"]


@pytest.mark.parametrize("scenario", NO_SCENARIOS)
def test_the_mock_server_refuses_what_is_no_scenario(smart: Smart, scenario: str) -> None:
    assert smart.mock("POST", "/setscenario", scenario).status == 400


def test_settings_have_defaults() -> None:
    """Those of the owner; of the gateway's port as well."""
    assembly = Assembly("smart")
    for name in ("GATEWAY_PORT", "MOCK_PORT", "REMOTE_URL", "REQ_TIMEOUT", "REQ_LIMIT", "WORKERS"):
        assembly.environment.pop(name, None)
    services = assembly.services()
    expected = {"REQ_TIMEOUT": "10", "REQ_LIMIT": "100", "REMOTE_URL": "http://mock:8080/", "REDIRECT_WORKERS": "2"}
    assert services["gateway"]["environment"] == expected
    assert [services[name]["ports"][0]["published"] for name in ("gateway", "mock")] == ["8000", "8080"]


def test_the_benchmark_draws_response_times_against_concurrency(smart: Smart, tmp_path: Path) -> None:
    picture = tmp_path / "benchmark.png"
    script = ASSEMBLIES / "smart" / "benchmark.py"
    url = f"http://127.0.0.1:{smart.port}{SMART}"
    command = [sys.executable, str(script), "--req", "50", "--output", str(picture), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:-1]] == ["1", "2", "5"]
    assert done.stdout.count("{200: 50}") == 3
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_its_own_tests_ask_whatever_runs_at_test_url(smart: Smart) -> None:
    smart.plays()
    command = [sys.executable, "-m", "unittest", "check_endpoint"]
    url = f"http://127.0.0.1:{smart.port}{SMART}"
    done = subprocess.run(
        command,
        cwd=ASSEMBLIES / "smart",
        env={**os.environ, "TEST_URL": url, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "Ran 4 tests" in done.stderr) == (0, True), done.stderr


def test_every_service_is_healthy_and_can_do_no_more_than_it_needs(smart: Smart) -> None:
    assert smart.weaknesses() == []


def test_a_remote_service_that_is_down_is_noted(smart: Smart) -> None:
    smart.compose("stop", "mock")
    answer = smart.ask(SMART, headers={"X-Request-ID": "down"})
    assert (answer.status, answer.headers["retry-after"] is not None) == (503, True)
    assert smart.error("down")["what"] in ("refused", "unreachable")
    smart.compose("start", "mock")
    until(lambda: smart.ask(SMART).status, lambda status: status == 200, "the remote service is back")


def test_all_services_end_when_they_are_told_to(smart: Smart) -> None:
    """Nothing of this assembly runs behind it."""
    assert smart.deaf() == []


def test_developers_run_it_as_themselves(tmp_path: Path) -> None:
    """USER_ID and GROUP_ID own the log, which is in a folder of theirs; and the sources are read from theirs."""
    tmp_path.chmod(0o777)
    with running(Smart("compose.develop.yml", USER_ID="12345", GROUP_ID="12346", LOGS=str(tmp_path))) as smart:
        smart.plays(("broken", 500, 0))
        assert smart.ask(SMART).status == 500
        log = tmp_path / "backend_errors.log"
        until(log.read_text, lambda text: '"what":"status"' in text, "the error is noted")
        written = os.stat(log)
        assert (written.st_uid, written.st_gid) == (12345, 12346)
        (source,) = (each for each in smart.services()["mock"]["volumes"] if each["target"] == "/service")
        assert source["source"] == str(ASSEMBLIES / "smart" / "mock")
        assert smart.deaf() == []
