"""The service: which pool, which origin, which answer."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import generated
from support.health import apply, down

from redirect.config.loader import parse_config
from redirect.core.authority import Authority, Endpoint
from redirect.core.decision import Decision
from redirect.core.forwarded import TrustedProxies
from redirect.core.health import NO_HEALTH, Health, HealthStatus
from redirect.core.pools import Config, Origin, Pool
from redirect.core.routes import Route
from redirect.core.service import Service, balancers, new_service, outcome
from redirect.edge.reader import Reader

TWO_POOLS = """
[pool-b]
weighted_hosts = { "b.example:8443" = 1 }
status = 307
[pool-a]
weighted_hosts = { "a.example" = 1 }
is_default = true
"""


def serving(toml: str) -> Service:
    return new_service(parse_config(toml.encode(), "pools.toml"), Random(1))


def only(host: str, status: int = 302) -> Service:
    """A service whose only origin is `host`."""
    return serving(f'[pool-a]\nis_default = true\nstatus = {status}\nweighted_hosts = {{ "{host}" = 1 }}\n')


def answer(service: Service, scheme: str, host: bytes, target: bytes = b"/x") -> tuple[Decision, str | None]:
    """The decision on a request as it came, with its raw Host, and the Location it means."""
    fields = {"host": host.decode("latin-1")}
    request = Reader("", TrustedProxies("")).read("GET", target, fields, "1.1", None, scheme)
    assert request.answer is None
    decision = service.decide(None, scheme, request.head.endpoint)
    return decision, decision.location(request.target)


def ask(service: Service, scheme: str, host: bytes, target: bytes = b"/x") -> Decision:
    return answer(service, scheme, host, target)[0]


def location(service: Service, scheme: str, host: bytes, target: bytes) -> str | None:
    return answer(service, scheme, host, target)[1]


# Which pool


@pytest.mark.parametrize(
    ("requested", "pool"),
    [
        pytest.param("pool-a", "pool-a", id="named"),
        pytest.param("pool-b", "pool-b", id="another, named"),
        pytest.param(None, "pool-a", id="none named: the default"),
        pytest.param("", "pool-a", id="empty: the default"),
        pytest.param("pool-z", "pool-a", id="unknown: the default"),
        pytest.param("POOL-B", "pool-a", id="names have a case"),
        pytest.param(" pool-b", "pool-a", id="blanks count"),
        pytest.param("pool-b, pool-b", "pool-a", id="two names are none"),
        pytest.param("pool-b\x00", "pool-a", id="control byte"),
        pytest.param("pöol", "pool-a", id="beyond ASCII"),
    ],
)
def test_pool(requested: str | None, pool: str) -> None:
    """A request is answered from the pool that it names, else from the default pool."""
    assert serving(TWO_POOLS).decide(requested, "http", None).pool == pool


def test_redirect() -> None:
    """A redirect names its pool and origin, has the pool's status and keeps the connection."""
    assert serving(TWO_POOLS).decide("pool-b", "https", ("a.example", 443)) == Decision(
        307, "pool-b", "b.example:8443", "https://b.example:8443"
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_status(status: int) -> None:
    """Each pool redirects with its own status."""
    assert only("a.example", status).decide(None, "http", None).status == status


# Which origin


def test_shares() -> None:
    """Over whole cycles each origin is picked exactly by its weight, a drained one never, pool by pool."""
    service = serving(
        '[a]\nis_default = true\nweighted_hosts = { "x" = 5, "y" = 0, "z" = 3 }\n'
        '[b]\nweighted_hosts = { "x" = 1, "y" = 2 }\n'
    )
    picked = Counter(
        (decision.pool, decision.origin)
        for requested in ("a", "b", None, "unknown") * 24
        for decision in [service.decide(requested, "http", None)]
    )
    assert picked == {("a", "x"): 45, ("a", "z"): 27, ("b", "x"): 8, ("b", "y"): 16}


def test_order_is_smooth() -> None:
    """The origins of a pool come in nginx's order, from some place of it."""
    service = serving('[a]\nis_default = true\nweighted_hosts = { "a" = 5, "b" = 1, "c" = 1 }\n')
    order = "".join(service.decide(None, "http", None).origin or "-" for _ in range(7))
    assert order in "aabacaa" * 2


@pytest.mark.slow
def test_ten_thousand_origins() -> None:
    """A pool of ten thousand origins of different weights serves each of them."""
    hosts = "".join(f'"{number}.example" = {1 + number % 3}\n' for number in range(10_000))
    service = serving(f"[a]\nis_default = true\n[a.weighted_hosts]\n{hosts}")
    picked = Counter(service.decide(None, "http", None).origin for _ in range(19_999))
    assert picked == {f"{number}.example": 1 + number % 3 for number in range(10_000)}


def test_services_begin_at_places_of_their_own() -> None:
    """Services of one configuration begin their cycles where their Random says."""
    config = serving('[a]\nis_default = true\nweighted_hosts = { "a" = 3, "b" = 2 }\n').config
    first = [new_service(config, Random(seed)).decide(None, "http", None).origin for seed in range(500)]
    assert first == [new_service(config, Random(seed)).decide(None, "http", None).origin for seed in range(500)]
    assert 250 < Counter(first)["a"] < 350


# The loop rule


@pytest.mark.parametrize(
    ("origin", "scheme", "host"),
    [
        pytest.param("a.example", "http", b"a.example", id="the same"),
        pytest.param("a.example", "http", b"A.Example", id="case in Host"),
        pytest.param("A.EXAMPLE", "http", b"a.example", id="case in the TOML"),
        pytest.param("a.example", "http", b"a.example.", id="trailing dot in Host"),
        pytest.param("a.example.", "http", b"a.example", id="trailing dot in the TOML"),
        pytest.param("a.example", "http", b"a.example:80", id="default port of http in Host"),
        pytest.param("a.example:80", "http", b"a.example", id="default port of http in the TOML"),
        pytest.param("a.example", "https", b"a.example:443", id="default port of https in Host"),
        pytest.param("a.example:443", "https", b"a.example", id="default port of https in the TOML"),
        pytest.param("a.example", "http", b"a.example:", id="empty port in Host"),
        pytest.param("a.example:8443", "https", b"A.Example.:8443", id="another port, case and dot"),
        pytest.param("a.example:443", "http", b"a.example:443", id="https's port over http"),
        pytest.param("bücher.example", "http", b"xn--bcher-kva.example", id="IDN in the TOML, A-label in Host"),
        pytest.param("bücher.example", "http", b"XN--BCHER-KVA.example.:80", id="the same with all the rest"),
        pytest.param("bücher.example", "http", "bücher.example".encode(), id="IDN in both, UTF-8 in Host"),
        pytest.param(
            "xn--bcher-kva.example", "http", "BÜCHER.example".encode(), id="A-label in the TOML, UTF-8 in Host"
        ),
        pytest.param(
            "bücher.example:8080", "http", "bu\u0308cher.example:8080".encode(), id="decomposed UTF-8 with a port"
        ),
        pytest.param("[2001:db8::1]", "http", b"[2001:DB8:0:0:0:0:0:1]", id="IPv6 spellings"),
        pytest.param("[2001:db8:0::1]:443", "https", b"[2001:db8::1]", id="IPv6 and a default port"),
        pytest.param("[::ffff:192.0.2.1]", "http", b"[::ffff:c000:201]", id="IPv6 with dots"),
        pytest.param("192.0.2.1", "http", b"192.0.2.1:80", id="IPv4"),
        pytest.param("origin-1", "http", b"ORIGIN-1", id="single label"),
    ],
)
def test_loop(origin: str, scheme: str, host: bytes) -> None:
    """An origin that is the authority that was asked for, in whatever spelling, is answered with 422."""
    assert ask(only(origin), scheme, host) == Decision(
        422, "pool-a", origin, detail=f"pool-a picked {origin}, the host that was asked for: a redirect would loop"
    )


@pytest.mark.parametrize(
    ("origin", "scheme", "host"),
    [
        pytest.param("a.example", "http", b"b.example", id="another host"),
        pytest.param("a.example", "http", b"www.a.example", id="subdomain"),
        pytest.param("a.example", "http", b"a.example:8080", id="another port in Host"),
        pytest.param("a.example:8080", "http", b"a.example", id="another port in the TOML"),
        pytest.param("a.example", "http", b"a.example:443", id="https's port over http"),
        pytest.param("a.example", "https", b"a.example:80", id="http's port over https"),
        pytest.param("a.example:80", "https", b"a.example", id="http's port in the TOML, over https"),
        pytest.param("a.example:443", "http", b"a.example", id="https's port in the TOML, over http"),
        pytest.param("bücher.example", "http", b"bucher.example", id="diaeresis"),
        pytest.param("[::1]", "http", b"[::2]", id="IPv6"),
        pytest.param("[::ffff:192.0.2.1]", "http", b"192.0.2.1", id="IPv4 and its IPv6 form"),
    ],
)
def test_no_loop(origin: str, scheme: str, host: bytes) -> None:
    """An origin at another host or port than was asked for is redirected to."""
    assert ask(only(origin), scheme, host).status == 302


def test_loop_of_a_url() -> None:
    """Where the target is a URL its authority is what was asked for, and Host is not."""
    service = only("a.example")
    assert ask(service, "http", b"b.example", b"http://A.example:80/x").status == 422
    assert location(service, "http", b"a.example", b"http://b.example/x") == "http://a.example/x"


def test_loop_needs_an_authority() -> None:
    """Without a Host, as HTTP/1.0 allows, no loop is detected, and the client is redirected."""
    assert only("a.example").decide(None, "http", None).status == 302


def test_a_loop_is_a_pick_of_the_cycle() -> None:
    """A loop is one pick of the cycle: the next origin is not tried in its place, so shares stay exact."""
    service = serving('[a]\nis_default = true\nweighted_hosts = { "a.example" = 1, "b.example" = 2 }\n')
    statuses = Counter(ask(service, "http", b"a.example").status for _ in range(30))
    assert statuses == {422: 10, 302: 20}


# Location


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("origin", "sent"),
    [
        pytest.param("a.example", "a.example", id="plain"),
        pytest.param("A.Example.", "A.Example.", id="capitals and dot are kept"),
        pytest.param("a.example:80", "a.example:80", id="default port of http is kept"),
        pytest.param("a.example:443", "a.example:443", id="default port of https is kept"),
        pytest.param("a.example:08443", "a.example:08443", id="zeros before the port are kept"),
        pytest.param("[2001:DB8:0::1]:8443", "[2001:DB8:0::1]:8443", id="IPv6 is kept"),
        pytest.param("XN--BCHER-KVA.example", "XN--BCHER-KVA.example", id="A-label is kept"),
        pytest.param("bücher.example", "xn--bcher-kva.example", id="IDN is sent as A-label"),
        pytest.param("Bücher.Example.:8443", "xn--bcher-kva.example:8443", id="IDN with a port"),
    ],
)
def test_location_names_the_origin(origin: str, sent: str, scheme: str) -> None:
    """Location has the scheme of the request and the origin as the TOML spells it, A-labels where that is not ASCII."""
    decision = only(origin).decide(None, scheme, ("elsewhere.example", 80))
    assert (decision.origin, decision.location("/x?y")) == (origin, f"{scheme}://{sent}/x?y")


