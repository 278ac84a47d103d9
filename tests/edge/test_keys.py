"""A pool with `pick = "hash"` tells clients by what `hash_on` names, on both fronts and behind any ASGI server."""

import pytest
from support.wire import Wire, head

from redirect.edge.keys import key_of

HOSTS = ", ".join(f'"o{number}.example" = 1' for number in range(50))


def toml(hash_on: str) -> bytes:
    return f'[p]\nis_default = true\npick = "hash"\nhash_on = "{hash_on}"\nweighted_hosts = {{ {HOSTS} }}\n'.encode()


@pytest.mark.parametrize(
    ("hash_on", "target", "fields", "key"),
    [
        pytest.param("client_ip", "/", [], b"192.0.2.7", id="address"),
        pytest.param("header:x-user", "/", [(b"X-User", b"ann ")], b"ann", id="field"),
        pytest.param("header:x-user", "/", [(b"x-user", b"a"), (b"X-USER", b"b")], b"a, b", id="fields are joined"),
        pytest.param("header:x-user", "/", [(b"x-user", b"")], b"", id="empty field"),
        pytest.param("header:x-user", "/", [], b"", id="no field"),
        pytest.param("cookie:sid", "/", [(b"Cookie", b"xsid=0; sid=1; sid=2")], b"1", id="first cookie"),
        pytest.param("cookie:sid", "/", [(b"Cookie", b"a=1"), (b"cookie", b"sid=a=b")], b"a=b", id="second field"),
        pytest.param("cookie:sid", "/", [(b"Cookie", b"SID=1; sid=")], b"", id="empty cookie"),
        pytest.param("query:u", "/a?v=1&u=%41&u=2", [], b"%41", id="first parameter, undecoded"),
        pytest.param("query:u", "/u=1", [], b"", id="no query"),
    ],
)
def test_key(hash_on: str, target: str, fields: list[tuple[bytes, bytes]], key: bytes) -> None:
    assert key_of(hash_on, target, "192.0.2.7", fields) == key
    lines = b"GET / HTTP/1.1\r\n" + b"".join([b"%b: %b\r\n" % field for field in fields]) + b"\r\n"
    assert key_of(hash_on, target, "192.0.2.7", lines) == key


def test_an_address_that_is_not_known_is_no_key() -> None:
    assert key_of("client_ip", "/", None, []) == b""


def origins(wire: Wire, requests: list[bytes], hash_on: str) -> list[str]:
    seen = wire.converse(requests, pools=toml(hash_on), trusted="192.0.2.7")
    return [record["origin"] for record in seen.records]


@pytest.mark.parametrize(
    ("hash_on", "field"),
    [
        ("client_ip", "X-Forwarded-For: 198.51.100.{}"),
        ("header:x-user", "X-User: {}"),
        ("cookie:sid", "Cookie: sid={}"),
    ],
)
def test_each_client_keeps_its_origin_on_one_connection(wire: Wire, hash_on: str, field: str) -> None:
    """A proxy sends many clients' requests over it, of which the first front remembers the last head."""
    clients = [1, 1, 2, 2, 3, 1, 2, 3, 3, 1]
    requests = [head("GET / HTTP/1.1", field.format(each)) for each in clients]
    found = dict[int, str]()
    picked = origins(wire, requests, hash_on)
    for client, origin in zip(clients, picked, strict=True):
        assert found.setdefault(client, origin) == origin
    assert len({*found.values()}) == 3


def test_a_parameter_counts_where_only_the_target_differs(wire: Wire) -> None:
    picked = origins(wire, [head(f"GET /?u={each} HTTP/1.1") for each in "1221"], "query:u")
    assert picked[0] == picked[3] != picked[1] == picked[2]


def test_all_ways_to_read_a_request_find_the_same_origin(wire: Wire) -> None:
    """A HEAD, a request with a body and one that came in two pieces are not plain, or not remembered."""
    plain = head("GET / HTTP/1.1", "X-User: a")
    ways = [plain, head("HEAD / HTTP/1.1", "X-User: a"), head("POST / HTTP/1.1", "X-User: a", "Content-Length: 0")]
    assert len({*origins(wire, [*ways, plain[:9], plain[9:]], "header:x-user")}) == 1


def test_without_a_key_origins_are_picked_by_chance(wire: Wire) -> None:
    assert len({*origins(wire, [head("GET / HTTP/1.1")] * 20, "cookie:sid")}) > 5


def test_a_head_takes_no_pick(wire: Wire) -> None:
    """It sees what the next GET gets, so a page is not split from its links by a client that asks for both."""
    pools = b'[p]\nis_default = true\nweighted_hosts = { "a.example" = 1, "b.example" = 1 }\n'
    sent = [head(f"{method} / HTTP/1.1") for method in ("HEAD", "HEAD", "GET", "GET", "HEAD", "GET")]
    picked = [record["origin"] for record in wire.converse(sent, pools=pools).records]
    assert picked[0] == picked[1] == picked[2] == picked[4] == picked[5] != picked[3]
