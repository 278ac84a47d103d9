"""What is due to the origins of a pool when one of them is picked."""

from dataclasses import replace
from random import Random

from support.health import down

from redirect.config.loader import parse_config
from redirect.core.balancer import Balancer
from redirect.core.cycles import Cycles
from redirect.core.due import Weights
from redirect.core.health import HealthStatus
from redirect.core.overrides import Override, with_overrides
from redirect.core.pools import Pool
from redirect.core.service import Service, balancers, new_service

BACK = {"a": HealthStatus(True, 0.0, 0.0, "answered 200")}

TOML = b"""
[p]
weighted_hosts = { a = 2, b = 1, c = 1 }
slow_start = 10
is_default = true
health_check = { path = "/" }
"""


def pool(toml: bytes = TOML) -> Pool:
    return parse_config(toml, "pools.toml").pools["p"]


def balancer(statuses: dict[str, HealthStatus] | None = None, now: float = 0.0) -> Balancer:
    return Balancer(pool(), Cycles(), Random(1), statuses or {}, now)


def due(of: Balancer) -> dict[str, float]:
    """What is due to the origins that are picked."""
    found = {}
    for _ in range(40):
        picked = of.pick()
        assert picked.due is not None
        found[picked.origin.name] = round(picked.due.share, 3)
    return found


def test_the_share_of_an_origin_that_is_down_is_due_to_the_others() -> None:
    of = balancer()
    assert due(of) == {"a": 0.5, "b": 0.25, "c": 0.25}
    of.update(down("a"), 0.0)
    assert due(of) == {"b": 0.5, "c": 0.5}
    of.update({}, 0.0)
    assert due(of) == {"a": 0.5, "b": 0.25, "c": 0.25}


def test_a_slow_start_counts() -> None:
    """With a tenth of its weight, 0.2 of 2.2 are due to the origin."""
    assert due(balancer(BACK)) == {"a": 0.091, "b": 0.455, "c": 0.455}


def test_a_pick_keeps_what_was_due() -> None:
    """Also where other weights came until it is counted."""
    of = balancer()
    before = of.pick().due
    assert before is not None
    share = before.share
    of.update(down("a"), 0.0)
    assert before.share == share


def test_weights_have_the_same_id_where_the_shares_are_the_same() -> None:
    """In whatever order and unit, in each worker and replica."""
    other = pool(TOML.replace(b"a = 2, b = 1, c = 1", b"c = 5, b = 5, a = 10, drained = 0"))
    assert Weights(pool(), [2, 1, 1]).id == Weights(other, [5, 5, 10, 0]).id
    assert len({Weights(pool(), values).id for values in ([2, 1, 1], [1, 2, 1], [0, 1, 1], [1, 1, 1])}) == 4


def test_decisions_are_equal_whatever_was_due() -> None:
    """A redirect and a loop have it, and answer the same."""
    service = new_service(parse_config(TOML, "pools.toml"), Random(1))
    decisions = [service.decide(None, "http", ("a", 80)) for _ in range(4)]
    assert {decision.status for decision in decisions} == {302, 422}
    assert all(decision.due is not None for decision in decisions)
    for decision in decisions:
        assert replace(decision, due=None) == decision
        assert replace(decision, route="/a").due is decision.due


def test_a_pick_has_what_is_due_by_the_service_in_use_while_the_next_one_is_made() -> None:
    """They share the origins, and with thousands of pools it takes a while."""
    config = parse_config(b'[p]\nis_default = true\nweighted_hosts = { "a" = 1, "b" = 1 }\n', "pools.toml")
    service = new_service(config, Random(1))
    moved = with_overrides(config, [Override("p", "a", 100, 100, 0.0, 0.0, 60.0)], 1.0)
    prepared = dict(balancers(moved, Random(1), before=service))

    def dues(service: Service) -> set[float]:
        found = [service.decide(None, "http", None).due for _ in range(10)]
        return {due.share for due in found if due is not None}

    assert dues(service) == {0.5}
    assert dues(Service(moved, prepared)) == {0.1, 0.9}
