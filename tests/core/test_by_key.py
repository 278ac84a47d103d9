"""A pool with `pick = "hash"`: what the service decides by the key of a request, and what a HEAD takes."""

from random import Random

import pytest
from support.health import apply, down
from support.toml import read

from redirect.core.authority import Endpoint
from redirect.core.decision import Decision
from redirect.core.forward import Forward
from redirect.core.service import MissingKeyError, Service, new_service

POOLS = """
[p]
is_default = true
pick = "hash"
hash_on = "cookie:sid"
on_loop = "next"
fallback = "q"
health_check = { path = "/" }
weighted_hosts = { "a" = 3, "b" = 2, "c" = 1 }
[q]
pick = "hash"
weighted_hosts = { "d" = 1, "e" = 1 }
"""
ROUTES = """
[[routes]]
path = "/old"
redirect_to = "p"
[[routes]]
path = "/sent"
forward_to = "f"
[f]
weighted_hosts = { "a" = 1 }
health_check = { path = "/" }
fallback = "q"
"""
KEYS = [b"%d" % number for number in range(300)]


def serving(*failing: str, seed: int = 1, toml: str = POOLS) -> Service:
    return new_service(read(toml), Random(seed), {"p": down(*failing)})


def origins(service: Service, asked: Endpoint | None = None) -> list[str | None]:
    return [service.decide(None, "http", asked, "GET", key).origin for key in KEYS]


def test_each_key_has_its_origin_in_all_workers() -> None:
    found = origins(serving(seed=1))
    assert found == origins(serving(seed=2))
    otherwise = origins(serving(seed=3, toml=POOLS.replace('"a" = 3', '"A." = 3')))
    assert found == ["a" if each == "A." else each for each in otherwise]
    assert {*found} == {"a", "b", "c"}


def test_the_key_is_asked_for_by_what_the_pool_needs() -> None:
    with pytest.raises(MissingKeyError, match="cookie:sid"):
        serving().decide(None, "http", None)
    with pytest.raises(MissingKeyError, match="client_ip"):
        serving("a", "b", "c").decide(None, "http", None)


def test_an_origin_that_is_down_moves_its_own_clients_alone() -> None:
    for before, after in zip(origins(serving()), origins(serving("a")), strict=True):
        assert after == before or before == "a"
    service = serving("a")
    apply(service, {"p": {}})
    assert origins(service) == origins(serving())


def test_a_fallback_picks_by_its_own_key() -> None:
    all_down = ("a", "b", "c")
    decisions = [serving(*all_down, seed=seed).decide(None, "http", None, "GET", b"192.0.2.1") for seed in range(5)]
    assert {(each.pool, each.fallback_for) for each in decisions} == {("q", "p")}
    assert len({each.origin for each in decisions}) == 1
    assert {*origins(serving(*all_down))} == {"d", "e"}


def test_a_loop_leads_a_client_to_the_next_origin_in_its_order() -> None:
    """To the one that it would get if the host that it asked were down."""
    avoided = origins(serving(), ("a", 80))
    assert avoided == origins(serving("a"))
    assert origins(serving("b", "c"), ("a", 80)) == ["a"] * len(KEYS)  # refused: no other is left


def test_without_a_key_shares_are_those_of_the_weights() -> None:
    service = serving()
    found = [service.decide(None, "http", None, "GET", b"").origin for _ in range(3000)]
    assert 1400 < found.count("a") < 1600
    assert 400 < found.count("c") < 600


def test_a_route_decides_by_the_key() -> None:
    service = serving(toml=ROUTES + POOLS)
    for key, origin in zip(KEYS, origins(serving()), strict=True):
        decision = service.decide_by_route("GET", "/old", None, "http", None, key)
        assert isinstance(decision, Decision)
        assert (decision.origin, decision.route) == (origin, "/old")


def test_a_forward_may_need_a_key_for_its_fallback() -> None:
    forward = serving(toml=ROUTES + POOLS).decide_by_route("GET", "/sent", None, "http", None)
    assert isinstance(forward, Forward)
    assert forward.is_by_key
    assert not forward.balancer.is_by_key


def test_a_head_takes_no_pick_from_a_cycle() -> None:
    """However many come: it sees what the next GET gets."""
    service = serving(toml='[p]\nis_default = true\nweighted_hosts = { "a" = 2, "b" = 1, "c" = 1 }')
    undisturbed = serving(toml='[p]\nis_default = true\nweighted_hosts = { "a" = 2, "b" = 1, "c" = 1 }')
    for heads in range(8):
        expected = undisturbed.decide(None, "http", None)
        seen = [service.decide(None, "http", None, "HEAD") for _ in range(heads)]
        assert seen == [expected.without_pick()] * heads
        assert {each.due.share for each in seen if each.due} <= {1.0}
        assert service.decide(None, "http", None) == expected
