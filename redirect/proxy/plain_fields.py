"""Plain heads: those in which nothing has to be weighed, read in one go without the parser.

The rule: what is not plain is read by the parser and `fields`, from the same bytes. A plain head means the same to
both, and what passes of it is the same bytes. Plain are heads that came whole, with a field on each line, in printable
ASCII, none of those twice that decide something, and a body of a stated length.

The reader is compiled (`_plain_fields.c`). Where the package was installed without a C compiler no head is plain.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from itertools import accumulate, chain
from typing import Any

from redirect.core.compiled import is_in_use
from redirect.proxy.fields import OF_REQUESTS, OF_RESPONSES, OF_WAY, VIA, Forwarded, Kind, added_fields, date_now

IS_COMPILED = is_in_use("redirect.proxy._plain_fields")
if IS_COMPILED:
    from redirect.proxy import _plain_fields

MAX_FIELDS = 100

# Lengths with more digits are left to the parser, which knows what it can count.
_MAX_LENGTH_DIGITS = 15

_VIA_LINE = b"via: %b\r\n" % VIA

# Returns the lines that pass, with their ends; where the head ends; and values, None for fields that are not there.
_Read = Callable[[bytes, int], tuple[Any, ...] | None]


def _reader(passed: Iterable[str], taken: Iterable[str], dropped: Iterable[str], weighed: Iterable[str]) -> _Read:
    """Reads the values of the fields `passed`, and of those `taken`, whose lines are left out, as are those `dropped`.
    A head with a field that is to be `weighed`, or with two of those whose value is read, is not plain."""
    if not IS_COMPILED:
        return lambda data, begin: None
    groups = [[name.encode() for name in group] for group in (passed, taken, dropped, weighed)]
    passed_end, taken_end, dropped_end, _ = accumulate(map(len, groups))
    return partial(_plain_fields.read, tuple(chain(*groups)), passed_end, taken_end, dropped_end, MAX_FIELDS)


def _of_kind(kinds: dict[str, Kind], kind: Kind) -> set[str]:
    return {name for name, each in kinds.items() if each is kind}


# Those that end here of which the parser reads the value: it takes this one for Connection.
_READ_BY_PARSER = {"proxy-connection"}

# A request is plain to `edge.plain_head` already: where it ends and whether its connection goes on is known.
_WAY = [name.decode() for name in OF_WAY]
_KNOWN = {"host", "connection", "x-forwarded-proto", "x-request-id"}
_WEIGHED = _of_kind(OF_REQUESTS, Kind.READ) - {*_WAY} - _KNOWN | {"expect"}
_read_request = _reader((), _WAY, _of_kind(OF_REQUESTS, Kind.DROPPED) | _KNOWN, _WEIGHED)
_read_response = _reader(
    ["content-length", "date"],
    ["via", "connection"],
    _of_kind(OF_RESPONSES, Kind.DROPPED) - _READ_BY_PARSER,
    _of_kind(OF_RESPONSES, Kind.READ) - {"via", "connection"} | _READ_BY_PARSER,
)


def plain_request_fields(data: bytes, begin: int, about: Forwarded) -> bytes | None:
    """The fields of a GET or HEAD, which begin at `begin`, as lines for an origin; None if it is not plain. Raises
    FieldError for requests that must not be passed on."""
    found = _read_request(data, begin)
    if found is None:
        return None
    lines, _, via, before, host, forwarded = found
    if via is None and before is None and host is None and forwarded is None:
        return lines + _added(about)  # type: ignore[no-any-return]
    return lines + added_fields(via, before, host, forwarded, about)  # type: ignore[no-any-return]


@lru_cache(maxsize=1024)
def _added(about: Forwarded) -> bytes:
    """What is added where the request has come by no other proxy, which is the same for all of a client's."""
    return added_fields(None, None, None, None, about)


# What passes of the head of a plain answer, without its last line end; where the body begins, and the length of that.
PlainAnswer = tuple[bytes, int, int]


def plain_answer(data: bytes, status_line: bytes) -> PlainAnswer | None:
    """Of an answer that begins with the `status_line`; None if it is not plain."""
    found = _read_response(data, len(status_line))
    if found is None:
        return None
    lines, end, length, date, via, connection = found
    if length is None or not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:
        return None
    if connection is not None and connection.lower() != b"keep-alive":
        return None
    added = _VIA_LINE if via is None else b"via: %b, %b\r\n" % (via, VIA)
    if date is None:
        added += b"date: %b\r\n" % date_now()
    return status_line + lines + added, end, int(length)
