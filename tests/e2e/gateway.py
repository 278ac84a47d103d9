"""A stack whose routes forward: nginx with its configuration for that, three replicas, two origins."""

from http.client import HTTPConnection
from pathlib import Path

from support.compose import ROOT

from .stack import Stack

ORIGINS = ("origin-a", "origin-b")

TOML = """\
[[routes]]
path_prefix = "/"
forward_to = "both"

[[routes]]
path_prefix = "/a"
forward_to = "a"
strip_prefix = true

[[routes]]
path_prefix = "/nowhere"
forward_to = "nowhere"

[[routes]]
path_prefix = "/moved"
redirect_to = "moved"

[both]
weighted_hosts = { "origin-a:8080" = 1, "origin-b:8080" = 1 }

[a]
weighted_hosts = { "origin-a:8080" = 1 }

[nowhere]
weighted_hosts = { "127.0.0.1:1" = 1 }

[moved]
weighted_hosts = { "moved.example.com" = 1 }
"""

OVERRIDE = """\
x-origin: &origin
  image: python:3.14-slim
  user: nobody
  read_only: true
  environment: {{PYTHONPATH: /tests, PYTHONDONTWRITEBYTECODE: "1"}}
  volumes: ["{tests}:/tests:ro"]
  command: [python, /tests/e2e/origin.py]

services:
  redirect:
    volumes: !override ["{folder}:/etc/redirect:ro"]
  origin-a: *origin
  origin-b: *origin
"""


class GatewayStack(Stack):
    def __init__(self, folder: Path) -> None:
        configured = folder / "configured"
        configured.mkdir()
        (configured / "redirect_pools_config.toml").write_text(TOML)
        override = folder / "override.yml"
        override.write_text(OVERRIDE.format(tests=ROOT / "tests", folder=configured))
        for readable in (folder, configured):
            readable.chmod(0o755)  # the containers' user is not ours
        super().__init__(
            override, services=("nginx", "redirect", *ORIGINS), REDIRECT_NGINX_CONF=str(ROOT / "nginx.gateway.conf")
        )

    def asked(self) -> dict[str, list[str]]:
        """By request id, method and target of the requests that have reached any origin."""
        asked: dict[str, list[str]] = {}
        for origin in (each for name in ORIGINS for each in self.containers(name)):
            for line in self.log_lines(origin):
                request_id, _, rest = line.partition(" ")
                asked.setdefault(request_id, []).append(rest)
        return asked

    def get(self, target: str) -> bytes:
        """The body of an answer that is good."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            connection.request("GET", target)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        assert response.status == 200, body
        return body
