"""Cycles: in each one each item gets exactly its share, spread as evenly as the weights allow.

Three algorithms keep that rule: a prepared ring, the `roundrobin` package at each pick, and a heap. Without a budget
nothing is prepared, so that the tests reach the other two with any weights.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, islice, pairwise
from math import gcd
from random import Random
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import generated

from redirect.core.cycles import CYCLE_BUDGET, FEW_ITEMS, MAX_SKIPPED_PICKS, PACKAGE_BUDGET, TOTAL_BUDGET, Cycles, ring

GENERATED = generated(60)

FEW_WEIGHTS = {
    "one": (1,),
    "2:1": (2, 1),
    "5:1:1": (5, 1, 1),
    "1:3:1": (1, 3, 1),
    "co-prime": (13, 7, 5, 3),
    "equal": (4, 4, 4),
    "common divisor": (600_000, 200_000, 400_000),
    "a weight of 0": (0, 3, 0, 2),
    "as many as the package takes": tuple(range(1, FEW_ITEMS + 1)),
}
MANY_WEIGHTS = {
    "one more than the package takes": tuple(range(1, FEW_ITEMS + 2)),
    "equal": (1,) * 40,
    "one heavy among a hundred light": (100,) + (1,) * 100,
    "heavy last": (1,) * 30 + (60,),
    "co-prime": tuple(range(11, 50, 2)),
    "two heavy, with a common divisor": (300,) * 2 + (20,) * 25,
    "some of 0": (0, 7, 3) * 12,
}
LONG = tuple(range(1, 120))  # the package would take too long to prepare this, so the heap does

T = TypeVar("T")


class FromTheStart(Random):
    """Draws 0, so that each cycle begins at its start."""

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return 0


def picker(weighted: Sequence[tuple[T, int]], cycles: Cycles, random: Random) -> Callable[[], T]:
    """Picks the items, from a random place of the cycle on."""
    found = ring(weighted, cycles, random)
    if not isinstance(found, tuple):
        return found
    start = random.randrange(len(found))
    return cycle(found[::-1][start:] + found[::-1][:start]).__next__


def pick_of(weights: Sequence[int], cycles: Cycles, random: Random) -> Callable[[], int]:
    """A pick over the indices of `weights`."""
    return picker(list(enumerate(weights)), cycles, random)


def picks(weights: Sequence[int], count: int, cycles: Cycles, random: Random) -> list[int]:
    pick = pick_of(weights, cycles, random)
    return [pick() for _ in range(count)]


def cycle_length(weights: Sequence[int]) -> int:
    return sum(weights) // gcd(*weights)


def shares(weights: Sequence[int]) -> Counter[int]:
    """How often each index comes in a whole cycle."""
    return Counter({index: weight // gcd(*weights) for index, weight in enumerate(weights) if weight})


def every_window(sequence: Sequence[int], length: int) -> Iterable[Counter[int]]:
    """What each run of `length` picks holds, wherever it begins."""
    counts = Counter(sequence[:length])
    yield counts
    for gone, come in zip(sequence, sequence[length:], strict=False):
        counts[gone] -= 1
        counts[come] += 1
        yield counts


def strays(sequence: Sequence[int], weights: Sequence[int]) -> tuple[float, float]:
    """How many picks, at most, an item ever was behind its share, and how many ahead of it.

    An item falls behind until it is picked and is ahead most when it just was, so that is where to look.
    """
    total = sum(weights)
    counts = [0] * len(weights)
    behind = ahead = 0
    for number, index in enumerate(sequence):
        behind = max(behind, number * weights[index] - counts[index] * total)
        counts[index] += 1
        ahead = max(ahead, counts[index] * total - (number + 1) * weights[index])
    left = max(len(sequence) * weight - count * total for count, weight in zip(counts, weights, strict=True))
    return max(behind, left) / total, ahead / total


def nginx(weights: Sequence[int]) -> list[int]:
    """A cycle as nginx defines it: raise each current weight by its weight, pick the greatest, subtract the total."""
    current = [0] * len(weights)
    cycle = []
    for _ in range(cycle_length(weights)):
        current = [value + weight for value, weight in zip(current, weights, strict=True)]
        best = current.index(max(current))
        current[best] -= sum(weights)
        cycle.append(best)
    return cycle


def is_shifted(sequence: list[int], cycle: list[int]) -> bool:
    """Whether `sequence` is `cycle` from some place on."""
    return any(sequence == cycle[start:] + cycle[:start] for start in range(len(cycle)))


# Exact


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("budget", [pytest.param(TOTAL_BUDGET, id="ring"), pytest.param(0, id="package")])
@pytest.mark.parametrize("weights", FEW_WEIGHTS.values(), ids=FEW_WEIGHTS)
def test_every_cycle_of_few_is_exact(weights: tuple[int, ...], budget: int, seed: int) -> None:
    """Wherever a whole cycle begins, each of a few items gets exactly its share of it."""
    length = cycle_length(weights)
    sequence = picks(weights, 3 * length, Cycles(budget), Random(seed))
    assert all(window == shares(weights) for window in every_window(sequence, length))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("budget", [pytest.param(TOTAL_BUDGET, id="ring"), pytest.param(0, id="heap")])
@pytest.mark.parametrize("weights", MANY_WEIGHTS.values(), ids=MANY_WEIGHTS)
def test_every_cycle_of_many_is_exact(weights: tuple[int, ...], budget: int, seed: int) -> None:
    """Wherever a whole cycle begins, each of many items gets exactly its share of it."""
    length = cycle_length(weights)
    sequence = picks(weights, 3 * length, Cycles(budget), Random(seed))
    assert all(window == shares(weights) for window in every_window(sequence, length))


@pytest.mark.parametrize("budget", [pytest.param(TOTAL_BUDGET, id="ring"), pytest.param(0, id="heap")])
@pytest.mark.parametrize("heavy", [1000, 999])
def test_one_heavy_among_a_thousand_light(heavy: int, budget: int) -> None:
    """One heavy item among a thousand light ones gets its share of every cycle, and never twice in a row."""
    weights = (heavy,) + (1,) * 1000
    sequence = picks(weights, 3 * sum(weights), Cycles(budget), Random(1))
    assert all(window[0] == heavy for window in every_window(sequence, sum(weights)))
    assert Counter(sequence) == Counter({index: 3 * weight for index, weight in enumerate(weights)})
    assert (0, 0) not in set(pairwise(sequence))


@pytest.mark.slow
def test_a_million_to_one() -> None:
    """At the widest weights the light item comes once in every 1,000,001 picks."""
    assert Cycles().prepare((1_000_000, 1)) is None
    pick = pick_of((1_000_000, 1), Cycles(), Random(1))
    light = [number for number in range(2_000_002) if pick() == 1]
    assert light[1] - light[0] == 1_000_001
    assert len(light) == 2


@pytest.mark.slow
def test_a_hundred_thousand_to_one_among_many() -> None:
    """Similarly in the heap, where each of many light items comes at its place of the cycle, again and again."""
    weights = (100_000,) + (1,) * FEW_ITEMS
    length = sum(weights)
    pick = pick_of(weights, Cycles(0), Random(1))
    light = [(number, index) for number in range(2 * length) if (index := pick()) != 0]
    assert len(light) == 2 * FEW_ITEMS
    assert [(number + length, index) for number, index in light[:FEW_ITEMS]] == light[FEW_ITEMS:]
    assert {index for _, index in light} == set(range(1, FEW_ITEMS + 1))


@pytest.mark.slow
@GENERATED
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=FEW_ITEMS).filter(any),
    st.integers(0, 9),
    st.sampled_from([0, TOTAL_BUDGET]),
)
def test_any_few(weights: list[int], seed: int, budget: int) -> None:
    """Whatever the weights of a few items, a cycle is nginx's, from some place on, and repeats."""
    length = cycle_length(weights)
    sequence = picks(weights, 2 * length, Cycles(budget), Random(seed))
    assert is_shifted(sequence[:length], nginx(weights))
    assert sequence[:length] == sequence[length:]


