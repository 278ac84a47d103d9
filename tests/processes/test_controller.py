"""The controller: what happens to the service when it dies or hangs, and what it sees of others that do."""

import http.client
import os
import re
import signal
import time
from pathlib import Path

import httpx
import pytest
from support.clients import Load, both_workers
from support.lateness import at_best, judge
from support.service import (
    CLIENT,
    NEW,
    Running,
    configs,
    controller,
    is_ready,
    patched,
    put_in_force,
    replace_controller,
    running,
    status,
    wait_for,
    workers,
)

from redirect.config.loader import content_hash

# Seconds that the issue of a hanging or dead controller may be seen on the admin listener.
BACK_SECONDS = 5.0

# A service whose workers are expected to be there after 2 s, and take longer to exit than the master looks away.
SLOW_TO_EXIT = """
import time
from redirect.processes import master, worker

def ignore_signals(ignore=worker._ignore_signals):
    ignore()
    time.sleep(1.5)

master.START_MS = 2000
worker._ignore_signals = ignore_signals
"""

A_LITTLE = 1.5  # for a busy machine


def metric(service: Running, name: str) -> float:
    """The value of the metric with that name and labels."""
    text = CLIENT.get(f"{service.admin_url}/metrics").text
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
    return float(line.rpartition(" ")[2])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@at_best
def test_a_controller_that_dies_or_hangs_under_load(how: signal.Signals, tmp_path: Path) -> None:
    """No request fails, the page and the metrics are back within five seconds, and no counter is lost."""
    with running(tmp_path) as service, Load(service) as load:
        wait_for(lambda: load.answered > 100)
        before = controller(service)
        os.kill(before, how)
        began = time.monotonic()
        answers = [httpx.get(f"{service.admin_url}{path}", timeout=30) for path in ("/", "/metrics")]
        judge(time.monotonic() - began, BACK_SECONDS + A_LITTLE)
        assert [answer.status_code for answer in answers] == [200, 200]
        assert controller(service) not in (0, before)
        load.end()
        wait_for(lambda: metric(service, "redirect_request_duration_seconds_count") == load.answered)
        assert load.faults == []
        reason = "died" if how == signal.SIGKILL else "hung"
        assert metric(service, f'redirect_processes_{reason}_total{{process="controller"}}') == 1
        assert 0 <= metric(service, "redirect_controller_last_seen_seconds") < 1
    assert f"(pid: {before}) {'ended' if how == signal.SIGKILL else 'shows no heartbeat'}" in service.stderr()


@at_best
def test_a_worker_that_hangs_is_reported_and_replaced(tmp_path: Path) -> None:
    """A worker without a heartbeat is reported and counted within five seconds, and replaced within
    REDIRECT_WORKER_TIMEOUT."""
    with running(tmp_path, REDIRECT_WORKER_TIMEOUT="6") as service:
        hung = min(both_workers(service))
        began = time.monotonic()
        os.kill(hung, signal.SIGSTOP)
        wait_for(lambda: f"worker (pid: {hung}) shows no heartbeat" in service.stderr())
        judge(time.monotonic() - began, BACK_SECONDS + A_LITTLE)
        assert metric(service, 'redirect_processes_hung_total{process="worker"}') == 1
        assert metric(service, f'redirect_worker_last_seen_seconds{{worker="{hung}"}}') > 2
        wait_for(lambda: hung not in workers(service))
        judge(time.monotonic() - began, 6 + A_LITTLE)
        both_workers(service)
        assert CLIENT.get(service.url).status_code == 302
        assert "was sent SIGKILL" not in service.stderr()  # by the master, and not as memory ran out


def test_a_worker_that_has_served_for_long_and_ends_in_order_does_not_hang(tmp_path: Path) -> None:
    """However long ago it was to have begun: here after 2 s, and the end of a process takes a while."""
    command = patched(SLOW_TO_EXIT)
    with running(tmp_path, command=command) as service:
        before = both_workers(service)
        time.sleep(5)
        service.process.send_signal(signal.SIGHUP)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before))
        assert "heartbeat" not in service.stderr()
        assert metric(service, 'redirect_processes_hung_total{process="worker"}') == 0


