"""Plain heads: which requests are read in one go, and that they mean what they mean to the connection."""

import os
import re
import shutil
from random import Random
from typing import Any

import httptools
import pytest
from support.wire import head

from redirect.core.forwarded import TrustedProxies
from redirect.edge.limits import MAX_FED_BYTES, MAX_HEADER_FIELDS
from redirect.edge.plain_head import FRAMING_FIELDS, READER, USED_FIELDS, PlainHead, ReadPlainHead, plain_head_reader
from redirect.edge.reader import Reader

TYPICAL = (
    b"GET /a?b=1 HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
    b"X-Forwarded-Host: b\r\nX-Request-ID: 7\r\nTraceparent: 00-t\r\nX-Pool: p\r\nUser-Agent: u\r\nReferer: /r\r\n"
    b"Accept: */*\r\nConnection: keep-alive\r\n\r\n"
)

# Both where the compiled one is there.
READERS = sorted({"Python", READER})

GENERATED = int(os.environ.get("GENERATED", "20000"))
SEED = int(os.environ.get("SEED", "20261126"))


@pytest.fixture(params=READERS)
def read(request: pytest.FixtureRequest) -> ReadPlainHead:
    return plain_head_reader("X-Pool", request.param)


def test_the_compiled_reader_is_in_use_where_there_is_a_compiler() -> None:
    assert (READER == "compiled") == (shutil.which("cc") is not None)


