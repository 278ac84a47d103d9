"""Which origins of a pool may be picked, and how often: a pure function of the pool, its health and the time."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from math import gcd
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import generated
from support.health import down

from redirect.core.authority import Authority
from redirect.core.balancer import Balancer, effective_weights
from redirect.core.cycles import Cycles
from redirect.core.destination import Destination
from redirect.core.health import HealthStatus
from redirect.core.pools import Ejection, Origin, Pool

Statuses = Mapping[str, HealthStatus]

GENERATED = generated(80)


def pool(*, slow_start: float = 0, ignores_all_down: bool = False, **weights: int) -> Pool:
    origins = tuple(Origin(name, Authority(name, None), weight) for name, weight in weights.items())
    when_all_down = "ignore" if ignores_all_down else "refuse"
    return Pool("p", origins, 302, slow_start=slow_start, when_all_down=when_all_down)


def up(**since: float) -> Statuses:
    """Origins that came back, and when."""
    return {name: HealthStatus(True, 0.0, at, "answered 200") for name, at in since.items()}


def balancer(of: Pool, statuses: Statuses | None = None, now: float = 0.0, seed: int = 1) -> Balancer:
    return Balancer(of, Cycles(), Random(seed), statuses or {}, now)


def weights_of(of: Pool, statuses: Statuses, now: float) -> list[int]:
    return effective_weights(of, statuses, now)[0]


def picks(of: Balancer, count: int) -> Counter[str]:
    picked: Counter[str] = Counter()
    for _ in range(count):
        picked[of.pick().origin.name] += 1
    return picked


# Origins on trial


def on_trial(**since: float) -> Statuses:
    return {name: HealthStatus(True, 0.0, at, "on trial", 1) for name, at in since.items()}


def forwarded(of: Balancer, count: int) -> Counter[str]:
    """Where so many requests are forwarded that do not end."""
    picked: Counter[str] = Counter()
    for _ in range(count):
        destination = of.one_at_a_time(of.pick())
        destination.requests += 1
        picked[destination.origin.name] += 1
    return picked


def destination(of: Balancer, name: str) -> Destination:
    others = [origin.name for origin in of.pool.origins if origin.name != name]
    found = of.pick_other(others)
    assert found is not None
    return found


def test_of_an_origin_on_trial_one_request_at_a_time() -> None:
    of = balancer(replace(pool(a=5, b=1, c=1), eject=Ejection()), on_trial(a=3.0))
    tried = destination(of, "a")
    assert forwarded(of, 70)["a"] == 1
    tried.requests = 0
    assert forwarded(of, 20)["a"] == 1
    of.update({}, 4.0)
    assert forwarded(of, 70)["a"] >= 50


def test_the_only_origin_gets_all_also_on_trial() -> None:
    of = balancer(replace(pool(a=1, b=1), eject=Ejection()), {**on_trial(a=3.0), **down("b")})
    assert forwarded(of, 5) == {"a": 5}


def test_a_retry_is_no_second_request_of_a_trial() -> None:
    of = balancer(replace(pool(a=1, b=1, c=1), eject=Ejection()), on_trial(a=3.0))
    destination(of, "a").requests = 1
    assert of.pick_other(("b", "c")) is None


def test_failures_in_a_row_begin_again_with_a_trial() -> None:
    """And with its end."""
    of = balancer(replace(pool(a=1), eject=Ejection()))
    tried = destination(of, "a")
    for statuses, trial in ((on_trial(a=3.0), 3.0), (on_trial(a=7.0), 7.0), (up(a=9.0), 0.0)):
        tried.failures = 2
        of.update(statuses, 10.0)
        assert (tried.trial, tried.failures) == (trial, 0)
    tried.failures = 2
    of.update({}, 11.0)
    assert tried.failures == 2


# Effective weights


def test_an_origin_without_a_status_is_up() -> None:
    assert weights_of(pool(a=5, b=0, c=2), {}, 0) == [5, 0, 2]


def test_an_origin_that_is_down_weighs_nothing() -> None:
    assert weights_of(pool(a=5, b=3, c=2), down("a"), 0) == [0, 3, 2]


def test_an_origin_that_is_up_again_has_its_weight_at_once_without_a_slow_start() -> None:
    assert weights_of(pool(a=5, b=3), up(a=100), 100) == [5, 3]


def test_a_status_of_an_unknown_origin_is_ignored() -> None:
    assert weights_of(pool(a=5, b=3), down("elsewhere"), 0) == [5, 3]


def test_with_all_origins_down_none_may_be_picked() -> None:
    assert weights_of(pool(a=1, b=2, drained=0), down("a", "b"), 0) == [0, 0, 0]


def test_with_all_origins_down_all_are_used_if_the_pool_has_it_so() -> None:
    ignoring = pool(a=1, b=2, ignores_all_down=True)
    assert weights_of(ignoring, down("a", "b"), 0) == [1, 2]
    stops = HealthStatus(False, 0.0, 0.0, "docker stops it", member="draining")
    assert weights_of(ignoring, {**down("a"), "b": stops}, 0) == [1, 0]  # a container that stops gets nothing
    assert weights_of(ignoring, down("a"), 0) == [0, 2]


@pytest.mark.parametrize(
    ("after", "weights"),
    [
        pytest.param(-3600, [10, 1], id="before it came back, as another process may see it"),
        pytest.param(0, [10, 1], id="at first"),
        pytest.param(1, [10, 1], id="a tenth"),
        pytest.param(2.5, [5, 1], id="a quarter"),
        pytest.param(5, [2, 1], id="half"),
        pytest.param(9.9, [10, 9], id="nearly all"),
        pytest.param(10, [1, 1], id="all"),
        pytest.param(3600, [1, 1], id="long ago"),
    ],
)
def test_slow_start(after: float, weights: list[int]) -> None:
    """An origin that came back weighs a tenth of its weight, and a tenth more at each tenth of `slow_start`."""
    assert weights_of(pool(a=1, b=1, slow_start=10), up(b=200), 200 + after) == weights


def test_each_origin_starts_slowly_from_its_own_time() -> None:
    statuses = {**up(b=100, c=105), **down("d")}
    assert weights_of(pool(a=2, b=2, c=2, d=2, slow_start=10), statuses, 107) == [20, 14, 4, 0]


def test_origins_that_all_come_back_together_share_by_their_weights() -> None:
    """No other origin can spare them."""
    for now in range(100, 120):
        assert weights_of(pool(a=1, b=2, slow_start=10), up(a=100, b=100), now) == [1, 2]


def test_a_drained_origin_weighs_nothing_whatever_its_status() -> None:
    """Its status may be of the time before it was drained."""
    drained = pool(a=0, b=1, slow_start=10, ignores_all_down=True)
    assert weights_of(drained, up(a=100), 100)[0] == 0
    assert weights_of(drained, {**up(a=100), **down("b")}, 101) == [0, 1]


# Picks


def test_picks_are_exact_over_a_cycle() -> None:
    of = balancer(pool(a=5, b=3, c=2, drained=0))
    assert picks(of, 10) == {"a": 5, "b": 3, "c": 2}
    of.update(down("a"), 0)
    assert picks(of, 5) == {"b": 3, "c": 2}
    of.update(down("a", "c"), 0)
    assert picks(of, 7) == {"b": 7}
    of.update({}, 0)
    assert picks(of, 10) == {"a": 5, "b": 3, "c": 2}


def test_picks_are_exact_during_a_slow_start() -> None:
    of = balancer(pool(a=3, b=2, c=1, slow_start=10), up(b=100), now=105)
    assert picks(of, 5) == {"a": 3, "b": 1, "c": 1}


def test_none_is_eligible_while_no_origin_may_be_picked() -> None:
    of = balancer(pool(a=1, b=1), down("a", "b"))
    assert not of.has_eligible
    of.update(down("a"), 0)
    assert picks(of, 3) == {"b": 3}
    of.update(down("a", "b"), 0)
    assert not of.has_eligible


def test_the_cycle_goes_on_while_the_weights_stay_the_same() -> None:
    of, undisturbed = balancer(pool(a=3, b=2, c=1)), balancer(pool(a=3, b=2, c=1))
    for _ in range(12):
        of.update({**up(a=0), **down("elsewhere")}, 0)
        assert picks(of, 1) == picks(undisturbed, 1)


def test_a_change_prepares_nothing_before_the_first_pick() -> None:
    """A change of many pools costs the requests to one of them the cycle of that one."""
    random = Random(1)
    of = Balancer(pool(a=3, b=2, c=1), Cycles(), random)
    state = random.getstate()
    of.update(down("a"), 0)
    assert random.getstate() == state
    picks(of, 1)
    assert random.getstate() != state


def test_a_balancer_is_growing_until_the_slow_start_is_over() -> None:
    of = balancer(pool(a=1, b=1, slow_start=10), down("b"))
    assert not of.is_growing
    statuses = up(b=100)
    for now, count in [(100, 1), (103, 3), (107.5, 7), (110, 10)]:
        of.update(statuses, now)
        assert picks(of, 10 + count)["b"] == count
        assert of.is_growing == (now < 110)


def test_an_outcome_is_worked_out_once() -> None:
    """Origins that go down and come back keep their destinations."""
    of = balancer(pool(a=1, b=1))
    before = {id(of.pick()) for _ in range(2)}
    of.update(down("a"), 0)
    of.update({}, 0)
    assert {id(of.pick()) for _ in range(2)} == before


def test_workers_pick_in_the_same_order_from_places_of_their_own() -> None:
    orders = set()
    for seed in range(50):
        of = balancer(pool(a=5, b=1, c=1), seed=seed)
        orders.add("".join(of.pick().origin.name for _ in range(7)))
    assert len(orders) == 7
    assert all(order in "aabacaa" * 2 for order in orders)


# Generated pools


POOLS = st.builds(
    lambda weights, slow_start, ignores: pool(
        slow_start=slow_start,
        ignores_all_down=ignores,
        **{f"o{number}": weight for number, weight in enumerate(weights)},
    ),
    st.lists(st.integers(0, 20), min_size=1, max_size=8),
    st.sampled_from([0, 0.7, 10, 3600]),
    st.booleans(),
)
STATUSES = st.dictionaries(
    st.sampled_from([f"o{number}" for number in range(9)]),
    st.builds(HealthStatus, st.booleans(), st.just(0.0), st.floats(0, 2000), st.just("")),
)
NOWS = st.floats(1000, 3000)


@pytest.mark.slow
@GENERATED
@given(POOLS, st.lists(st.tuples(STATUSES, NOWS), max_size=4), STATUSES, NOWS, st.integers(0, 9))
def test_nothing_is_remembered(
    of: Pool, history: list[tuple[Statuses, float]], statuses: Statuses, now: float, seed: int
) -> None:
    """The same statuses at the same time give the same shares, whatever came before, to old and new balancers."""
    old, new = balancer(of, seed=seed), balancer(of, statuses, now)
    for earlier, at in sorted(history, key=lambda each: each[1]):
        old.update(earlier, min(at, now))  # a monotonic clock does not go back
    old.update(statuses, now)
    assert old.is_growing == new.is_growing
    assert old.has_eligible == new.has_eligible
    if new.has_eligible:
        length = sum(weights := weights_of(of, statuses, now)) // gcd(*weights)
        assert picks(old, length) == picks(new, length)


@pytest.mark.slow
@GENERATED
@given(POOLS, STATUSES, NOWS)
def test_each_cycle_is_exact(of: Pool, statuses: Statuses, now: float) -> None:
    """In each cycle each origin is picked exactly as often as its effective weight has it."""
    weights = weights_of(of, statuses, now)
    if any(weights):
        divisor = gcd(*weights)
        expected = {origin.name: weight // divisor for origin, weight in zip(of.origins, weights, strict=True)}
        assert picks(balancer(of, statuses, now), sum(weights) // divisor) == Counter(expected)


@pytest.mark.slow
@GENERATED
@given(POOLS, STATUSES, NOWS)
def test_filter_first(of: Pool, statuses: Statuses, now: float) -> None:
    """Origins that are down weigh nothing, and those that are up weigh the same as if the others were not there."""
    is_up = {origin.name: origin.name not in statuses or statuses[origin.name].is_up for origin in of.origins}
    weights = weights_of(of, statuses, now)
    if any(is_up[origin.name] and origin.weight for origin in of.origins):
        rest = Pool("p", tuple(origin for origin in of.origins if is_up[origin.name]), 302, slow_start=of.slow_start)
        left = iter(weights_of(rest, statuses, now))
        assert weights == [next(left) if is_up[origin.name] else 0 for origin in of.origins]
    else:
        assert weights == [origin.weight * (of.when_all_down == "ignore") for origin in of.origins]


@pytest.mark.slow
@GENERATED
@given(POOLS, st.dictionaries(st.sampled_from([f"o{number}" for number in range(9)]), st.floats(0, 2000)))
def test_a_slow_start_only_grows(of: Pool, since: dict[str, float]) -> None:
    """The share of an origin that came back never falls while it starts, and no started origin ever weighs nothing."""
    statuses, name = up(**since), of.origins[0].name
    others = Pool("p", (*of.origins, Origin("whole", Authority("whole", None), 20)), 302, slow_start=of.slow_start)
    shares = []
    for now in range(2000, 2000 + int(of.slow_start) + 2, max(1, int(of.slow_start / 20))):
        weights = weights_of(others, {name: statuses[name]} if name in statuses else {}, now)
        assert all(weight > 0 for weight, origin in zip(weights, others.origins, strict=True) if origin.weight)
        shares.append(weights[0] / sum(weights))
    assert shares == sorted(shares)
