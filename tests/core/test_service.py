"""The service: which pool, which origin, which answer."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redirect.config.loader import parse_config
from redirect.core.authority import Authority, Endpoint
from redirect.core.decision import Decision
from redirect.core.forwarded import TrustedProxies
from redirect.core.pools import Config, Origin, Pool
from redirect.core.service import Service, outcome
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
    return Service(parse_config(toml.encode(), "pools.toml"), Random(1))


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
    """Over whole turns each origin is picked exactly by its weight, a drained one never, pool by pool."""
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


def test_ten_thousand_origins() -> None:
    """A pool of ten thousand origins of different weights serves each of them."""
    hosts = "".join(f'"{number}.example" = {1 + number % 3}\n' for number in range(10_000))
    service = serving(f"[a]\nis_default = true\n[a.weighted_hosts]\n{hosts}")
    picked = Counter(service.decide(None, "http", None).origin for _ in range(19_999))
    assert picked == {f"{number}.example": 1 + number % 3 for number in range(10_000)}


def test_services_begin_at_places_of_their_own() -> None:
    """Services of one configuration begin their turns where their Random says."""
    config = serving('[a]\nis_default = true\nweighted_hosts = { "a" = 3, "b" = 2 }\n').config
    first = [Service(config, Random(seed)).decide(None, "http", None).origin for seed in range(500)]
    assert first == [Service(config, Random(seed)).decide(None, "http", None).origin for seed in range(500)]
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
        422,
        "pool-a",
        origin,
        detail=f"pool-a picked {origin}, the host that was asked for: a redirect would loop",
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
    """Without a Host, as HTTP/1.0 allows, nobody knows of a loop, and the client is redirected."""
    assert only("a.example").decide(None, "http", None).status == 302


def test_loop_takes_its_turn() -> None:
    """A loop is one pick of the turn: the next origin is not tried in its place, so shares stay exact."""
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


@settings(derandomize=True, deadline=None, max_examples=500)
@given(VISIBLE_BYTES, st.sampled_from(["http", "https"]))
def test_location_keeps_every_byte(rest: bytes, scheme: str) -> None:
    """Whatever bytes follow the first slash of a target, Location has the same behind the origin."""
    sent = location(only("a.example"), scheme, b"elsewhere.example", b"/" + rest)
    assert sent is not None
    assert sent.encode("latin-1") == f"{scheme}://a.example/".encode() + rest


@settings(derandomize=True, deadline=None, max_examples=300)
@given(VISIBLE_BYTES)
def test_location_keeps_every_byte_of_a_url(rest: bytes) -> None:
    """The same of what follows the first slash of a target that is a URL, whose authority is left behind."""
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
    """A pool without an eligible origin is answered with 503; the other pools are not touched by it."""
    empty = Pool("empty", origins, 301)
    good = Pool("good", (Origin("b.example", Authority("b.example", None), 1),), 302)
    service = Service(Config({"empty": empty, "good": good}, good, "0"), Random(1))
    assert service.decide("empty", "http", None) == Decision(503, "empty", detail="no origin of empty is eligible")
    assert service.decide("good", "http", None).status == 302


def test_nothing_eligible_in_the_default_pool() -> None:
    """The default pool is no exception: an unknown name is answered with 503 too."""
    empty = Pool("empty", (), 302)
    assert Service(Config({"empty": empty}, empty, "0"), Random(1)).decide("unknown", "http", None).status == 503


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
    assert outcomes(serving(MIXED).config.default, "https", ("a.example", 443)) == [
        Decision(
            422, "a", "A.example", detail="a picked A.example, the host that was asked for: a redirect would loop"
        ),
        Decision(308, "a", "bücher.example", "https://xn--bcher-kva.example"),
        Decision(308, "a", "c.example", "https://c.example"),
    ]


def test_outcomes_take_no_turn() -> None:
    """Asking for outcomes does not change what is picked next."""
    service, undisturbed = serving(MIXED), serving(MIXED)
    for _ in range(7):
        outcomes(service.config.default, "http", None)
        assert service.decide(None, "http", None) == undisturbed.decide(None, "http", None)


def test_outcomes_are_what_is_decided() -> None:
    """Every decision of the service is the outcome of one of the origins that are not drained."""
    service = serving(MIXED)
    asked = ("xn--bcher-kva.example", 80)
    expected = outcomes(service.config.default, "http", asked)[:2]
    decided = [service.decide(None, "http", asked) for _ in range(3)]
    assert all(decision in expected for decision in decided)
    assert all(decision in decided for decision in expected)


TURNING = """
[a]
is_default = true
weighted_hosts = { "a-1" = 50, "a-2" = 30, "a-3" = 21 }
[b]
weighted_hosts = { "b-1" = 1, "b-2" = 1 }
"""


def test_pools_that_are_the_same_go_on() -> None:
    """A service that takes another's place goes on in the turns of pools that are the same; others are exact too."""
    undisturbed, before = serving(TURNING), serving(TURNING)
    picked = [undisturbed.decide(None, "http", None).origin for _ in range(101)]
    for origin in picked[:40]:
        assert before.decide(None, "http", None).origin == origin
    after = Service(parse_config(TURNING.replace('"b-2" = 1', '"b-2" = 2').encode(), "p"), Random(2), before)
    assert [after.decide(None, "http", None).origin for _ in range(61)] == picked[40:]
    assert Counter(after.decide("b", "http", None).origin for _ in range(300)) == {"b-1": 100, "b-2": 200}


