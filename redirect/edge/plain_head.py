"""Reads the head of a plain request in one go: one GET or HEAD that came whole, with nothing to weigh in it.

The rule: all or nothing. A request that is not plain is read by the connection, from the same bytes, so refusals,
limits, bodies, upgrades and pipelined requests are decided in one place. A plain request means the same to both.

The parser validates without a Python object for each field, and one regular expression finds the fields that are used.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import httptools

from redirect.edge.limits import MAX_FED_BYTES, MAX_HEADER_FIELDS

# The fields that are used, beside the one that names the pool; each of them at most once.
USED_FIELDS = ("host", "x-forwarded-proto", "x-forwarded-for", "user-agent", "referer", "x-request-id")

# A request with one of these is not plain: they say where it ends, or what the connection becomes.
FRAMING_FIELDS = frozenset({"content-length", "transfer-encoding", "expect", "upgrade", "proxy-connection"})

# One with this field is plain only if it says `keep-alive`.
CONNECTION = "connection"

_METHODS = (b"GET /", b"HEAD /")
_HEAD_END = b"\r\n\r\n"
_VERSION = " HTTP/1.1\r\n"
_MAX_LINES = MAX_HEADER_FIELDS + 2  # with the request line and the empty line

# Spellings of field names that are cached: all that browsers and proxies use, and no unlimited number of others.
_MAX_SPELLINGS = 1024
_MAX_SPELLING_CHARACTERS = 64

_UNUSED, _CONNECTION, _FRAMING = -1, -2, -3


class PlainHead(NamedTuple):
    """The head of a plain request; text is latin-1, and None where there is no such field."""

    method: str
    target: bytes
    path: str  # the same as text
    host: str
    proto: str | None
    forwarded_for: str | None
    user_agent: str | None
    referer: str | None
    request_id: str | None
    pool: str | None


# Returns the head of what may be one request, None if it is not plain.
ReadPlainHead = Callable[[bytes], PlainHead | None]


def plain_head_reader(pool_id_header: str) -> ReadPlainHead:
    """A reader of heads in which the field `pool_id_header` names the pool."""
    pool = pool_id_header.lower()
    if pool in (*USED_FIELDS, *FRAMING_FIELDS, CONNECTION):
        return lambda data: None  # a field with two meanings is the connection's to read
    return _Reader(pool).read


class _Reader:
    def __init__(self, pool: str) -> None:
        self._places = _Places(pool)
        letters = {name[0] for name in (*USED_FIELDS, pool, *FRAMING_FIELDS, CONNECTION)}
        first = "".join(re.escape(letter) for letter in sorted({*letters, *map(str.upper, letters)}))
        self._find = re.compile(rf"\n([{first}][^:]*):[ \t]*([^\r]*)").findall
        self._targets: list[bytes] = []
        self.on_url = self._targets.append  # the parser's only callback
        self._renew()

    def _renew(self) -> None:
        """A parser for the next request: this one failed, or may be within a request."""
        self._targets.clear()
        self._feed = httptools.HttpRequestParser(self).feed_data

    def read(self, data: bytes) -> PlainHead | None:
        if (
            not data.startswith(_METHODS)
            or not data.endswith(_HEAD_END)
            or len(data) > MAX_FED_BYTES
            or data.count(b"\n") > _MAX_LINES
        ):
            return None
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._renew()
            return None
        head = self._head(data)
        if head is None:
            self._renew()
        else:
            self._targets.clear()
        return head

    def _head(self, data: bytes) -> PlainHead | None:
        """What was fed: valid, but it may be several requests, or none to its end."""
        target, *others = self._targets
        begin = data.index(b" ") + 1
        text = data.decode("latin-1")
        end = begin + len(target)
        if others or text[end : end + len(_VERSION)] != _VERSION:
            return None
        found: list[str | None] = [None] * (len(USED_FIELDS) + 1)
        places = self._places
        for name, value in self._find(text):
            place = places[name]
            if place >= 0:
                if found[place] is not None:
                    return None
                found[place] = value.rstrip(" \t")
            elif place == _FRAMING or (place == _CONNECTION and value.lower() != "keep-alive"):
                return None
        host = found[0]
        if host is None or not host.isascii():
            return None
        return PlainHead(text[: begin - 1], target, text[begin:end], *found)  # type: ignore[arg-type]


class _Places(dict[str, int]):
    """From a field name as it is spelled to its place in what is found, or to what else it means."""

    def __init__(self, pool: str) -> None:
        super().__init__()
        self._known = {name: place for place, name in enumerate((*USED_FIELDS, pool))}
        self._known |= dict.fromkeys(FRAMING_FIELDS, _FRAMING) | {CONNECTION: _CONNECTION}

    def __missing__(self, spelled: str) -> int:
        place = self._known.get(spelled.lower(), _UNUSED)
        if len(self) < _MAX_SPELLINGS and len(spelled) <= _MAX_SPELLING_CHARACTERS:
            self[spelled] = place
        return place
