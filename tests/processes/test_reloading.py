"""Another TOML in a running service: in force in every worker, by itself, and no request notices."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from support.clients import Load, both_workers
from support.service import (
    CLIENT,
    NEW,
    Running,
    configs,
    controller,
    ended,
    is_ready,
    patched,
    put_in_force,
    running,
    status,
    wait_for,
    workers,
)

from redirect.config.loader import content_hash

CLIENTS = 8


def pools(*origins: str, **more: Any) -> bytes:
    return tomli_w.dumps({"p": {"weighted_hosts": dict.fromkeys(origins, 1), "is_default": True, **more}}).encode()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, pools={"p": {"weighted_hosts": {"old": 1}, "is_default": True}}) as service:
        both_workers(service)
        yield service


def elsewhere(load: Load, location: str) -> int:
    """How many were not sent there; one of each client's answers may have been on its way when it was."""
    return sum(each != location for each in load.locations)


def test_a_changed_file_is_in_force(service: Running) -> None:
    """A file that is replaced is in force in every worker, without another process, and its records say so."""
    before = workers(service)
    with Load(service, CLIENTS) as load:
        for n in range(3):
            put_in_force(service, pools(f"new-{n}"))
            load.locations.clear()
            wait_for(lambda: len(load.locations) > 200)
            assert elsewhere(load, f"http://new-{n}/") <= CLIENTS
    assert load.faults == []
    assert workers(service) == before
    wait_for(lambda: CLIENT.get(f"{service.admin_url}/stats").json()["pools"]["p"]["origins"]["new-2"]["picks"] > 200)
    last = json.loads(service.lines()[-1])
    assert (last["origin"], last["config"]) == ("new-2", content_hash(pools("new-2")))


def test_a_bad_file_changes_nothing(service: Running) -> None:
    """A bad file leaves in force what was, is told with its place, and the good bytes put back are as before."""
    good = service.pools.read_bytes()
    for bad, told in (
        (pools("new", status=200), f"{service.pools}:3:10: p.status: "),
        (b"", f"{service.pools}:1:1: "),
        (None, f"{service.pools}:1:1: cannot be read: No such file or directory"),
    ):
        service.pools.unlink() if bad is None else service.pools.write_bytes(bad)
        wait_for(lambda: told in (status(service)["configuration"]["last_error"] or ""))  # noqa: B023
        assert "redirect_config_last_reload_successful 0" in CLIENT.get(f"{service.admin_url}/metrics").text
        assert CLIENT.get(service.url).headers["location"] == "http://old/"
        assert configs(service) == {content_hash(good)}
        service.pools.write_bytes(good)
        wait_for(lambda: status(service)["configuration"]["last_error"] is None)
        assert "redirect_config_last_reload_successful 1" in CLIENT.get(f"{service.admin_url}/metrics").text


# Serves with a fault of ours: who reads a file with "boom" in it raises what nobody expects.
FAULTY = """
from redirect.config.loader import Loader
def faulty(loader, content, parse=Loader.parse):
    if b"boom" in content: raise KeyError(content)
    return parse(loader, content)
Loader.parse = faulty
"""


def test_a_fault_of_ours_changes_nothing(tmp_path: Path) -> None:
    """A fault of this service that a file brings to light is logged and told, and changes nothing else."""
    with running(tmp_path, command=patched(FAULTY)) as service:
        service.pools.write_bytes(pools("boom"))
        wait_for(lambda: "a fault of this service" in (status(service)["configuration"]["last_error"] or ""))
        assert "KeyError" in service.stderr()
        assert CLIENT.get(service.url).status_code == 302
        put_in_force(service, NEW)


def test_a_worker_that_dies_while_the_file_is_bad(service: Running) -> None:
    """A worker that takes another's place has the last good configuration, not that of the start, and no bad one."""
    put_in_force(service, NEW)
    service.pools.write_bytes(b"no TOML")
    wait_for(lambda: status(service)["configuration"]["last_error"] is not None)
    before = workers(service)
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    wait_for(lambda: len(workers(service) - before) == 2 if is_ready(service.admin_url) else False)
    assert CLIENT.get(service.url).headers["location"] == "http://new/"
    assert configs(service) == {content_hash(NEW)}


def test_reload_on_demand(service: Running) -> None:
    """POST /reload answers once the file is in force in every worker, or says why it is not."""
    service.pools.write_bytes(NEW)
    answer = CLIENT.post(f"{service.admin_url}/reload", timeout=30)
    assert (answer.status_code, answer.json()) == (200, {"path": str(service.pools), "hash": content_hash(NEW)})
    assert configs(service) == {content_hash(NEW)}
    assert CLIENT.post(f"{service.admin_url}/reload", timeout=30).status_code == 200  # the same again

    service.pools.write_bytes(pools("new", status=200))
    refused = CLIENT.post(f"{service.admin_url}/reload", timeout=30)
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith(f"{service.pools}:3:10: p.status: ")