class Oracle:
    """What the parser of a connection makes of `data`, field by field: all that came of a single request, or None."""

    def __init__(self, data: bytes) -> None:
        self.heads: list[tuple[bytes, list[tuple[bytes, bytes]]]] = []
        self.ended = 0
        self.keeps_alive = False
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.heads.clear()

    def on_url(self, url: bytes) -> None:
        self.heads.append((url, []))

    def on_header(self, name: bytes, value: bytes) -> None:
        self.heads[-1][1].append((name, value))

    def on_headers_complete(self) -> None:
        self.keeps_alive = self.parser.should_keep_alive()

    def on_message_complete(self) -> None:
        self.ended += 1

    def head(self) -> PlainHead | None:
        if len(self.heads) != 1 or self.ended != 1 or not self.keeps_alive:
            return None
        ((target, headers),) = self.heads
        fields = Reader("X-Pool", TrustedProxies("")).fields(headers)
        if (
            not {*FRAMING_FIELDS}.isdisjoint({name.decode("latin-1").lower() for name, _ in headers})
            or "host" not in fields
        ):
            return None
        names = (*USED_FIELDS[1:], "x-pool")
        method = self.parser.get_method().decode()
        proto, addresses, asked, request_id, trace, agent, referer, pool = map(fields.get, names)
        path, host, logged = target.decode("latin-1"), fields["host"], (agent, referer)
        if request_id is not None and re.fullmatch("[A-Za-z0-9._-]{1,128}", request_id) is None:
            request_id = None
        return method, target, path, host, proto, addresses, asked, request_id, trace, *logged, pool


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(TYPICAL, id="all that is used"),
        pytest.param(head("GET / HTTP/1.1"), id="as little as can be"),
        pytest.param(head("HEAD /a HTTP/1.1"), id="HEAD"),
        pytest.param(b"GET / HTTP/1.1\r\nHOST:a\r\n\r\n", id="capitals, and no blank"),
        pytest.param(head("GET / HTTP/1.1", "Referer: \t/r \t"), id="blanks around a value"),
        pytest.param(head("GET / HTTP/1.1", "Referer:", "X:"), id="empty values"),
        pytest.param(head("GET / HTTP/1.1", 'User-Agent: "\\\t\\"', 'Referer: /"\ta'), id="what JSON escapes"),
        pytest.param(head("GET / HTTP/1.1", "X-Request-ID: Az09._-"), id="an id of all characters"),
        pytest.param(head("GET / HTTP/1.1", "X-Request-ID: a/b"), id="an id with another character"),
        pytest.param(head("GET / HTTP/1.1", f"X-Request-ID: {'a' * 128}"), id="the longest id"),
        pytest.param(head("GET / HTTP/1.1", f"X-Request-ID: {'a' * 129}"), id="too long an id"),
        pytest.param(head("GET / HTTP/1.1", "X-Request-ID:", "User-Agent:"), id="an empty id and agent"),
        pytest.param(head("GET / HTTP/1.1", "Cookie: Host: b"), id="a name in a value"),
        pytest.param(head("GET / HTTP/1.1", "X-Host: b", "Hosts: c"), id="names like those that are used"),
        pytest.param(head("GET / HTTP/1.1", "Connection: Keep-Alive"), id="Connection: keep-alive"),
        pytest.param(head("GET / HTTP/1.1", *["X: 1"] * (MAX_HEADER_FIELDS - 1)), id="as many fields as can be"),
    ],
)
def test_plain_requests(read: ReadPlainHead, data: bytes) -> None:
    """They are read, and as the connection reads them."""
    assert read(data) is not None
    assert read(data) == Oracle(data).head()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(head("POST / HTTP/1.1"), id="another method"),
        pytest.param(head("get / HTTP/1.1"), id="a method in small letters"),
        pytest.param(head("GET http://a/ HTTP/1.1"), id="a target that names the authority"),
        pytest.param(head("GET / HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(head("GET / HTTP/1.1", host=None), id="no Host"),
        pytest.param(head("GET / HTTP/1.1", host="b\xfccher.example"), id="a Host that is not ASCII"),
        pytest.param(head("GET / HTTP/1.1", "X: \x7f"), id="DEL"),
        pytest.param(head("GET / HTTP/1.1", "X: \0"), id="NUL"),
        pytest.param(head("GET / HTTP/1.1", "Host: b"), id="two Hosts"),
        pytest.param(head("GET / HTTP/1.1", "X-Pool: a", "x-pool: a"), id="two pools"),
        pytest.param(head("GET / HTTP/1.1", "X-Forwarded-For: a", "X-Forwarded-For: b"), id="two forwarded addresses"),
        pytest.param(head("GET / HTTP/1.1", "traceparent: a", "Traceparent: a"), id="two traces"),
        pytest.param(head("GET / HTTP/1.1", "Connection: close"), id="Connection: close"),
        pytest.param(head("GET / HTTP/1.1", "Connection: keep-alive, upgrade"), id="Connection: upgrade"),
        *[pytest.param(head("GET / HTTP/1.1", f"{name}: 0"), id=name) for name in sorted(FRAMING_FIELDS)],
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", id="a folded line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", id="a bare line feed"),
        pytest.param(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", id="a blank behind a name"),
        pytest.param(b"\r\n" + head("GET / HTTP/1.1"), id="an empty line before it"),
        pytest.param(head("GET / HTTP/1.1") * 2, id="two requests"),
        pytest.param(head("GET / HTTP/1.1") + b"GET / HTTP/1.1\r\n\r\n", id="a second request without Host"),
        pytest.param(head("GET / HTTP/1.1")[:-2], id="a head that has not ended"),
        pytest.param(head("GET / HTTP/1.1", *["X: 1"] * MAX_HEADER_FIELDS), id="too many fields"),
        pytest.param(head("GET / HTTP/1.1", f"X: {'x' * MAX_FED_BYTES}"), id="more than is fed at once"),
    ],
)
def test_requests_that_are_not_plain(read: ReadPlainHead, data: bytes) -> None:
    """They are left to the connection, and the next plain one is read all the same."""
    assert read(data) is None
    assert read(TYPICAL) == Oracle(TYPICAL).head()


def test_a_prefix_is_not_plain(read: ReadPlainHead) -> None:
    assert [end for end in range(len(TYPICAL) + 1) if read(TYPICAL[:end])] == [len(TYPICAL)]


@pytest.mark.slow
def test_every_byte_value_at_every_place(read: ReadPlainHead) -> None:
    """What is plain then is what the connection reads, value by value."""
    plain = 0
    for place in range(len(TYPICAL)):
        for value in range(256):
            data = TYPICAL[:place] + bytes([value]) + TYPICAL[place + 1 :]
            found = read(data)
            plain += found is not None
            assert found is None or found == Oracle(data).head(), data
    assert plain > 10_000


LINES = [
    *TYPICAL.split(b"\r\n")[1:-2],
    *[f"{name}: 0".encode() for name in FRAMING_FIELDS],
    *[b"Connection: close", b"Connection: keep-alive, upgrade", b"connection:\tKeep-Alive ", b"Te: trailers", b"X:"],
    *[b'User-Agent: "a\tb\\', b"X-Request-ID: a-b_c.D9", b"X-Request-ID: a b"],
    *[b"host: b", b"X-Pool:  q ", b"Cookie: \xe4", b"X: \t1", b" folded", b"X : 1", b": 1", b"X: \x7f", b"X: a\rb"],
]
TOKENS = [b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b":", b"\x7f", b"\x80", b"#", b"HTTP/1.0", b"GET "]


def generated(random: Random) -> bytes:
    """A head of fields that are usual or not, in any order, damaged or not."""
    method, lines = random.choice([b"GET", b"GET", b"HEAD", b"POST"]), random.sample(LINES, random.randint(0, 9))
    data = b"\r\n".join([method + b" /x?y=z HTTP/1.1", b"Host: a", *lines[random.randint(0, 1) :], b"", b""])
    for _ in range(random.choice((0, 0, 1, 1, 2, 5))):
        at = random.randrange(len(data))
        data = (
            data[:at]
            + random.choice((b"", random.choice(TOKENS), random.randbytes(1)))
            + data[at + random.randint(0, 2) :]
        )
    return data


@pytest.mark.slow
def test_generated_heads(read: ReadPlainHead) -> None:
    """What is plain is what the connection reads, and the same to both readers. A million of them, others with another
    seed: `GENERATED=1000000 SEED=1 python -m pytest tests/edge/test_plain_head.py`."""
    random, reference, plain = Random(SEED), plain_head_reader("X-Pool", "Python"), 0
    for _ in range(GENERATED):
        data = generated(random)
        found = read(data)
        plain += found is not None
        assert found == reference(data), data
        assert found is None or found == Oracle(data).head(), data
    assert plain > GENERATED / 20


@pytest.mark.parametrize("reader", READERS)
def test_other_fields_may_make_a_request_not_plain(reader: str) -> None:
    """Those that have to be weighed under some configurations."""
    asked = TYPICAL[:-2] + b"ORIGIN: https://a.example\r\n\r\n"
    assert plain_head_reader("X-Pool", reader)(asked) is not None
    assert plain_head_reader("X-Pool", reader, others=("origin",))(asked) is None
    assert plain_head_reader("X-Pool", reader, others=("origin",))(TYPICAL) is not None


@pytest.mark.parametrize("reader", READERS)
def test_an_empty_name_is_that_of_no_pool(reader: str) -> None:
    found = plain_head_reader("", reader)(TYPICAL)
    assert found is not None
    assert found[-1] is None


@pytest.mark.parametrize("name", ["Host", "user-agent", "Content-Length", "Connection"])
def test_no_request_is_plain_if_the_pool_is_named_by_a_field_with_another_meaning(name: str) -> None:
    assert plain_head_reader(name)(TYPICAL) is None


def test_spellings_do_not_fill_the_memory() -> None:
    reader: Any = plain_head_reader("X-Pool", "Python")
    for number in range(2_000):
        assert reader(head("GET / HTTP/1.1", f"H{number}: 1")) is not None
    assert len(reader.__self__._places) <= 1024
