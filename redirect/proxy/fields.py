"""Header fields on their way through: which pass, which end here, and which are ours to write.

The rule: what a connection means by a field stays with that connection (RFC 9110, section 7.6.1), and no client can
remove or forge what we add. All else passes as it came: spelling, order and repetition. Only what the parser has read
is sent on, built by us, so that an origin cannot read the bytes as other requests than we did.
"""

import re
import secrets
from collections.abc import Iterable, Sequence, Set
from email.utils import formatdate
from enum import IntEnum
from functools import lru_cache
from time import time
from typing import NamedTuple, TypeAlias

from redirect.proxy.spellings import Spellings

Field = tuple[bytes, bytes]

# The fields of a message, or their lines as they came, with or without the line before them.
Fields: TypeAlias = Iterable[Field] | bytes

# By which a request that comes back is known. All processes of an instance share it, as they are forked from one.
PSEUDONYM = f"redirect-{secrets.token_hex(4)}".encode()

VIA = b"1.1 " + PSEUDONYM


class Kind(IntEnum):
    PASSED = 0
    DROPPED = 1
    READ = 2  # and dropped: what its value says is written again
    NOTED = 3  # read, and passed


PASSED, DROPPED, READ, NOTED = Kind

# Fields of one connection, in both directions.
_HOP_BY_HOP = "keep-alive proxy-connection proxy-authenticate proxy-authorization trailer".split()

OF_REQUESTS = {
    **dict.fromkeys([*_HOP_BY_HOP, "http2-settings", "x-forwarded-prefix"], DROPPED),
    **dict.fromkeys(
        "connection te upgrade transfer-encoding via host forwarded x-forwarded-for x-forwarded-proto x-forwarded-host "
        "x-request-id content-length".split(),
        READ,
    ),
    **dict.fromkeys("expect idempotency-key x-idempotency-key".split(), NOTED),
}
OF_RESPONSES = {
    **dict.fromkeys([*_HOP_BY_HOP, "te", "alt-svc", "x-request-id"], DROPPED),
    **dict.fromkeys("connection transfer-encoding via upgrade".split(), READ),
    "content-length": NOTED,
}

# Names that a client must not list in Connection: it would remove what says who it is, or where the request ends.
_PROTECTED = frozenset(b"host content-length transfer-encoding authorization cookie forwarded via x-request-id".split())
_PROTECTED_PREFIX = b"x-forwarded-"

# Protocols that an origin must not be asked for: behind them a client could ask for what no route forwards.
_HTTP2 = frozenset((b"h2", b"h2c", b"http/2.0"))

_CHUNKED = b"transfer-encoding: chunked\r\n"
NO_BODY = (b"", b"content-length: 0\r\n")

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z/-]+")


