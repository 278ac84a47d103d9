"""Plain heads: which requests are read in one go, and that they mean what they mean to the connection."""

from random import Random

import httptools
import pytest
from support.wire import head

from redirect.core.forwarded import TrustedProxies
from redirect.edge.limits import MAX_FED_BYTES, MAX_HEADER_FIELDS
from redirect.edge.plain_head import FRAMING_FIELDS, PlainHead, plain_head_reader
from redirect.edge.reader import Reader

TYPICAL = (
    b"GET /a?b=1 HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
    b"X-Request-ID: 7\r\nX-Pool: p\r\nUser-Agent: u\r\nReferer: /r\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n"
)

read = plain_head_reader("X-Pool")


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
        if FRAMING_FIELDS & {name.decode("latin-1").lower() for name, _ in headers} or "host" not in fields:
            return None
        names = ("x-forwarded-proto", "x-forwarded-for", "user-agent", "referer", "x-request-id", "x-pool")
        method = self.parser.get_method().decode()
        return PlainHead(method, target, target.decode("latin-1"), fields["host"], *map(fields.get, names))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(TYPICAL, id="all that is used"),
        pytest.param(head("GET / HTTP/1.1"), id="as little as can be"),
        pytest.param(head("HEAD /a HTTP/1.1"), id="HEAD"),
        pytest.param(b"GET / HTTP/1.1\r\nHOST:a\r\n\r\n", id="capitals, and no blank"),
        pytest.param(head("GET / HTTP/1.1", "Referer: \t/r \t"), id="blanks around a value"),
        pytest.param(head("GET / HTTP/1.1", "Referer:", "X:"), id="empty values"),
        pytest.param(head("GET / HTTP/1.1", 'User-Agent: "\\\xff'), id="bytes above ASCII"),
        pytest.param(head("GET / HTTP/1.1", "Cookie: Host: b"), id="a name in a value"),
        pytest.param(head("GET / HTTP/1.1", "X-Host: b", "Hosts: c"), id="names like those that are used"),
        pytest.param(head("GET / HTTP/1.1", "Connection: Keep-Alive"), id="Connection: keep-alive"),
        pytest.param(head("GET / HTTP/1.1", *["X: 1"] * (MAX_HEADER_FIELDS - 1)), id="as many fields as can be"),
    ],
)
def test_plain_requests(data: bytes) -> None:
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
        pytest.param(head("GET / HTTP/1.1", "Host: b"), id="two Hosts"),
        pytest.param(head("GET / HTTP/1.1", "X-Pool: a", "x-pool: a"), id="two pools"),
        pytest.param(head("GET / HTTP/1.1", "X-Forwarded-For: a", "X-Forwarded-For: b"), id="two forwarded addresses"),
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
def test_requests_that_are_not_plain(data: bytes) -> None:
    """They are left to the connection, and the next plain one is read all the same."""
    assert read(data) is None
    assert read(TYPICAL) == Oracle(TYPICAL).head()


def test_a_prefix_is_not_plain() -> None:
    assert [end for end in range(len(TYPICAL) + 1) if read(TYPICAL[:end])] == [len(TYPICAL)]


def test_every_byte_value_at_every_place() -> None:
    """What is plain then is what the connection reads, value by value."""
    plain = 0
    for place in range(len(TYPICAL)):
        for value in range(256):
            data = TYPICAL[:place] + bytes([value]) + TYPICAL[place + 1 :]
            found = read(data)
            plain += found is not None
            assert found is None or found == Oracle(data).head(), data
    assert plain > 10_000


def test_fields_taken_doubled_moved_and_changed() -> None:
    """Generated heads: what is plain is what the connection reads, and what the connection reads whole is plain."""
    random = Random(20261126)
    lines = TYPICAL.split(b"\r\n")[1:-2]
    more = [f"{name}: 0".encode() for name in FRAMING_FIELDS]
    more += [
        b"Connection: close",
        b"X:",
        b"host: b",
        b"X-Pool:  q ",
        b"Te: trailers",
        b"Cookie: \xe4",
        b"X: \t1",
        b" x",
    ]
    plain = 0
    for _ in range(20_000):
        chosen = random.sample(lines + more, random.randint(0, 9))
        if random.random() < 0.1 and chosen:
            chosen.append(random.choice(chosen))
        method = random.choice([b"GET", b"GET", b"HEAD"])
        data = b"\r\n".join([method + b" /x HTTP/1.1", *chosen, b"", b""])
        found, expected = read(data), Oracle(data).head()
        plain += found is not None
        if found is not None or not _is_doubled(data):
            assert found == expected, data
    assert plain > 500


def _is_doubled(data: bytes) -> bool:
    names = [line.partition(b":")[0].lower() for line in data.split(b"\r\n")]
    return len(names) - 1 != len({*names})  # the last two are empty


@pytest.mark.parametrize("name", ["Host", "user-agent", "Content-Length", "Connection"])
def test_no_request_is_plain_if_the_pool_is_named_by_a_field_with_another_meaning(name: str) -> None:
    assert plain_head_reader(name)(TYPICAL) is None


def test_spellings_do_not_fill_the_memory() -> None:
    for number in range(2_000):
        assert read(head("GET / HTTP/1.1", f"H{number}: 1")) is not None
    places = read.__self__._places  # type: ignore[attr-defined]
    assert len(places) <= 1024
