"""Plain heads of forwards: what is read in one go is what the parser and `fields` make of the same bytes."""

import os
import shutil
from random import Random

import httptools
import pytest

from redirect.proxy import plain_fields
from redirect.proxy.fields import OF_RESPONSES, FieldError, Forwarded, request_fields, response_fields
from redirect.proxy.plain_fields import IS_COMPILED, plain_answer, plain_request_fields

ANSWER = (
    b'HTTP/1.1 200 OK\r\nServer: s\r\nETag: "a-1"\r\nContent-Length: 5\r\nConnection: keep-alive\r\n'
    b"Keep-Alive: timeout=5\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nVia: 1.1 cache\r\nAlt-Svc: h3\r\nX-Empty:\r\n\r\n"
)
REQUEST = (
    b"GET /a HTTP/1.1\r\nHost: a.example\r\nUser-Agent: u\r\naccept:*/*\r\nCookie: a=1\r\nX-Request-ID: 7\r\n"
    b"Via: 1.1 p\r\nForwarded: for=a\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
    b"X-Forwarded-Host: b.example\r\nX-Forwarded-Prefix: /p\r\nKeep-Alive: 5\r\nConnection: keep-alive\r\n\r\n"
)
TRUSTED = Forwarded(b"a.example", b"192.0.2.9", b"http", True)
UNTRUSTED = TRUSTED._replace(is_trusted=False)

DATE = b"Thu, 01 Jan 2026 00:00:00 GMT"

GENERATED = int(os.environ.get("GENERATED", "20000"))
SEED = int(os.environ.get("SEED", "20261126"))


def test_heads_are_plain_where_there_is_a_compiler() -> None:
    assert (shutil.which("cc") is not None) == IS_COMPILED


class Parsed:
    """What a parser makes of the head of a message, field by field, and whether it says that the connection goes on;
    `headers` is None if it refuses it."""

    def __init__(self, parser: type[httptools.HttpRequestParser | httptools.HttpResponseParser], data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] | None = []
        self.is_whole = self.is_kept = False
        self._parser = parser(self)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.headers = None

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.headers is not None and not self.is_whole:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.is_whole = True
        self.is_kept = self._parser.should_keep_alive()


def answer_as_parsed(data: bytes) -> tuple[bytes, int] | None:
    """The lines that pass, and the length of the body; None if it is no answer whose connection goes on."""
    parsed = Parsed(httptools.HttpResponseParser, data)
    if parsed.headers is None or not parsed.is_kept:
        return None
    try:
        read = response_fields(parsed.headers)
    except FieldError:
        return None
    if read.length is None or read.is_chunked or read.upgrade or not read.connection <= {b"keep-alive"}:
        return None
    added = [] if any(name.lower() == b"date" for name, _ in read.fields) else [(b"date", DATE)]
    return b"".join([b"%b: %b\r\n" % field for field in [*read.fields, *added]]), read.length


@pytest.fixture(autouse=True)
def _fixed_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_fields, "date_now", lambda: DATE)


def request_as_parsed(data: bytes, about: Forwarded) -> bytes | None:
    parsed = Parsed(httptools.HttpRequestParser, data)
    assert parsed.headers is not None, data
    try:
        lines, traits = request_fields(parsed.headers, about, is_http11=True)
    except FieldError:
        return None
    assert not any(traits[:4]), data
    return lines


def plain(data: bytes) -> tuple[bytes, int] | None:
    line = data[: data.find(b"\n") + 1]
    found = plain_answer(data, line)
    return None if found is None else (found[0].removeprefix(line), found[2])


def head_of(data: bytes) -> bytes:
    """What of `data` is a head: the body is counted, and not read."""
    return data[: data.find(b"\r\n\r\n") + 4]


