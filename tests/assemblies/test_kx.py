"""kx: what its owner requires, asked of the assembly on a real engine."""

import base64
import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, IncompleteRead
from itertools import count
from typing import Any, NamedTuple

import pytest
from support.assemblies import Answer, Assembly
from support.compose import running, until

DOCKER_GID = str(os.stat("/var/run/docker.sock").st_gid)
SECONDS_TO_NOTICE = 2.0
OBJECT = {"partition": "red", "id": "2", "value": 4}


@pytest.fixture(scope="module")
def kx() -> Iterator[Assembly]:
    with running(Assembly("kx", DOCKER_GID=DOCKER_GID, DASHBOARD_PORT="0", STORAGE_REPLICAS="3")) as assembly:
        yield assembly


def scale(kx: Assembly, replicas: int) -> None:
    """As a user does who edits the number in .env."""
    kx.environment["STORAGE_REPLICAS"] = str(replicas)
    kx.compose("up", "--detach", "--wait", "--no-recreate", timeout=120)


def states(kx: Assembly) -> dict[str, str]:
    """By the name of a storage service, how `/status` has it."""
    origins = kx.ask("/status?pool=storage").json()["pools"]["storage"]["origins"]
    return {name.removeprefix(f"{kx.project}-"): origin["state"] for name, origin in origins.items()}


def wait_for_states(kx: Assembly, *expected: str) -> float:
    """Until that many are in these states; returns the seconds."""
    began = time.monotonic()
    until(lambda: states(kx), lambda found: sorted(found.values()) == sorted(expected), f"the states {expected}")
    return time.monotonic() - began


def seen_state(kx: Assembly, container: str) -> Any:
    """What `/status` has of it, as an origin or as a container that is none."""
    pool = kx.ask(f"/status?origin={container}").json()["pools"]["storage"]
    shown: list[Any] = [*pool["origins"].values(), *pool["left_out"].values()]
    assert len(shown) == 1
    return shown[0]


def wait_for_reason(kx: Assembly, container: str, reason: str) -> Any:
    """What `/status` has of it, once the reason is this one."""
    return until(
        lambda: seen_state(kx, container), lambda state: re.search(reason, str(state["reason"])) is not None, reason
    )


def is_stale(answer: Answer) -> bool:
    return (answer.headers["cache-status"] or "").startswith("redirect; hit")


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def test_storage_serves_data_through_the_gateway(kx: Assembly) -> None:
    """Keys of partitions, identifiers, an object; what is not there is 404, as the service says it."""
    assert kx.ask("/data").json() == ["red", "green", "blue"]
    assert kx.ask("/data/red").json() == ["1", "2", "3"]
    assert kx.ask("/data/red/2").json() == OBJECT
    answers = [kx.ask(target) for target in ("/data/red/9", "/data/yellow", "/data/yellow/1")]
    assert [(each.status, [*each.json()]) for each in answers] == [(404, ["detail"])] * 3
    assert kx.ask("/storagesvc/data/red/2").json() == OBJECT
    assert [kx.ask(target, "HEAD").status for target in ("/data", "/data/red", "/data/red/2", "/data/red/9")] == [
        200, 200, 200, 404,
    ]  # fmt: skip
    assert kx.ask("/database").status == 404


def test_storage_services_take_turns(kx: Assembly) -> None:
    wait_for_states(kx, "up", "up", "up")
    asked = [kx.ask("/data").headers["x-container"] for _ in range(30)]
    assert len({*asked[:3]}) == 3
    assert asked == asked[:3] * 10


def test_status_has_the_state_of_each_container(kx: Assembly) -> None:
    """And beside it what docker calls it."""
    assert states(kx) == {"storage-1": "up", "storage-2": "up", "storage-3": "up"}
    origins = kx.ask("/status?pool=storage").json()["pools"]["storage"]["origins"].values()
    assert [(each["docker_state"], each["docker_health"]) for each in origins] == [("running", "healthy")] * 3


def test_status_is_asked_by_the_name_and_by_the_id_of_a_container(kx: Assembly) -> None:
    container = kx.containers("storage")[0]
    name = kx.docker("inspect", "--format", "{{.Name}}", container).stdout.strip().removeprefix("/")
    for asked in (name, container[:6], container[:12], container):
        (found,) = kx.ask(f"/status?origin={asked}").json()["pools"]["storage"]["origins"]
        assert found == name
    for unknown in ("?pool=stora", "?origin=storage-9", "?pool=storage&origin=0123456789ab"):
        answer = kx.ask(f"/status{unknown}")
        assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    assert kx.ask(f"/status?origin={container[:12]}x").status == 404
    assert kx.ask("/status?appName=storage").status == 400