class FieldError(ValueError):
    """Why a message is not passed on. `status` is that of the response in its place, `error` the name of RFC 9209,
    section 2.3."""

    def __init__(self, detail: str, status: int = 400, error: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.error = error


class Forwarded(NamedTuple):
    """What the origin is told of the request's way. `host` is the client's; the peers that are not trusted have what
    they say of others dropped."""

    host: bytes | None
    peer: bytes
    scheme: bytes
    is_trusted: bool


class Traits(NamedTuple):
    """What the fields of a request say of it."""

    framing: bytes = b""  # the line that says where the body ends; empty if there is none
    expects_continue: bool = False
    takes_trailers: bool = False
    upgrade: bool = False
    is_repeatable: bool = False  # whether it says so, whatever its method

    @property
    def is_chunked(self) -> bool:
        return self.framing is _CHUNKED


class ResponseFields(NamedTuple):
    fields: list[Field]
    connection: frozenset[bytes]  # what it lists, in lower case
    length: int | None  # None if it is not stated
    is_chunked: bool
    upgrade: bytes | None


def _kinds(known: dict[str, Kind], *, alias: Kind = PASSED) -> Spellings[bytes, Kind]:
    """From a name as it is spelled to what becomes of the field; `alias` is for one that is known but for its "_"."""
    encoded = {name.encode(): kind for name, kind in known.items()}

    def kind_of(spelled: bytes) -> Kind:
        name = spelled.lower()
        return encoded.get(name) or (alias if name.replace(b"_", b"-") in encoded else PASSED)

    return Spellings(kind_of)


# Of X_Forwarded_For many an origin makes the same variable as of ours (RFC 3875, section 4.1.18).
_request_kinds = _kinds(OF_REQUESTS, alias=DROPPED)
_response_kinds = _kinds(OF_RESPONSES)


def request_fields(headers: Sequence[Field], about: Forwarded, *, is_http11: bool) -> tuple[bytes, Traits]:
    """The fields for an origin, but for Host and X-Request-ID, as lines, and what they say. Raises FieldError for
    requests that must not be passed on. HTTP/1.0 does not upgrade, and its Expect says nothing (RFC 9110, section
    10.1.1)."""
    fields, read, listed = _sorted_out(headers, _request_kinds)
    if protected := [name for name in listed if name in _PROTECTED or name.startswith(_PROTECTED_PREFIX)]:
        names = ", ".join(sorted(name.decode() for name in protected))
        raise FieldError(f"Connection must not list {names}")
    if not is_http11 and b"expect" in read:
        fields = _without(fields, {b"expect"})
    framing = _framing(read)
    takes_trailers = b"te" in read and b"trailers" in _tokens[read[b"te"]]
    # Behind a body it would not be known where the other protocol begins.
    upgrades = is_http11 and b"upgrade" in listed and framing in NO_BODY
    protocol = _upgrade(read.get(b"upgrade", b"")) if upgrades else b""
    via, before, host, forwarded = map(read.get, OF_WAY)
    lines = [b"%b: %b\r\n" % field for field in fields]
    lines += (added_fields(via, before, host, forwarded, about), *_options(takes_trailers, protocol), framing)
    expects_continue = is_http11 and b"100-continue" in read.get(b"expect", b"").lower()
    is_repeatable = b"idempotency-key" in read or b"x-idempotency-key" in read
    return b"".join(lines), Traits(framing, expects_continue, takes_trailers, bool(protocol), is_repeatable)


# Max-Forwards with more are no number: `int` raises for thousands of them.
_MAX_COUNT_DIGITS = 10


def counted_down(headers: list[Field]) -> list[Field] | None:
    """The fields of an OPTIONS or TRACE with one less in Max-Forwards (RFC 9110, section 7.6.2); None if the request
    goes no further. What is no number passes."""
    counts = [count.lstrip(b"0") or b"0" for count in values(b"max-forwards", headers)]
    if not counts or not all(count.isdigit() and len(count) < _MAX_COUNT_DIGITS for count in counts):
        return headers
    left = min(map(int, counts))
    return [*_without(headers, {b"max-forwards"}), (b"max-forwards", b"%d" % (left - 1))] if left else None


def _framing(read: dict[bytes, bytes]) -> bytes:
    coding, length = read.get(b"transfer-encoding"), read.get(b"content-length")
    if coding is None:
        return b"content-length: %d\r\n" % _length(length) if length else b""
    if coding.strip().lower() != b"chunked":
        raise FieldError("a request with another Transfer-Encoding than chunked is not passed on")
    return _CHUNKED


def _length(digits: bytes) -> int:
    return int(digits.lstrip(b"0") or b"0")  # int() raises for thousands of them


def _options(takes_trailers: bool, protocol: bytes) -> Iterable[bytes]:
    """What the request says of the connection to the origin."""
    if takes_trailers:
        yield b"te: trailers\r\n"
    if protocol:
        yield b"upgrade: %b\r\n" % protocol
    if takes_trailers or protocol:
        yield b"connection: %b\r\n" % b", ".join([b"te"] * takes_trailers + [b"upgrade"] * bool(protocol))


# What earlier proxies say of the request's way, in the order of `added_fields`.
OF_WAY = (b"via", b"x-forwarded-for", b"x-forwarded-host", b"forwarded")


def added_fields(
    via: bytes | None, before: bytes | None, host: bytes | None, forwarded: bytes | None, about: Forwarded
) -> bytes:
    if via is not None and PSEUDONYM in via:
        detail = "the request has passed here before: its origin leads back to this service"
        raise FieldError(detail, 508, "proxy_loop_detected")
    if not about.is_trusted:
        before = host = forwarded = None
    host = host or about.host
    return b"via: %b\r\nx-forwarded-for: %b\r\nx-forwarded-proto: %b\r\n%b%b" % (
        VIA if via is None else b"%b, %b" % (via, VIA),
        about.peer if before is None else b"%b, %b" % (before, about.peer),
        about.scheme,
        b"" if host is None else b"x-forwarded-host: %b\r\n" % host,
        b"" if forwarded is None else b"forwarded: %b\r\n" % forwarded,
    )


def response_fields(headers: Sequence[Field]) -> ResponseFields:
    """Raises FieldError for responses that must not be passed on."""
    fields, read, listed = _sorted_out(headers, _response_kinds)
    coding, length, via = read.get(b"transfer-encoding"), read.get(b"content-length"), read.get(b"via")
    if coding is not None and coding.strip().lower() != b"chunked":
        raise FieldError("it has another Transfer-Encoding than chunked", 502, "http_protocol_error")
    fields.append((b"via", VIA if via is None else b"%b, %b" % (via, VIA)))
    # The parser has checked the length, and that there is one.
    stated = None if length is None else _length(length)
    return ResponseFields(fields, listed, stated, coding is not None, read.get(b"upgrade"))


def _sorted_out(
    headers: Iterable[Field], kinds: Spellings[bytes, Kind]
) -> tuple[list[Field], dict[bytes, bytes], frozenset[bytes]]:
    """The fields that pass; the values of those that are read, by name; and what Connection lists."""
    fields: list[Field] = []
    read: dict[bytes, bytes] = {}
    for field in headers:
        kind = kinds[field[0]]
        if kind is PASSED or kind is NOTED:
            fields.append(field)
        if kind >= READ:
            name, value = field[0].lower(), field[1]
            read[name] = b"%b, %b" % (read[name], value) if name in read else value
    listed = _tokens[read[b"connection"]] if b"connection" in read else _NOTHING
    if not listed <= _NO_FIELDS:
        fields = _without(fields, listed - _NO_FIELDS)
    return fields, read, listed


def values(name: bytes, fields: Fields) -> list[bytes]:
    """Those of each field of the name, which is in lower case."""
    if isinstance(fields, bytes):
        lines = (line.partition(b":") for line in fields.split(b"\n"))
        fields = ((each, value) for each, _, value in lines)
    return [value.strip(b" \t\r") for each, value in fields if each.lower() == name]


def date_now() -> bytes:
    """For an answer that has none: who passes it on has to add the time when it came (RFC 9110, section 6.6.1)."""
    return _date_at(int(time()))


@lru_cache(maxsize=1)
def _date_at(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


_NOTHING: frozenset[bytes] = frozenset()
# What Connection may list and is no field that it could remove.
_NO_FIELDS = frozenset((b"keep-alive", b"close", b"upgrade", b"te", b"content-length"))


# The members of a list, in lower case.
_tokens = Spellings[bytes, frozenset[bytes]](lambda value: frozenset(map(bytes.lower, _TOKEN.findall(value))))


def _without(fields: list[Field], names: Set[bytes]) -> list[Field]:
    return [field for field in fields if field[0].lower() not in names]


def _upgrade(value: bytes) -> bytes:
    """The protocols that are asked for, without those that are not passed on."""
    names = [name.strip() for name in value.split(b",")]
    return b", ".join(name for name in names if name and name.lower() not in _HTTP2)


def trailer_fields(headers: Sequence[Field]) -> list[Field]:
    """The trailer fields that may pass: no more than what any field may, and none that frames or routes."""
    return [field for field in headers if _trailer_kinds[field[0]] is PASSED]


# What an answer must not say behind its body: framing, routing and what its head has decided (RFC 9110, section 6.5.1).
_NO_TRAILERS = (
    "content-length content-encoding content-type content-range authorization cookie set-cookie cache-control location "
    "age date expires retry-after vary max-forwards"
).split()
_trailer_kinds = _kinds({**OF_REQUESTS, **OF_RESPONSES, **dict.fromkeys(_NO_TRAILERS, DROPPED)})
