"""rgate: what its owner requires, asked of the assembly on a real engine."""

import json
import os
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from support.assemblies import Answer, Assembly
from support.compose import running, until

DOCKER_GID = str(os.stat("/var/run/docker.sock").st_gid)

# Of a container's end or start, until the gateway answers accordingly.
SECONDS_TO_NOTICE = 2.0

ASK_DOCKER = """\
import sys
from http.client import HTTPConnection

for asked in sys.argv[1:]:
    connection = HTTPConnection("docker-api", 2375, timeout=5)
    connection.request(*asked.split())
    print(connection.getresponse().status)
"""


@pytest.fixture(scope="module")
def rgate() -> Iterator[Assembly]:
    with running(Assembly("rgate", DOCKER_GID=DOCKER_GID)) as assembly:
        yield assembly


def payments(rgate: Assembly, count: int) -> Counter[str]:
    """Which containers answered, and how often."""
    answers = [rgate.ask("/api/payment") for _ in range(count)]
    assert [each.status for each in answers] == [200] * count
    return Counter(each.headers["x-container"] for each in answers)


def stats(rgate: Assembly) -> Any:
    return rgate.ask("/stats").json()


def is_problem(answer: Answer, status: int) -> bool:
    return (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")


def test_requests_are_forwarded_to_the_service_of_their_path(rgate: Assembly) -> None:
    assert rgate.ask("/api/payment").json() == {"1": {"amount": 100, "currency": "USD"}}
    assert rgate.ask("/api/orders/1?x=1").json() == {"item": "book", "count": 2}


def test_a_prefix_is_of_whole_segments(rgate: Assembly) -> None:
    assert [rgate.ask(f"/api/payment{rest}").status for rest in ("", "?x", "/1", "s", "%2F1")] == [
        200, 200, 200, 403, 403,
    ]  # fmt: skip


def test_answers_of_services_pass_as_they_are(rgate: Assembly) -> None:
    """Also those that are no success, and those to other methods; what the gateway refuses has one form."""
    answer = rgate.ask("/api/payment/7")
    assert (answer.status, answer.body) == (404, b'{"error": "payment has no /api/payment/7"}\n')
    answer = rgate.ask("/api/payment", "POST", body='{"amount": 5}')
    assert (answer.status, answer.json()) == (201, {"service": "payment", "got": {"amount": 5}})
    whole, head = (rgate.ask("/api/payment", method) for method in ("GET", "HEAD"))
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(whole.body)), b"")
    assert is_problem(rgate.ask("/api/../payment"), 400)


def test_what_no_route_matches_gets_the_default_answer(rgate: Assembly) -> None:
    answer = rgate.ask("/elsewhere")
    assert (answer.status, answer.body) == (403, b"This is not the page that you are looking for\n")


def test_one_of_several_containers_is_picked_at_random(rgate: Assembly) -> None:
    """Both have their part, in no order. Of 200 less than 60 fall to one of them once in ten million times."""
    answered = payments(rgate, 200)
    assert len(answered) == 2
    assert min(answered.values()) >= 60
    order = [rgate.ask("/api/payment").headers["x-container"] for _ in range(40)]
    assert any(one == other for one, other in pairwise(order))


def test_each_service_exposes_one_port_and_publishes_none(rgate: Assembly) -> None:
    """The gateway finds the port by itself: the TOML names none. It alone can be reached from outside."""
    services = rgate.services()
    assert {name for name, service in services.items() if service.get("ports")} == {"gateway"}
    for name in ("payment", "orders"):
        (container, *_) = rgate.containers(name)
        exposed = rgate.docker("inspect", "--format", "{{json .Config.ExposedPorts}}", container).stdout
        assert json.loads(exposed) == {"8080/tcp": {}}
    pools = tomllib.loads((rgate.folder / "gateway" / "rgate.toml").read_text())
    assert [pools[name]["discover"].get("port") for name in ("payment", "orders")] == [None, None]


def test_every_service_is_healthy_and_can_do_no_more_than_it_needs(rgate: Assembly) -> None:
    assert rgate.weaknesses() == []
    states = [json.loads(line) for line in rgate.compose("ps", "--format", "json").splitlines()]
    assert Counter((each["Service"], each["Health"]) for each in states) == {
        ("gateway", "healthy"): 1,
        ("docker-api", "healthy"): 1,
        ("payment", "healthy"): 2,
        ("orders", "healthy"): 1,
    }


def test_the_gateway_has_no_socket_of_docker(rgate: Assembly) -> None:
    """The window has it, in a network with the gateway alone, and passes three questions on."""
    services = rgate.services()
    sources = {name: [each["source"] for each in service.get("volumes", ())] for name, service in services.items()}
    assert {name for name, found in sources.items() if "/var/run" in found} == {"docker-api"}
    assert {name for name, service in services.items() if "docker" in service["networks"]} == {"gateway", "docker-api"}
    asked = {
        "GET /_ping": 200,
        "GET /v1.41/containers/json": 200,
        "POST /v1.41/containers/create": 403,
        "DELETE /v1.41/containers/json": 403,
        "GET /v1.41/info": 403,
    }
    answered = rgate.compose("exec", "-T", "gateway", "python", "-", *asked, stdin=ASK_DOCKER).split()
    assert [*map(int, answered)] == [*asked.values()]


