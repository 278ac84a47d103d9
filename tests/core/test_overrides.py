"""Shares in place of the file's for a while: by how much, how long, and what the others get."""

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import generated

from redirect.config.loader import parse_config
from redirect.core.balancer import Balancer
from redirect.core.cycles import TOTAL_BUDGET, Cycles
from redirect.core.due import Weights
from redirect.core.overrides import (
    DEFAULT_HOLD_SECONDS,
    Override,
    config_of_file,
    left,
    of_file,
    overridden,
    pack,
    read,
    unpack,
    with_overrides,
)
from redirect.core.pools import Config, Pool
from redirect.core.service import balancers, new_service

TOML = '[p]\nis_default = true\nweighted_hosts = { "a" = 3, "b" = 1, "new" = 0 }\n[q]\nweighted_hosts = { "x" = 1 }\n'
NOW = 1_000_000.0


def config(toml: str = TOML) -> Config:
    return parse_config(toml.encode(), "pools.toml")


def override(origin: str = "new", first: int = 100, last: int = 500, over: float = 3600, hold: float = 60) -> Override:
    return Override("p", origin, first, last, NOW, over, hold)


def shares(pool: Pool) -> dict[str, float]:
    total = sum(origin.weight for origin in pool.origins)
    return {origin.name: origin.weight / total for origin in pool.origins}


def test_the_others_keep_their_proportions_in_the_rest() -> None:
    pool = overridden(config().pools["p"], [override(first=500, over=0)], NOW)
    assert shares(pool) == {"a": 0.375, "b": 0.125, "new": 0.5}
    assert [share for _, share in pool.shares()] == [0.75, 0.25, 0]  # configured
    assert of_file(pool) == config().pools["p"]


@pytest.mark.parametrize(("origin", "parts", "expected"), [("a", 0, [0, 1, 0]), ("b", 1000, [0, 1, 0])])
def test_an_origin_may_get_all_and_nothing(origin: str, parts: int, expected: list[float]) -> None:
    made = override(origin, parts, parts, 0)
    assert [*shares(overridden(config().pools["p"], [made], NOW)).values()] == expected


def test_what_all_together_would_take_everything_away_changes_nothing() -> None:
    pool = config().pools["q"]
    assert overridden(pool, [Override("q", "x", 0, 0, NOW, 0, 60)], NOW) is pool


def test_two_origins_of_a_pool_have_each_their_share() -> None:
    pool = overridden(config().pools["p"], [override(first=100, over=0, last=100), override("a", 600, 600, 0)], NOW)
    assert shares(pool) == pytest.approx({"a": 0.6, "b": 0.3, "new": 0.1})


def test_a_ramp_moves_in_small_steps_and_holds_its_last_share() -> None:
    made = override()
    seen = [made.parts(NOW + second) for second in range(3700)]
    assert (seen[0], seen[1800], seen[3599], seen[3600], seen[-1]) == (100, 300, 496, 500, 500)
    assert max(after - before for before, after in pairwise(seen)) <= 4
    assert sorted(seen) == seen
    assert override(first=500, last=100).parts(NOW + 1800) == 300


def test_a_short_ramp_takes_a_step_in_each_second() -> None:
    assert [override(over=4).parts(NOW + quarter / 4) for quarter in range(0, 17, 4)] == [100, 200, 300, 400, 500]


def test_a_clock_before_the_begin_has_the_first_share() -> None:
    assert override().parts(NOW - 5) == 100
    assert override(over=0).parts(NOW - 10) == 500  # one at once has no other


@generated(200)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6).filter(any), st.integers(0, 1000))
def test_shares_are_exact(weights: Sequence[int], parts: int) -> None:
    hosts = ", ".join(f'"o{at}" = {weight}' for at, weight in enumerate(weights))
    pool = config(f'[p]\nis_default = true\nweighted_hosts = {{ {hosts}, "new" = 7 }}\n').pools["p"]
    found = overridden(pool, [override(first=parts, last=parts, over=0)], NOW)
    total = sum(origin.weight for origin in found.origins)
    assert found.origins[-1].weight * 1000 == parts * total
    for at, one in enumerate(weights):
        for other, another in enumerate(weights):
            assert found.origins[at].weight * another == found.origins[other].weight * one


