"""Origins that DNS finds in a network of docker compose, on a real engine: scaled to none and back under requests."""

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.compose import ROOT, ComposeProject, running, until

TOML = """\
[[routes]]
path_prefix = "/"
forward_to = "storage"

[[routes]]
path = "/status"
show = "status"

[[routes]]
path = "/readyz"
show = "readyz"

[storage]
discover = { name = "storage", port = 8080 }
health_check = { path = "/", interval = 1, fails = 2, passes = 1 }
"""

# The gateway is in a second network, so that Docker's DNS says at once that there is no such name.
COMPOSE = """\
networks:
  front: {{}}
  back: {{internal: true}}

services:
  gateway:
    build: {root}
    networks: [front, back]
    ports: ["127.0.0.1::8080"]
    volumes: ["{folder}:/etc/redirect:ro"]
    environment: {{REDIRECT_POOLS_CONFIG_PATH: /etc/redirect/dns.toml, REDIRECT_ADMIN_BIND: "off"}}
  storage:
    image: python:3.14-slim
    init: true
    networks: [back]
    scale: 2
    command: [python, -m, http.server, "8080", --directory, /srv]
"""

NONE = "DNS has no address of storage"


class Answer(NamedTuple):
    status: int
    retry_after: str | None
    body: bytes


class Dns(ComposeProject):
    def __init__(self, folder: Path) -> None:
        configured = folder / "configured"
        configured.mkdir()
        (configured / "dns.toml").write_text(TOML)
        file = folder / "compose.yml"
        file.write_text(COMPOSE.format(root=ROOT, folder=configured))
        for readable in (folder, configured):
            readable.chmod(0o755)  # the container's user is not ours
        super().__init__("redirect-dns", [file], entrance="gateway")

    def up(self) -> None:
        super().up()
        until(self._is_ready, bool, "the gateway is ready")

    def _is_ready(self) -> bool:
        try:
            return self.ask("/readyz").status == 200
        except (OSError, HTTPException):
            return False

    def scale(self, number: int) -> None:
        self.compose("up", "--detach", "--no-recreate", "--scale", f"storage={number}")

    def addresses(self) -> set[str]:
        """As the engine has them."""
        of_one = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return {
            self.docker("inspect", f"--format={of_one}", each).stdout.strip() for each in self.containers("storage")
        }

    def ask(self, target: str = "/") -> Answer:
        """What the gateway answers, on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            connection.request("GET", target, headers={"Accept": "application/json"})
            response = connection.getresponse()
            return Answer(response.status, response.headers["retry-after"], response.read())
        finally:
            connection.close()

    def pool(self) -> Any:
        """What `/status` has of the pool."""
        return json.loads(self.ask("/status").body)["pools"]["storage"]

    def states(self) -> dict[str, str]:
        return {name: origin["state"] for name, origin in self.pool()["origins"].items()}


# In place of a status.
CUT = 0


class Load:
    """A client that asks for as long as the block lasts."""

    def __init__(self, dns: Dns) -> None:
        self._dns, self._ended = dns, threading.Event()
        self.statuses: list[int] = []

    def __enter__(self) -> "Load":
        self._client = threading.Thread(target=self._ask)
        self._client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._client.join()

    def _ask(self) -> None:
        while not self._ended.wait(0.02):
            try:
                self.statuses.append(self._dns.ask().status)
            except HTTPException:  # the answer was cut
                self.statuses.append(CUT)

    def next(self, count: int) -> set[int]:
        """The statuses of the answers to come, those aside that are under way."""
        first = len(self.statuses) + 1
        until(lambda: len(self.statuses), lambda number: number >= first + count, f"{count} answers")
        return set(self.statuses[first : first + count])


@pytest.fixture
def dns(tmp_path: Path) -> Iterator[Dns]:
    with running(Dns(tmp_path)) as project:
        yield project


def up_at(dns: Dns) -> set[str]:
    """The addresses of all origins, once all of the engine's are up."""
    addresses = dns.addresses()
    until(dns.states, lambda found: found == dict.fromkeys(addresses, "up"), f"{addresses} are up")
    return addresses


def test_a_service_is_followed_from_two_to_none_to_one_under_requests(dns: Dns) -> None:
    """Each address is an origin. None is no fault: 503 says why; and what comes is used without a reload."""
    assert len(up_at(dns)) == 2
    until(lambda: dns.ask().status, lambda status: status == 200, "storage answers")
    with Load(dns) as load:
        assert load.next(20) == {200}
        dns.scale(0)
        until(dns.states, lambda found: found == {}, "no origin")
        assert load.next(20) == {503}
        answer, pool = dns.ask(), dns.pool()
        assert (answer.status, answer.retry_after is not None, NONE.encode() in answer.body) == (503, True, True)
        assert (pool["none_found"], pool["trouble"], pool["left_out"]) == (NONE, None, {})
        dns.scale(1)
        assert len(up_at(dns)) == 1
        until(lambda: dns.ask().status, lambda status: status == 200, "storage answers again")
        assert load.next(20) == {200}
    assert {*load.statuses} <= {200, 502, 503, CUT}  # what was sent to an origin that ended is 502, or cut
