"""Probes in a service that runs: origins that are down get no requests, and everybody sees it."""

import os
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from support.origins import Origin, origin
from support.service import CLIENT, Running, controller, is_applied, is_ready, running, status, wait_for, workers
from support.tls import CERTIFICATE, localhost

CHECK = {"path": "/healthz", "interval": 0.2, "timeout": 5, "passes": 1, "fails": 2}


def pool(origins: Sequence[Origin], **keys: Any) -> dict[str, Any]:
    return {"weighted_hosts": {each.name: 1 for each in origins}, "is_default": True, "health_check": CHECK} | keys


def write(service: Running, **pools: Any) -> None:
    service.pools.with_suffix(".new").write_text(tomli_w.dumps(pools))
    service.pools.with_suffix(".new").rename(service.pools)


def state(service: Running, name: str, pool: str = "p") -> str | None:
    """The state of an origin; None if there is no such origin."""
    origin = status(service)["pools"][pool]["origins"].get(name)
    return origin and str(origin["state"])


def until(service: Running, is_: str, *names: str) -> None:
    """Returns when all workers have applied it."""
    wait_for(lambda: all(state(service, name) == is_ for name in names) and is_applied(service))


def answers(service: Running, count: int = 24) -> Counter[str]:
    """Where so many requests are sent; the statuses of those that are sent nowhere."""
    found: Counter[str] = Counter()
    for _ in range(count):
        answer = CLIENT.get(service.url)
        found[answer.headers.get("location", str(answer.status_code)).removeprefix("http://").rstrip("/")] += 1
    return found


def test_an_origin_goes_and_comes_back(tmp_path: Path, origins: list[Origin]) -> None:
    """An origin that fails leaves the turn in every worker, and is back once it passes; it is shown and logged."""
    first, *others = origins
    with running(tmp_path, pools={"p": pool(origins)}) as service:
        assert set(answers(service)) == {each.name for each in origins}
        first.status = 500
        until(service, "down", first.name)
        assert set(answers(service)) == {each.name for each in others}
        shown = status(service)["pools"]["p"]["origins"][first.name]
        assert (shown["state"], shown["reason"]) == ("down", "answered 500 and not 200")
        metrics = CLIENT.get(f"{service.admin_url}/metrics").text
        assert f'redirect_origin_up{{origin="{first.name}",pool="p"}} 0' in metrics
        assert f'redirect_origin_up{{origin="{others[0].name}",pool="p"}} 1' in metrics
        assert "answered 500 and not 200" in CLIENT.get(f"{service.admin_url}/").text

        first.status = 200
        until(service, "up", first.name)
        assert set(answers(service)) == {each.name for each in origins}
        assert service.stop() == 0
    assert f"{first.name} is down in p: answered 500 and not 200" in service.stderr()
    assert f"{first.name} is up again in p: answered 200" in service.stderr()


def test_hup_has_authorities_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As new workers read them, so that what is forwarded and what is probed agree."""
    with origin(tls=localhost(tmp_path, monkeypatch)) as served:
        file = tmp_path / "authorities.pem"
        file.write_text("")
        name = f"localhost:{served.port}"
        pools = {"p": {"weighted_hosts": {name: 1}, "is_default": True, "health_check": CHECK | {"scheme": "https"}}}
        with running(tmp_path, pools=pools, SSL_CERT_FILE=str(file)) as service:
            until(service, "down", name)
            assert "its certificate is not valid" in status(service)["pools"]["p"]["origins"][name]["reason"]
            file.write_text(CERTIFICATE)
            service.process.send_signal(signal.SIGHUP)
            until(service, "up", name)


def test_one_prober_for_all_workers(tmp_path: Path, origins: list[Origin]) -> None:
    """However many workers there are, an origin is probed as often as one prober does it."""
    often, seldom = origins[:2]
    pools = {
        "p": pool([often], health_check=CHECK | {"interval": 0.1}),
        "q": pool([seldom], is_default=False, health_check=CHECK | {"interval": 0.5}),
    }
    with running(tmp_path, pools=pools, REDIRECT_WORKERS="4"):
        wait_for(lambda: len(seldom.asked) >= 4)
    assert len(often.asked) < 4 * 5 * 2  # five times as often, and not four times as often as that


def test_all_origins_down(tmp_path: Path, origins: list[Origin]) -> None:
    """Where all are down a pool answers 503 with Retry-After, or uses all, as it says; others are not concerned."""
    first, second, third = origins
    pools = {
        "p": pool([first]),
        "q": pool([first, second], is_default=False, when_all_down="ignore"),
        "r": pool([third], is_default=False),
    }
    with running(tmp_path, pools=pools) as service:
        first.status = second.status = 500
        wait_for(lambda: state(service, second.name, "q") == "down")
        until(service, "down", first.name)
        refused = CLIENT.get(service.url)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["detail"] == "no origin of p is eligible"
        found = [CLIENT.get(service.url, headers={"x-redirect-pool-id": "q"}).headers["location"] for _ in range(8)]
        assert len(set(found)) == 2
        assert CLIENT.get(service.url, headers={"x-redirect-pool-id": "r"}).status_code == 302


def test_workers_that_come_later_know(tmp_path: Path, origins: list[Origin]) -> None:
    """A worker that takes another's place never sends anybody to an origin that is down."""
    first, *others = origins
    with running(tmp_path, pools={"p": pool(origins)}) as service:
        first.status = 500
        until(service, "down", first.name)
        before = workers(service)
        service.process.send_signal(signal.SIGHUP)

        while (now := workers(service)) & before or len(now) != 2:
            assert first.name not in answers(service)
        assert set(answers(service)) == {each.name for each in others}


