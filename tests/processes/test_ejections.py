"""Ejections in a service that runs: requests tell which origins are down, every worker heeds it, and all can see it."""

import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Any

from support.origins import Origin
from support.service import CLIENT, Running, controller, is_applied, running, status, wait_for, workers


def configuration(*names: str, **keys: Any) -> dict[str, Any]:
    return {
        "routes": [{"path_prefix": "/", "forward_to": "p", "retries": 0}],
        "p": {"weighted_hosts": dict.fromkeys(names, 1), "eject": {"fails": 2, "for": 1}, **keys},
    }


def state(service: Running, name: str) -> tuple[str, str | None]:
    found = status(service)["pools"]["p"]["origins"][name]
    return found["state"], found["reason"]


def ask(service: Running, count: int = 8) -> list[int]:
    """The statuses of answers, on a connection each, so that all workers are asked."""
    return [CLIENT.get(service.url, headers={"connection": "close"}).status_code for _ in range(count)]


def until_down(service: Running, name: str) -> None:
    """Asks until the origin is down, for every worker."""
    wait_for(lambda: bool(ask(service)) and state(service, name)[0] == "down")
    wait_for(lambda: is_applied(service))


def test_an_origin_that_fails_is_down_until_its_trial_passes(tmp_path: Path, origins: list[Origin]) -> None:
    """No request fails meanwhile; it is shown, counted and logged."""
    failing, *others = origins
    failing.status = 503
    names = [each.name for each in origins]
    with running(tmp_path, pools=configuration(*names, eject={"fails": 2, "for": 300})) as service:
        until_down(service, failing.name)
        assert ask(service, 40) == [200] * 40
        assert state(service, failing.name) == ("down", "ejected: 2 failures in a row, the last: it answered 503")
        assert [state(service, each.name)[0] for each in others] == ["up"] * 2
        metrics = CLIENT.get(f"{service.admin_url}/metrics").text
        assert f'redirect_origin_up{{origin="{failing.name}",pool="p"}} 0' in metrics
        assert f'redirect_ejections_total{{origin="{failing.name}",pool="p"}} 1' in metrics
        assert f'redirect_ejections_total{{origin="{others[0].name}",pool="p"}} 0' in metrics
        assert "it answered 503" in CLIENT.get(f"{service.admin_url}/").text
    assert f"{failing.name} is down in p: ejected: 2 failures in a row, the last: it answered 503" in service.stderr()


def test_a_trial(tmp_path: Path, origins: list[Origin]) -> None:
    """It ejects again what still fails, and makes up what does not."""
    failing, *_ = origins
    failing.status = 502
    with running(tmp_path, pools=configuration(*[each.name for each in origins])) as service:
        until_down(service, failing.name)
        wait_for(lambda: bool(ask(service)) and "a failure on trial: it answered 502" in service.stderr())
        failing.status = 200
        wait_for(lambda: bool(ask(service)) and state(service, failing.name) == ("up", "answered on trial"))
        wait_for(lambda: is_applied(service))
        asked = len(failing.asked)
        assert ask(service, 30) == [200] * 30
        assert len(failing.asked) >= asked + 9  # a third, in each of two workers
    assert f"{failing.name} is on trial in p: was ejected for 1 s" in service.stderr()
    assert f"{failing.name} is up again in p: answered on trial" in service.stderr()


def test_never_all_are_ejected(tmp_path: Path) -> None:
    """Where all refuse the cause is elsewhere: at most half are ejected."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(4)]
        names = [f"127.0.0.1:{each.getsockname()[1]}" for each in taken]
    with running(tmp_path, pools=configuration(*names, eject={"fails": 1, "for": 300})) as service:
        wait_for(lambda: bool(ask(service)) and [state(service, name)[0] for name in names].count("down") == 2)
        assert ask(service, 40) == [503] * 40
        wait_for(lambda: is_applied(service))
        assert [state(service, name)[0] for name in names].count("down") == 2


def test_ejections_outlive_the_controller_and_the_workers(tmp_path: Path, origins: list[Origin]) -> None:
    """Nothing is sent to an origin that is ejected, while the controller is replaced or later."""
    failing, *_ = origins
    failing.status = 503
    pools = configuration(*[each.name for each in origins], eject={"fails": 2, "for": 300})
    with running(tmp_path, pools=pools) as service:
        until_down(service, failing.name)
        found, before, old = state(service, failing.name), controller(service), workers(service)
        os.kill(before, signal.SIGKILL)
        assert ask(service, 20) == [200] * 20
        wait_for(lambda: controller(service) not in (0, before))
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(workers(service) - old) == 2)
        assert ask(service, 20) == [200] * 20
        assert state(service, failing.name) == found
        metrics = CLIENT.get(f"{service.admin_url}/metrics").text
        assert f'redirect_ejections_total{{origin="{failing.name}",pool="p"}} 1' in metrics