def test_the_dashboard_wants_a_user_and_the_password(kx: Assembly) -> None:
    port = int(kx.compose("port", "gateway", "8081").split(":")[-1])

    def ask(headers: dict[str, str], path: str = "/") -> Answer:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    answer = ask({})
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Basic realm="redirect", charset="UTF-8"')
    assert ask(basic("user", "wrong")).status == 401
    assert {path: ask({}, path).status for path in ("/metrics", "/healthz", "/readyz", "/status", "/stats")} == {
        "/metrics": 200, "/healthz": 200, "/readyz": 200, "/status": 401, "/stats": 401,
    }  # fmt: skip
    assert ask(basic("user", "password")).status == 200
    assert f"{kx.project}-storage-1".encode() in ask(basic("user", "password")).body


def test_each_application_has_healthz(kx: Assembly) -> None:
    assert kx.ask("/healthz").json() == kx.ask("/storagesvc/healthz").json() == {"status": "ok"}


def test_every_service_is_healthy_and_can_do_no_more_than_it_needs(kx: Assembly) -> None:
    assert kx.weaknesses() == []
    listed = [json.loads(line) for line in kx.compose("ps", "--format", "json").splitlines()]
    assert Counter((each["Service"], each["Health"]) for each in listed) == {
        ("gateway", "healthy"): 1, ("docker-api", "healthy"): 1, ("storage", "healthy"): 3,
    }  # fmt: skip
    services = kx.services()
    assert {name for name, service in services.items() if service.get("ports")} == {"gateway"}
    assert {name for name, service in services.items() if "docker" in service["networks"]} == {"gateway", "docker-api"}


@pytest.mark.parametrize(
    ("file", "replicas", "environment"), [(".env", 2, "production"), (".env.dev", 3, "development")]
)
def test_files_of_the_environment_say_how_many_there_are(file: str, replicas: int, environment: str) -> None:
    plain = Assembly("kx", DOCKER_GID=DOCKER_GID)
    done = plain.docker(
        "compose", f"--file={plain.folder / 'compose.yml'}", f"--env-file={plain.folder / file}",
        "config", "--format", "json",
    )  # fmt: skip
    storage = json.loads(done.stdout)["services"]["storage"]
    assert storage["deploy"]["replicas"] == replicas
    assert storage["environment"]["ENVIRONMENT"] == environment


class Seen(NamedTuple):
    """An answer that a client got, when it had asked (Unix time), and which container gave it."""

    at: float
    kind: str  # "200", "stale", or another status
    container: str | None


class Load:
    """Clients that ask for as long as the block lasts: for what was asked before, and for what never was."""

    def __init__(self, kx: Assembly) -> None:
        self._port = kx.port
        self._ended = threading.Event()
        self.old: list[Seen] = []
        self.new: list[Seen] = []
        numbers = count()
        self.targets = [(lambda: "/data", self.old), (lambda: f"/data/red/2?n={next(numbers)}", self.new)]

    def __enter__(self) -> "Load":
        self._clients = [threading.Thread(target=self._ask, args=each) for each in self.targets]
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for client in self._clients:
            client.join()

    def _ask(self, target: Callable[[], str], seen: list[Seen]) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._ended.is_set():
            at = time.time()
            connection.request("GET", target())
            response = connection.getresponse()
            try:
                response.read()
            except IncompleteRead:  # its container ended within the answer
                seen.append(Seen(at, "cut", response.headers["x-container"]))
                connection.close()
                continue
            is_old = (response.headers["cache-status"] or "").startswith("redirect; hit")
            seen.append(Seen(at, "stale" if is_old else str(response.status), response.headers["x-container"]))
            time.sleep(0.01)
        connection.close()


def events(kx: Assembly, since: float) -> list[tuple[str, str, float]]:
    """What docker did with storage services: action, container, when (Unix time)."""
    labels = (f"com.docker.compose.project={kx.project}", "com.docker.compose.service=storage")
    done = kx.docker(
        "events", "--since", f"{since:.9f}", "--until", f"{time.time():.9f}", "--format", "{{json .}}",
        *(f"--filter=label={label}" for label in labels),
    )  # fmt: skip
    found = map(json.loads, done.stdout.splitlines())
    return [(each["Action"], each["Actor"]["ID"][:12], each["timeNano"] / 1e9) for each in found]


def longest_wait(kx: Assembly, since: float, seen: list[Seen]) -> tuple[float, float]:
    """Seconds from when docker calls a container healthy to its first answer, and from when it is told to stop to the
    last request that it answers; of several the longest."""
    came, went = [0.0], [0.0]
    for action, container, at in events(kx, since):
        answered = [each.at for each in seen if each.container == container and each.kind == "200" and each.at >= since]
        if action == "health_status: healthy":
            came.append(min(answered) - at)
        elif action == "kill" and answered:
            went.append(max(answered) - at)
    return max(came), max(went)


