"""The life of a pod, without a cluster: the service with the manifest's own values, and what a kubelet does to it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.clients import Client, clients_of_both, drains
from support.service import CLIENT, Running, running, wait_for

from .manifests import container, variables

pytestmark = [pytest.mark.processes, pytest.mark.slow]

TOML = '[pool]\nis_default = true\nweighted_hosts = { "%s" = 1 }\n'


class ConfigMapVolume:
    """A mounted ConfigMap as a kubelet writes it: a folder with the time in its name, which the link `..data` leads to,
    and a link to each file behind that. An update is another folder and a rename of `..data`; then the old one goes."""

    def __init__(self, folder: Path, toml: str) -> None:
        self.path = folder / Path(variables("base")["REDIRECT_POOLS_CONFIG_PATH"]).name
        self._data = folder / "..data"
        self._updates = 0
        folder.mkdir()
        self.update(toml)
        self.path.symlink_to(f"..data/{self.path.name}")

    def update(self, toml: str) -> None:
        before = self._data.resolve()
        self._updates += 1
        new = self._data.parent / f"..2026_11_26_15_00_{self._updates:02}.1234567890"
        new.mkdir()
        (new / self.path.name).write_text(toml)
        (self._data.parent / "..data_tmp").symlink_to(new.name)
        (self._data.parent / "..data_tmp").rename(self._data)
        if before.is_dir() and self._updates > 1:
            (before / self.path.name).unlink()
            before.rmdir()


@pytest.fixture
def volume(tmp_path: Path) -> ConfigMapVolume:
    return ConfigMapVolume(tmp_path / "etc", TOML % "first")


@pytest.fixture
def service(volume: ConfigMapVolume, tmp_path: Path) -> Iterator[Running]:
    ours = variables("base")
    del ours["REDIRECT_ADMIN_BIND"]  # the port is of the test
    ours["REDIRECT_POOLS_CONFIG_PATH"] = str(volume.path)
    ours["REDIRECT_GRACEFUL_TIMEOUT"] = "60"  # on a slow machine no client comes too late
    with running(tmp_path, command=drains(30), **ours) as service:
        yield service


def test_a_pod_that_is_ready_answers(service: Running) -> None:
    """The first request behind the first 200 of /readyz."""
    assert CLIENT.get(service.url).headers["location"] == "http://first/"


def test_a_changed_configmap_is_in_force_and_no_request_fails(volume: ConfigMapVolume, service: Running) -> None:
    with clients_of_both(service) as clients:
        for origin in ("second", "third"):
            volume.update(TOML % origin)
            wait_for(partial(are_redirected, clients, origin), 20)


def test_a_pod_serves_through_prestop_and_then_leaves_in_order(service: Running) -> None:
    prestop = container("base")["lifecycle"]["preStop"]["exec"]["command"]
    with clients_of_both(service) as clients:
        with subprocess.Popen(prestop) as running_hook:
            while running_hook.poll() is None:
                assert asked(clients) == {b"http://first/next"}
                assert CLIENT.get(service.url).status_code == 302
                assert CLIENT.get(f"{service.admin_url}/readyz").status_code == 200
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: service.stderr().count("Waiting for connections to close") == 2)
        assert CLIENT.get(f"{service.admin_url}/readyz").status_code == 503
        for client in clients:
            assert b"\r\nconnection: close\r\n" in client.ask()
            assert client.is_ended()
        assert service.process.wait(10) == os.EX_OK


def are_redirected(clients: list[Client], origin: str) -> bool:
    return asked(clients) == {f"http://{origin}/next".encode()}


def asked(clients: list[Client]) -> set[bytes]:
    """Where all of them are redirected to, on connections that go on; fails where one ends."""
    answers = [client.ask() for client in clients]
    assert not any(b"\r\nconnection: close\r\n" in answer for answer in answers)
    return {answer.partition(b"\r\nlocation: ")[2].partition(b"\r\n")[0] for answer in answers}