def answer_with(*lines: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: 0", *lines, b"", b""])


def test_what_passes_of_a_plain_answer_is_what_passes_of_the_parsed_one() -> None:
    parsed = answer_as_parsed(ANSWER)
    assert parsed is not None
    assert plain(ANSWER) == (parsed if IS_COMPILED else None)


@pytest.mark.parametrize("about", [TRUSTED, UNTRUSTED], ids=["trusted", "not trusted"])
def test_what_passes_of_a_plain_request_is_what_passes_of_the_parsed_one(about: Forwarded) -> None:
    found = plain_request_fields(REQUEST, REQUEST.find(b"\n") + 1, about)
    assert found == (request_as_parsed(REQUEST, about) if IS_COMPILED else None)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"Content-Length: 0"], id="two lengths"),
        pytest.param([b"Transfer-Encoding: chunked"], id="a coding beside a length"),
        pytest.param([b"Connection: close"], id="the last answer"),
        pytest.param([b"Connection: keep-alive, X"], id="a list in Connection"),
        pytest.param([b"Proxy-Connection: close"], id="what the parser takes for Connection"),
        pytest.param([b"Connection: keep-alive", b"Connection: keep-alive"], id="two Connections"),
        pytest.param([b"Via: a", b"Via: b"], id="two Vias"),
        pytest.param([b"Upgrade: h2c"], id="Upgrade"),
        pytest.param([b"X: \xe4"], id="a byte above ASCII"),
        pytest.param([b"X: 1 "], id="a blank behind a value"),
        pytest.param([b" folded"], id="a folded line"),
        pytest.param([b"X : 1"], id="a blank behind a name"),
        pytest.param([b"X: 1"] * 100, id="too many fields"),
    ],
)
def test_answers_that_are_not_plain(lines: list[bytes]) -> None:
    assert plain(answer_with(*lines)) is None


@pytest.mark.parametrize("length", [b"", b"-1", b"+1", b"0x1", b"1,1", b"9" * 16])
def test_a_length_that_is_no_short_number_is_not_plain(length: bytes) -> None:
    assert plain(b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n" % length) is None


def test_an_answer_without_a_length_is_not_plain() -> None:
    assert plain(b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n") is None


@pytest.mark.parametrize(
    "line", [b"TE: trailers", b"Expect: 100-continue", b"Upgrade: x", b"Via: a\r\nVia: b", b"X_Y: 1"]
)
def test_requests_that_are_not_plain(line: bytes) -> None:
    assert plain_request_fields(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % line, 16, UNTRUSTED) is None


def test_a_prefix_is_not_plain() -> None:
    assert [end for end in range(len(ANSWER) + 1) if plain(ANSWER[:end])] == [len(ANSWER)] * IS_COMPILED
    ends = range(REQUEST.find(b"\n") + 1, len(REQUEST) + 1)
    read = [end for end in ends if plain_request_fields(REQUEST[:end], REQUEST.find(b"\n") + 1, TRUSTED)]
    assert read == [len(REQUEST)] * IS_COMPILED


@pytest.mark.slow
def test_every_byte_value_at_every_place_of_an_answer() -> None:
    plain_ones = 0
    for place in range(len(b"HTTP/1.1 200 OK\r\n"), len(ANSWER)):
        for value in range(256):
            data = ANSWER[:place] + bytes([value]) + ANSWER[place + 1 :]
            found = plain(data)
            plain_ones += found is not None
            assert found is None or found == answer_as_parsed(head_of(data)), data
    assert plain_ones > 5_000 * IS_COMPILED - 1


LINES = [
    *ANSWER.split(b"\r\n")[1:-2],
    *[b"Transfer-Encoding: chunked", b"Connection: close", b"connection:\tKeep-Alive", b"Upgrade: x", b"Via:"],
    *[b"%b: close" % name.encode() for name in sorted(OF_RESPONSES)],
    *[b"X: \xe4", b"X: \t1", b" folded", b"X : 1", b": 1", b"X: \x7f", b"X: a\rb", b"content-length: 5"],
]
TOKENS = [b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b":", b"\x7f", b"\x80", b"5"]


@pytest.mark.slow
def test_generated_answers() -> None:
    """A million of them, others with another seed: `GENERATED=1000000 SEED=1 python -m pytest` and this file."""
    random, plain_ones = Random(SEED), 0
    for _ in range(GENERATED):
        lines = random.sample(LINES, random.randint(0, 9))
        data = b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: 5", *lines[random.randint(0, 1) :], b"", b""])
        for _ in range(random.choice((0, 0, 1, 1, 2, 5))):
            at = random.randrange(len(b"HTTP/1.1 200 OK\r\n"), len(data))
            data = data[:at] + random.choice((b"", *TOKENS, random.randbytes(1))) + data[at + random.randint(0, 2) :]
        found = plain(data)
        plain_ones += found is not None
        assert found is None or found == answer_as_parsed(head_of(data)), data
    assert plain_ones > GENERATED / 50 * IS_COMPILED - 1
