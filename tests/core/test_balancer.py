"""Eligibility: which items of a pool may be picked, as probes see them."""

from collections import Counter
from random import Random

import pytest

from redirect.core.balancer import Eligibility
from redirect.core.cycles import Cycles


def eligibility(*, slow_start: float = 0, ignores: bool = False, **weights: int) -> Eligibility[str]:
    weighted = {name: (name, weight) for name, weight in weights.items()}
    return Eligibility(weighted, slow_start, ignores, Cycles(), Random(1))


def picks(of: Eligibility[str], count: int) -> Counter[str]:
    assert of.pick is not None
    return Counter(of.pick() for _ in range(count))


def set_down(of: Eligibility[str], *names: str, now: float = 0) -> None:
    of.set_down(frozenset(names), now)


def test_a_new_item_counts_as_up() -> None:
    """Before anything is known, all are picked by their weights."""
    assert picks(eligibility(a=5, b=3, c=2), 100) == {"a": 50, "b": 30, "c": 20}


def test_filter_first_then_weigh() -> None:
    """What is down is left out, and the shares of the others keep their proportions, exactly in each turn."""
    of = eligibility(a=5, b=3, c=2)
    set_down(of, "a")
    assert picks(of, 50) == {"b": 30, "c": 20}
    set_down(of, "a", "c")
    assert picks(of, 7) == {"b": 7}
    set_down(of)
    assert picks(of, 100) == {"a": 50, "b": 30, "c": 20}


def test_the_same_verdict_again_changes_nothing() -> None:
    """The turn goes on where nothing is new."""
    of = eligibility(a=1, b=1, c=1)
    set_down(of, "c")
    pick = of.pick
    set_down(of, "c")
    assert of.pick is pick


def test_unknown_names_are_nobodys_affair() -> None:
    """A verdict on what the pool does not have, from before it was changed, is passed over."""
    of = eligibility(a=1, b=1)
    pick = of.pick
    set_down(of, "elsewhere")
    assert of.pick is pick


def test_all_down_is_nothing_to_pick() -> None:
    """Without a word on it, a pool all of whose items are down has none."""
    of = eligibility(a=1, b=2, drained=0)
    set_down(of, "a", "b")
    assert of.pick is None
    set_down(of, "a")
    assert picks(of, 3) == {"b": 3}


def test_all_down_may_be_ignored() -> None:
    """Where the pool wants it so, all are picked by their weights as long as all are down."""
    of = eligibility(a=1, b=2, drained=0, ignores=True)
    set_down(of, "a", "b")
    assert picks(of, 6) == {"a": 2, "b": 4}
    set_down(of, "a")
    assert picks(of, 3) == {"b": 3}


@pytest.mark.parametrize(
    ("after", "share"),
    [
        pytest.param(0, 0, id="at first"),
        pytest.param(2.5, 0.2, id="a quarter"),  # 0.25 of 1 : 1 is a fifth of all
        pytest.param(5, 1 / 3, id="a half"),
        pytest.param(9.9, 0.4975, id="nearly all"),
        pytest.param(10, 0.5, id="all"),
    ],
)
def test_slow_start(after: float, share: float) -> None:
    """An item that comes back gets a part of its weight that grows evenly to the whole, within the seconds given."""
    of = eligibility(slow_start=10, a=1, b=1)
    set_down(of, "b", now=100)
    set_down(of, now=200)
    of.grow(200 + after)
    assert picks(of, 10_000)["b"] == pytest.approx(10_000 * share, abs=1)
    assert of.is_growing == (after < 10)


@pytest.mark.parametrize(
    ("ago", "share"),
    [
        pytest.param(-3600, 0, id="the clock was set back"),
        pytest.param(0, 0, id="just now"),
        pytest.param(5, 1 / 3, id="a half"),
        pytest.param(10, 0.5, id="all"),
        pytest.param(3600, 0.5, id="long ago"),
    ],
)
@pytest.mark.parametrize("now", [pytest.param(0, id="a machine that starts"), 200])
def test_who_came_back_before(now: float, ago: float, share: float) -> None:
    """Who came back before there were these items begins slowly all the same, from when it came back on."""
    of = eligibility(slow_start=10, a=1, b=1)
    of.came_back({"b": ago, "elsewhere": 0}, now)
    assert picks(of, 10_000)["b"] == pytest.approx(10_000 * share, abs=1)
    of.grow(now + 10)
    assert (picks(of, 10), of.is_growing) == ({"a": 5, "b": 5}, False)


