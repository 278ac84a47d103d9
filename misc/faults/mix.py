"""The mix of requests, and which answers are good: only the redirect that the pool of a request allows.

The rule: no two requests have the same target, and a good answer names that target, to the byte, behind an
origin of the pool, with the status of the pool.
"""

import re
import tomllib
from collections.abc import Iterator
from itertools import count, cycle, product
from typing import Any, NamedTuple

UNKNOWN = "no-such-pool"
BODY = b"name=value&other=%20"

_REDIRECT = re.compile(
    rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n(?:[^\r\n]+\r\n)*?location: http://([^/?#\r\n]+)([^\r\n]*)\r\n", re.IGNORECASE
)
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class Kind(NamedTuple):
    """Requests that differ in their target alone, and what becomes of them."""

    before: bytes
    after: bytes
    status: bytes
    origins: frozenset[bytes]


class Request(NamedTuple):
    kind: Kind
    target: bytes

    def head(self) -> bytes:
        return self.kind.before + self.target + self.kind.after

    def is_whole(self, answer: bytes) -> bool:
        """Whether all of an answer has come that counts: its head."""
        return b"\r\n\r\n" in answer

    def fault_of(self, answer: bytes) -> str | None:
        """What is wrong with an answer, or None where it is as it should be."""
        found = _REDIRECT.match(answer)
        if found is None:
            told = _STATUS.match(answer)
            return f"status {told[1].decode()}" if told else "no HTTP"
        status, origin, target = found.groups()
        if status != self.kind.status:
            return f"status {status.decode()} instead of {self.kind.status.decode()}"
        if origin not in self.kind.origins:
            return "an origin of another pool"
        return None if target == self.target else "another target"


def requests(pools: str) -> Iterator[Request]:
    """Requests without end for the pools of a TOML: by turns GET and POST, for each pool, an unknown one, and none."""
    kinds = cycle(_kinds(tomllib.loads(pools)))
    for number in count():
        yield Request(next(kinds), b"/a%%2Fb/%d?x=%%20&n=%d" % (number, number))


def _kinds(pools: dict[str, Any]) -> list[Kind]:
    default = next(name for name, pool in pools.items() if pool.get("is_default"))
    named: list[tuple[str | None, str]] = [(None, default), (UNKNOWN, default), *((name, name) for name in pools)]
    return [_kind(method, name, pools[pool]) for (name, pool), method in product(named, (b"GET", b"POST"))]


def _kind(method: bytes, name: str | None, pool: dict[str, Any]) -> Kind:
    fields = [b"Host: go.example.com"]
    if name is not None:
        fields.append(b"X-Redirect-Pool-ID: " + name.encode())
    body = BODY if method == b"POST" else b""
    if body:
        fields.append(b"Content-Length: %d" % len(body))
    after = b"\r\n".join([b" HTTP/1.1", *fields, b"", body])
    origins = frozenset(origin.encode() for origin in pool["weighted_hosts"])
    return Kind(method + b" ", after, b"%d" % pool.get("status", 302), origins)