def test_a_pause_between_pools() -> None:
    """Whoever makes a service of many pools can do something else after each of them, the same or another."""
    before, pauses = serving(TURNING), []
    Service(
        parse_config(TURNING.replace('"b-2" = 1', '"b-2" = 2').encode(), "p"),
        Random(2),
        before,
        lambda: pauses.append(1),
    )
    assert len(pauses) == 2


def test_a_pool_that_is_gone() -> None:
    """A pool that the new configuration does not have is an unknown one."""
    before = serving(TURNING)
    after = Service(parse_config(TURNING.partition("[b]")[0].encode(), "p"), Random(2), before)
    assert after.decide("b", "http", None).pool == "a"


def test_origins_keep_their_places() -> None:
    """In a pool with another weight, origins of the same weight are picked in the order in which they were due."""
    text = '[a]\nis_default = true\nweighted_hosts = { "o-1" = 1, "o-2" = 1, "o-3" = 1, "o-4" = 1 }\n'
    for seed in range(8):
        undisturbed, before = (Service(parse_config(text.encode(), "p"), Random(3)) for _ in range(2))
        coming = [undisturbed.decide(None, "http", None).origin for _ in range(4)]
        after = Service(parse_config(text.replace('"o-4" = 1', '"o-4" = 5').encode(), "p"), Random(seed), before)
        picked = [after.decide(None, "http", None).origin for _ in range(8)]
        assert [each for each in picked if each != "o-4"] == [each for each in coming if each != "o-4"]
        assert before.decide(None, "http", None).origin == coming[0]  # it may be asked until the other takes its place


# Origins that are down

PROBED = """
[a]
is_default = true
weighted_hosts = { "a-1" = 2, "a-2" = 1, "a-3" = 1 }
health_check = { path = "/" }
[b]
weighted_hosts = { "a-1" = 1 }
"""


def set_down(service: Service, *down: str) -> None:
    for _ in service.set_down({"a": frozenset(down), "b": frozenset(["a-1"]), "gone": frozenset(["x"])}, 0):
        pass


def picked(service: Service, pool: str | None, count: int) -> Counter[str | None]:
    return Counter(service.decide(pool, "http", None).origin for _ in range(count))


@pytest.mark.parametrize("requested", ["a", None, "unknown"])
def test_origins_that_are_down(requested: str | None) -> None:
    """An origin that is down is not picked, in a pool that is named or is the default, until it is up again; with all
    of them down the answer is 503, and pools that are not probed do not care."""
    service = serving(PROBED)
    set_down(service, "a-1")
    assert picked(service, requested, 4) == {"a-2": 2, "a-3": 2}
    set_down(service, "a-1", "a-2", "a-3")
    assert service.decide(requested, "http", None).status == 503
    assert picked(service, "b", 3) == {"a-1": 3}
    set_down(service)
    assert picked(service, requested, 4) == {"a-1": 2, "a-2": 1, "a-3": 1}


@pytest.mark.parametrize("requested", ["a", None])
def test_origins_that_came_back_before(requested: str | None) -> None:
    """An origin that came back before there was this service gets its share slowly."""
    service = serving(PROBED.replace("[b]", "slow_start = 10\n[b]"))
    service.came_back({"a": {"a-1": 5, "a-2": 3600}, "b": {"a-1": 0}, "gone": {"x": 0}}, 100)
    assert picked(service, requested, 300) == pytest.approx({"a-1": 100, "a-2": 100, "a-3": 100}, abs=1)
    for _ in service.grow(105):
        pass
    assert picked(service, requested, 4) == {"a-1": 2, "a-2": 1, "a-3": 1}
    assert picked(service, "b", 3) == {"a-1": 3}


def test_down_in_another_configuration() -> None:
    """Who is down stays so in a service that takes the place of another, whether its pool is the same or not; who is
    not probed any more is up."""
    before = serving(PROBED)
    set_down(before, "a-1")
    same = PROBED.replace('"a-1" = 1 }', '"a-1" = 2 }')
    for text in (same, PROBED.replace('"a-3" = 1', '"a-3" = 1, "a-4" = 2')):
        after = Service(parse_config(text.encode(), "p"), Random(2), before)
        assert picked(after, None, 4)["a-1"] == 0
        set_down(after)
        assert picked(after, None, 12)["a-1"] > 0
        set_down(after, "a-1")
    unprobed = PROBED.replace('health_check = { path = "/" }', "")
    assert picked(Service(parse_config(unprobed.encode(), "p"), Random(2), before), None, 4)["a-1"] == 2


def test_a_redirect_is_worked_out_once() -> None:
    """Whoever comes and goes: an origin's redirect stays the same value, which others keep notes on."""
    service = serving(PROBED)
    made = {id(service.decide(None, "http", None)) for _ in range(4)}
    set_down(service, "a-1")
    set_down(service)
    assert {id(service.decide(None, "http", None)) for _ in range(4)} == made
