"""What redirects have beside Location: a pool's `headers`, and what caches are told."""

from random import Random

import pytest
from support.toml import read, refused

from redirect.core.decision import Decision
from redirect.core.service import Service, balancers, new_service

POOL = '[p]\nis_default = true\nweighted_hosts = { "a.example" = 1 }\n'
OTHER = '[q]\nweighted_hosts = { "b.example" = 1 }\n'
NAME = "X-Redirect-Pool-ID"
PROXIES = "X-Forwarded-Proto, X-Forwarded-Host"  # scheme and host that were asked for, as a proxy names them


def serving(toml: str) -> Service:
    return new_service(read(toml), Random(1), pool_id_header=NAME)


def fields(toml: str, pool: str | None = None) -> tuple[tuple[str, str], ...]:
    return serving(toml).decide(pool, "http", None).fields


def test_headers_of_the_pool() -> None:
    toml = f'{POOL}headers = {{ "X-A" = "no-store", Referrer-Policy = "origin" }}\n{OTHER}'
    assert fields(toml) == (("x-a", "no-store"), ("referrer-policy", "origin"))
    assert fields(toml, "q") == ()


def test_a_refusal_has_none_of_them() -> None:
    toml = f'{POOL}status = 301\nheaders = {{ "Cache-Control" = "max-age=9" }}\n{OTHER}'
    assert serving(toml).decide(None, "http", ("a.example", 80)).fields == ()


@pytest.mark.parametrize(("status", "varies"), [(301, True), (302, False), (303, False), (307, False), (308, True)])
def test_a_cache_is_told_that_the_header_names_the_pool(status: int, varies: bool) -> None:
    """Of permanent redirects, which it keeps."""
    assert fields(f"{POOL}status = {status}\n{OTHER}") == ((("vary", f"{NAME}, {PROXIES}"),) if varies else ())


def test_a_cache_is_told_that_the_header_names_the_pool_where_there_is_none() -> None:
    """Caches keep a 404 by themselves; another request may name a pool."""
    route = '[[routes]]\npath = "/ours"\nrespond = { status = 200 }\n'
    for toml, expected in [(route + OTHER, (("vary", NAME),)), (route, ())]:
        decision = serving(toml).decide_by_route("GET", "/x", "none", "http", None)
        assert isinstance(decision, Decision)
        assert (decision.status, decision.fields) == (404, expected)


LIFETIMES = "Cache-Control expires CDN-Cache-Control cloudflare-cdn-cache-control Surrogate-Control X-Accel-Expires"


@pytest.mark.parametrize("name", LIFETIMES.split())
def test_a_cache_that_may_keep_it_is_told_as_well(name: str) -> None:
    assert dict(fields(f'{POOL}headers = {{ "{name}" = "x" }}\n{OTHER}'))["vary"] == f"{NAME}, {PROXIES}"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("Accept-Language", f"Accept-Language, {NAME}, {PROXIES}"),
        ("accept, x-redirect-pool-id", f"accept, x-redirect-pool-id, {PROXIES}"),
        ("x-forwarded-proto", f"x-forwarded-proto, {NAME}, X-Forwarded-Host"),
        ("*", "*"),
    ],
)
def test_it_joins_what_the_headers_say(given: str, sent: str) -> None:
    toml = f'{POOL}status = 301\nheaders = {{ Vary = "{given}", x = "y" }}\n{OTHER}'
    assert dict(fields(toml)) == {"x": "y", "vary": sent}
    assert [name for name, _ in fields(toml)].count("vary") == 1


@pytest.mark.parametrize(
    ("hash_on", "alone", "among_others"),
    [
        ("header:X-User", f"{PROXIES}, x-user", f"{NAME}, {PROXIES}, x-user"),
        ("header:x-redirect-pool-id", f"{PROXIES}, x-redirect-pool-id", f"x-redirect-pool-id, {PROXIES}"),
        ("cookie:sid", f"{PROXIES}, Cookie", f"{NAME}, {PROXIES}, Cookie"),
        ("query:id", PROXIES, f"{NAME}, {PROXIES}"),
        ("client_ip", "*", "*"),
    ],
)
def test_a_cache_is_told_by_what_clients_are_told_from_others(hash_on: str, alone: str, among_others: str) -> None:
    """The address of a client is in no field. A route takes the part of the header that names pools."""
    toml = f'{POOL}status = 308\npick = "hash"\nhash_on = "{hash_on}"\n'
    route = '[[routes]]\npath = "/x"\nredirect_to = "p"\n'

    def vary(toml: str, target: str) -> str | None:
        decision = serving(toml).decide_by_route("GET", target, None, "http", None, b"k")
        assert isinstance(decision, Decision)
        return dict(decision.fields).get("vary")

    assert vary(route + toml, "/x") == alone
    assert vary(route + toml + OTHER, "/") == among_others
    assert vary(route + toml.replace("308", "302") + OTHER, "/") is None


