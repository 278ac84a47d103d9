"""Shares that are overridden while a service runs: in all workers, beside the file, until they end."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from support.command import run
from support.service import CLIENT, Running, replace_controller, running, wait_for

pytestmark = pytest.mark.processes

POOLS = {"site": {"weighted_hosts": {"old.example": 1, "new.example": 0}, "is_default": True, "status": 307}}


def ramp(service: Running, *arguments: str) -> str:
    return pools(service, "ramp", *arguments)


def pools(service: Running, *arguments: str) -> str:
    bind = service.admin_url.removeprefix("http://")
    result = run("pools", *arguments, "--admin-bind", bind)
    return f"{result.exit_code} {result.output}"


def shares(service: Running) -> Counter[str]:
    """Where 40 requests are sent, on connections of their own."""
    return Counter(CLIENT.get(f"{service.url}/").headers["location"] for _ in range(40))


def test_what_was_said_of_an_override_outlives_a_crash(tmp_path: Path) -> None:
    """At once, not with the next writing of the numbers: a ramp that was ended because it hurt must not come back."""
    state = str(tmp_path / "state")
    for arguments, said in (["100%"], "new.example  100 % since"), (["--end"], "0 the file counts everywhere\n"):
        with running(tmp_path, pools=POOLS, REDIRECT_STATE_DIR=state) as service:
            ramp(service, "site", "new.example", *arguments)
            os.killpg(service.process.pid, signal.SIGKILL)
        with running(tmp_path, pools=POOLS, REDIRECT_STATE_DIR=state) as service:
            wait_for(lambda: said in ramp(service))  # noqa: B023  called at once


def test_a_share_is_overridden_in_all_workers_until_it_ends(tmp_path: Path) -> None:
    with running(tmp_path, pools=POOLS, REDIRECT_STATE_DIR=str(tmp_path / "state")) as service:
        assert shares(service) == {"http://old.example/": 40}
        assert ramp(service, "site", "new.example", "100%").startswith("0 site  new.example  100 % since ")
        wait_for(lambda: shares(service) == {"http://new.example/": 40})
        replace_controller(service)
        assert shares(service) == {"http://new.example/": 40}
        assert "new.example  100 % since" in ramp(service)
        for named in [], ["--config", str(tmp_path / "pools.toml")]:
            listed = pools(service, "list", "--live", *named)
            assert "site  2 origins, 1 drained  default\n  override: new.example  100 % since" in listed
    with running(tmp_path, pools=POOLS, REDIRECT_STATE_DIR=str(tmp_path / "state")) as service:
        assert shares(service) == {"http://new.example/": 40}
        assert ramp(service, "site", "NEW.example.", "--end") == "0 the file counts again for NEW.example. of site\n"
        wait_for(lambda: shares(service) == {"http://old.example/": 40})
        assert ramp(service) == "0 the file counts everywhere\n"
        assert (
            ramp(service, "site", "other", "5%")
            == '2 origin: site has no origin "other"; there are "old.example", "new.example"\n'
        )
        assert ramp(service, "site", "\udcff", "--end").startswith("2 there is no override of ")
        ramp(service, "site", "new.example", "10%", "100%", "--over", "1s", "--hold", "2s")
        wait_for(lambda: shares(service) == {"http://new.example/": 40})
        wait_for(lambda: shares(service) == {"http://old.example/": 40})