VISIBLE_BYTES = st.lists(st.integers(0x21, 0xFF)).map(bytes)


@pytest.mark.slow
@generated(500)
@given(VISIBLE_BYTES, st.sampled_from(["http", "https"]))
def test_location_keeps_every_byte(rest: bytes, scheme: str) -> None:
    """Whatever bytes follow the first slash of a target, Location has the same behind the origin."""
    sent = location(only("a.example"), scheme, b"elsewhere.example", b"/" + rest)
    assert sent is not None
    assert sent.encode("latin-1") == f"{scheme}://a.example/".encode() + rest


@pytest.mark.slow
@generated(300)
@given(VISIBLE_BYTES)
def test_location_keeps_every_byte_of_a_url(rest: bytes) -> None:
    """The same for a target that is a URL, whose authority is dropped."""
    sent = location(only("a.example"), "http", b"elsewhere.example", b"https://there.example:81/" + rest)
    assert sent is not None
    assert sent.encode("latin-1") == b"http://a.example/" + rest


def test_longest_target() -> None:
    """A target of many KiB is kept whole."""
    target = b"/?" + b"%2F&" * 16_384
    assert location(only("a.example"), "http", b"b.example", target) == f"http://a.example{target.decode()}"


# Nothing eligible


@pytest.mark.parametrize(
    "origins",
    [
        pytest.param((), id="no origin"),
        pytest.param((Origin("a.example", Authority("a.example", None), 0),), id="all drained"),
    ],
)
def test_nothing_eligible(origins: tuple[Origin, ...]) -> None:
    """A pool without an eligible origin is answered with 503; other pools are not affected."""
    empty = Pool("empty", origins, 301)
    good = Pool("good", (Origin("b.example", Authority("b.example", None), 1),), 302)
    service = new_service(Config({"empty": empty, "good": good}, good, "0"), Random(1))
    assert service.decide("empty", "http", None) == Decision(503, "empty", detail="no origin of empty is eligible")
    assert service.decide("good", "http", None).status == 302


