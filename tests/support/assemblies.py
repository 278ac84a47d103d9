"""An assembly of misc/assemblies on a real engine: brought up by its own compose.yml, asked, taken down.

The rule: what is asked for is what its README shows; only the port and the tags of its images are of the test. So in
each assembly the gateway is the service `gateway`, its port is `GATEWAY_PORT`, and the images that it builds are
`${IMAGE_PREFIX:-local}/…`.
"""

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPMessage
from typing import Any, NamedTuple

from support.compose import ROOT, ComposeProject, until

ASSEMBLIES = ROOT / "misc" / "assemblies"

# Docker's limit until it kills is 10 s; what hears SIGTERM needs none of that.
SECONDS_TO_STOP = 8


class Answer(NamedTuple):
    status: int
    headers: HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Assembly(ComposeProject):
    """`more` are compose files of its folder on top of compose.yml; `variables` those of its environment."""

    def __init__(self, name: str, *more: str, **variables: str) -> None:
        self.folder = ASSEMBLIES / name
        files = [self.folder / each for each in ("compose.yml", *more)]
        super().__init__(f"redirect-{name}", files, entrance="gateway", GATEWAY_PORT="0", **variables)
        self.environment["IMAGE_PREFIX"] = self.project

    def up(self) -> None:
        """Returns when all services are healthy."""
        self.compose("up", "--detach", "--build", "--wait", "--quiet-pull", timeout=900)
        self.find_port()

    def down(self) -> None:
        """Removes the images that were built, too, and no other."""
        images = [each for each in self.compose("config", "--images").split() if each.startswith(f"{self.project}/")]
        super().down()
        self.docker("image", "rm", "--force", *images, check=False)  # where a build failed, some are not there

    def services(self) -> dict[str, Any]:
        """What compose makes of the files, by the name of a service."""
        services: dict[str, Any] = json.loads(self.compose("config", "--format", "json"))["services"]
        return services

    def ask(
        self,
        target: str,
        method: str = "GET",
        *,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = 30,
    ) -> Answer:
        """What the gateway answers, on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, target, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def record(self, request_id: str) -> dict[str, Any]:
        """The gateway's access record of the request with that X-Request-ID, once it is there."""

        def found() -> list[dict[str, Any]]:
            (gateway,) = self.containers("gateway")
            lines = [line for line in self.log_lines(gateway) if request_id in line]
            return [record for record in map(json.loads, lines) if record["request_id"] == request_id]

        return until(found, lambda records: bool(records), f"the record of {request_id}")[0]

    def logs(self, service: str) -> str:
        """What the containers of a service wrote, to standard output and error."""
        return self.compose("logs", "--no-color", "--no-log-prefix", service)

    def weaknesses(self) -> list[str]:
        """What services may do that none needs: be root, write to their files, have or gain capabilities; and health
        checks that are missing, or want a program that slim images have not."""
        found = []
        for name, service in self.services().items():
            if not service.get("read_only"):
                found.append(f"{name}: its files are not read-only")
            if service.get("cap_drop") != ["ALL"]:
                found.append(f"{name}: it has capabilities")
            if "no-new-privileges" not in " ".join(service.get("security_opt", ())):
                found.append(f"{name}: it may gain privileges")
            check = " ".join(service.get("healthcheck", {}).get("test", ()))
            if not check or "curl" in check:
                found.append(f"{name}: its health check is {check!r}")
            if service.get("privileged") or service.get("pid") or service.get("network_mode"):
                found.append(f"{name}: it shares what is the host's")
        label = '{{index .Config.Labels "com.docker.compose.service"}}'
        for container in self.compose("ps", "--all", "--quiet").split():
            inspected = self.docker("inspect", "--format", f"{label} {{{{.Config.User}}}}", container).stdout
            name, _, user = inspected.strip().partition(" ")
            if not user.partition(":")[0].isdigit() or user.startswith("0"):
                found.append(f"{name}: its user {user!r} is no number, or root's")
        return found

    def deaf(self) -> list[str]:
        """Stops all services, and returns those that did not end by themselves when they got TERM."""
        self.compose("stop", "--timeout", str(SECONDS_TO_STOP), timeout=120)
        ended = [json.loads(line) for line in self.compose("ps", "--all", "--format", "json").splitlines()]
        assert ended
        return [f"{each['Service']}: exit code {each['ExitCode']}" for each in ended if each["ExitCode"] == 137]
