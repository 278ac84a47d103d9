"""Reads the head of a plain request in one go: one GET or HEAD that came whole, with nothing to weigh in it.

The rule: all or nothing. A request that is not plain is read by the connection, from the same bytes, so refusals,
limits, bodies, upgrades and pipelined requests are decided in one place. A plain request means the same to both.

There are two readers that take the same bytes and find the same in them. The compiled one (`_plain_head.c`) is there
where the package was installed with a C compiler. In the other the parser validates without a Python object for each
field, and one regular expression finds the fields that are used.
"""

import re
from collections.abc import Callable
from functools import partial

import httptools

from redirect.core.compiled import is_in_use
from redirect.edge.limits import MAX_FED_BYTES, MAX_HEADER_FIELDS
from redirect.proxy.spellings import Spellings
from redirect.telemetry.record import valid_id

# Which of the two is in use.
READER = "compiled" if is_in_use("redirect.edge._plain_head") else "Python"
if READER == "compiled":
    from redirect.edge import _plain_head

# The fields that are used, beside the one that names the pool; each of them at most once. The last two are logged.
USED_FIELDS = (
    *("host", "x-forwarded-proto", "x-forwarded-for", "x-forwarded-host", "x-request-id", "traceparent"),
    *("user-agent", "referer"),
)

# A request with this field is plain only if it says `keep-alive`.
CONNECTION = "connection"

# One with one of these is not plain: they say where it ends, or what the connection becomes.
FRAMING_FIELDS = ("content-length", "transfer-encoding", "expect", "upgrade", "proxy-connection")

# The head of a plain request, in ASCII: the method; the target, as bytes and as text; and the values of the fields,
# None where it has none: host; forwarded scheme, addresses and host; request id, if it is valid; trace; agent;
# referer; and pool.
_Value = str | None
PlainHead = tuple[str, bytes, str, str, _Value, _Value, _Value, _Value, _Value, _Value, _Value, _Value]

# Returns the head of what may be one request, None if it is not plain.
ReadPlainHead = Callable[[bytes], PlainHead | None]

_METHODS = (b"GET /", b"HEAD /")
_HEAD_END = b"\r\n\r\n"
_VERSION = " HTTP/1.1\r\n"

_REQUEST_ID = USED_FIELDS.index("x-request-id")
_CONNECTION_PLACE = len(USED_FIELDS) + 1
_UNUSED = -1


def plain_head_reader(pool_id_header: str, reader: str = READER, others: tuple[str, ...] = ()) -> ReadPlainHead:
    """The "compiled" reader, or that in "Python", of heads in which the field `pool_id_header` names the pool; an empty
    name is that of no field. A request with a field of the `others` is not plain either."""
    pool = pool_id_header.lower()
    names = (*USED_FIELDS, pool, CONNECTION, *FRAMING_FIELDS, *others)
    if names.count(pool) > 1:
        return lambda data: None  # a field with two meanings is the connection's to read
    if reader == "compiled":
        encoded = tuple([name.encode() for name in names])
        return partial(_plain_head.read, encoded, MAX_FED_BYTES, MAX_HEADER_FIELDS)
    return _Reader(names).read


class _Reader:
    def __init__(self, names: tuple[str, ...]) -> None:
        self._places = _places(names)
        letters = {letter for name in names if name for letter in (name[0], name[0].upper())}
        first = "".join(map(re.escape, sorted(letters)))
        self._find = re.compile(rf"\n([{first}][^:]*):[ \t]*([^\r]*)").findall
        self._targets: list[bytes] = []
        self.on_url = self._targets.append  # the parser's only callback
        self._renew()

    def _renew(self) -> None:
        """A parser for the next request: this one failed, or is within a request."""
        self._feed = httptools.HttpRequestParser(self).feed_data

    def read(self, data: bytes) -> PlainHead | None:
        if (
            not data.startswith(_METHODS)
            or data.find(_HEAD_END) != len(data) - len(_HEAD_END)
            or len(data) > MAX_FED_BYTES
            or not data.isascii()
            or data.count(b"\n") > MAX_HEADER_FIELDS + 2  # with the request line and the empty line
        ):
            return None
        self._targets.clear()
        try:
            self._feed(data)
            head = self._head(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            head = None
        if head is None:
            self._renew()
        return head

    def _head(self, data: bytes) -> PlainHead | None:
        """What was fed, and is valid."""
        target = self._targets[0]
        text = data.decode("ascii")
        begin = text.index(" ") + 1
        end = begin + len(target)
        if not text.startswith(_VERSION, end):
            return None
        found: list[str | None] = [None] * _CONNECTION_PLACE
        places = self._places
        for name, value in self._find(text):
            place = places[name]
            if place == _UNUSED:
                continue
            value = value.rstrip(" \t")
            if place < _CONNECTION_PLACE:
                if found[place] is not None:
                    return None
                found[place] = value
            elif place > _CONNECTION_PLACE or value.lower() != "keep-alive":
                return None
        if found[0] is None:
            return None
        found[_REQUEST_ID] = valid_id(found[_REQUEST_ID])
        return text[: begin - 1], target, text[begin:end], *found  # type: ignore[return-value]


def _places(names: tuple[str, ...]) -> Spellings[str, int]:
    """From a field name as it is spelled to its place among the names."""
    known = {name: place for place, name in enumerate(names)}
    return Spellings(lambda spelled: known.get(spelled.lower(), _UNUSED))