@pytest.mark.slow
@GENERATED
@given(st.lists(st.integers(1, 40), min_size=FEW_ITEMS + 1, max_size=40), st.integers(0, 9))
def test_any_many(weights: list[int], seed: int) -> None:
    """Whatever the weights of many items, the heap is exact over a first cycle, a second and a third."""
    length = cycle_length(weights)
    sequence = picks(weights, 3 * length, Cycles(0), Random(seed))
    assert Counter(sequence[:length]) == shares(weights)
    assert sequence[:length] == sequence[length : 2 * length] == sequence[2 * length :]


# Smooth


@pytest.mark.parametrize("budget", [pytest.param(TOTAL_BUDGET, id="ring"), pytest.param(0, id="package")])
def test_nginx_example(budget: int) -> None:
    """Weights 5, 1, 1 give a a b a c a a, nginx's own example, from every place of the cycle."""
    seen = set()
    for seed in range(100):
        pick = picker([("a", 5), ("b", 1), ("c", 1)], Cycles(budget), Random(seed))
        seen.add("".join(pick() for _ in range(7)))
    assert seen == {"aabacaa", "abacaaa", "bacaaaa", "acaaaab", "caaaaba", "aaaabac", "aaabaca"}


@pytest.mark.parametrize("weights", MANY_WEIGHTS.values(), ids=MANY_WEIGHTS)
def test_short_cycle_of_many_is_in_the_order_of_nginx(weights: tuple[int, ...]) -> None:
    """However many items there are, a cycle that the package can prepare is nginx's, from some place on."""
    assert len(weights) * cycle_length(weights) <= PACKAGE_BUDGET
    assert is_shifted(picks(weights, cycle_length(weights), Cycles(), Random(1)), nginx(weights))


