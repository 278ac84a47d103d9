"""The request: its target and its Host, read by the rules of RFC 9112 and ours."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import generated

from redirect.core.authority import Endpoint
from redirect.core.decision import Decision
from redirect.core.forwarded import TrustedProxies
from redirect.core.request import Head, Request
from redirect.edge.reader import Reader, peer_of

HOST = (b"host", b"a.example")
A = ("a.example", 80)


class Asked(NamedTuple):
    """What is redirected: the host as it came, what it stands for, and the target."""

    host: str | None
    endpoint: Endpoint | None
    target: str


def read(method: str, target: bytes, headers: list[tuple[bytes, bytes]], version: str, pool: str = "X-Pool") -> Request:
    reader = Reader(pool, TrustedProxies("10.0.0.0/8"))
    return reader.read(method, target, reader.fields(headers), version, "192.0.2.7", "http")


def asked(line: str, *headers: tuple[bytes, bytes], pool: str = "X-Pool") -> Asked | Decision:
    """What a request line with these headers asks for."""
    method, target, version = line.split(" ")
    request = read(method, target.encode("latin-1"), list(headers), version.removeprefix("HTTP/"), pool)
    return request.answer or Asked(request.head.host, request.head.endpoint, request.target)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param("/", "/", id="root"),
        pytest.param("/a/b?x=1&y=2", "/a/b?x=1&y=2", id="path and query"),
        pytest.param("//x", "//x", id="two slashes"),
        pytest.param("/a/../b/./c", "/a/../b/./c", id="dot segments"),
        pytest.param("/a%2Fb%c3%A9%zz%", "/a%2Fb%c3%A9%zz%", id="escapes"),
        pytest.param("/?", "/?", id="empty query"),
        pytest.param("/??a=b&a=c&", "/??a=b&a=c&", id="odd query"),
        pytest.param("/http://b.example/", "/http://b.example/", id="URL in the path"),
        pytest.param("/a#b", "/a#b", id="fragment"),
        pytest.param("/*", "/*", id="asterisk in the path"),
        pytest.param("/\xc3\xa9\xff", "/\xc3\xa9\xff", id="bytes beyond ASCII"),
        pytest.param("/\\", "/\\", id="backslash"),
    ],
)
def test_origin_form(target: str, expected: str) -> None:
    """A target that is a path is kept as it came; Host names the authority."""
    assert asked(f"GET {target} HTTP/1.1", HOST) == Asked("a.example", A, expected)


@pytest.mark.parametrize(
    ("target", "host", "endpoint", "rest"),
    [
        pytest.param("http://b.example/x?y", "b.example", ("b.example", 80), "/x?y", id="path and query"),
        pytest.param("https://b.example/", "b.example", ("b.example", 80), "/", id="https"),
        pytest.param(
            "HtTp://B.Example.:8080/A", "B.Example.:8080", ("b.example", 8080), "/A", id="capitals and a port"
        ),
        pytest.param("http://b.example", "b.example", ("b.example", 80), "/", id="no path"),
        pytest.param("http://b.example?x=/y", "b.example", ("b.example", 80), "/?x=/y", id="query without a path"),
        pytest.param("http://b.example#x", "b.example", ("b.example", 80), "/#x", id="fragment"),
        pytest.param("http://b.example//x//", "b.example", ("b.example", 80), "//x//", id="slashes"),
        pytest.param("http://b.example/a%2Fb/../?", "b.example", ("b.example", 80), "/a%2Fb/../?", id="raw bytes"),
        pytest.param("http://[2001:DB8::1]:81/", "[2001:DB8::1]:81", ("[2001:db8::1]", 81), "/", id="IPv6"),
        pytest.param(
            "http://b\xc3\xbccher.example/", "b\xc3\xbccher.example", ("xn--bcher-kva.example", 80), "/", id="UTF-8"
        ),
        pytest.param("http://b.example/http://c/", "b.example", ("b.example", 80), "/http://c/", id="URL in the path"),
        pytest.param("http://b.example/@c", "b.example", ("b.example", 80), "/@c", id="at sign in the path"),
        pytest.param("http://b.example/\n", "b.example", ("b.example", 80), "/\n", id="line feed of another server"),
    ],
)
def test_absolute_form(target: str, host: str, endpoint: Endpoint, rest: str) -> None:
    """A target that is a URL names the authority, whatever Host says; its path and query are kept as they came."""
    request = read("GET", target.encode("latin-1"), [HOST], "1.1")
    assert (request.answer, request.target) == (None, rest)
    assert (request.head.host, request.head.endpoint) == (host, endpoint)


def test_absolute_form_of_http_1_0() -> None:
    """In HTTP/1.0 a URL needs no Host beside it."""
    assert asked("GET http://b.example/x HTTP/1.0") == Asked("b.example", ("b.example", 80), "/x")


def test_options_asterisk() -> None:
    """`OPTIONS *` asks about the server itself and is answered without a pool."""
    assert asked("OPTIONS * HTTP/1.1", HOST) == Decision(204)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_methods(method: str) -> None:
    """Every method that has a path asks for it."""
    assert asked(f"{method} /x HTTP/1.1", HOST) == Asked("a.example", A, "/x")


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("CONNECT a.example:443 HTTP/1.1", id="CONNECT"),
        pytest.param("CONNECT /x HTTP/1.1", id="CONNECT with a path"),
        pytest.param("CONNECT http://a.example/ HTTP/1.1", id="CONNECT with a URL"),
        pytest.param("CONNECT * HTTP/1.1", id="CONNECT with an asterisk"),
        pytest.param("GET * HTTP/1.1", id="asterisk without OPTIONS"),
        pytest.param("OPTIONS ** HTTP/1.1", id="two asterisks"),
        pytest.param("GET x HTTP/1.1", id="path without a slash"),
        pytest.param("GET ?x HTTP/1.1", id="query alone"),
        pytest.param("GET a.example:80 HTTP/1.1", id="authority"),
        pytest.param("GET ftp://a.example/ HTTP/1.1", id="another scheme"),
        pytest.param("GET http:/x HTTP/1.1", id="scheme without an authority"),
        pytest.param("GET javascript:alert(1) HTTP/1.1", id="script"),
        pytest.param("GET xhttp://a.example/ HTTP/1.1", id="URL behind something"),
        pytest.param("GET \\x HTTP/1.1", id="backslash"),
        pytest.param("GET  HTTP/1.1", id="empty"),
    ],
)
def test_targets_that_are_refused(line: str) -> None:
    """A target that is neither a path nor an http or https URL is refused, and the connection ends."""
    detail = "the target must be a path that begins with / or an http or https URL"
    assert asked(line, HOST) == Decision(400, detail=detail, close=True)


_LDH = "a host name is made of letters, digits, - and _ between dots"
_NO_AUTHORITY = "not a host with an optional port"


@pytest.mark.parametrize(
    ("authority", "reason"),
    [
        pytest.param("", _NO_AUTHORITY, id="empty"),
        pytest.param("user@b", _LDH, id="user"),
        pytest.param("user:pass@b", _NO_AUTHORITY, id="user and password"),
        pytest.param("b:0", "port must be from 1 to 65535", id="port 0"),
        pytest.param("b\\c", _LDH, id="backslash"),
    ],
)
def test_authorities_of_targets_that_are_refused(authority: str, reason: str) -> None:
    """A URL whose authority is none is refused, even with a good Host beside it."""
    detail = f"the target's authority is no host with an optional port: {reason}"
    assert asked(f"GET http://{authority}/x HTTP/1.1", HOST) == Decision(400, detail=detail, close=True)


# Host


@pytest.mark.parametrize(
    ("host", "authority"),
    [
        pytest.param(b"A.Example.:80", ("a.example", 80), id="capitals, dot and port"),
        pytest.param(b"a.example:", A, id="empty port"),
        pytest.param(b"[2001:DB8::1]:80", ("[2001:db8::1]", 80), id="IPv6"),
        pytest.param("bücher.example".encode(), ("xn--bcher-kva.example", 80), id="UTF-8"),
    ],
)
def test_good_host(host: bytes, authority: Endpoint) -> None:
    """Host is kept as the client wrote it, and normalised beside that."""
    assert asked("GET / HTTP/1.1", (b"host", host)) == Asked(host.decode("latin-1"), authority, "/")


def test_no_host() -> None:
    """HTTP/1.1 needs a Host, whatever the target."""
    refusal = Decision(400, detail="the request has no Host header", close=True)
    for line in ("GET / HTTP/1.1", "GET http://a.example/ HTTP/1.1", "OPTIONS * HTTP/1.1"):
        assert asked(line) == refusal


def test_no_host_in_http_1_0() -> None:
    """HTTP/1.0 has no Host, so the authority that was asked for is unknown."""
    assert asked("GET /x HTTP/1.0") == Asked(None, None, "/x")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    ("host", "reason"),
    [
        pytest.param(b"", _NO_AUTHORITY, id="empty"),
        pytest.param(b" ", _NO_AUTHORITY, id="blank"),
        pytest.param(b"a b", _LDH, id="blank inside"),
        pytest.param(b"a,b", _LDH, id="comma"),
        pytest.param(b"user@a", _LDH, id="user"),
        pytest.param(b"a/b", _LDH, id="path"),
        pytest.param(b"http://a", _NO_AUTHORITY, id="scheme"),
        pytest.param(b"a:x", _NO_AUTHORITY, id="port of letters"),
        pytest.param(b"a:65536", "port must be from 1 to 65535", id="port above 65535"),
        pytest.param(b"a%2eb", _LDH, id="percent escape"),
        pytest.param(b"::1", _NO_AUTHORITY, id="IPv6 without brackets"),
        pytest.param(b"[fe80::1%25eth0]", "an address with a zone has a meaning on one machine only", id="zone"),
        pytest.param(b"a\x00", _LDH, id="NUL"),
        pytest.param(b"a" * 2000, "longer than any host name", id="very long"),
    ],
)
def test_host(host: bytes, reason: str, version: str) -> None:
    """A Host that is no authority is refused in every version, and the connection ends."""
    detail = f"the Host header is no host with an optional port: {reason}"
    assert asked(f"GET / HTTP/{version}", (b"host", host)) == Decision(400, detail=detail, close=True)


@pytest.mark.parametrize("host", [b"b\xfccher.example", b"\xff", b"\xc3", b"\xed\xa0\x80.example", b"b\xc3\xbc cher"])
def test_host_beyond_ascii_that_is_no_name(host: bytes) -> None:
    """A Host beyond ASCII is the UTF-8 of an internationalised name, or refused."""
    answer = asked("GET / HTTP/1.1", (b"host", host))
    assert isinstance(answer, Decision)
    assert (answer.status, answer.close) == (400, True)


@pytest.mark.parametrize("second", [b"a.example", b"b.example", b""])
def test_two_hosts(second: bytes) -> None:
    """Two Hosts are refused, even equal ones, even if a URL names the authority, and even if they name the pool."""
    refusal = Decision(400, detail="the request has more than one Host header", close=True)
    for line in ("GET / HTTP/1.1", "GET / HTTP/1.0", "GET http://a.example/ HTTP/1.1"):
        assert asked(line, HOST, (b"host", second)) == refusal
        assert asked(line, HOST, (b"host", second), pool="Host") == refusal


def test_bad_host_beside_a_url() -> None:
    """A Host that is no authority is refused also where a URL makes it needless."""
    answer = asked("GET http://a.example/ HTTP/1.1", (b"host", b"a b"))
    assert isinstance(answer, Decision)
    assert answer.status == 400


def test_transfer_encoding_in_http_1_0() -> None:
    """HTTP/1.0 does not know it, so where the request ends depends on the reader (RFC 9112, section 6.1)."""
    coding = (b"Transfer-Encoding", b"chunked")
    refusal = Decision(400, detail="HTTP/1.0 has no Transfer-Encoding", close=True)
    assert asked("POST / HTTP/1.0", HOST, coding) == refusal
    assert asked("POST / HTTP/1.1", HOST, coding) == Asked("a.example", A, "/")


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0", "2", "3", ""])
def test_other_versions(version: str) -> None:
    """Only HTTP/1.0 and HTTP/1.1 are spoken; for another version nothing else of the request counts."""
    refusal = Decision(505, detail="only HTTP/1.1 and HTTP/1.0 are spoken here", close=True)
    assert read("GET", b"/", [HOST], version).answer == refusal
    assert read("GET", b"*", [], version).answer == refusal


# The rest of the head


def test_head() -> None:
    """A head says which pool is asked for, by whom and from where; characters are bytes."""
    headers = [HOST, (b"X-POOL", b"\xff"), (b"User-Agent", b"curl \t"), (b"referer", b""), (b"X-Request-Id", b"1")]
    headers.append((b"Traceparent", b"00-x"))
    assert read("GET", b"/\xff", headers, "1.1") == Request(
        "GET", "/\xff", Head("\xff", "http", A, "a.example", "192.0.2.7", "curl", "", "1", "00-x")
    )


def test_fields() -> None:
    """Fields that say something are kept by lower-case name; those of one name are joined by commas."""
    reader = Reader("X-Pool", TrustedProxies(""))
    headers = [HOST, (b"x-pool", b"1"), (b"x-other", b"a"), (b"X-Pool", b""), (b"x-pool", b"2")]
    assert reader.fields(headers) == {"host": "a.example", "x-pool": "1, , 2"}


def test_spellings_that_are_made_up_are_not_kept() -> None:
    """A client that makes up field names costs no memory: a bounded number of short spellings is remembered."""
    reader = Reader("X-Pool", TrustedProxies(""))
    reader.fields([(b"x-%d" % n, b"") for n in range(5000)] + [(b"x" * 100_000, b"")])
    assert len(reader.names) == 1024
    assert reader.fields([(b"HoSt", b"a")]) == {"host": "a"}


def test_a_trusted_peer_speaks_for_the_client() -> None:
    """Scheme, client and so the endpoint that was asked for are what a trusted peer says."""
    reader = Reader("X-Pool", TrustedProxies("10.0.0.0/8"))
    fields = {"host": "a.example", "x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.9"}
    head = reader.read("GET", b"/", fields, "1.1", "10.1.2.3", "http").head
    assert (head.scheme, head.endpoint, head.client_ip) == ("https", ("a.example", 443), "192.0.2.9")


def test_head_of_a_refused_request() -> None:
    """A refused request keeps its target and its head, for the access log."""
    request = read("GET", b"x", [HOST, (b"user-agent", b"curl")], "1.1")
    assert request.answer is not None
    assert (request.target, request.head.host, request.head.user_agent) == ("x", "a.example", "curl")


@pytest.mark.slow
@generated(300)
@given(
    st.sampled_from(["GET", "OPTIONS", "CONNECT", ""]),
    st.binary() | st.binary().map(lambda rest: b"http://" + rest) | st.binary().map(lambda rest: b"/" + rest),
    st.lists(st.tuples(st.sampled_from([b"host", b"x-a"]), st.binary(max_size=20) | st.just(b"a.example")), max_size=3),
    st.sampled_from(["1.0", "1.1", "2.0"]),
)
def test_any_bytes(method: str, target: bytes, headers: list[tuple[bytes, bytes]], version: str) -> None:
    """Whatever bytes a head holds, it asks for something that begins with / or is refused: nothing is raised."""
    request = read(method, target, headers, version)
    if request.answer is None:
        assert request.target.startswith("/")
        assert target.endswith(request.target.removeprefix("/").encode("latin-1"))
    elif request.answer.status == 204:
        assert (method, request.target, target.lower()[:5]) in [("OPTIONS", "*", b"http:"), ("OPTIONS", "*", b"*")]
    else:
        assert request.target.encode("latin-1") == target
        assert request.answer.status in (400, 505)
        assert (request.answer.detail is None) == (request.answer.status == 204)


@pytest.mark.parametrize(
    ("client", "peer"),
    [
        (None, None),
        (("192.0.2.1", 1), "192.0.2.1"),
        (("::ffff:192.0.2.1", 1), "192.0.2.1"),
        (("::ffff:0:192.0.2.1", 1), "::ffff:0:192.0.2.1"),
        (("2001:db8::1", 1), "2001:db8::1"),
    ],
)
def test_a_peer_of_a_dual_stack_socket_has_the_address_that_it_has_elsewhere(
    client: tuple[str, int] | None, peer: str | None
) -> None:
    assert peer_of(client) == peer