def test_nothing_eligible_in_the_default_pool() -> None:
    """The default pool is no exception: an unknown name is answered with 503 too."""
    empty = Pool("empty", (), 302)
    assert new_service(Config({"empty": empty}, empty, "0"), Random(1)).decide("unknown", "http", None).status == 503


# Outcomes


MIXED = """
[a]
is_default = true
status = 308
weighted_hosts = { "A.example" = 2, "bücher.example" = 1, "c.example" = 0 }
"""


def outcomes(pool: Pool, scheme: str, asked: Endpoint | None) -> list[Decision]:
    return [outcome(pool, origin, scheme, asked) for origin in pool.origins]


def test_outcome() -> None:
    """An outcome says of an origin, a drained one too, what it would mean for a request."""
    kept = (("vary", "X-Forwarded-Proto, X-Forwarded-Host"),)
    assert outcomes(serving(MIXED).config.pools["a"], "https", ("a.example", 443)) == [
        Decision(
            422, "a", "A.example", detail="a picked A.example, the host that was asked for: a redirect would loop"
        ),
        Decision(308, "a", "bücher.example", "https://xn--bcher-kva.example", fields=kept),
        Decision(308, "a", "c.example", "https://c.example", fields=kept),
    ]


def test_outcomes_pick_nothing() -> None:
    """Asking for outcomes does not change what is picked next."""
    service, undisturbed = serving(MIXED), serving(MIXED)
    for _ in range(7):
        outcomes(service.config.pools["a"], "http", None)
        assert service.decide(None, "http", None) == undisturbed.decide(None, "http", None)