def test_a_worker_that_was_killed_is_counted(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        os.kill(min(both_workers(service)), signal.SIGKILL)
        wait_for(lambda: metric(service, 'redirect_processes_died_total{process="worker"}') == 1)
        assert "was sent SIGKILL! Perhaps out of memory?" in service.stderr()
        before = both_workers(service)
        service.process.send_signal(signal.SIGHUP)  # workers that end in order are not
        wait_for(lambda: len(workers(service)) == 2 and not workers(service) & before)
        assert metric(service, 'redirect_processes_died_total{process="worker"}') == 1


def test_a_master_that_hangs_is_seen(tmp_path: Path) -> None:
    """The controller reports a master without a heartbeat, and the service goes on."""
    with running(tmp_path) as service:
        service.process.send_signal(signal.SIGSTOP)
        wait_for(lambda: "shows no heartbeat" in service.stderr())
        assert metric(service, "redirect_master_last_seen_seconds") > 3
        assert CLIENT.get(service.url).status_code == 302
        service.process.send_signal(signal.SIGCONT)
        wait_for(lambda: metric(service, "redirect_master_last_seen_seconds") < 2)
        assert re.search(r"controller .* shows no heartbeat", service.stderr()) is None  # after a pause all are late
        assert service.stop() == 0


def test_a_service_that_was_stopped_and_goes_on_keeps_its_processes(tmp_path: Path) -> None:
    """As by Ctrl-Z and fg, or a machine that slept. Children that go on wake the master, which looks again at once."""
    with running(tmp_path, REDIRECT_WORKER_TIMEOUT="5") as service:
        children = [*both_workers(service), controller(service)]
        for pid in (service.process.pid, *children):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(6)
        for pid in (service.process.pid, *children):
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.02)
        wait_for(lambda: metric(service, "redirect_master_last_seen_seconds") < 2)
        time.sleep(1)
        assert [*workers(service), controller(service)] == children
        assert "heartbeat" not in service.stderr()


# Serves, and in workers what was published cannot be applied while there is a file.
STUBBORN = """
import os
from pathlib import Path
from redirect.processes import updates
def refuse(*arguments, prepare=updates.balancers):
    if Path(os.environ["FAILS"]).exists():
        raise KeyError("boom")
    return prepare(*arguments)
updates.balancers = refuse
"""


def test_a_worker_that_cannot_apply_a_configuration_tries_again(tmp_path: Path) -> None:
    """As long as a worker differs for more than five seconds the last reload counts as failed; it tries again by
    itself."""
    fails = tmp_path / "fails"
    with running(tmp_path, command=patched(STUBBORN), FAILS=str(fails)) as service:
        name = "redirect_config_last_reload_successful"
        old = service.pools.read_bytes()
        fails.touch()
        service.pools.write_bytes(NEW)
        wait_for(lambda: metric(service, name) == 0)
        assert configs(service) == {content_hash(old)}
        fails.unlink()
        wait_for(lambda: configs(service) == {content_hash(NEW)})
        assert metric(service, name) == 1
    assert "KeyError: 'boom'" in service.stderr()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_controller_ends_with_the_master(how: signal.Signals, tmp_path: Path) -> None:
    """However the master ends, nothing probes or listens after it."""
    with running(tmp_path) as service:
        pid = controller(service)
        service.stop(how)
        wait_for(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())
        with pytest.raises(httpx.TransportError):
            CLIENT.get(f"{service.admin_url}/healthz")


def test_the_instance_is_shutting_down_until_its_last_worker_ends(tmp_path: Path) -> None:
    """While workers answer their last requests the admin listener says so."""
    with running(tmp_path) as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        connection.request("GET", "/")
        connection.getresponse().read()
        service.process.terminate()
        wait_for(lambda: not is_ready(service.admin_url))
        answer = CLIENT.get(f"{service.admin_url}/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "shutting down"})
        assert service.process.wait(30) == 0
        connection.close()


def test_a_controller_that_takes_over_has_the_configuration_and_its_error(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        put_in_force(service, NEW)
        service.pools.write_text("bad")
        wait_for(lambda: status(service)["configuration"]["last_error"] is not None)
        replace_controller(service)
        seen = status(service)["configuration"]
        assert (seen["hash"], "not TOML" in seen["last_error"]) == (content_hash(NEW), True)
        service.pools.write_bytes(NEW)
        wait_for(lambda: status(service)["configuration"]["last_error"] is None)


def test_an_instance_that_serves_is_ready_whichever_controller_is_asked(tmp_path: Path) -> None:
    """Also where one took the place of another while a worker hangs, which has not the newest configuration."""
    with running(tmp_path, REDIRECT_WORKER_TIMEOUT="60") as service:
        hung = min(both_workers(service))
        os.kill(hung, signal.SIGSTOP)
        service.pools.write_bytes(NEW)
        wait_for(lambda: content_hash(NEW) in configs(service))
        replace_controller(service)
        answer = CLIENT.get(f"{service.admin_url}/readyz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
        assert len(configs(service)) == 2  # the hung worker is still the same
        os.kill(hung, signal.SIGCONT)