def redirect_reload(service: Running, **variables: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    bind = service.admin_url.removeprefix("http://")
    done = ended(sys.executable, "-m", "redirect", "reload", "--admin-bind", bind, **variables)
    return done.returncode, done.stdout + done.stderr


def test_the_command(service: Running) -> None:
    """redirect reload says what is in force, or what is wrong, with exit code 1."""
    service.pools.write_bytes(NEW)
    assert redirect_reload(service) == (0, f"{service.pools} is in force: {content_hash(NEW)}\n")
    service.pools.write_bytes(b"no TOML")
    code, said = redirect_reload(service)
    assert (code, said.startswith(f"{service.pools}:1:4: ")) == (1, True), said


def test_the_command_sends_the_token(tmp_path: Path) -> None:
    """redirect reload sends the token that it has in its environment."""
    with running(tmp_path, REDIRECT_ADMIN_TOKEN="s3cret") as service:
        assert redirect_reload(service, REDIRECT_ADMIN_TOKEN="s3cret")[0] == 0
        code, said = redirect_reload(service)
        assert (code, "REDIRECT_ADMIN_TOKEN" in said) == (1, True)


def test_the_command_where_nothing_runs(service: Running) -> None:
    """redirect reload says where it asked if nobody answers, and that there has to be an admin listener."""
    service.stop()
    code, said = redirect_reload(service)
    assert (code, "does the service run there?" in said) == (1, True)
    assert ended(sys.executable, "-m", "redirect", "reload", "--admin-bind", "off").returncode == 2


def test_reload_is_not_for_pages_from_elsewhere(service: Running) -> None:
    """What a page from elsewhere has a browser send is refused."""
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert CLIENT.post(f"{service.admin_url}/reload", headers=headers).status_code == 403


def test_a_large_configuration(service: Running) -> None:
    """A configuration that takes a while to read is in force like any other, and requests are answered meanwhile."""
    many = {f"pool-{n}": {"weighted_hosts": {"a": 1, "b": 2}} for n in range(5000)}
    with Load(service, CLIENTS) as load:
        put_in_force(service, NEW + tomli_w.dumps(many).encode())
        load.locations.clear()
        wait_for(lambda: len(load.locations) > 50)
        assert elsewhere(load, "http://new/") <= CLIENTS
    assert load.faults == []


def test_a_file_that_is_replaced_all_the_time(service: Running) -> None:
    """While the file is replaced again and again, no request is lost, and the last one is in force in the end."""
    with Load(service, CLIENTS) as load:
        for n in range(60):
            (service.pools.parent / "aside").write_bytes(pools(f"new-{n}"))
            (service.pools.parent / "aside").replace(service.pools)
            threading.Event().wait(0.05)
        wait_for(lambda: configs(service) == {content_hash(pools("new-59"))})
    assert load.faults == []
    assert len(load.locations) > 100


# The file system of the TOML does not answer while there is a file.
STALLED = """
import os, time
from pathlib import Path
from redirect.admin import app
from redirect.control import file_provider, publisher
publisher.HUNG_SECONDS, app.LONGEST_RELOAD = 0.5, 1

def stall(*arguments, stat=os.stat, **options):
    while Path(os.environ["STALLS"]).exists():
        time.sleep(0.02)
    return stat(*arguments, **options)

class Stalling:
    def __getattr__(self, name, real=os):
        return stall if name == "stat" else getattr(real, name)

file_provider.os = Stalling()
"""


def test_a_file_system_that_does_not_answer_is_told_and_stops_nothing_but_reloads(tmp_path: Path) -> None:
    stalls, name = tmp_path / "stalls", "redirect_config_last_reload_successful"
    served = {"p": {"weighted_hosts": {"old": 1, "new": 0}, "is_default": True}}
    with running(tmp_path, pools=served, command=patched(STALLED), STALLS=str(stalls)) as service:
        before = controller(service)
        stalls.touch()
        reason = f"{service.pools}: not read, as its file system has not answered for 0.5 s"
        wait_for(lambda: status(service)["configuration"]["last_error"] == reason)
        text = CLIENT.get(f"{service.admin_url}/metrics").text
        assert 'redirect_processes_hung_total{process="file"} 1.0' in text
        assert f"{name} 0.0" in text
        refused = CLIENT.post(f"{service.admin_url}/reload", timeout=30)
        assert (refused.status_code, refused.json()["detail"]) == (503, f"not in force after 1 s: {reason}")
        wanted = {"pool": "p", "origin": "new", "to": 100}
        assert CLIENT.post(f"{service.admin_url}/weights", json=wanted, timeout=30).status_code == 200
        wait_for(lambda: CLIENT.get(f"{service.url}/").headers["location"] == "http://new/")
        stalls.unlink()
        wait_for(lambda: status(service)["configuration"]["last_error"] is None)
        assert f"{name} 1.0" in CLIENT.get(f"{service.admin_url}/metrics").text
        assert service.stderr().count(reason) == 1
        assert service.stderr().count(f"the look at {service.pools} ended after") == 1
        assert controller(service) == before
