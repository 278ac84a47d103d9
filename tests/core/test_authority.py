"""Authorities: two spellings of one host are equal, and hosts that no client can connect to are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import generated

from redirect.core.authority import Authority, parse


@pytest.mark.parametrize(
    ("spelled", "host", "port"),
    [
        pytest.param("a.example.com", "a.example.com", None, id="as it is"),
        pytest.param("origin-1", "origin-1", None, id="single label"),
        pytest.param("my_host.example", "my_host.example", None, id="underscore"),
        pytest.param("_dmarc.example", "_dmarc.example", None, id="leading underscore"),
        pytest.param("A.Example.COM", "a.example.com", None, id="letters are lower-cased"),
        pytest.param("a.example.com.", "a.example.com", None, id="one trailing dot is dropped"),
        pytest.param("A.Example.COM.:8443", "a.example.com", 8443, id="both, with a port"),
        pytest.param("a.example.com:", "a.example.com", None, id="empty port is no port"),
        pytest.param("a.example.com:00080", "a.example.com", 80, id="zeros before a port"),
        pytest.param("a.example.com:1", "a.example.com", 1, id="lowest port"),
        pytest.param("a.example.com:65535", "a.example.com", 65535, id="highest port"),
        pytest.param("bücher.example", "xn--bcher-kva.example", None, id="IDN becomes A-labels"),
        pytest.param("BÜCHER.Example.", "xn--bcher-kva.example", None, id="IDN in capitals with a dot"),
        pytest.param("bu\u0308cher.example", "xn--bcher-kva.example", None, id="IDN, decomposed"),
        pytest.param("straße.example:81", "xn--strae-oqa.example", 81, id="sharp s is kept, as browsers do"),
        pytest.param("bücher。example", "xn--bcher-kva.example", None, id="ideographic full stop"),
        pytest.param("XN--BCHER-KVA.example", "xn--bcher-kva.example", None, id="A-label in capitals"),
        pytest.param("127.0.0.1:80", "127.0.0.1", 80, id="IPv4"),
        pytest.param("[::1]", "[::1]", None, id="IPv6"),
        pytest.param("[::1]:443", "[::1]", 443, id="IPv6 with a port"),
        pytest.param("[2001:DB8:0:0:0:0:0:1]", "[2001:db8::1]", None, id="IPv6, long and in capitals"),
        pytest.param("[2001:0db8::0001]", "[2001:db8::1]", None, id="IPv6 with leading zeros"),
        pytest.param(".".join(["a" * 63] * 3 + ["a" * 61]), ".".join(["a" * 63] * 3 + ["a" * 61]), None, id="longest"),
    ],
)
def test_normalised(spelled: str, host: str, port: int | None) -> None:
    """An authority is parsed to its one normal spelling and the port that it names."""
    assert parse(spelled) == Authority(host, port)


def test_ipv4_in_ipv6() -> None:
    """An IPv6 literal that ends in dots and one that does not are the same address."""
    assert parse("[::ffff:192.0.2.1]") == parse("[::FFFF:C000:0201]")


_NOT_LDH = "a host name is made of letters, digits, - and _ between dots"
_NO_AUTHORITY = "not a host with an optional port"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", _NO_AUTHORITY, id="empty"),
        pytest.param(":80", _NO_AUTHORITY, id="port alone"),
        pytest.param("a:b", _NO_AUTHORITY, id="port of letters"),
        pytest.param("a:-1", _NO_AUTHORITY, id="negative port"),
        pytest.param("a:٨٠", _NO_AUTHORITY, id="port of other digits"),
        pytest.param("a:000080", _NO_AUTHORITY, id="port of six digits"),
        pytest.param("a:80:80", _NO_AUTHORITY, id="two ports"),
        pytest.param("a:80 ", _NO_AUTHORITY, id="blank after the port"),
        pytest.param("a:80\n", _NO_AUTHORITY, id="line feed after the port"),
        pytest.param("::1", _NO_AUTHORITY, id="IPv6 without brackets"),
        pytest.param("[::1", _NO_AUTHORITY, id="bracket left open"),
        pytest.param("[::1]80", _NO_AUTHORITY, id="IPv6 and digits"),
        pytest.param("http://a", _NO_AUTHORITY, id="scheme"),
        pytest.param("a:0", "port must be from 1 to 65535", id="port 0"),
        pytest.param("a:65536", "port must be from 1 to 65535", id="port above 65535"),
        pytest.param("user@a", _NOT_LDH, id="userinfo"),
        pytest.param("a/b", _NOT_LDH, id="path"),
        pytest.param("a?b", _NOT_LDH, id="query"),
        pytest.param("a#b", _NOT_LDH, id="fragment"),
        pytest.param("a\\b", _NOT_LDH, id="backslash"),
        pytest.param("a%2eb", _NOT_LDH, id="percent escape"),
        pytest.param("a,b", _NOT_LDH, id="comma"),
        pytest.param("a b", _NOT_LDH, id="blank"),
        pytest.param(" a", _NOT_LDH, id="leading blank"),
        pytest.param("a\n", _NOT_LDH, id="line feed"),
        pytest.param("a\x00", _NOT_LDH, id="control byte"),
        pytest.param(".", _NOT_LDH, id="dot"),
        pytest.param("a..", _NOT_LDH, id="two trailing dots"),
        pytest.param("a..b", _NOT_LDH, id="empty label"),
        pytest.param(".a", _NOT_LDH, id="leading dot"),
        pytest.param("-a", _NOT_LDH, id="leading hyphen"),
        pytest.param("a-.b", _NOT_LDH, id="trailing hyphen"),
        pytest.param("*.a", _NOT_LDH, id="wildcard"),
        pytest.param("a" * 64, _NOT_LDH, id="label of 64"),
        pytest.param(".".join(["a" * 63] * 3 + ["a" * 62]), _NOT_LDH, id="name of 254"),
        pytest.param("a" * 1025, "longer than any host name", id="very long"),
        pytest.param("[fe80::1%eth0]", "an address with a zone has a meaning on one machine only", id="zone"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    """What is no authority is refused with the reason in words."""
    with pytest.raises(ValueError) as refusal:
        parse(text)
    assert str(refusal.value) == reason


@pytest.mark.parametrize(
    ("asked", "host"),
    [
        pytest.param("foo-.X.example", "foo-.x.example", id="trailing hyphen"),
        pytest.param("-foo.example.", "-foo.example", id="leading hyphen"),
        pytest.param("a..b", "a..b", id="empty label"),
        pytest.param("a" * 64, "a" * 64, id="label of 64"),
        pytest.param("a." * 200 + "a", "a." * 200 + "a", id="long name"),
        pytest.param("a~!$&'()*+;=b", "a~!$&'()*+;=b", id="all else that RFC 3986 allows unescaped"),
    ],
)
def test_what_a_client_asks_for_may_be_odd(asked: str, host: str) -> None:
    """RFC 3986 allows it, and no origin is it; so a request for it never is a loop."""
    assert parse(f"{asked}:81", True) == Authority(host, 81)
    with pytest.raises(ValueError):
        parse(f"{asked}:81")


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a,b", "a%2eb", "a b", "u@h", "a/b", "a\\b", "b\xfc-.example", "[v1.a]", "a|b"]
)
def test_what_no_client_may_ask_for(text: str) -> None:
    """Escapes and commas are legal, but two parties may read them differently."""
    with pytest.raises(ValueError):
        parse(text, True)


@pytest.mark.parametrize("text", ["[]", "[127.0.0.1]", "[::g]", "[1::2::3]", "[v1.a]"])
def test_what_is_no_ipv6_address(text: str) -> None:
    """Between brackets stands an IPv6 address and nothing else."""
    with pytest.raises(ValueError):
        parse(text)


@pytest.mark.parametrize("text", ["bü cher.example", "bü/x", "ü@a", "xn--a-ü.example", "é" * 64, "\ud800.example"])
def test_what_is_no_internationalised_name(text: str) -> None:
    """A name that IDNA refuses is refused, and the reason says so."""
    with pytest.raises(ValueError, match="not an internationalised host name"):
        parse(text)


@pytest.mark.parametrize(
    ("spelled", "scheme", "endpoint"),
    [
        pytest.param("a", "http", ("a", 80), id="http's default port"),
        pytest.param("a", "https", ("a", 443), id="https's default port"),
        pytest.param("a:80", "https", ("a", 80), id="http's port under https is another place"),
        pytest.param("a:443", "http", ("a", 443), id="https's port under http is another place"),
        pytest.param("a:8443", "http", ("a", 8443), id="a port of its own"),
    ],
)
def test_endpoint(spelled: str, scheme: str, endpoint: tuple[str, int]) -> None:
    """The endpoint is the host and the port that a client of the scheme connects to."""
    assert parse(spelled).endpoint(scheme) == endpoint


@pytest.mark.slow
@generated(500)
@given(
    st.text()
    | st.text("aA1-_.:[]ü。%@, \u00ad", max_size=20)
    | st.from_regex(r"\A[a-zäöA-Z0-9.]{1,20}(:[0-9]{1,5})?\Z")
)
def test_normal_spelling_is_a_fixed_point(text: str) -> None:
    """Any text either spells an authority, whose normal spelling spells it again, or raises ValueError."""
    try:
        authority = parse(text)
    except ValueError:
        return
    assert str(authority).isascii()
    assert str(authority) == str(authority).lower()
    assert parse(str(authority)) == authority