@pytest.mark.parametrize("scheme", ["", 'scheme = "https"\n'])
def test_a_cache_is_told_of_scheme_and_host_that_a_proxy_names(scheme: str) -> None:
    """Where the pool has a scheme they decide what is a loop: http of a host is redirected to https of the same."""
    toml = f"{POOL}status = 301\n{scheme}"
    assert fields(toml) == (("vary", PROXIES),)
    assert serving(toml).decide(None, "http", ("a.example", 80)).status == (301 if scheme else 422)
    assert serving(toml).decide(None, "https", ("a.example", 443)).status == 422


def test_where_the_header_does_not_decide_a_cache_is_not_told_of_it() -> None:
    """With one pool that can be named; and where a route takes the request."""
    assert fields(f"{POOL}status = 301") == (("vary", PROXIES),)
    toml = f'[[routes]]\npath = "/x"\nforward_to = "q"\n{POOL}status = 301\n{OTHER}'
    assert fields(toml) == (("vary", PROXIES),)
    service = serving(f'[[routes]]\npath = "/x"\nredirect_to = "p"\n{POOL}status = 301\n{OTHER}')
    assert service.decide_by_route("GET", "/x", "q", "http", None) == Decision(
        301, "p", "a.example", "http://a.example", route="/x", fields=(("vary", PROXIES),)
    )
    elsewhere = service.decide_by_route("GET", "/", None, "http", None)
    assert isinstance(elsewhere, Decision)
    assert elsewhere.fields == (("vary", f"{NAME}, {PROXIES}"),)


def test_a_route_leaves_the_headers_as_they_are() -> None:
    toml = f'{POOL}status = 301\nheaders = {{ Vary = "a" }}\n{OTHER}'
    service = serving(f'[[routes]]\npath = "/x"\nredirect_to = "p"\n{toml}')
    by_route = service.decide_by_route("GET", "/x", None, "http", None)
    assert isinstance(by_route, Decision)
    assert by_route.fields == (("vary", f"a, {PROXIES}"),)


def test_a_pool_that_comes_or_goes_changes_what_the_others_say() -> None:
    """Those that say nothing go on in their cycles."""
    before = serving(POOL + "status = 301")
    config = read(f"{POOL}status = 301\n{OTHER}")
    after = Service(config, dict(balancers(config, Random(2), before=before, pool_id_header=NAME)))
    assert after.decide(None, "http", None).fields == (("vary", f"{NAME}, {PROXIES}"),)
    kept = dict(balancers(before.config, Random(2), before=after, pool_id_header=NAME))
    assert Service(before.config, kept).decide(None, "http", None).fields == (("vary", PROXIES),)
    plain = serving(POOL)
    config = read(POOL + OTHER)
    assert dict(balancers(config, Random(2), before=plain, pool_id_header=NAME))["p"] is plain.balancers()[0]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ('Location = "x"', "Location is written by the service"),
        ('content-length = "0"', "content-length is written by the service"),
        ('Connection = "close"', "Connection is written by the service"),
        ('Transfer-Encoding = "chunked"', "Transfer-Encoding is written by the service"),
        ('"a b" = "c"', "a b is no header field in visible ASCII characters"),
        ('a = "b\\r\\nc: d"', "a is no header field in visible ASCII characters"),
        ('A = "b", a = "c"', "a is there twice"),
    ],
)
def test_headers_that_cannot_be(headers: str, said: str) -> None:
    assert refused(f"{POOL}headers = {{ {headers} }}") == (
        "pools.toml:4:11: p.headers: headers must be a table of header fields such as "
        f'{{ "cache-control" = "no-store" }}, got a table: {said}'
    )


@pytest.mark.parametrize("key", ['headers = { a = "b" }', 'cors = { origins = "*" }'])
def test_on_forwards_they_have_no_effect(key: str) -> None:
    (warning,) = read(f'[[routes]]\nforward_to = "q"\n{OTHER}{key}').warnings
    assert str(warning).endswith("has no effect on forwards: what their origins say passes")