def test_outcomes_are_what_is_decided() -> None:
    """Every decision of the service is the outcome of one of the origins that are not drained."""
    service = serving(MIXED)
    asked = ("xn--bcher-kva.example", 80)
    expected = outcomes(service.config.pools["a"], "http", asked)[:2]
    decided = [service.decide(None, "http", asked) for _ in range(3)]
    assert all(decision in expected for decision in decided)
    assert all(decision in decided for decision in expected)


# Another configuration


CHANGING = """
[a]
is_default = true
weighted_hosts = { "a-1" = 50, "a-2" = 30, "a-3" = 21 }
[b]
weighted_hosts = { "b-1" = 1, "b-2" = 1 }
"""


def after(before: Service, toml: str, health: Health = NO_HEALTH, now: float = 0) -> Service:
    """The service that takes the place of `before`."""
    config = parse_config(toml.encode(), "pools.toml")
    return Service(config, dict(balancers(config, Random(2), health, now, before)))


def test_pools_that_are_the_same_go_on_in_their_cycles() -> None:
    undisturbed, before = serving(CHANGING), serving(CHANGING)
    expected = [undisturbed.decide(None, "http", None) for _ in range(101)]
    assert [before.decide(None, "http", None) for _ in range(40)] == expected[:40]
    changed = after(before, CHANGING.replace('"b-2" = 1', '"b-2" = 2'))
    assert [changed.decide(None, "http", None) for _ in range(61)] == expected[40:]
    assert picked(changed, "b", 300) == {"b-1": 100, "b-2": 200}


def test_balancers_are_prepared_a_pool_at_a_time() -> None:
    steps = balancers(parse_config(CHANGING.encode(), "pools.toml"), Random(1))
    assert [name for name, _ in steps] == ["a", "b"]


def test_a_pool_that_is_gone_is_unknown() -> None:
    changed = after(serving(CHANGING), CHANGING.partition("[b]")[0])
    assert changed.decide("b", "http", None).pool == "a"


def test_a_route_that_shows_something_leaves_the_answer_to_the_controller() -> None:
    """Whatever pool the request names; with a method that is not taken it is refused."""
    service = serving(f'[[routes]]\npath = "/a"\nshow = "metrics"\n{TWO_POOLS}')
    shown = service.decide_by_route("GET", "/a?b", "pool-b", "http", None)
    assert isinstance(shown, Route)
    assert (shown.show, shown.name) == ("metrics", "/a")
    refused = service.decide_by_route("POST", "/a", None, "http", None)
    assert refused == Decision(405, detail="/a takes GET, HEAD, not POST", fields=(("allow", "GET, HEAD"),))


# Health

PROBED = """
[a]
is_default = true
weighted_hosts = { "a-1" = 2, "a-2" = 1, "a-3" = 1 }
health_check = { path = "/" }
slow_start = 10
[b]
weighted_hosts = { "a-1" = 1 }
"""


def health(*failing: str, **up: float) -> Health:
    """Origins that are down, and when others came back, in each of the pools and in one that is gone."""
    statuses = down(*failing)
    statuses |= {name.replace("_", "-"): HealthStatus(True, 0.0, at, "answered 200") for name, at in up.items()}
    return dict.fromkeys(["a", "b", "gone"], statuses)