def test_another_configuration(tmp_path: Path, origins: list[Origin]) -> None:
    """Probes begin, change and end with the file; who is down stays so while the file changes, and who is not probed
    counts as up."""
    first, second, third = origins
    unprobed = {"weighted_hosts": {first.name: 1, second.name: 1}, "is_default": True}
    with running(tmp_path, pools={"p": unprobed}) as service:
        first.status = 500
        write(service, p=pool([first, second]))
        until(service, "down", first.name)
        asked = len(first.asked)
        write(service, p=pool([first, second, third]))
        until(service, "up", third.name)
        assert state(service, first.name) == "down"
        wait_for(lambda: len(third.asked) > 3 and len(first.asked) > asked + 3)
        assert set(answers(service)) == {second.name, third.name}

        write(service, p=unprobed)
        until(service, "up", first.name)
        assert set(answers(service)) == {first.name, second.name}
        asked = len(first.asked)

        first.status = 200
        write(service, p=pool([first, second]))
        wait_for(lambda: len(first.asked) > asked)
        assert set(answers(service)) == {first.name, second.name}


def test_health_outlives_the_controller(tmp_path: Path, origins: list[Origin]) -> None:
    """What probes found outlives the controller; no request goes to an origin that is down meanwhile."""
    first, *others = origins
    with running(tmp_path, pools={"p": pool(origins)}) as service:
        first.status = 500
        until(service, "down", first.name)
        before = controller(service)
        os.kill(before, signal.SIGKILL)
        assert set(answers(service)) == {each.name for each in others}
        wait_for(lambda: controller(service) not in (0, before))
        assert state(service, first.name) == "down"
        first.status = 200
        until(service, "up", first.name)
        assert service.stop() == 0


def test_a_slow_start(tmp_path: Path, origins: list[Origin]) -> None:
    """An origin that comes back gets its share slowly: a tenth of its weight at first."""
    first, second, _ = origins
    with running(tmp_path, pools={"p": pool([first, second], slow_start=3600)}) as service:
        first.status = 500
        until(service, "down", first.name)
        first.status = 200
        until(service, "up", first.name)
        found = answers(service, 40)
    assert found[second.name] >= 35  # one in eleven picks goes to the first, and each of two workers begins anywhere


def test_a_slow_start_in_a_worker_that_comes_later(tmp_path: Path, origins: list[Origin]) -> None:
    """A worker that takes another's place gives an origin that has just come back no more than the one before it."""
    first, second, _ = origins
    pools = {"p": pool([first, second], slow_start=3600)}
    with running(tmp_path, pools=pools, REDIRECT_WORKERS="1") as service:
        first.status = 500
        until(service, "down", first.name)
        first.status = 200
        until(service, "up", first.name)
        (before,) = workers(service)
        os.kill(before, signal.SIGTERM)
        wait_for(lambda: service.stderr().count("Started server process") == 2 and is_ready(service.admin_url))
        found = answers(service, 40)
    assert found[second.name] >= 36  # one in eleven picks goes to the first
