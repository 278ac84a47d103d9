"""The cases: what clients, probes and attackers send, from tables and their products.

The rule: a case has a name and bytes. What must become of it is read from the bytes by `strict`; those of PROBES state
it as well, by the section of the RFC. None is taken from elsewhere: the kinds are those of gunicorn's and llhttp's own
tests, of Http11Probe's list, and of tools that look for desynchronised parsers.
"""

from collections.abc import Iterator
from itertools import product
from random import Random
from typing import NamedTuple

from support.corpus import CODINGS, CORPUS, NO_CODINGS, NO_LENGTHS, NO_NAMES, SMUGGLED
from support.generated import generated
from support.wire import head


class Case(NamedTuple):
    name: str
    sent: bytes


class Probe(NamedTuple):
    """A request with its answer by the RFC: 0 is the answer of the route."""

    section: str
    name: str
    sent: bytes
    statuses: frozenset[int]
    closes: bool


def _raw(*lines: str, body: str = "") -> bytes:
    return ("\r\n".join([*lines, "", ""]) + body).encode("latin-1")


def _get(*fields: str, line: str = "GET /x HTTP/1.1") -> bytes:
    return head(line, *fields)


def _post(*fields: str, body: str = "") -> bytes:
    return head("POST /x HTTP/1.1", *fields) + body.encode("latin-1")


def _chunked(body: str, *fields: str) -> bytes:
    return _post("Transfer-Encoding: chunked", *fields, body=body)


_GOOD: list[tuple[str, str, bytes]] = [
    ("9112 2.2", "an empty line before", b"\r\n" + _get()),
    ("9112 3.2.1", "a path and a query", _get(line="GET /a/b%20c?d=e&f HTTP/1.1")),
    ("9112 3.2.2", "absolute form", _get(line="GET http://asked.example/x HTTP/1.1")),
    ("9112 3.2.2", "absolute form beside another Host", _get(line="GET http://other.example/x HTTP/1.1")),
    ("9112 5.1", "no blank behind a colon", _raw("GET /x HTTP/1.1", "Host:a")),
    ("9112 5.1", "blanks and tabs around a value", _raw("GET /x HTTP/1.1", "Host: \t a \t")),
    ("9110 5.1", "names in any case", _raw("GET /x HTTP/1.1", "hOsT: a", "CoNtEnT-LeNgTh: 0")),
    ("9110 5.5", "an empty value", _get("X:")),
    ("9110 5.5", "obs-text in a value", _get("X: \x80\xff")),
    ("9110 5.6.2", "all characters of a token", _get("!#$%&'*+-.^_`|~09azAZ: y")),
    ("9110 8.6", "a body of a length", _post("Content-Length: 5", body="hello")),
    ("9110 8.6", "a length of 0", _post("Content-Length: 0")),
    ("9110 8.6", "a length with zeros before", _post("Content-Length: 0005", body="hello")),
    ("9110 9.3.1", "a GET with a body", _get("Content-Length: 5") + b"hello"),
    ("9110 9.3.2", "a HEAD", _get(line="HEAD /x HTTP/1.1")),
    ("9110 9.3.7", "an OPTIONS with a body", head("OPTIONS /x HTTP/1.1", "Content-Length: 5") + b"hello"),
    ("9112 6.3", "a POST without a body", _post()),
    ("9112 7.1", "chunks", _chunked("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")),
    ("9112 7.1", "no chunk but the last", _chunked("0\r\n\r\n")),
    ("9112 7.1", "a size in capitals", _chunked("A\r\n0123456789\r\n0\r\n\r\n")),
    ("9112 7.1", "a size with zeros before", _chunked("0005\r\nhello\r\n000\r\n\r\n")),
    ("9112 7.1.1", "chunk extensions", _chunked('5;a;b=c;d="e;\\"f"\r\nhello\r\n0;g\r\n\r\n')),
    ("9112 7.1.2", "trailers", _chunked("5\r\nhello\r\n0\r\nX: y\r\nZ:\r\n\r\n", "Trailer: X")),
    ("9112 7", "the coding in capitals", _post("Transfer-Encoding: CHUNKED", body="0\r\n\r\n")),
    ("9112 9.3", "Connection: keep-alive", _get("Connection: keep-alive")),
    ("9110 7.8", "Upgrade without Connection", _get("Upgrade: websocket")),
    ("9110 13.1", "a condition", _get('If-None-Match: "a"')),
    ("9110 14.2", "a range", _get("Range: bytes=0-1")),
    ("6265 4.2", "cookies of any form", _get("Cookie: ; =; a=b=c; \x80")),
]

