"""Reads the target, the Host and the header fields of a request, by the rules of RFC 9112 and ours.

The rule: the target's bytes are never decoded, collapsed or re-encoded. An absolute-form target
names the authority itself and Host is ignored then (RFC 9112, section 3.2.2), but a Host that is no
authority refuses the request all the same: two parties that read it differently make an attack possible.

Bytes become latin-1 text, so that each character is a byte as it came.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from redirect.core.authority import MAX_CHARACTERS, Endpoint, parse_raw
from redirect.core.cors import CrossOrigin
from redirect.core.decision import Decision
from redirect.core.forwarded import TrustedProxies
from redirect.core.request import Head, Request
from redirect.edge.plain_head import plain_head_reader
from redirect.proxy.spellings import Spellings
from redirect.telemetry.record import LoggedHead

ALLOW = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"

# The ASGI extension in which a protocol passes the request that it has read.
EXTENSION = "redirect"

OTHER_VERSION = Decision(505, detail="only HTTP/1.1 and HTTP/1.0 are spoken here", close=True)

# The fields that are used, beside the one that names the pool.
_FIELDS = """content-length transfer-encoding expect host x-forwarded-proto x-forwarded-for x-forwarded-host
    user-agent referer x-request-id traceparent origin access-control-request-method""".split()

_ABSOLUTE = re.compile(r"(?i:https?)://([^/?#]*)(.*)", re.DOTALL)


# What is read of a plain request: the method; the target, as bytes and as text; the requested pool; scheme, endpoint
# and host that were asked for; the client's address; what is logged; and the id that came with it. A plain tuple in
# place of a named one, which takes three times as long.
PlainRequest = tuple[str, bytes, str, str | None, str, Endpoint | None, str, str | None, LoggedHead, str | None]


class Reader:
    """`pool_id_header` is the field that names the pool; `trusted` are the proxies whose X-Forwarded fields count."""

    def __init__(self, pool_id_header: str, trusted: TrustedProxies) -> None:
        self._pool = pool_id_header.lower()
        self.names = _names({*_FIELDS, self._pool})
        self.pool_id_header = pool_id_header
        self._read_plain = plain_head_reader(pool_id_header)
        self._trusted = trusted
        self._hosts = lru_cache(maxsize=1024)(_host)

    def read_origins(self, *, is_needed: bool) -> None:
        """Whether a request that says which page asks has to be read field by field."""
        self._read_plain = plain_head_reader(self.pool_id_header, others=("origin",) if is_needed else ())

    def trusts(self, peer: str | None) -> bool:
        return self._trusted.trusts(peer)

    def fields(self, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
        """The fields that are used, by lower-case name. Values of one name are joined by commas (RFC 9110,
        section 5.3), so two Hosts are no authority and two pools are one unknown name, unless they are equal."""
        found: dict[str, str] = {}
        names = self.names
        for spelled, value in headers:
            name = names[spelled]
            if name is not None:
                # The parser leaves blanks behind a value; they are not part of it (RFC 9110, section 5.5).
                text = value.rstrip(b" \t").decode("latin-1")
                if name not in found:
                    found[name] = text
                elif name != self._pool or name == "host" or found[name] != text:
                    found[name] = f"{found[name]}, {text}"
        return found

    def read(
        self, method: str, target: bytes, fields: dict[str, str], version: str, peer: str | None, scheme: str
    ) -> Request:
        """The request; `version` is like "1.1", `peer` the address it came from."""
        get = fields.get
        proto, forwarded_for, host, client_ip = get("x-forwarded-proto"), get("x-forwarded-for"), get("host"), peer
        forwarded_host = get("x-forwarded-host")
        if proto is not None or forwarded_for is not None or forwarded_host is not None:
            scheme, client_ip = self._trusted.resolve(peer, scheme, proto, forwarded_for)
        path, endpoint = target.decode("latin-1"), None
        answer = None if version in ("1.1", "1.0") else OTHER_VERSION
        if answer is None:
            try:
                if host is not None and ", " in host:
                    raise ValueError("the request has more than one Host header")
                if host is not None:
                    endpoint = _endpoint("Host header", host, scheme)
                elif version == "1.1":
                    raise ValueError("the request has no Host header")
                if version == "1.0" and "transfer-encoding" in fields:  # its end depends on the reader
                    raise ValueError("HTTP/1.0 has no Transfer-Encoding")
                if not path.startswith("/") or method == "CONNECT":
                    host, endpoint, path, answer = _other_form(method, path, host, endpoint, scheme)
                if forwarded_host is not None:
                    named = self._trusted.host(peer, forwarded_for, forwarded_host)
                    if named is not None:
                        host, endpoint = named, parse_raw(named).endpoint(scheme)
            except ValueError as error:
                answer = Decision(400, detail=str(error), close=True)
        agent, referer, request_id = get("user-agent"), get("referer"), get("x-request-id")
        head = Head(get(self._pool), scheme, endpoint, host, client_ip, agent, referer, request_id, get("traceparent"))
        page = get("origin")
        cross_origin = None if page is None else CrossOrigin(page, get("access-control-request-method"))
        return Request(method, path, head, answer, cross_origin)

    def plain(self, data: bytes, peer: str | None, scheme: str) -> PlainRequest | None:
        """The plain request that `data` is; None if it is none."""
        found = self._read_plain(data)
        if found is None:
            return None
        (
            method, target, path, host, proto, forwarded_for, forwarded_host, request_id, traceparent, user_agent,
            referer, pool,
        ) = found  # fmt: skip
        asked = self._hosts(host) if len(host) <= MAX_CHARACTERS else None  # what is remembered is small
        if asked is None:
            return None
        client_ip = peer
        if proto is not None or forwarded_for is not None or forwarded_host is not None:
            scheme, client_ip = self._trusted.resolve(peer, scheme, proto, forwarded_for)
            if forwarded_host is not None:
                host = self._trusted.host(peer, forwarded_for, forwarded_host) or host
                asked = self._hosts(host) or asked
        over_http, over_https = asked
        logged = pool, method, host, client_ip, user_agent, referer, traceparent
        return (
            method,
            target,
            path,
            pool,
            scheme,
            over_https if scheme == "https" else over_http,
            host,
            client_ip,
            logged,
            request_id,
        )


def peer_of(client: tuple[str, int] | None) -> str | None:
    """The address of the other end; None of a unix socket. A dual-stack socket shows 192.0.2.1 as ::ffff:192.0.2.1."""
    if not client:
        return None
    dotted = client[0].removeprefix("::ffff:")
    return client[0] if ":" in dotted else dotted


def _names(used: set[str]) -> Spellings[bytes, str | None]:
    """From a field name as it is spelled to its lower-case form, or to None if it is not used."""

    def name_of(spelled: bytes) -> str | None:
        lower = spelled.decode("latin-1").lower()
        return lower if lower in used else None

    return Spellings(name_of)


def _host(host: str) -> tuple[Endpoint, Endpoint] | None:
    """What `host`, in ASCII, asks for, over http and over https; None if it is no authority."""
    try:
        authority = parse_raw(host)
    except ValueError:
        return None
    return authority.endpoint("http"), authority.endpoint("https")


def _other_form(
    method: str, target: str, host: str | None, endpoint: Endpoint | None, scheme: str
) -> tuple[str | None, Endpoint | None, str, Decision | None]:
    """Host, endpoint and path of a request whose target is no path, and the answer if it needs no pool."""
    if target == "*" and method == "OPTIONS":
        return host, endpoint, target, Decision(204)
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or method == "CONNECT":
        raise ValueError("the target must be a path that begins with / or an http or https URL")
    named, rest = absolute.groups()
    endpoint = _endpoint("target's authority", named, scheme)
    if method == "OPTIONS" and not rest:  # as *, RFC 9112, section 3.2.4
        return named, endpoint, "*", Decision(204)
    return named, endpoint, rest if rest.startswith("/") else f"/{rest}", None


def _endpoint(place: str, raw: str, scheme: str) -> Endpoint:
    try:
        return parse_raw(raw).endpoint(scheme)
    except ValueError as error:
        cause = "not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise ValueError(f"the {place} is no host with an optional port: {cause}") from None
