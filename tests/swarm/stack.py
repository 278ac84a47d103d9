"""The stack of misc/swarm on this machine's engine, under a name of its own.

The rule: at the end there is no service, config, network or image of it, and no swarm that was not there before. Others
may use the engine meanwhile.
"""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event
from typing import Any

from support.compose import ROOT, until

REPLICAS = 2
CLIENTS = 4


class SwarmStack:
    def __init__(self, folder: Path) -> None:
        self.name = f"redirect-swarm-{secrets.token_hex(4)}"
        self.port = 0
        self._pools = folder / "pools.toml"
        self._service = f"{self.name}_redirect"
        self._environment = {
            **os.environ,
            "STACK": self.name,
            "REDIRECT_IMAGE": self.name,
            "REDIRECT_POOLS": str(self._pools),
            "REDIRECT_REPLICAS": str(REPLICAS),
            "REDIRECT_PORT": "0",  # 0: the engine takes one that is free
        }

    def up(self, pools: str) -> None:
        self.run("docker", "build", "--quiet", "--tag", self.name, str(ROOT))
        if "inactive" in self.run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}"):
            self.run("docker", "swarm", "init", "--advertise-addr", "127.0.0.1")
        self.deploy(pools)
        self.scale(REPLICAS)
        (nginx,) = until(lambda: self._healthy("nginx"), bool, "nginx is ready", 60)
        addresses = self.run("docker", "port", nginx, "8080").split()  # those of IPv4 and IPv6 may have other ports
        (self.port,) = (int(each.rpartition(":")[2]) for each in addresses if each.startswith("0.0.0.0:"))
        until(self._ask, lambda status: status == 302, "nginx has found the replicas", 30)

    def down(self) -> None:
        if "inactive" in self.run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}"):
            return
        self.run("docker", "stack", "rm", self.name)
        label = f"label=com.docker.stack.namespace={self.name}"
        until(lambda: self.run("docker", "ps", "--all", "--quiet", "--filter", label), lambda ids: not ids, "gone", 60)
        self.run("docker", "image", "rm", self.name)
        if not self.run("docker", "stack", "ls", "--format", "{{.Name}}"):  # another one may have been deployed since
            self.run("docker", "swarm", "leave", "--force")
            self.run("docker", "network", "rm", "docker_gwbridge")

    def deploy(self, pools: str) -> None:
        self._pools.write_text(pools)
        self.run(str(ROOT / "misc/swarm/deploy"), "--resolve-image", "never")

    def rotate(self, pools: str) -> str:
        """Deploys other pools, and returns how the update of the replicas ended."""
        before = self._update().get("StartedAt")
        self.deploy(pools)
        return self._end_of_update(before)

    def roll_back(self) -> str:
        """Goes back to what was deployed before, and returns how that ended."""
        before = self._update()["StartedAt"]
        self.run("docker", "service", "rollback", "--detach", self._service)
        return self._end_of_update(before)

    def scale(self, replicas: int) -> None:
        """Returns when there are so many, all of them ready."""
        self.run("docker", "service", "scale", "--detach", f"{self._service}={replicas}")
        until(lambda: self._healthy("redirect"), lambda found: len(found) == replicas, f"{replicas} replicas", 60)

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout.strip()

    def _ask(self) -> int | None:
        """The status of an answer; None if there is none, as where the engine has published no port yet."""
        try:
            with closing(HTTPConnection("127.0.0.1", self.port, timeout=15)) as connection:
                connection.request("GET", "/")
                return connection.getresponse().status
        except (OSError, HTTPException):
            return None

    def _healthy(self, service: str) -> list[str]:
        label = f"label=com.docker.swarm.service.name={self.name}_{service}"
        return self.run("docker", "ps", "--quiet", "--filter", "health=healthy", "--filter", label).split()

    def _update(self) -> dict[str, Any]:
        status: dict[str, Any] = (
            json.loads(self.run("docker", "service", "inspect", self._service, "--format", "{{json .UpdateStatus}}"))
            or {}
        )
        return status

    def _end_of_update(self, before: str | None) -> str:
        ended = until(
            self._update, lambda status: status.get("StartedAt") != before and "CompletedAt" in status, "updated", 90
        )
        return str(ended["State"])


def pools(origin: str) -> str:
    """A TOML with that origin alone."""
    return f'[pool]\nis_default = true\nweighted_hosts = {{ "{origin}" = 1 }}\n'


@contextmanager
def traffic(port: int) -> Iterator[list[str]]:
    """Clients while something else goes on. Yields where they were redirected to, or what failed, as it comes."""
    got, is_over = list[str](), Event()

    def client() -> None:
        with closing(HTTPConnection("127.0.0.1", port, timeout=15)) as connection:
            while not is_over.wait(0.002):
                try:
                    connection.request("GET", "/")
                    response = connection.getresponse()
                    response.read()
                    got.append(response.headers["location"] or f"status {response.status}")
                except (OSError, HTTPException) as error:
                    got.append(repr(error))
                    connection.close()

    with ThreadPoolExecutor(CLIENTS) as executor:
        clients = [executor.submit(client) for _ in range(CLIENTS)]
        try:
            yield got
        finally:
            is_over.set()
    for each in clients:
        each.result()