def test_the_gateway_follows_the_number_of_storage_services_under_requests(kx: Assembly) -> None:
    """From three to none to two: while one is up no request fails; while none is, what was asked before is answered
    from then, and all else is 503. Each change is in force within two seconds."""
    wait_for_states(kx, "up", "up", "up")
    with Load(kx) as load:
        time.sleep(1)
        for replicas, kinds in [(1, {"200"}), (3, {"200"}), (0, {"stale", "503"}), (2, {"200"})]:
            since = time.time()
            scale(kx, replicas)
            took = time.time() - since
            settled = wait_for_states(kx, *["up"] * replicas)
            time.sleep(0.5)
            quiet = time.time()
            time.sleep(1)
            seen = sorted([*load.old, *load.new])
            came, went = longest_wait(kx, since, seen)
            counts = Counter(each.kind for each in seen if since <= each.at < quiet)
            print(
                f"\nto {replicas}: compose took {took:.1f} s, /status {settled:.1f} s more; first answer {came:.2f} s "
                f"after healthy, last {went:.2f} s after kill; {dict(counts)}"
            )
            assert {each.kind for each in seen if each.at >= quiet} == kinds
            assert max(came, went) < SECONDS_TO_NOTICE
            if replicas in (1, 3):
                assert counts.keys() == {"200"}
    assert {each.kind for each in load.old} == {"200", "stale"}
    assert {each.kind for each in load.new} == {"200", "503"}


def test_without_storage_old_answers_and_503_behind_them(kx: Assembly) -> None:
    """An old answer has its age; where there is none, 503 says why."""
    scale(kx, 1)
    fresh = until(lambda: kx.ask("/data/blue"), lambda answer: answer.status == 200, "an answer")
    scale(kx, 0)
    wait_for_states(kx)
    old = kx.ask("/data/blue")
    assert (old.status, old.body, is_stale(old)) == (200, fresh.body, True)
    assert int(old.headers["age"]) >= 0
    answer = kx.ask("/data/never/asked")
    assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.headers["retry-after"]
    assert "com.docker.compose.service=storage" in answer.json()["detail"]
    scale(kx, 3)
    wait_for_states(kx, "up", "up", "up")
    assert not is_stale(kx.ask("/data/blue"))


def test_what_befalls_a_container_is_seen_and_the_others_answer(kx: Assembly) -> None:
    """Killed, paused, cut off, restarted: `/status` has its state and the reason. What fails is what was under way at a
    container that was paused or cut off: it was sent and got no answer, so it may not be sent again. One that is killed
    within an answer cuts it."""
    wait_for_states(kx, "up", "up", "up")
    one = kx.containers("storage")[0]
    network = f"{kx.project}_back"
    befalls = [
        ("stops it|exited", ["kill", one], ["start", one]),
        ("paused", ["pause", one], ["unpause", one]),
        ("no address", ["network", "disconnect", network, one], ["network", "connect", network, one]),
    ]
    with Load(kx) as load:
        for reason, do, undo in befalls:
            kx.docker(*do)
            began = time.monotonic()
            found = wait_for_reason(kx, one, reason)
            took = time.monotonic() - began
            print(f"\n{do}: {took:.2f} s until /status says {found['state']}: {found['reason']}")
            assert took < SECONDS_TO_NOTICE
            if reason == "paused":
                assert found["docker_state"] == "paused"
            kx.docker(*undo)
            wait_for_states(kx, "up", "up", "up")
        kx.docker("restart", one)
        wait_for_states(kx, "up", "up", "up")
    counts = Counter(each.kind for each in [*load.old, *load.new])
    print(f"\n{dict(counts)}")
    assert counts.keys() <= {"200", "504", "stale", "cut"}
    assert counts["504"] + counts["stale"] + counts["cut"] <= 2 * len(load.targets)


def test_a_storage_service_that_ends_is_started_again(kx: Assembly) -> None:
    one = kx.containers("storage")[0]
    kx.docker("exec", one, "bash", "-c", "kill 1")
    until(
        lambda: kx.docker("inspect", "--format", "{{.RestartCount}}", one).stdout.strip(), lambda n: n == "1", "again"
    )
    wait_for_states(kx, "up", "up", "up")


def test_the_description_is_there_in_development_only(kx: Assembly) -> None:
    """Behind the prefix that the gateway takes off; and only then a service logs its requests."""
    targets = ("/storagesvc/swagger", "/storagesvc/openapi.json")
    assert [kx.ask(target).status for target in targets] == [404, 404]
    assert "GET /data" not in kx.logs("storage")
    kx.environment |= {"ENVIRONMENT": "development", "STORAGE_REPLICAS": "1"}
    kx.compose("up", "--detach", "--wait", timeout=120)
    page = until(lambda: kx.ask(targets[0]), lambda answer: answer.status == 200, "swagger")
    assert b"/storagesvc/openapi.json" in page.body
    description = kx.ask(targets[1]).json()
    assert description["servers"] == [{"url": "/storagesvc"}]
    assert "/data/{partition}/{key}" in description["paths"]
    kx.ask("/data/green")
    until(lambda: kx.logs("storage"), lambda log: "GET /data/green" in log, "the request is logged")


def test_all_services_end_when_they_are_told_to(kx: Assembly) -> None:
    """The last test: nothing runs behind it."""
    assert kx.deaf() == []
