"""`X-Forwarded-*`: the fields count only if the peer is trusted, and only where they are valid."""

from random import Random

import pytest

from redirect.core.forwarded import Problems, TrustedProxies

PROXIES = "127.0.0.1, 10.0.0.0/8, ::1, 2001:db8:ffff::/48"


@pytest.mark.parametrize(
    ("trusted", "peer", "believed"),
    [
        pytest.param("127.0.0.1", "127.0.0.1", True, id="the address"),
        pytest.param("127.0.0.1", "127.0.0.2", False, id="another address"),
        pytest.param("127.0.0.1", None, False, id="no peer: a unix socket"),
        pytest.param("127.0.0.1", "localhost", False, id="peer that is no address"),
        pytest.param("127.0.0.1", "", False, id="empty peer"),
        pytest.param("10.0.0.0/8", "10.255.0.1", True, id="in the range"),
        pytest.param("10.0.0.0/8", "11.0.0.1", False, id="outside of the range"),
        pytest.param("192.0.2.1,10.0.0.0/8 , ::1", "::1", True, id="last of a list with blanks"),
        pytest.param("192.0.2.1,10.0.0.0/8 , ::1", "10.1.1.1", True, id="middle of a list with blanks"),
        pytest.param("2001:db8::/32", "2001:DB8::9", True, id="IPv6 range"),
        pytest.param("2001:db8::/32", "10.0.0.1", False, id="IPv4 peer, IPv6 range"),
        pytest.param("10.0.0.0/8", "::ffff:10.0.0.1", True, id="IPv4 peer of a dual-stack socket"),
        pytest.param("::ffff:10.0.0.1", "::ffff:10.0.0.1", True, id="listed as the dual-stack socket shows it"),
        pytest.param("*", "192.0.2.99", True, id="every peer"),
        pytest.param("*", None, True, id="every peer, on a unix socket"),
        pytest.param("unix:, 10.0.0.0/8", None, True, id="unix sockets"),
        pytest.param("unix:", "127.0.0.1", False, id="unix sockets alone"),
        pytest.param("", "127.0.0.1", False, id="no peer is trusted"),
        pytest.param(" , ", "127.0.0.1", False, id="no peer is trusted, with a comma"),
    ],
)
def test_trusted_peers(trusted: str, peer: str | None, believed: bool) -> None:
    """The fields of a peer that is listed count; of any other the connection itself."""
    expected = ("https", "203.0.113.7") if believed else ("http", peer)
    assert TrustedProxies(trusted).resolve(peer, "http", "https", "203.0.113.7") == expected


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [
        pytest.param(None, "http", id="absent"),
        pytest.param("https", "https", id="https"),
        pytest.param("http", "http", id="http"),
        pytest.param("HTTPS", "https", id="capitals"),
        pytest.param(" https ", "https", id="blanks around"),
        pytest.param("", "http", id="empty"),
        pytest.param("https,https", "https", id="list of equals"),
        pytest.param("HTTPS ,https", "https", id="list of equals in two spellings"),
        pytest.param("https, http", "http", id="list: the last, which the peer wrote"),
        pytest.param("http, https", "https", id="what a client claims does not count"),
        pytest.param("http,", "http", id="trailing comma"),
        pytest.param("wss", "https", id="WebSocket over TLS"),
        pytest.param("ws", "http", id="WebSocket"),
        pytest.param("gopher", "http", id="another scheme"),
        pytest.param("javascript", "http", id="dangerous scheme"),
        pytest.param("https://evil.example/", "http", id="URL"),
        pytest.param("https\r\nX: y", "http", id="line break"),
        pytest.param("ＨＴＴＰＳ", "http", id="full-width letters"),
    ],
)
def test_scheme(proto: str | None, scheme: str) -> None:
    """X-Forwarded-Proto is http or https, or the connection's own scheme counts."""
    assert TrustedProxies(PROXIES).resolve("127.0.0.1", "http", proto, None) == (scheme, "127.0.0.1")


