"""The service as it is deployed: nginx and replicas of a compose stack, under a name and a port of its own.

The rule: whatever happens, nothing of it is left. It differs from `docker compose up` in three things: there is no
load test and no origin, the admin listener has a token so that we may ask for processes, and the configuration is in a
folder of its own, so that it can be replaced. Containers are asked at their own addresses, as they are on an
engine of this machine: what a published port costs (a proxy in user space) is not what is measured.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from admin import Admin
from configuration import GOOD, PoolsFile
from traffic import ROOT, Target

REPLICAS = 2
WORKERS = 2  # of each, as docker-compose.yml has it

PAUSE_ATTEMPTS = 5

OVERRIDE = """\
services:
  nginx: {{{group}}}
  redirect:
    {group}
    volumes: !override ["{folder}:/etc/redirect:ro"]
    deploy: {{replicas: {replicas}}}
"""

# Under systemd each container has a control group beside the engine's, and as much CPU time as that if all want some.
# An engine that manages the groups itself has one for all containers, which get as much together as one process.
GROUPS = {"cgroupfs": "cgroup_parent: /"}


class Replica(NamedTuple):
    """A container that runs the service."""

    id: str
    state: dict[str, Any]  # as `docker inspect` has it
    admin: Admin


class Stack:
    def __init__(self, folder: Path) -> None:
        self.project = f"redirect-faults-{secrets.token_hex(4)}"
        self._token = secrets.token_hex(16)
        self._environment = {**os.environ, "REDIRECT_PORT": "0", "REDIRECT_ADMIN_TOKEN": self._token}
        self._override = folder / "override.yml"
        configured = folder / "configured"
        configured.mkdir()
        self.pools = PoolsFile(configured / "redirect_pools_config.toml")
        self.pools.put(GOOD)
        group = GROUPS.get(self.docker("info", "--format", "{{.CgroupDriver}}").strip(), "")
        self._override.write_text(OVERRIDE.format(folder=configured, replicas=REPLICAS, group=group))
        for readable in (folder, configured):
            readable.chmod(0o755)  # the containers' user is not ours

    @property
    def target(self) -> Target:
        (nginx,) = self._inspect(self.compose("ps", "--quiet", "nginx").split())
        return Target(_address(nginx), 8080)

    def up(self) -> None:
        """Returns when nginx and all replicas are healthy."""
        self.compose("up", "--detach", "--build", "--quiet-pull", "--wait", "nginx", "redirect", timeout=900)

    def down(self) -> None:
        try:
            self.compose("down", "--volumes", "--remove-orphans", "--rmi", "local", timeout=120)
        except RuntimeError as error:
            if "has active endpoints" not in str(error) or self._replicas():
                raise
            # Engines may miscount what is in a network (moby, issue 43286), and keep it, empty, until they restart.
            print(f"an empty network of {self.project} stays until the engine restarts: {error}", file=sys.stderr)

    def scale(self, replicas: int) -> None:
        self.compose("up", "--detach", "--no-recreate", "--scale", f"redirect={replicas}", "redirect", timeout=120)

    def replicas(self) -> list[Replica]:
        """Those that run, as they are now: one that starts again may have another address."""
        return [each for each in self._replicas() if each.state["Running"]]

    def replica(self, container: str) -> Replica:
        return self._replica(*self._inspect([container]))

    def admins(self) -> Sequence[Admin]:
        return [replica.admin for replica in self.replicas()]

    def kill(self, replica: Replica, process: int) -> None:
        """kill -9 of a process of a replica, which has that id there. From outside, where we may: to get a process into
        a container takes the engine more CPU time than the replica needs to recover."""
        try:
            (outside,) = (each for each in _children(replica.state["Pid"]) if _id_inside(each) == process)
            os.kill(outside, signal.SIGKILL)
        except (OSError, ValueError):
            self.docker("exec", replica.id, "sh", "-c", f"kill -9 {process}")

    def pause(self, replica: Replica) -> None:
        """The engine cannot where the container starts processes at that moment, as its health check does."""
        for left in reversed(range(PAUSE_ATTEMPTS)):
            try:
                self.docker("pause", replica.id)
                return
            except RuntimeError as error:
                if "unable to freeze" not in str(error) or not left:
                    raise

    def compose(self, *arguments: str, timeout: float = 60) -> str:
        """Standard output of a compose command."""
        files = ("--file", str(ROOT / "docker-compose.yml"), "--file", str(self._override))
        return self.docker("compose", *files, "--project-name", self.project, *arguments, timeout=timeout)

    def docker(self, *arguments: str, timeout: float = 60) -> str:
        """Standard output of a command; in a session of its own, as Ctrl-C is ours to hear, and with what CPU time
        others leave: whoever restarts a replica does so from another machine."""
        done = subprocess.run(  # noqa: S603  our own words
            ["nice", "-n", "19", "docker", *arguments],  # noqa: S607
            env=self._environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            start_new_session=True,
        )
        if done.returncode:
            raise RuntimeError(f"docker {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")
        return done.stdout

    def logs(self) -> str:
        """The last lines of all containers, for a stack that does not start."""
        return self.compose("ps", "--all") + self.compose("logs", "--no-color", "--tail", "30")

    def _replicas(self) -> list[Replica]:
        labels = {"project": self.project, "service": "redirect"}
        ours = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        found = self.docker("ps", "--all", "--quiet", *ours).split()  # `compose ps` costs six times as much
        return [self._replica(each) for each in self._inspect(found)]

    def _replica(self, found: dict[str, Any]) -> Replica:
        return Replica(found["Id"], found["State"], Admin(_address(found), 9000, self._token))

    def _inspect(self, containers: Sequence[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", *containers))
        return found


def _address(found: dict[str, Any]) -> str:
    (network,) = found["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _id_inside(process: int) -> int:
    """The id that a process has in its own container, the last one of all namespaces that it is in."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("\nNSpid:")[2].partition("\n")[0].split()[-1])


@contextlib.contextmanager
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        started = Stack(Path(folder))
        try:
            try:
                started.up()
            except RuntimeError as failure:
                raise RuntimeError(f"{failure}\n{started.logs()}") from None
            yield started
        finally:
            with _undisturbed():
                started.down()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals to stop are not heard meanwhile: we stop already."""
    before = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
