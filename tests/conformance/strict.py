"""Requests read strictly by RFC 9112, by a reader of its own: where each ends, and whether it is one.

The rule: whatever the grammar does not allow is invalid, and what follows it is not read. Some things are read although
a server need not take them, or no client may send them: they are noted as the request's `oddities`.
"""

import re
from enum import Enum
from typing import NamedTuple

Fields = list[tuple[bytes, bytes]]


class End(Enum):
    """How a connection's bytes end."""

    WHOLE = "between two requests"
    WITHIN = "within a request"
    INVALID = "in what is no request"


class Message(NamedTuple):
    method: bytes
    target: bytes
    version: bytes
    fields: Fields
    body: bytes
    trailers: Fields
    oddities: frozenset[str]

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name]

    def options(self, name: bytes) -> set[bytes]:
        """The elements of a list field, in lower case."""
        return {each.strip(b" \t").lower() for value in self.all(name) for each in value.split(b",")} - {b""}

    @property
    def is_last(self) -> bool:
        """Whether the connection ends with the answer to it."""
        return b"close" in self.options(b"connection") or self.version == b"1.0"


class Reading(NamedTuple):
    messages: list[Message]
    end: End
    begun: Message | None  # whose head is whole and good, and whose body is not


_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_EMPTY_LINES = re.compile(rb"[\r\n]*")
# RFC 9112, section 3: a server may split at whitespace; the target is what a URL has, and what browsers leave in one.
_LINE = re.compile(rb"(%b)( +)([!-~]+)( +)HTTP/([0-9]\.[0-9])" % _TOKEN)
_FIELD = re.compile(rb"(%b):[ \t]*((?:[!-~\x80-\xff](?:[!-~\x80-\xff \t]*[!-~\x80-\xff])?)?)[ \t]*" % _TOKEN)
# Extensions mean nothing to a server, so what looks like some is skipped. A lone semicolon has hidden line ends.
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_EXTENSIONS = re.compile(rb"(?:;%b(?:=(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED))
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)([ \t]*(?:;[\t -~\x80-\xff]+)?)")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[^\0- \"#,/:<>?@\[\\\]^`{|}\x7f]+)(?::[0-9]*)?")


class _Stop(Exception):  # noqa: N818  where the reading ends
    """`begun` is the request whose body it is within."""

    end: End

    def __init__(self, begun: Message | None = None) -> None:
        self.begun = begun


class _Invalid(_Stop):
    end = End.INVALID


class _Within(_Stop):
    end = End.WITHIN


def read(data: bytes) -> Reading:
    """All requests in `data`, up to the one that ends the connection."""
    messages: list[Message] = []
    at = 0
    while True:
        begin = _EMPTY_LINES.match(data, at)
        assert begin
        if begin.end() == len(data):
            return Reading(messages, End.WHOLE, None)
        try:
            message, at = _message(data, begin.end(), {"empty lines"} if begin[0] not in (b"", b"\r\n") else set())
        except _Stop as stop:
            return Reading(messages, stop.end, stop.begun)
        messages.append(message)
        if message.is_last:
            return Reading(messages, End.WHOLE, None)


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    """A line without its end, and where the next begins."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise _Within
    return data[at:end], end + 2


def _matched(pattern: re.Pattern[bytes], text: bytes) -> re.Match[bytes]:
    found = pattern.fullmatch(text)
    if found is None:
        raise _Invalid
    return found


def _fields(data: bytes, at: int) -> tuple[Fields, int]:
    fields: Fields = []
    while True:
        line, at = _line(data, at)
        if not line:
            return fields, at
        name, value = _matched(_FIELD, line).groups()
        fields.append((name, value))


def _message(data: bytes, at: int, oddities: set[str]) -> tuple[Message, int]:
    begin = at
    line, at = _line(data, at)
    method, blanks, target, more, version = _matched(_LINE, line).groups()
    if (blanks, more) != (b" ", b" "):
        oddities.add("blanks")
    if b"#" in target:
        oddities.add("a fragment")
    fields, at = _fields(data, at)
    if re.search(rb"(?i)\r\ntransfer-encoding:[^\r]*\t\r", data[begin:at]):
        oddities.add("a tab behind a coding")
    message = Message(method, target, version, fields, b"", [], frozenset(oddities))
    hosts = message.all(b"host")
    if version not in (b"1.0", b"1.1") or len(hosts) > 1 or (version == b"1.1" and not hosts):
        raise _Invalid
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise _Invalid
    lengths, codings = message.all(b"content-length"), message.all(b"transfer-encoding")
    if codings:
        elements = [each.strip(b" \t").lower() for each in b",".join(codings).split(b",") if each.strip(b" \t")]
        known = all(re.fullmatch(_TOKEN, each) for each in elements)
        if lengths or version == b"1.0" or not known or elements.count(b"chunked") != 1 or elements[-1] != b"chunked":
            raise _Invalid
        return _chunked(data, at, message)
    if lengths:
        length = lengths[0].lstrip(b"0") or lengths[0][-1:]
        if len(lengths) > 1 or not re.fullmatch(rb"[0-9]{1,20}", length) or int(length) >= 2**64:
            raise _Invalid
        end = at + int(length)
        if len(data) < end:
            raise _Within(message)
        return message._replace(body=data[at:end]), end
    return message, at


def _chunked(data: bytes, at: int, message: Message) -> tuple[Message, int]:
    body = b""
    oddities = set(message.oddities)
    try:
        while True:
            line, at = _line(data, at)
            digits, extensions = _matched(_CHUNK, line).groups()
            if not _EXTENSIONS.fullmatch(extensions) or len(line) > 4096:
                oddities.add("a chunk's extensions")
            size = int(digits, 16)
            if not size:
                trailers, at = _fields(data, at)
                return message._replace(body=body, trailers=trailers, oddities=frozenset(oddities)), at
            end = at + size
            behind = data[end : end + 2]
            if size >= 2**64 or not b"\r\n".startswith(behind):
                raise _Invalid
            if behind != b"\r\n":
                raise _Within
            body, at = body + data[at:end], end + 2
    except _Stop as stop:
        raise type(stop)(message) from None