@pytest.mark.parametrize(
    ("proto", "forwarded_for", "scheme"),
    [
        pytest.param("https, http", "203.0.113.7, 10.0.0.9", "https", id="past a trusted proxy"),
        pytest.param("https, http", "203.0.113.7", "http", id="the client wrote the first"),
        pytest.param("https, http, http", "203.0.113.7, 10.0.0.8, 10.0.0.9", "https", id="past two trusted proxies"),
        pytest.param("https, http, http", "203.0.113.7, 10.0.0.9", "http", id="no farther than the client"),
        pytest.param("https", "203.0.113.7, 10.0.0.8, 10.0.0.9", "https", id="one value of a longer way"),
        pytest.param("https, http", "10.0.0.8, 10.0.0.9", "https", id="trusted proxies only"),
        pytest.param("https, http", "junk, 10.0.0.9", "https", id="a trusted proxy wrote it, with any client"),
        pytest.param("https, junk", "203.0.113.7, 10.0.0.9", "http", id="nothing left of nonsense counts"),
        pytest.param("junk, https", "203.0.113.7, 10.0.0.9", "https", id="nonsense behind a trusted proxy"),
    ],
)
def test_scheme_of_a_list(proto: str, forwarded_for: str, scheme: str) -> None:
    """A list is read from the right, as far as trusted proxies wrote it."""
    assert TrustedProxies(PROXIES).resolve("127.0.0.1", "http", proto, forwarded_for)[0] == scheme


def test_scheme_if_every_peer_is_trusted() -> None:
    """With `*` only the last entry counts, in any list."""
    assert TrustedProxies("*").resolve("10.0.0.1", "http", "https, http", "203.0.113.7, 10.0.0.9")[0] == "http"


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "forwarded_host", "host"),
    [
        pytest.param("10.0.0.1", None, "A.example:81", "A.example:81", id="one"),
        pytest.param("192.0.2.1", None, "a.example", None, id="untrusted"),
        pytest.param("10.0.0.1", "203.0.113.7, 10.0.0.9", "a.example, b.example", "a.example", id="past a proxy"),
        pytest.param("10.0.0.1", "203.0.113.7", "a.example, b.example", "b.example", id="a claim does not count"),
        pytest.param("10.0.0.1", None, "b\xc3\xbccher.example", "b\xc3\xbccher.example", id="UTF-8"),
        pytest.param(
            "10.0.0.1", None, " a.caf\xc3\xa0 ", "a.caf\xc3\xa0", id="UTF-8 that ends like a space of Unicode"
        ),
        pytest.param("10.0.0.1", None, "\xd1\x85", "\xd1\x85", id="UTF-8 that ends like another one"),
        pytest.param("10.0.0.1", None, "\xa0", None, id="a space of Unicode"),
        pytest.param("10.0.0.1", None, "foo-.example", "foo-.example", id="odd"),
        pytest.param("10.0.0.1", None, "u@a", None, id="no host"),
        pytest.param("10.0.0.1", None, "\xff", None, id="no UTF-8"),
        pytest.param("10.0.0.1", None, "", None, id="empty"),
    ],
)
def test_host(peer: str, forwarded_for: str | None, forwarded_host: str, host: str | None) -> None:
    """The host asked for is what the farthest trusted proxy says; None where Host counts."""
    assert TrustedProxies(PROXIES).host(peer, forwarded_for, forwarded_host) == host


def test_a_host_that_is_none_is_told() -> None:
    proxies, told = TrustedProxies(PROXIES), Told()
    proxies.problems = told
    assert proxies.host("10.0.0.1", "203.0.113.7, 10.0.0.9", "u@a, b") == "b"
    assert told.said == [("10.0.0.1", "X-Forwarded-Host", "u@a, b")]


class Told(Problems):
    def __init__(self) -> None:
        self.said: list[tuple[str | None, ...]] = []

    def untrusted(self, peer: str | None) -> None:
        self.said.append((peer,))

    def malformed(self, peer: str | None, field: str, value: str) -> None:
        self.said.append((peer, field, value))


@pytest.mark.parametrize(
    ("peer", "proto", "forwarded_for", "said"),
    [
        pytest.param("10.0.0.1", "https", "203.0.113.7, 10.0.0.9", [], id="all counts"),
        pytest.param("10.0.0.1", "https, https", None, [], id="a list of equals"),
        pytest.param("10.0.0.1", "", "", [], id="nothing is said"),
        pytest.param("10.0.0.1", None, "unknown, 10.0.0.9", [], id="a proxy does not tell"),
        pytest.param("10.0.0.1", "x, https", "junk, 192.0.2.1", [], id="nonsense of the client"),
        pytest.param("192.0.2.1", "https", "203.0.113.7", [("192.0.2.1",)], id="untrusted"),
        pytest.param(None, None, "203.0.113.7", [(None,)], id="untrusted, on a unix socket"),
        pytest.param("::1", "h2, x", None, [("::1", "X-Forwarded-Proto", "h2, x")], id="no scheme"),
        pytest.param("::1", None, "a, ::1", [("::1", "X-Forwarded-For", "a, ::1")], id="no address"),
    ],
)
def test_what_does_not_count_is_told(
    peer: str | None, proto: str | None, forwarded_for: str | None, said: list[tuple[str | None, ...]]
) -> None:
    proxies, told = TrustedProxies(PROXIES), Told()
    proxies.problems = told
    proxies.resolve(peer, "http", proto, forwarded_for)
    assert told.said == said