_LAST: list[tuple[str, str, bytes]] = [
    ("9112 9.6", "Connection: close", _get("Connection: close")),
    ("9112 9.6", "close among others, in capitals", _get("Connection: x, CLOSE")),
    ("9112 9.6", "close in a second field", _get("Connection: x", "Connection: close")),
    ("9112 9.3", "HTTP/1.0", _get(line="GET /x HTTP/1.0")),
    ("9112 3.2", "HTTP/1.0 without Host", _raw("GET /x HTTP/1.0")),
]

_BAD: list[tuple[str, str, bytes]] = [
    ("9112 2.2", "bare line feeds", b"GET /x HTTP/1.1\nHost: a\n\n"),
    ("9112 2.2", "a bare line feed behind the request line", b"GET /x HTTP/1.1\nHost: a\r\n\r\n"),
    ("9112 2.2", "a bare line feed behind a field", b"GET /x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    ("9112 2.2", "bare carriage returns", b"GET /x HTTP/1.1\rHost: a\r\r"),
    ("9112 2.2", "a bare carriage return in a value", _get("X: y\rz")),
    ("9112 2.2", "a blank before the first field", _raw("GET /x HTTP/1.1", " X: y", "Host: a")),
    ("9112 2.3", "HTTP/1", _raw("GET /x HTTP/1", "Host: a")),
    ("9112 2.3", "HTTP/01.1", _raw("GET /x HTTP/01.1", "Host: a")),
    ("9112 2.3", "HTTP/1.10", _raw("GET /x HTTP/1.10", "Host: a")),
    ("9112 2.3", "HTTP/ 1.1", _raw("GET /x HTTP/ 1.1", "Host: a")),
    ("9112 2.3", "http/1.1", _raw("GET /x http/1.1", "Host: a")),
    ("9112 3", "no version", _raw("GET /x", "Host: a")),
    ("9112 3", "no target", _raw("GET HTTP/1.1", "Host: a")),
    ("9112 3", "a blank in the target", _raw("GET /x y HTTP/1.1", "Host: a")),
    ("9112 3", "a tab for a blank", _raw("GET\t/x HTTP/1.1", "Host: a")),
    ("9112 3", "a blank before the method", _raw(" GET /x HTTP/1.1", "Host: a")),
    ("9112 3", "a method with a bracket", _raw("G(T /x HTTP/1.1", "Host: a")),
    ("9112 3.1", "a method in small letters", _raw("get /x HTTP/1.1", "Host: a")),
    ("9110 9.1", "an unknown method", _raw("BREW /x HTTP/1.1", "Host: a")),
    ("9112 3.1", "a method of 1,000 characters", _raw("A" * 1000 + " /x HTTP/1.1", "Host: a")),
    ("9112 3.2", "no Host", _raw("GET /x HTTP/1.1")),
    ("9112 3.2", "two Hosts", _get("Host: b")),
    ("9112 3.2", "two equal Hosts", _get("Host: asked.example")),
    ("9112 3.2", "an empty Host", head("GET /x HTTP/1.1", host="")),
    ("9112 3.2", "a Host with a user", head("GET /x HTTP/1.1", host="u@a")),
    ("9112 3.2", "a Host with a path", head("GET /x HTTP/1.1", host="a/b")),
    ("9112 3.2", "two hosts in a field", head("GET /x HTTP/1.1", host="a, b")),
    ("9112 3.2", "a Host with a port of letters", head("GET /x HTTP/1.1", host="a:b")),
    ("9112 3.2", "two Hosts in HTTP/1.0", _raw("GET /x HTTP/1.0", "Host: a", "Host: a")),
    ("9112 3.2.2", "no Host beside an absolute form", _raw("GET http://a/ HTTP/1.1")),
    ("9112 3.2.3", "CONNECT", head("CONNECT a:443 HTTP/1.1")),
    ("9112 3.2.3", "CONNECT without a port", head("CONNECT a: HTTP/1.1")),
    ("9112 3.2.4", "an asterisk with GET", _get(line="GET * HTTP/1.1")),
    ("9112 3.2", "a target without a slash", _get(line="GET x HTTP/1.1")),
    ("9112 3.2", "NUL in the target", _get(line="GET /\0 HTTP/1.1")),
    ("9112 3.2", "bytes above 0x7E in the target", _get(line="GET /\xc3\xa9 HTTP/1.1")),
    ("3629 3", "overlong UTF-8 in the target", _get(line="GET /\xc0\xaf HTTP/1.1")),
    ("9112 5", "a field without a colon", _get("X")),
    ("9112 5", "a field without a name", _get(": y")),
    ("9112 5.1", "a blank before a colon", _get("X : y")),
    ("9112 5.1", "a tab before a colon", _get("X\t: y")),
    ("9112 5.1", "a bracket in a name", _get("X[: y")),
    ("9112 5.1", "a byte above 0x7E in a name", _get("X\xff: y")),
    ("9112 5.2", "a folded field", _get("X: y\r\n z")),
    ("9112 5.2", "a folded field, by a tab", _get("X: y\r\n\tz")),
    ("9110 5.5", "NUL in a value", _get("X: \0")),
    ("9110 5.5", "a control character in a value", _get("X: \x01")),
    ("9110 5.5", "DEL in a value", _get("X: \x7f")),
    ("9112 6.1", "a length and chunks", _chunked("0\r\n\r\n", "Content-Length: 5")),
    ("9112 6.1", "chunks in HTTP/1.0", head("POST /x HTTP/1.0", "Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    ("9112 6.1", "an unknown coding", _post("Transfer-Encoding: cow")),
    ("9112 6.1", "the coding identity", _post("Transfer-Encoding: identity")),
    ("9112 6.1", "the coding xchunked", _post("Transfer-Encoding: xchunked", body="0\r\n\r\n")),
    ("9112 6.1", "an empty coding", _post("Transfer-Encoding:", body="0\r\n\r\n")),
    ("9112 6.1", "chunked twice", _post("Transfer-Encoding: chunked, chunked", body="0\r\n\r\n")),
    ("9112 6.1", "two fields of chunked", _chunked("0\r\n\r\n", "Transfer-Encoding: chunked")),
    ("9112 6.3", "chunked not last", _post("Transfer-Encoding: chunked, gzip", body="0\r\n\r\n")),
    ("9112 6.1", "a vertical tab before chunked", _post("Transfer-Encoding: \x0bchunked", body="0\r\n\r\n")),
    ("9112 6.1", "a form feed behind chunked", _post("Transfer-Encoding: chunked\x0c", body="0\r\n\r\n")),
    ("9112 6.1", "NUL behind chunked", _post("Transfer-Encoding: chunked\0", body="0\r\n\r\n")),
    ("9112 6.1", "chunked with a parameter", _post("Transfer-Encoding: chunked;a=b", body="0\r\n\r\n")),
    ("9112 5.2", "a folded coding", _post("Transfer-Encoding:\r\n chunked", body="0\r\n\r\n")),
    ("9112 5.1", "a blank behind Transfer-Encoding", _post("Transfer-Encoding : chunked", body="0\r\n\r\n")),
    ("9112 6.3", "two lengths", _post("Content-Length: 5", "Content-Length: 6", body="hello")),
    ("9112 6.3", "two lengths in a field", _post("Content-Length: 5, 6", body="hello")),
    *[
        ("9112 6.3", f"the length {length!r}", _post(f"Content-Length: {length}", body="hello"))
        for length in ("+5", "-5", "-0", "0x5", "0o5", "5_0", "5 0", "5.0", "", "5a", "\x0b5", "18446744073709551616")
    ],
    ("9112 5.1", "a blank behind Content-Length", _post("Content-Length : 5", body="hello")),
    *[
        ("9112 7.1", f"the chunk {chunk!r}", _chunked(chunk))
        for chunk in (
            *("0x5\r\nhello\r\n0\r\n\r\n", "5_\r\nhello\r\n0\r\n\r\n", " 5\r\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n"),
            *("-5\r\nhello\r\n", "5 \r\nhello\r\n0\r\n\r\n", "5;\r\nhello\r\n0\r\n\r\n", "5;a\0\r\nhello\r\n0\r\n\r\n"),
            *("5;a\rb\r\nhello\r\n0\r\n\r\n", "5;a\nhello\r\n0\r\n\r\n", "5\nhello\n0\n\n", "5\rhello\r0\r\r"),
            *("5\r\nhello0\r\n\r\n", "5\r\nhello!!\r\n0\r\n\r\n", "\r\nhello\r\n0\r\n\r\n", "x\r\n"),
            *("10000000000000005\r\nhello\r\n", "5\r\nhello\r\n0\r\nX : y\r\n\r\n", "5\r\nhello\r\n0\r\n X: y\r\n\r\n"),
        )
    ],
    ("9110 9.3.6", "binary garbage", bytes(range(1, 128))),
    ("9113 3.4", "the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("9112 2.3", "HTTP/2.0", _get(line="GET /x HTTP/2.0")),
    ("9112 2.3", "HTTP/1.2", _get(line="GET /x HTTP/1.2")),
    ("9112 2.3", "HTTP/0.9", _get(line="GET /x HTTP/0.9")),
]

_TOO_LARGE: list[tuple[str, str, bytes, int]] = [
    ("9112 3", "a target of 10 KiB", _get(line=f"GET /{'a' * 10_240} HTTP/1.1"), 414),
    ("9110 5.4", "a value of 64 KiB", _get(f"X: {'a' * 65_536}"), 431),
    ("9110 5.4", "a name of 64 KiB", _get(f"{'X' * 65_536}: y"), 431),
    ("9110 5.4", "1,000 fields", _get(*["X: y"] * 1000), 431),
]

_REFUSALS = frozenset((400, 501, 505))

PROBES = [
    *[Probe(*row, frozenset((0,)), closes=False) for row in _GOOD],
    *[Probe(*row, frozenset((0,)), closes=True) for row in _LAST],
    *[Probe(*row, _REFUSALS, closes=True) for row in _BAD],
    *[Probe(section, name, sent, frozenset((status,)), closes=True) for section, name, sent, status in _TOO_LARGE],
    Probe("9110 9.3.7", "OPTIONS *", head("OPTIONS * HTTP/1.1"), frozenset((204,)), closes=False),
]

# Products

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "QUERY")
TARGETS = ("/", "/a/b?c=d", "/%2e%41?", "//a", "http://b.example/x", "http://b.example:8080?x")
BODIES = {
    "no body": ((), b""),
    "a length of 0": (("Content-Length: 0",), b""),
    "a length": ((f"Content-Length: {len(SMUGGLED)}",), SMUGGLED),
    "chunks": (("Transfer-Encoding: chunked",), b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
    "trailers": (
        ("Transfer-Encoding: Chunked", "TE: trailers"), b'2;a="\\"";b\r\nok\r\n00;c\r\nX: y\r\nHost: evil\r\n\r\n'
    ),
}  # fmt: skip
FIELDS = ((), ("Connection: keep-alive",), ("Connection: close",), ("Expect: 100-continue",), ("Upgrade: h2c",))


def _usual() -> Iterator[Case]:
    for method, target, version, (name, (framing, body)), fields in product(
        METHODS, TARGETS, ("1.1", "1.0"), BODIES.items(), FIELDS
    ):
        sent = head(f"{method} {target} HTTP/{version}", *fields, *framing) + body
        yield Case(f"usual: {method} {target} {version}, {name}, {fields}", sent)


def _framings() -> Iterator[Case]:
    """A length beside a coding, in all spellings, in both orders: what either says of the body hides a request."""
    lengths = [*NO_LENGTHS, "0", "5", str(len(SMUGGLED) + 5)]
    codings = [*CODINGS, *NO_CODINGS]
    body = b"0\r\n\r\n" + SMUGGLED
    for length, coding in product(lengths, codings):
        fields = [f"Content-Length: {length}", f"Transfer-Encoding: {coding}"]
        for order in (fields, fields[::-1]):
            yield Case(f"framing: {order}", head("POST /x HTTP/1.1", *order) + body)
    for name, spelled in product(NO_NAMES, ("Content-Length: 5", "Transfer-Encoding: chunked")):
        for other in ("Content-Length: 0", "Transfer-Encoding: chunked", "X: y"):
            field = name.format(spelled.partition(":")[0]) + ":" + spelled.partition(":")[2]
            yield Case(f"framing: {field!r}, {other!r}", head("POST /x HTTP/1.1", field, other) + body)


def _chunkings() -> Iterator[Case]:
    """Chunks, with each of their parts in all spellings."""
    sizes = ("5", "05", "5;a", "5;a=b", '5;a="b"', "5 ;a", "5;", "5 ", "0x5", "4", "6")
    ends = ("\r\n", "\n", "\r", "\r\r\n", "", " \r\n")
    for size, line_end, data_end, last_end, trailer in product(sizes, ends, ends, ends[:4], ("", "X: y\r\n", "X: y\n")):
        body = f"{size}{line_end}hello{data_end}0{last_end}{trailer}\r\n"
        yield Case(f"chunking: {body!r}", _chunked(body) + SMUGGLED)


_BASES = [
    _get("Accept: */*", "Connection: keep-alive"),
    _post("Content-Length: 5", "X: y", body="hello"),
    _chunked("5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"),
    head("GET http://b.example/x HTTP/1.0", "Connection: x"),
]
_INSERTED = [
    *[b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b"\x0b", b"\x0c", b"\x1f", b"\x7f", b"\x80", b"\xa0", b"\xff"],
    *[b":", b";", b",", b'"', b"/", b"0", b"%0d%0a", b"\r\n ", b"\r\n\r\n", b"\r\nX: y\r\n", b"\xef\xbb\xbf"],
]


def _desynchronised() -> Iterator[Case]:
    """A byte more, or another one, or one less, at each place where something ends or begins, before a request that
    looks like a body and a body that looks like a request."""
    for base in _BASES:
        places = [at for at in range(len(base) + 1) if not (base[at - 1 : at + 1].isalnum() and 0 < at < len(base))]
        for at, token in product(places, _INSERTED):
            yield Case(f"inserted: {token!r} at {at} of {base!r}", base[:at] + token + base[at:] + SMUGGLED)
            yield Case(f"replaced: {token!r} at {at} of {base!r}", base[:at] + token + base[at + 1 :] + SMUGGLED)
        for at in places:
            yield Case(f"cut: at {at} of {base!r}", base[:at] + base[at + 1 :] + SMUGGLED)


def cases(seed: int, count: int) -> Iterator[Case]:
    """All of them, and so many generated ones, which are others for another seed."""
    yield from (Case(f"corpus: {name}", sent) for name, sent in CORPUS.items())
    yield from (Case(f"{probe.section}: {probe.name}", probe.sent) for probe in PROBES)
    yield from _usual()
    yield from _framings()
    yield from _chunkings()
    yield from _desynchronised()
    for number, pieces in enumerate(generated(Random(seed), count)):
        yield Case(f"generated: {number} of seed {seed}", b"".join(pieces))
