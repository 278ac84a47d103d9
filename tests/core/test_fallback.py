"""A pool's fallback: where no origin is eligible, the next pool of the chain serves."""

from random import Random

import pytest
from support.health import down
from support.toml import read, refused

from redirect.core.decision import Decision
from redirect.core.forward import Forward
from redirect.core.service import Service, new_service

CHAIN = """
[a]
is_default = true
weighted_hosts = { "a-1" = 1, "a-2" = 0 }
health_check = { path = "/" }
fallback = "b"
[b]
weighted_hosts = { "b-1" = 1 }
health_check = { path = "/" }
fallback = "c"
[c]
weighted_hosts = { "c-1" = 1 }
health_check = { path = "/" }
status = 307
"""


def serving(toml: str, *failing: str) -> Service:
    """The service while the origins called so are down."""
    return new_service(read(toml), Random(1), dict.fromkeys("abc", down(*failing)))


@pytest.mark.parametrize(
    ("failing", "decision"),
    [
        ([], Decision(302, "a", "a-1", "http://a-1")),
        (["a-1"], Decision(302, "b", "b-1", "http://b-1", fallback_for="a")),
        (["a-1", "b-1"], Decision(307, "c", "c-1", "http://c-1", fallback_for="a")),
        (
            ["a-1", "b-1", "c-1"],
            Decision(503, "a", detail="; ".join(f"no origin of {name} is eligible" for name in "abc")),
        ),
    ],
)
def test_the_first_pool_of_the_chain_with_an_eligible_origin_serves(failing: list[str], decision: Decision) -> None:
    """With its own status; the decision says for which pool."""
    assert serving(CHAIN, *failing).decide("a", "http", None) == decision


def test_a_chain_may_be_long() -> None:
    """Longer than functions may call each other. What is forwarded has each pool of it."""
    links = "".join(f'[p{n}]\nweighted_hosts = {{ o{n} = 1 }}\nfallback = "p{n + 1}"\n' for n in range(2000))
    route = '[[routes]]\npath_prefix = "/f"\nforward_to = "p0"\n'
    service = serving(f"{route}{links}[p2000]\nweighted_hosts = {{ last = 1 }}\n")
    forward: object = service.decide_by_route("GET", "/f", None, "http", None)
    names = []
    while isinstance(forward, Forward):
        names.append((forward.pool.name, forward.fallback_for))
        forward = forward.fallback
    assert names == [("p0", None), *((f"p{n}", "p0") for n in range(1, 2001))]


def test_the_loop_rule_of_the_fallback_holds() -> None:
    decision = serving(CHAIN, "a-1").decide(None, "http", ("b-1", 80))
    assert (decision.status, decision.pool, decision.fallback_for) == (422, "b", "a")


def test_a_route_that_redirects_has_the_fallback_of_its_pool() -> None:
    service = serving(f'[[routes]]\npath = "/x"\nredirect_to = "a"\n{CHAIN}', "a-1")
    decision = service.decide_by_route("GET", "/x", "c", "http", None)
    assert decision == Decision(302, "b", "b-1", "http://b-1", route="/x", fallback_for="a")


def test_clients_cannot_name_what_only_stands_in_for_a_pool_of_forwards() -> None:
    """A redirect would tell the addresses of its origins, as it would those of the pool itself."""
    toml = f'[[routes]]\npath = "/x"\nforward_to = "b"\n{CHAIN}'.replace('fallback = "b"\n', "")
    assert read(toml).forwarded() == read(toml).only_forwarded() == {"b", "c"}
    assert serving(toml).decide("c", "http", None).pool == "a"
    forward = serving(toml).decide_by_route("GET", "/x", None, "http", None)
    assert isinstance(forward, Forward)
    assert forward.fallback is not None
    assert (forward.fallback.pool.name, forward.fallback.fallback_for, forward.fallback.fallback) == ("c", "b", None)


def test_what_redirects_may_fall_back_to_is_not_only_forwarded_to() -> None:
    assert read(f'[[routes]]\nforward_to = "c"\n{CHAIN}').only_forwarded() == frozenset()


@pytest.mark.parametrize(
    ("before", "after", "faults"),
    [
        ('"c"', '"C"', ['10:12: b.fallback: there is no pool "C"; there are "a", "b", "c"']),
        ('"c"', '"b"', ['10:12: b.fallback: leads back to "b" itself; end the chain somewhere']),
        (
            '"c"',
            '"a"',
            [
                '6:12: a.fallback: leads back to "a" itself; end the chain somewhere',
                '10:12: b.fallback: leads back to "b" itself; end the chain somewhere',
            ],
        ),
        ('"c"', '""', ['10:12: b.fallback: fallback must be the name of a pool of 1 to 128 characters, got ""']),
    ],
    ids=["unknown", "itself", "circle", "empty"],
)
def test_a_chain_leads_to_pools_that_are_there_and_ends(before: str, after: str, faults: list[str]) -> None:
    found = refused(CHAIN.replace(before, after)).splitlines()
    assert found[: len(faults)] == [f"pools.toml:{fault}" for fault in faults]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('health_check = { path = "/" }\nfallback = "b"', 'fallback = "b"', "without health_check"),
        ('fallback = "b"', 'when_all_down = "ignore"\nfallback = "b"', 'as when_all_down = "ignore" uses all origins'),
    ],
)
def test_a_fallback_that_can_never_serve_gets_a_warning(before: str, after: str, said: str) -> None:
    (warning,) = read(CHAIN.replace(before, after, 1)).warnings
    assert (warning.key, warning.message) == ("a.fallback", f"has no effect {said}".replace("effect as", "effect, as"))


def test_a_fallback_for_ejections_alone_gets_a_warning() -> None:
    """Where all origins fail one of them is asked nevertheless, so only probes have the fallback serve."""
    text = '[[routes]]\nforward_to = "a"\n[a]\nweighted_hosts = { x = 1, y = 1 }\neject = {}\nfallback = "b"\n'
    text += "[b]\nweighted_hosts = { z = 1 }\n"
    (warning,) = read(text).warnings
    assert str(warning) == (
        "pools.toml:6:12: a.fallback: hardly ever serves without health_check, as eject never takes out the last "
        "origin that is up"
    )
    assert not read(text.replace("eject", 'health_check = { path = "/" }\neject')).warnings


def test_a_permanent_redirect_of_a_fallback_gets_a_warning() -> None:
    """Browsers would go on asking the fallback when the pool is up again."""
    (warning,) = read(CHAIN.replace("307", "308")).warnings
    assert (warning.line, warning.key) == (14, "c.status")
    assert warning.message.startswith("browsers cache a permanent redirect (308), also when b is up again")