def test_scheme_of_a_connection_with_tls() -> None:
    """A trusted proxy may also state that its client came without TLS; nonsense leaves the connection's https."""
    proxies = TrustedProxies(PROXIES)
    assert proxies.resolve("127.0.0.1", "https", "http", None) == ("http", "127.0.0.1")
    assert proxies.resolve("127.0.0.1", "https", "nonsense", None) == ("https", "127.0.0.1")


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        pytest.param("203.0.113.7", "203.0.113.7", id="one address"),
        pytest.param("  203.0.113.7\t", "203.0.113.7", id="blanks around"),
        pytest.param("203.0.113.7:4711", "203.0.113.7", id="with a port"),
        pytest.param("2001:DB8:0::7", "2001:db8::7", id="IPv6 in another spelling"),
        pytest.param("[2001:db8::7]", "2001:db8::7", id="IPv6 in brackets"),
        pytest.param("[2001:db8::7]:4711", "2001:db8::7", id="IPv6 in brackets with a port"),
        pytest.param("::ffff:203.0.113.7", "203.0.113.7", id="IPv4-mapped IPv6"),
        pytest.param("198.51.100.1, 203.0.113.7", "203.0.113.7", id="what a client claims does not count"),
        pytest.param("203.0.113.7, 10.0.0.9", "203.0.113.7", id="through a trusted proxy"),
        pytest.param("203.0.113.7,10.0.0.9 ,::1,10.1.1.1", "203.0.113.7", id="through three trusted proxies"),
        pytest.param("203.0.113.7, ::ffff:10.0.0.9", "203.0.113.7", id="through a proxy with a dual-stack socket"),
        pytest.param("203.0.113.7, [2001:db8:ffff::1]:443", "203.0.113.7", id="through a proxy in brackets"),
        pytest.param("198.51.100.1, 203.0.113.7, 10.0.0.9", "203.0.113.7", id="claim and a trusted proxy"),
        pytest.param("10.0.0.8, 10.0.0.9", "10.0.0.8", id="trusted proxies only: the farthest"),
        pytest.param("198.51.100.1, junk, 10.0.0.9", "10.0.0.9", id="nothing left of nonsense counts"),
        pytest.param("198.51.100.1, , 10.0.0.9", "10.0.0.9", id="nothing left of a hole counts"),
        pytest.param("198.51.100.1, junk", "127.0.0.1", id="nonsense last"),
        pytest.param("203.0.113.7,", "127.0.0.1", id="trailing comma"),
        pytest.param("", "127.0.0.1", id="empty"),
        pytest.param(" , ", "127.0.0.1", id="commas and blanks"),
        pytest.param("unknown", "127.0.0.1", id="unknown"),
        pytest.param("_hidden", "127.0.0.1", id="obfuscated"),
        pytest.param("203.0.113.0/24", "127.0.0.1", id="CIDR range"),
        pytest.param("*", "127.0.0.1", id="asterisk"),
        pytest.param("203.0.113", "127.0.0.1", id="three octets"),
        pytest.param("203.0.113.256", "127.0.0.1", id="octet above 255"),
        pytest.param("0203.0.113.7", "127.0.0.1", id="leading zero"),
        pytest.param("3405803783", "127.0.0.1", id="number"),
        pytest.param("２０３.0.113.7", "127.0.0.1", id="full-width digits"),
        pytest.param('203.0.113.7"', "127.0.0.1", id="quote behind"),
        pytest.param("203.0.113.7:http", "127.0.0.1", id="port of letters"),
        pytest.param("203.0.113.7:", "203.0.113.7", id="empty port"),
        pytest.param("[2001:db8::7]junk", "127.0.0.1", id="nonsense behind brackets"),
        pytest.param("[2001:db8::7]:http", "127.0.0.1", id="port of letters behind brackets"),
        pytest.param("[2001:db8::7", "127.0.0.1", id="bracket left open"),
        pytest.param("[203.0.113.7]", "127.0.0.1", id="IPv4 in brackets"),
        pytest.param('fe80::1%"><script>', "127.0.0.1", id="zone, which may hold any text"),
        pytest.param("198.51.100.1, fe80::1%eth0, 10.0.0.9", "10.0.0.9", id="zone behind a trusted proxy"),
    ],
)
def test_client(forwarded_for: str, client: str) -> None:
    """The client is the first address from the right that is no trusted proxy; what is no address ends the search."""
    assert TrustedProxies(PROXIES).resolve("127.0.0.1", "http", None, forwarded_for) == ("http", client)


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        pytest.param("203.0.113.7", "203.0.113.7", id="one address"),
        pytest.param("198.51.100.1, 203.0.113.7", "203.0.113.7", id="the last, which the peer wrote"),
        pytest.param("198.51.100.1, junk", "192.0.2.99", id="nonsense last: the peer"),
    ],
)
def test_client_if_every_peer_is_trusted(forwarded_for: str, client: str) -> None:
    """With `*` only the last address counts: the peer may not have checked those before it."""
    assert TrustedProxies("*").resolve("192.0.2.99", "http", None, forwarded_for) == ("http", client)