def picked(service: Service, pool: str | None, count: int) -> Counter[str | None]:
    return Counter(service.decide(pool, "http", None).origin for _ in range(count))


@pytest.mark.parametrize("requested", ["a", None, "unknown"])
def test_an_origin_that_is_down_gets_nothing(requested: str | None) -> None:
    """In a pool that is named or is the default, until the origin is up again."""
    service = serving(PROBED)
    apply(service, health("a-1"))
    assert picked(service, requested, 4) == {"a-2": 2, "a-3": 2}
    apply(service, health("a-1", "a-2", "a-3"))
    assert service.decide(requested, "http", None) == Decision(503, "a", detail="no origin of a is eligible")
    apply(service, NO_HEALTH)
    assert picked(service, requested, 4) == {"a-1": 2, "a-2": 1, "a-3": 1}


def test_a_pool_without_probes_has_no_health() -> None:
    """What is left of the time when it was probed, or of another pool of its name, changes nothing."""
    service = serving(PROBED)
    apply(service, health("a-1"))
    assert picked(service, "b", 3) == {"a-1": 3}
    unprobed = after(service, PROBED.replace('health_check = { path = "/" }\nslow_start = 10\n', ""), health("a-1"))
    assert picked(unprobed, None, 4) == {"a-1": 2, "a-2": 1, "a-3": 1}


def test_an_origin_that_comes_back_starts_slowly() -> None:
    service = serving(PROBED)
    current = health("a-2", a_1=100)
    for now, count in [(102, 2), (102.5, 2), (105, 5), (110, 10), (120, 10)]:
        apply(service, current, now)
        assert picked(service, None, 2 * count + 10) == {"a-1": 2 * count, "a-3": 10}


def test_a_new_service_starts_where_the_old_one_is() -> None:
    """A slow start in a new worker, or after a reload that changes the pool, goes on in time."""
    current = health("a-2", a_1=100)
    new = new_service(parse_config(PROBED.encode(), "p"), Random(1), current, 105)
    changed = after(new, PROBED.replace('"a-3" = 1', '"a-3" = 1, "a-4" = 2'), current, 105)
    assert picked(new, None, 20) == {"a-1": 10, "a-3": 10}
    assert picked(changed, None, 40) == {"a-1": 10, "a-3": 10, "a-4": 20}
    for service in (new, changed):
        apply(service, current, 110)
    assert picked(new, None, 3) == {"a-1": 2, "a-3": 1}
    assert picked(changed, None, 5) == {"a-1": 2, "a-3": 1, "a-4": 2}


def test_health_is_applied_a_pool_at_a_time() -> None:
    """Only to pools of which it changed, or in which a slow start has come to its next step."""
    service = serving(PROBED.replace("[b]", '[b]\nhealth_check = { path = "/" }'))

    def steps(current: Health, now: float) -> int:
        return len([*service.updates(current, now)])

    assert steps(NO_HEALTH, 0) == 0
    current = {"a": health(a_1=100)["a"]}
    assert [steps(current, now) for now in (100, 100.5, 101, 101.5, 110, 110.5, 120)] == [1, 0, 1, 0, 1, 0, 0]
    assert steps({**current, **health("a-1")}, 120) == 2


@pytest.mark.parametrize("changed", [PROBED, PROBED.replace('"b"', '"c"'), PROBED.replace('"a-3" = 1', '"a-3" = 3')])
def test_a_service_has_the_health_of_its_last_update(changed: str) -> None:
    """Whatever the service before it had, also where a pool kept its balancer."""
    before = serving(PROBED)
    apply(before, health("a-1"))
    service = after(before, changed, health("a-1"))
    assert picked(service, None, 4)["a-1"] == 0
    apply(service, NO_HEALTH)
    assert picked(service, None, 12)["a-1"] > 0
    apply(service, health("a-1"))
    assert picked(service, None, 4)["a-1"] == 0


def test_a_redirect_is_worked_out_once() -> None:
    """While the weights are the same; origins that go down and come back have equal ones, for which others keep
    prepared answers."""
    service = serving(PROBED)
    before = [service.decide(None, "http", None) for _ in range(4)]
    apply(service, health())
    assert {id(service.decide(None, "http", None)) for _ in range(4)} == {id(each) for each in before}
    apply(service, health("a-1"))
    apply(service, health())
    assert {service.decide(None, "http", None) for _ in range(4)} == {*before}