@pytest.mark.parametrize(
    ("weights", "cycle"),
    [
        pytest.param((5, 1, 1), "aabacaa", id="nginx's example"),
        pytest.param((4, 2, 1), "abacaba", id="4:2:1"),
        pytest.param((3, 3), "ab", id="equal"),
        pytest.param((1, 3, 1), "babcb", id="heavy in the middle"),
    ],
)
def test_order(weights: tuple[int, ...], cycle: str) -> None:
    """Of items that are equally far behind, the one listed first comes first."""
    for budget in (0, TOTAL_BUDGET):
        assert "".join("abc"[index] for index in picks(weights, len(cycle), Cycles(budget), FromTheStart(1))) == cycle


@pytest.mark.parametrize(
    "weights", [(2, 1), (5, 1, 1), (1, 3, 1), (13, 7, 5, 3), (4, 4, 4), (9, 7, 5, 3, 1), (100,) + (1,) * 100, LONG]
)
def test_ring_is_smooth(weights: tuple[int, ...]) -> None:
    """No prefix of a cycle is a whole pick away from any item's share."""
    assert max(strays(picks(weights, cycle_length(weights), Cycles(), FromTheStart(1)), weights)) < 1


@pytest.mark.slow
@pytest.mark.parametrize("weights", [(1_000_000, 1), (1_000_000, 999_999), (1_000_000, 500_001, 250_001, 3)])
def test_package_is_smooth(weights: tuple[int, ...]) -> None:
    """The same where the cycle is too long to prepare."""
    assert Cycles().prepare(weights) is None
    assert max(strays(picks(weights, 50_000, Cycles(), FromTheStart(1)), weights)) < 1


@pytest.mark.slow
@GENERATED
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=3))
def test_package_is_smooth_for_any_weights(weights: list[int]) -> None:
    """Up to three items never stray a whole pick from their shares, whatever their weights."""
    assert max(strays(picks(weights, 2_000, Cycles(0), FromTheStart(1)), weights)) < 1


@pytest.mark.slow
@GENERATED
@given(st.lists(st.integers(1, 10**6) | st.integers(1, 3), min_size=4, max_size=FEW_ITEMS))
def test_package_gives_no_item_a_pick_too_many(weights: list[int]) -> None:
    """Of more than three items one may be a little over a pick behind its share, but none is a pick ahead of it."""
    behind, ahead = strays(picks(weights, 2_000, Cycles(0), FromTheStart(1)), weights)
    assert ahead < 1
    assert behind < 2


HOSTILE_WEIGHTS = {
    "one heavy among a thousand light": (1000,) + (1,) * 1000,
    "a million among as many as fit": (1_000_000,) + (1,) * 2000,
    "all heavy and nearly equal": tuple(range(1_000_000, 999_900, -1)),
    "a million and all below by halves": tuple(1_000_000 >> (index % 20) for index in range(60)),
    "three scales": (1_000_000, 999_983, 1009, 1013, 3, 2, 1) * 5,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "weights", [*MANY_WEIGHTS.values(), *HOSTILE_WEIGHTS.values()], ids=[*MANY_WEIGHTS, *HOSTILE_WEIGHTS]
)
def test_heap_is_smooth(weights: tuple[int, ...]) -> None:
    """Of many items none ever strays a whole pick from its share."""
    count = min(2 * cycle_length(weights), 30_000)
    assert max(strays(picks(weights, count, Cycles(0), FromTheStart(1)), weights)) < 1


@pytest.mark.slow
@GENERATED
@given(st.lists(st.integers(1, 3) | st.integers(1, 10**6) | st.just(10**6), min_size=FEW_ITEMS + 1, max_size=100))
def test_heap_is_smooth_for_any_weights(weights: list[int]) -> None:
    """Of many items none ever strays a whole pick from its share, whatever the weights."""
    assert max(strays(picks(weights, 3_000, Cycles(0), FromTheStart(1)), weights)) < 1


