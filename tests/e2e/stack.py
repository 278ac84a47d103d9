"""The compose stack of the repository: nginx, three replicas, nine origins, a load test."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from support.compose import ROOT, ComposeProject, until

POOLS: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "redirect_pools_config.toml").read_text())

REPLICAS = 3
WORKERS = 2 * REPLICAS


class Answer(NamedTuple):
    status: int
    location: str | None
    content_type: str | None


class Stack(ComposeProject):
    """`more` are compose files on top of the usual one; of `services` none means all."""

    def __init__(self, *more: Path, services: Sequence[str] = (), **variables: str) -> None:
        # Port 0: the engine takes one that is free, which no other process can take in between.
        variables = {"REDIRECT_PORT": "0", "WRK_DURATION": "5s", **variables}
        files = (ROOT / "docker-compose.yml", *more)
        super().__init__("redirect-e2e", files, entrance="nginx", services=services, **variables)

    def up(self) -> None:
        """Returns when nginx and all replicas are healthy; wrk waits for them, and runs on."""
        waiting = ["--wait"] if self._services else []  # for wrk as well, if it is among them
        self.compose("up", "--detach", "--build", "--quiet-pull", *waiting, *self._services, timeout=900)
        self.find_port()

    def scale(self, replicas: int) -> None:
        self.compose("up", "--detach", "--no-recreate", "--scale", f"redirect={replicas}", "redirect", timeout=120)

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