def test_picks_follow_the_override_and_what_is_configured_is_the_files() -> None:
    changed = with_overrides(config(), [override(first=500, last=500, over=0)], NOW)
    service = new_service(changed, Random(1))
    decisions = [service.decide(None, "http", None) for _ in range(80)]
    assert [decision.origin for decision in decisions].count("new") == 40
    assert {decision.due.share for decision in decisions if decision.due} == {0.5, 0.375, 0.125}
    pool = changed.pools["p"]
    assert not Weights(pool, [origin.weight for origin in pool.origins]).is_configured
    assert config_of_file(changed) == config()
    assert changed.default is pool


def test_a_step_prepares_no_long_cycle() -> None:
    """Requests wait while a cycle is prepared: this one has 997,000 picks, and shares are exact all the same."""
    pool = config('[p]\nis_default = true\nweighted_hosts = { "a" = 333, "b" = 664, "new" = 0 }\n').pools["p"]
    cycles = Cycles()
    of = Balancer(overridden(pool, [override(first=123, last=123, over=0)], NOW), cycles, Random(1))
    assert cycles._left == TOTAL_BUDGET
    assert abs([of.pick().origin.name for _ in range(1000)].count("new") - 123) <= 1


def test_a_small_share_is_as_likely_to_come_first_as_later() -> None:
    """Each step begins new cycles, of which a worker may make a few picks only."""
    pool = config('[p]\nis_default = true\nweighted_hosts = { "a" = 45, "b" = 55, "new" = 0 }\n').pools["p"]
    moved, random = overridden(pool, [override(first=7, last=7, over=0)], NOW), Random(1)
    found = 0
    for _ in range(300):
        of = Balancer(moved, Cycles(), random)
        found += [of.pick().origin.name for _ in range(10)].count("new")
    assert 14 <= found <= 28  # 21 of 3,000 are due


def test_while_an_override_ends_requests_are_picked_as_before() -> None:
    """The pools after the change share what is known of origins with those that are in use until all are made."""
    toml = '[p]\nis_default = true\npick = "least_requests"\nweighted_hosts = { "a" = 1, "new" = 0 }\n'
    toml += '[[routes]]\npath_prefix = "/"\nforward_to = "p"\n'
    service = new_service(with_overrides(config(toml), [override(over=0)], NOW), Random(1))
    (in_use,) = service.balancers()
    [*balancers(config(toml), Random(1), before=service)]
    assert {in_use.pick().origin.name for _ in range(50)} == {"a", "new"}


def test_an_override_ends_by_itself_or_with_what_it_is_of() -> None:
    made, gone = override(), Override("r", "x", 1, 1, NOW, 0, 60)
    found = left(config(), [made, gone, override("old")], made.ends_at - 0.1)
    assert [*found.values()] == [None, "the pool is gone", "the origin is gone"]
    assert [*left(config(), [made], made.ends_at).values()] == ["its time is over"]


def test_one_of_an_origin_that_is_not_found_at_the_moment_stays() -> None:
    discovering = config('[p]\nis_default = true\ndiscover = { name = "a", port = 80 }\n')
    assert [*left(discovering, [override()], NOW).values()] == [None]
    assert with_overrides(discovering, [override()], NOW) == discovering


def test_overrides_outlive_the_process() -> None:
    assert unpack(pack([override(), override("a")])) == [override(), override("a")]
    assert unpack(b"") == []