@pytest.mark.slow
@pytest.mark.parametrize("weights", HOSTILE_WEIGHTS.values(), ids=HOSTILE_WEIGHTS)
def test_heap_picks_no_item_early(weights: tuple[int, ...]) -> None:
    """An item of the heap comes for the k-th time (from 0) when k of its shares are over, and not before."""
    counts = [0] * len(weights)
    for number, index in enumerate(picks(weights, min(sum(weights), 30_000), Cycles(0), FromTheStart(1))):
        assert counts[index] * sum(weights) <= number * weights[index]
        counts[index] += 1


# Which items are picked


@pytest.mark.parametrize("budget", [0, TOTAL_BUDGET])
@pytest.mark.parametrize("light", [1, 2, FEW_ITEMS + 1])
def test_weight_0_is_never_picked(light: int, budget: int) -> None:
    """An item of weight 0 is never picked, by any algorithm, and takes no share of the others'."""
    weighted = [("first", 0), *[(f"light {number}", 1) for number in range(light)], ("heavy", 3), ("last", 0)]
    pick = picker(weighted, Cycles(budget), Random(1))
    counts = Counter(pick() for _ in range(10 * (light + 3)))
    assert counts == {item: 10 * weight for item, weight in weighted if weight}


def test_items_need_no_order() -> None:
    """Items are only handed out: they need neither hash nor order, not even where a heap holds them."""
    items = [{"number": number} for number in range(FEW_ITEMS + 5)]
    pick = picker([(item, 1 + item["number"] % 2) for item in items], Cycles(0), Random(1))
    counts = Counter(pick()["number"] for _ in range(3 * sum(1 + number % 2 for number in range(FEW_ITEMS + 5))))
    assert counts == {number: 3 * (1 + number % 2) for number in range(FEW_ITEMS + 5)}


def test_pickers_are_independent() -> None:
    """Two pools of equal weights keep a place of their own in the cycle that they share."""
    cycles = Cycles()
    first = pick_of((5, 1, 1), cycles, FromTheStart(1))
    second = pick_of((5, 1, 1), cycles, FromTheStart(1))
    assert [first() for _ in range(3)] == [0, 0, 1]
    assert [second() for _ in range(7)] == [0, 0, 1, 0, 2, 0, 0]
    assert [first() for _ in range(4)] == [0, 2, 0, 0]


# Starts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "budget"),
    [
        pytest.param((5, 3, 2), TOTAL_BUDGET, id="ring"),
        pytest.param((5, 3, 2), 0, id="package"),
        pytest.param((20,) + (1,) * 20, TOTAL_BUDGET, id="ring of many"),
        pytest.param((20,) + (1,) * 20, 0, id="heap"),
        pytest.param((500_001, 299_999, 200_000), TOTAL_BUDGET, id="package, long cycle"),
        pytest.param((400_000,) + (100_001,) * 6 + (1,) * 20, TOTAL_BUDGET, id="heap, long cycle"),
    ],
)
def test_first_picks_follow_the_shares(weights: tuple[int, ...], budget: int) -> None:
    """Workers begin at places of their own: over many of them the first picks have the shares of the weights."""
    workers = 2_000
    cycles = Cycles(budget)
    first = Counter(pick_of(weights, cycles, Random(seed))() for seed in range(workers))
    for index, weight in enumerate(weights):
        assert abs(first[index] / workers - weight / sum(weights)) < 0.035


def test_starts_differ() -> None:
    """Two workers hardly ever go through a long cycle in step."""
    weights = (13, 7, 5, 3)
    cycles = Cycles()
    assert len({tuple(picks(weights, 28, cycles, Random(seed))) for seed in range(500)}) == 28


