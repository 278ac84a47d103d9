"""What a request asks for: its target and its Host, read by the rules of RFC 9112 and ours.

The rule: the target's bytes are never decoded, collapsed or re-encoded. An absolute-form target
names the authority itself and Host is ignored then (RFC 9112, section 3.2.2), but a Host that is no
authority refuses the request all the same: two parties that read it differently make an attack.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from redirect.authority import Authority, parse
from redirect.decision import Decision

ALLOW = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"

# The name under which a protocol hands what it has read to an ASGI app.
EXTENSION = "redirect"

OTHER_VERSION = Decision(505, detail="only HTTP/1.1 and HTTP/1.0 are spoken here", close=True)

_ABSOLUTE = re.compile(r"(?i:https?)://([^/?#]*)(.*)", re.DOTALL)


class Asked(NamedTuple):
    """What can be redirected. No host: HTTP/1.0 without Host."""

    host: str | None  # as the client wrote it
    authority: Authority | None  # the same, normalised
    target: str  # raw path and query


class Received(NamedTuple):
    """A request's head: the target as it came, the fields by lower-case name, and what they ask for,
    or the answer that needs no pool: a refusal, or 204 to `OPTIONS *`."""

    target: str
    headers: dict[bytes, str]
    asked: Asked | Decision


def read(method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]], version: str) -> Received:
    """Reads a head. `headers` have lower-case names; `version` is like "1.1". Bytes become latin-1
    text, so that each character is a byte as it came."""
    text, by_name = target.decode("latin-1"), _fields(headers)
    return Received(text, by_name, _asked(method, text, by_name.get(b"host"), version))


def _fields(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """Values of one name are joined by commas (RFC 9110, section 5.3), so two Hosts are no authority
    and two pools are one unknown name."""
    joined: dict[bytes, str] = {}
    for name, value in headers:
        text = value.decode("latin-1")
        joined[name] = f"{joined[name]}, {text}" if name in joined else text
    return joined


def _asked(method: str, target: str, host: str | None, version: str) -> Asked | Decision:
    if version not in ("1.0", "1.1"):
        return OTHER_VERSION
    if host is None and version == "1.1":
        return _bad("the request has no Host header")
    try:
        authority = None if host is None else _authority(host)
    except ValueError as error:
        return _bad(f"the Host header is no host with an optional port: {error}")

    if target.startswith("/") and method != "CONNECT":
        return Asked(host, authority, target)
    if target == "*" and method == "OPTIONS":
        return Decision(204)
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or method == "CONNECT":
        return _bad("the target must be a path that begins with / or an http or https URL")
    host, rest = absolute.groups()
    try:
        authority = _authority(host)
    except ValueError as error:
        return _bad(f"the target's authority is no host with an optional port: {error}")
    return Asked(host, authority, rest if rest.startswith("/") else f"/{rest}")


def _authority(raw: str) -> Authority:
    """Browsers send A-labels; what is not ASCII is taken for the UTF-8 of an internationalised name."""
    try:
        return parse(raw.encode("latin-1").decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None


def _bad(detail: str) -> Decision:
    return Decision(400, detail=detail, close=True)