def test_a_container_is_found_if_it_has_all_labels(rgate: Assembly) -> None:
    """One with another `env`, or without one, gets nothing; one that has both is found while the gateway runs."""
    labels = {"without": [], "staging": ["env=staging"], "production": ["env=production"]}
    containers = {}
    try:
        for name, more in labels.items():
            options = [
                f"--label={each}" for each in ("app_name=payment", f"com.docker.compose.project={rgate.project}", *more)
            ]
            containers[name] = rgate.docker(
                "run", "--detach", "--network", f"{rgate.project}_back", "--name", f"{rgate.project}-{name}",
                *options, f"{rgate.project}/rgate-backend", "payment",
            ).stdout[:12]  # fmt: skip
        until(lambda: payments(rgate, 20), lambda found: containers["production"] in found, "the third one")
        assert payments(rgate, 60).keys().isdisjoint({containers["without"], containers["staging"]})
    finally:
        rgate.docker("rm", "--force", *containers.values())
    until(lambda: payments(rgate, 20), lambda found: len(found) == 2, "the two from before")


def test_503_with_the_reason_where_no_service_is_found(rgate: Assembly) -> None:
    """And as soon as it is back, 200 again; what is asked of other services is answered meanwhile."""
    rgate.compose("stop", "orders")
    began = time.monotonic()
    answer = rgate.ask("/api/orders")
    assert is_problem(answer, 503)
    assert answer.headers["retry-after"]
    detail = "no running container with app_name=orders, env=production"
    until(lambda: rgate.ask("/api/orders").json()["detail"], lambda found: detail in found, "the reason")
    assert time.monotonic() - began < SECONDS_TO_NOTICE
    assert rgate.ask("/api/payment").status == 200
    rgate.compose("start", "orders")
    assert seconds_until(rgate, "/api/orders", 200, healthy="orders") < SECONDS_TO_NOTICE


def seconds_until(rgate: Assembly, target: str, status: int, *, healthy: str) -> float:
    """From when docker calls the service healthy."""
    (container, *_) = rgate.containers(healthy)
    inspect = ("inspect", "--format", "{{.State.Health.Status}}", container)
    until(lambda: rgate.docker(*inspect).stdout.strip(), lambda health: health == "healthy", f"{healthy} is healthy")
    began = time.monotonic()
    until(lambda: rgate.ask(target).status, lambda found: found == status, f"{status} of {target}")
    return time.monotonic() - began


def test_503_while_a_backend_is_down(rgate: Assembly) -> None:
    """Killed or hanging; one of two that is killed fails no request."""
    one, other = rgate.containers("payment")
    rgate.docker("kill", one)
    assert payments(rgate, 30).keys() == {other[:12]}
    rgate.docker("pause", other)
    began = time.monotonic()
    until(lambda: status_at_once(rgate), lambda status: status == 503, "503 of a hanging service")
    assert time.monotonic() - began < SECONDS_TO_NOTICE
    assert rgate.ask("/api/payment").headers["retry-after"]
    rgate.docker("unpause", other)
    began = time.monotonic()
    until(lambda: rgate.ask("/api/payment").status, lambda status: status == 200, "200 of one that goes on")
    assert time.monotonic() - began < SECONDS_TO_NOTICE
    rgate.docker("start", one)
    until(lambda: payments(rgate, 20), lambda found: len(found) == 2, "both again")


def status_at_once(rgate: Assembly) -> int | None:
    """None for a request that was sent to a service that hangs before this was known."""
    try:
        return rgate.ask("/api/payment", seconds=0.3).status
    except TimeoutError:
        return None


def test_stats_have_counts_and_latencies(rgate: Assembly) -> None:
    def look(before: Any) -> Any:
        return until(
            lambda: stats(rgate), lambda now: now["requests_count"] != before["requests_count"], "the counts go on"
        )

    before = stats(rgate)
    assert rgate.ask("/api/payment").status == 200
    assert rgate.ask("/elsewhere").status == 403
    after = look(before)
    assert after["requests_count"].keys() == {"success", "error"}
    assert after["latency_ms"].keys() == {"average", "p95", "p99"}
    assert 0 < after["latency_ms"]["average"] <= after["latency_ms"]["p99"]
    assert len(after["pools"]["payment"]["origins"]) == 2


def test_numbers_outlive_a_restart(rgate: Assembly) -> None:
    """Of the gateway, and of its container, which a new one replaces."""
    before = stats(rgate)
    for how in (("restart", "gateway"), ("up", "--detach", "--wait", "--force-recreate", "--no-deps", "gateway")):
        rgate.compose(*how, timeout=120)
        rgate.find_port()
        after = until(lambda: _stats_of_a_start(rgate), lambda found: found is not None, "the gateway is back")
        assert after["counted_since"] == before["counted_since"]
        assert after["requests_count"]["success"] >= before["requests_count"]["success"]
        assert after["requests_count"]["error"] >= before["requests_count"]["error"]
        before = after


def _stats_of_a_start(rgate: Assembly) -> Any:
    try:
        answer = rgate.ask("/stats")
    except OSError:
        return None
    return answer.json() if answer.status == 200 else None


def test_the_log_of_the_gateway_shows_where_a_request_went(rgate: Assembly) -> None:
    until(lambda: rgate.ask("/api/orders").status, lambda status: status == 200, "orders answers")
    request_id = uuid4().hex
    rgate.ask("/api/orders/1", headers={"X-Request-ID": request_id})
    record = rgate.record(request_id)
    shown = [record[key] for key in ("route", "pool", "origin", "origin_status", "status")]
    assert shown == ["/api/orders/*", "orders", f"{rgate.project}-orders-1", 200, 200]


def test_all_services_end_when_they_are_told_to(rgate: Assembly) -> None:
    """The last test: nothing runs behind it."""
    assert rgate.deaf() == []