def test_same_seed_same_start() -> None:
    """Where a cycle begins is drawn from the given Random alone."""
    for weights, budget in [((13, 7, 5, 3), TOTAL_BUDGET), ((13, 7, 5, 3), 0), (tuple(range(1, 30)), 0)]:
        assert len({tuple(picks(weights, 50, Cycles(budget), Random(7))) for _ in range(5)}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("budget", [pytest.param(TOTAL_BUDGET, id="ring"), pytest.param(0, id="heap")])
def test_many_equal_items_begin_all_over(budget: int) -> None:
    """Of thousands of equal items any may be the first, not only those listed first."""
    cycles = Cycles(budget)
    first = {pick_of((1,) * 4 * MAX_SKIPPED_PICKS, cycles, Random(seed))() for seed in range(100)}
    assert sum(index >= MAX_SKIPPED_PICKS for index in first) > 50


def test_unprepared_cycle_waits_for_its_first_pick() -> None:
    """A cycle that is not prepared costs nothing at load, not even the draw of its start."""
    for weights in [(5, 3, 2), tuple(range(1, FEW_ITEMS + 2))]:
        random = Random(1)
        pick = pick_of(weights, Cycles(0), random)
        assert random.getstate() == Random(1).getstate()
        pick()
        assert random.getstate() != Random(1).getstate()


# The budget


@pytest.mark.slow
def test_cycle_that_fits() -> None:
    """A cycle is prepared up to CYCLE_BUDGET picks, and not one above."""
    cycle = Cycles().prepare((CYCLE_BUDGET - 1, 1))
    assert cycle is not None
    assert len(cycle) == CYCLE_BUDGET
    assert Cycles().prepare((CYCLE_BUDGET, 1)) is None


@pytest.mark.slow
def test_ten_thousand_items_are_prepared() -> None:
    """The cycle of ten thousand items of weights from 1 to 100 is prepared, and exact."""
    random = Random(1)
    weights = tuple(random.randint(1, 100) for _ in range(10_000))
    cycle = Cycles().prepare(weights)
    assert cycle is not None
    assert Counter(cycle) == shares(weights)


def test_budget_of_a_configuration() -> None:
    """All cycles together cost no more picks than the budget; what is over is not prepared."""
    cycles = Cycles(budget=3 + 6)
    assert cycles.prepare((1, 2)) is not None
    assert cycles.prepare((4, 3)) is None  # 7 picks of the 6 that are left
    assert cycles.prepare((1, 5)) is not None
    assert cycles.prepare((1,)) is None


def test_package_pays_for_the_many_that_it_asks() -> None:
    """Among more than FEW_ITEMS items a pick of the package costs as much more of the budget as it takes longer."""
    weights = (1,) * (3 * FEW_ITEMS)
    assert Cycles(budget=3 * len(weights)).prepare(weights) is not None
    assert Cycles(budget=3 * len(weights) - 1).prepare(weights) is None


def test_heap_pays_for_its_picks_alone() -> None:
    """Where the heap prepares a cycle it does not count how many items there are."""
    assert len(LONG) * sum(LONG) > PACKAGE_BUDGET
    assert Cycles(budget=sum(LONG)).prepare(LONG) is not None
    assert Cycles(budget=sum(LONG) - 1).prepare(LONG) is None


def test_equal_proportions_share_a_cycle() -> None:
    """The cycle of proportions that were seen before is not computed again and costs only its length."""
    weights = (1,) * (3 * FEW_ITEMS)
    cycles = Cycles(budget=5 * len(weights))
    first = cycles.prepare(weights)
    assert first is not None
    assert cycles.prepare(weights) is first
    assert cycles.prepare(weights) is first
    assert cycles.prepare(weights) is None


def test_common_divisor_is_taken_out_first() -> None:
    """Weights of equal proportions are one cycle, however large they are."""
    cycles = Cycles(budget=3 + 3)
    for weights in [(1, 2), (400_000, 800_000)]:
        pick_of(weights, cycles, Random(1))
    assert cycles.prepare((1,)) is None
    unshared = Cycles(budget=3 + 3)
    pick_of((1, 2), unshared, Random(1))
    assert unshared.prepare((1,)) == (0,)


@pytest.mark.slow
def test_hostile_configuration() -> None:
    """Many pools, each with a cycle that nearly fills the budget of one, are prepared within that of all."""
    cycles = Cycles()
    prepared = [cycles.prepare((CYCLE_BUDGET // 4 - number, 1)) for number in range(20)]
    assert 0 < sum(len(cycle) for cycle in prepared if cycle) <= TOTAL_BUDGET
    assert prepared[-1] is None


def test_pools_beyond_the_budget_are_exact() -> None:
    """A pool for which nothing is left of the budget is exact and smooth all the same."""
    cycles = Cycles(budget=1_000)
    for number in range(1, 2_000):
        weights = (number, number + 1, 1)
        pick = pick_of(weights, cycles, Random(number))
        if number % 100 == 0:
            assert Counter(islice(iter(pick, None), 2 * cycle_length(weights))) == {
                index: 2 * weight for index, weight in shares(weights).items()
            }


def test_cycles_that_stay_in_memory_are_charged() -> None:
    """Cycles that an earlier configuration prepared count in what all cycles together may cost."""
    cycles = Cycles(10)
    cycles.charge((10, 0, 4))  # seven picks
    assert cycles.prepare((3, 1)) is None
    assert cycles.prepare((2, 1)) is not None
    cycles.charge((0,))
    cycles.charge((5, 4))
    assert cycles.prepare((1,)) is None