@pytest.mark.parametrize(
    "content",
    [
        pytest.param('{"p": 1}', id="an object"),
        pytest.param("[1]", id="a number"),
        pytest.param('[["p", "a", 1, 1, 0, 0]]', id="a number less"),
        pytest.param('[["p", ["a"], 1, 1, 0, 0, 1]]', id="an origin that is no text"),
        pytest.param('[[5, "a", 1, 1, 0, 0, 1]]', id="a pool that is no text"),
        pytest.param('[["p", "a", 1, "1", 0, 0, 1]]', id="a share that is no number"),
        pytest.param('[["p", "a", 1, true, 0, 0, 1]]', id="a share that is true"),
        pytest.param('[["p", "a", 1, 1.5, 0, 0, 1]]', id="a share that is no whole number"),
        pytest.param('[["p", "a", -1, 1, 0, 0, 1]]', id="a share below 0"),
        pytest.param('[["p", "a", 1, 1001, 0, 0, 1]]', id="a share above all"),
        pytest.param('[["p", "a", 1, 1, "0", 0, 1]]', id="a time that is no number"),
        pytest.param('[["p", "a", 1, 1, 0, 0, NaN]]', id="no number"),
        pytest.param('[["p", "a", 1, 1, 1e12, 0, 1]]', id="a time that cannot be shown"),
        pytest.param('[["p", "a", 1, 1, 0, 0, 1e12]]', id="a time without end"),
        pytest.param('[["p", "a", 1, 600, 0, 0, 1], ["p", "b", 600, 1, 0, 0, 1]]', id="more than all of a pool"),
    ],
)
def test_what_none_of_them_was_made_of_is_none(content: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        unpack(content)


def test_what_is_left_out_is_the_share_of_now_and_a_day() -> None:
    made = read({"pool": "p", "origin": "b", "to": 40.5, "over": 60}, config(), [], NOW)
    assert made == Override("p", "b", 250, 405, NOW, 60.0, DEFAULT_HOLD_SECONDS)
    again = read({"pool": "p", "origin": "b", "to": 80, "over": 60}, config(), [made], NOW + 60)
    assert again.first == 405
    assert read({"pool": "p", "origin": "b", "to": 40}, config(), [], NOW).first == 400


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([], "an override is a JSON object with pool, origin and to, and perhaps from, over and hold"),
        ({"pool": "p", "origin": "a"}, "an override is a JSON object with pool, origin and to, .*; to is missing$"),
        (
            {"pool": "p", "origin": "a", "to": 1, "for": 2},
            'there is no key "for"; there are "pool", "origin", "to", "from", "over"',
        ),
        ({"pol": "p"}, 'there is no key "pol"; did you mean "pool"? There are "pool", "origin", "to", "from", "over"'),
        ({"pool": "r", "origin": "a", "to": 1}, 'pool: there is no pool "r"; there are "p", "q"'),
        ({"pool": "p", "origin": "c", "to": 1}, 'origin: p has no origin "c"; there are "a", "b", "new"'),
        ({"pool": "p", "origin": "nev", "to": 1}, 'origin: p has no origin "nev"; did you mean "new"? There are'),
        ({"pool": "p", "origin": "a", "to": 101}, "to: 101 is no number of percent from 0 to 100"),
        ({"pool": "p", "origin": "a", "to": 0.05}, "to: shares are whole tenths of a percent, and 0.05 is none"),
        ({"pool": "p", "origin": "a", "to": True}, "to: True is no number"),
        ({"pool": "p", "origin": "a", "to": 1, "from": "x"}, "from: 'x' is no number"),
        ({"pool": "p", "origin": "a", "to": 1, "over": -1}, "over: -1 is no number of seconds from 0 to 2,592,000"),
        ({"pool": "p", "origin": "a", "to": 1, "hold": 0}, "hold: 0 is no number of seconds from 1 to"),
        ({"pool": "p", "origin": "a", "from": 5, "to": 9}, "over: from 5 % to 9 % takes 0 seconds; say how long"),
        (
            {"pool": "p", "origin": "a", "to": 60},
            "to: 60 % is too much, as other overrides have the rest of p; ask for at most 50 %",
        ),
        (
            {"pool": "p", "origin": "a", "from": 60, "to": 10, "over": 9},
            "from: 60 % is too much, as other overrides have the rest of p; begin with at most 50 %, or end one",
        ),
        ({"pool": "q", "origin": "x", "to": 60}, "to: no other origin of q has a weight and no override"),
    ],
)
def test_what_makes_no_sense_is_refused(wanted: object, message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("?", r"\?")):
        read(wanted, config(), [override()], NOW)


def test_an_override_goes_on_where_its_origin_is_spelled_otherwise() -> None:
    respelled = config(TOML.replace('"new"', '"NEW"'))
    (goes_on,) = left(respelled, [override("new")], NOW)
    assert goes_on == override("NEW")
    assert with_overrides(respelled, [override("new")], NOW) == with_overrides(respelled, [goes_on], NOW)
    assert with_overrides(respelled, [goes_on], NOW) != respelled