def test_one_address_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual value, one address in its usual spelling, costs no parse, an IPv6 address only when it is new:
    whether it is a proxy's does not matter."""
    proxies = TrustedProxies(PROXIES)
    for address in ("192.0.2.1", "2001:db8::7", "2001:db8:ffff::1"):
        assert proxies.resolve("127.0.0.1", "http", None, address) == ("http", address)
    monkeypatch.delattr("redirect.core.forwarded._address")
    for address in ("203.0.113.7", "10.0.0.9", "2001:db8::7", "2001:db8:ffff::1"):
        assert proxies.resolve("127.0.0.1", "http", None, address) == ("http", address)


@pytest.mark.slow
def test_one_address_means_the_same_in_any_spelling() -> None:
    """What costs no parse is what a parse gives; 0.0.0.0 is no trusted proxy here."""
    random = Random(7)
    proxies, usual = TrustedProxies("127.0.0.1"), 0
    for _ in range(20_000):
        if random.random() < 0.3:
            parts = [
                random.choice(["0", "1", "10", "99", "100", "255", "256", "01", ""])
                for _ in range(random.choice((3, 4, 4, 5)))
            ]
            text = ".".join(parts)
        else:
            parts = [
                random.choice(["", "0", "0", "1", "ffff", "db8", "0db8", "FF", "1.2.3.4"])
                for _ in range(random.randint(2, 9))
            ]
            text = ":".join(parts)
        client = proxies.resolve("127.0.0.1", "http", None, text)[1]
        usual += client == text
        assert client == proxies.resolve("127.0.0.1", "http", None, f"{text} ")[1]  # a blank makes it unusual
    assert usual > 500


def test_headers_are_independent() -> None:
    """Nonsense in one of the two fields leaves the other valid."""
    proxies = TrustedProxies(PROXIES)
    assert proxies.resolve("127.0.0.1", "http", "nonsense", "203.0.113.7") == ("http", "203.0.113.7")
    assert proxies.resolve("127.0.0.1", "http", "https", "nonsense") == ("https", "127.0.0.1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("nginx", "'nginx' is no address or CIDR range", id="name"),
        pytest.param(
            "10.0.0.1/8", "'10.0.0.1/8' is an address within '10.0.0.0/8'; write that", id="bits behind the mask"
        ),
        pytest.param("10.0.0.0/33", "'10.0.0.0/33' is no address or CIDR range", id="mask too long"),
        pytest.param("127.0.0.1, *", "'*' trusts every peer, and stands alone", id="asterisk among others"),
        pytest.param("127.0.0.1:80", "'127.0.0.1:80' is no address or CIDR range", id="port"),
        pytest.param("127.0.0.1 10.0.0.1", "'127.0.0.1 10.0.0.1' is no address or CIDR range", id="blank for a comma"),
    ],
)
def test_bad_list(text: str, message: str) -> None:
    """A list of proxies that holds anything but addresses and ranges is refused, and the entry is named."""
    with pytest.raises(ValueError) as refusal:
        TrustedProxies(text)
    assert str(refusal.value).startswith(message)
