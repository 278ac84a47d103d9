"""Lines of an access log that a test makes up."""

import sys
from typing import Any

from click.testing import Result

from redirect.telemetry.access_log import fit
from support import command
from support.logged import KEYS

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

RECORD: dict[str, Any] = {
    **dict.fromkeys(KEYS),
    "time": "2026-11-20T19:43:07.002Z",
    "level": "info",
    "pool": "pool-a",
    "origin": "origin-1",
    "location": "http://origin-1/x?y=1",
    "status": 302,
    "method": "GET",
    "host": "localhost:8080",
    "path": "/x",
    "query": "y=1",
    "client_ip": "127.0.0.1",
    "user_agent": "curl/8.14.1",
    "request_id": "e3ae25dd",
    "duration_us": 11,
    "instance": "web-1",
    "worker": 28378,
    "config": "7a2d11038640",
    "action": "redirect",
}

MARKER = (
    b'{"time":"2026-11-20T19:43:08.000Z","level":"error","message":"lost","lost":12,"instance":"web-1","worker":1}\n'
)


def line(**values: Any) -> bytes:
    """A line as the access log writes it, with some values of its own."""
    return fit({**RECORD, **values}).encode()


def run(*arguments: str, content: bytes | None = None, **variables: str) -> Result:
    return command.run("logs", *arguments, content=content, **{"REDIRECT_ACCESS_LOG": None} | variables)


POOLS = """
[pool-a]
weighted_hosts = { "origin-1" = 2, "origin-2" = 1, "drained" = 0 }
is_default = true

[pool-b]
weighted_hosts = { "origin-3" = 1 }
"""