def test_who_came_back_before_without_a_slow_start() -> None:
    """Where nobody begins slowly, nobody does who came back before."""
    of = eligibility(a=1, b=1)
    pick = of.pick
    of.came_back({"a": -1, "b": 0}, now=200)
    assert of.pick is pick


def test_a_slow_start_ends_in_an_exact_turn() -> None:
    """Once it has its whole share, every full turn is exact again."""
    of = eligibility(slow_start=10, a=3, b=2, c=1)
    set_down(of, "b")
    set_down(of, now=1)
    of.grow(11)
    assert picks(of, 6) == {"a": 3, "b": 2, "c": 1}


def test_slow_starts_are_independent() -> None:
    """Each item's part grows from when it came back; the others share by their weights what is left."""
    of = eligibility(slow_start=10, a=2, b=2, c=2)
    set_down(of, "b", "c")
    set_down(of, "c", now=100)
    set_down(of, now=105)
    of.grow(107.5)  # b has three quarters of its weight, c one
    assert picks(of, 2_000) == pytest.approx({"a": 1_000, "b": 750, "c": 250}, abs=2)


def test_going_down_ends_a_slow_start() -> None:
    """Who goes down while it comes back is left out at once, and begins from nothing the next time."""
    of = eligibility(slow_start=10, a=1, b=1)
    set_down(of, "b")
    set_down(of, now=100)
    set_down(of, "b", now=109)
    assert (picks(of, 5), of.is_growing) == ({"a": 5}, False)
    set_down(of, now=200)
    of.grow(205)
    assert picks(of, 300)["b"] == pytest.approx(100, abs=1)


def test_nobody_is_slow_alone() -> None:
    """Where all come back together there is nobody to spare them: they share by their weights."""
    of = eligibility(slow_start=10, a=1, b=2)
    set_down(of, "a", "b")
    set_down(of, now=100)
    assert picks(of, 3) == {"a": 1, "b": 2}


def test_drained_while_down() -> None:
    """What was drained while it was down comes back to nothing, also where all others are down and are used."""
    before = eligibility(slow_start=10, ignores=True, a=1, b=1)
    set_down(before, "a")
    after = Eligibility({"a": ("a", 0), "b": ("b", 1)}, 10, True, Cycles(), Random(1), before)
    set_down(after, now=100)
    set_down(after, "b", now=101)
    assert picks(after, 3) == {"b": 3}


def test_many_slow_starts_are_few_turns() -> None:
    """However many come back one after the other, those of one tenth of a slow start share a turn."""
    weighted = {str(number): (str(number), 1) for number in range(100)}
    of = Eligibility(weighted, 10, False, Cycles(), Random(1))
    names = [*weighted][1:]
    of.set_down(frozenset(names), 0)
    for back in range(1, 100):
        of.set_down(frozenset(names[back:]), 100 + back / 10)
    assert of._slow is not None
    assert len(of._slow[1]) == 11
    of.grow(200)
    assert picks(of, 100) == dict.fromkeys(weighted, 1)


def test_another_pool_in_its_place() -> None:
    """What was down stays so in the pool's next version, and what came back goes on growing."""
    before = eligibility(slow_start=10, a=1, b=1, c=1)
    set_down(before, "b", "c")
    set_down(before, "b", now=100)
    weighted = {name: (name, 1) for name in "abcd"}
    after = Eligibility(weighted, 10, False, Cycles(), Random(1), before)
    after.grow(105)
    assert picks(after, 500) == pytest.approx({"a": 200, "c": 100, "d": 200}, abs=2)


def test_a_pick_of_many_does_not_ask_each() -> None:
    """Among ten thousand, one of which comes back slowly, a thousand picks are as many different ones."""
    weighted = {str(number): (str(number), 1) for number in range(10_000)}
    of = Eligibility(weighted, 10, False, Cycles(), Random(1))
    of.set_down(frozenset(["7"]), 0)
    of.set_down(frozenset(), 1)
    of.grow(6)
    assert len(picks(of, 1_000)) == 1_000
