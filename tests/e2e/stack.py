"""A compose stack of its own: brought up under its own name and port, asked, read, taken down.

The rule: nothing of it outlives the session that made it, and nothing in it clashes with a stack that runs already.
"""

import json
import os
import secrets
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

ROOT = Path(__file__).resolve().parents[2]
POOLS: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "redirect_pools_config.toml").read_text())

REPLICAS = 3
WORKERS = 2 * REPLICAS

T = TypeVar("T")


class Answer(NamedTuple):
    status: int
    location: str | None
    content_type: str | None


class Stack:
    """`more` are compose files on top of the usual one; of `services` none means all."""

    def __init__(self, *more: Path, services: Sequence[str] = (), **variables: str) -> None:
        self.project = f"redirect-e2e-{secrets.token_hex(4)}"
        # Port 0: the engine takes one that is free, which no other process can take in between.
        self.environment = {**os.environ, "REDIRECT_PORT": "0", "WRK_DURATION": "5s", **variables}
        self.port = 0
        self._files = [f"--file={each}" for each in (ROOT / "docker-compose.yml", *more)]
        self._services = services

    def up(self) -> None:
        """Returns when nginx and all replicas are healthy; wrk waits for them, and runs on."""
        waiting = ["--wait"] if self._services else []  # for wrk as well, if it is among them
        self.compose("up", "--detach", "--build", "--quiet-pull", *waiting, *self._services, timeout=900)
        self.port = int(self.compose("port", "nginx", "8080").split(":")[-1])

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--rmi", "local", timeout=120)

    def scale(self, replicas: int) -> None:
        self.compose("up", "--detach", "--no-recreate", "--scale", f"redirect={replicas}", "redirect", timeout=120)

    def compose(self, *arguments: str, timeout: float = 60, stdin: str | None = None) -> str:
        """Standard output of a compose command."""
        command = ("compose", *self._files, "--project-name", self.project, *arguments)
        return self.docker(*command, timeout=timeout, stdin=stdin).stdout

    def docker(
        self, *arguments: str, timeout: float = 60, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["docker", *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"docker {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")
        return done

    def containers(self, service: str) -> list[str]:
        """Ids of the containers of a service, those that have ended included."""
        return self.compose("ps", "--all", "--quiet", service).split()

    def print_logs(self) -> None:
        """For a start that failed; a replica's last lines say why it did not become healthy."""
        print(self.compose("ps", "--all"), file=sys.stderr)
        print(self.compose("logs", "--no-color", "--tail", "100"), file=sys.stderr)

    @contextmanager
    def connect(self) -> Iterator[HTTPConnection]:
        """A connection to nginx, kept alive."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            yield connection
        finally:
            connection.close()

    def run_inside(self, requests: Sequence[tuple[str, Mapping[str, str]]]) -> dict[str, Any]:
        """Sends `requests` (target, headers) from inside the network and follows them; see inside.py."""
        script = (Path(__file__).parent / "inside.py").read_text()
        output = self.compose("exec", "-T", "origin-1", "python", "-", json.dumps(requests), stdin=script)
        result: dict[str, Any] = json.loads(output)
        return result

    def scrape(self) -> dict[str, dict[str, int]]:
        """What the replicas' admin listeners tell others in their network, by address; see scrape.py."""
        script = (Path(__file__).parent / "scrape.py").read_text()
        found: dict[str, dict[str, int]] = json.loads(
            self.compose("exec", "-T", "origin-1", "python", "-", stdin=script)
        )
        return found

    def log_lines(self, container: str) -> list[str]:
        """What a replica wrote to standard output; `docker logs`, unlike compose's, keeps it apart from stderr."""
        return self.docker("logs", container).stdout.splitlines()

    def records(self, mark: str, count: int) -> list[dict[str, Any]]:
        """The access records of all replicas whose request id begins with `mark`, once there are `count`."""

        def marked() -> list[dict[str, Any]]:
            lines = [line for each in self.containers("redirect") for line in self.log_lines(each) if mark in line]
            records = [json.loads(line) for line in lines]
            return [each for each in records if each["request_id"].startswith(mark)]

        return until(marked, lambda found: len(found) >= count, f"{count} records of requests {mark}")


def ask(connection: HTTPConnection, target: str = "/", *, method: str = "GET", **headers: str | None) -> Answer:
    """Sends one request as it stands; headers in Python's spelling, X_Request_ID, those that are None left out."""
    connection.putrequest(method, target, skip_host="Host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        if value is not None:
            connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    response = connection.getresponse()
    response.read()
    return Answer(response.status, response.headers["location"], response.headers["content-type"])


def until(look: Callable[[], T], enough: Callable[[T], bool], what: str, seconds: float = 30) -> T:
    """What `look` finds as soon as it is enough."""
    deadline = time.monotonic() + seconds
    while not enough(found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}; last found: {found!r:.2000}")
        time.sleep(0.2)
    return found
