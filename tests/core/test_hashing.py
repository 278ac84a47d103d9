"""The same key gets the same name, in proportion to the weights, and a change moves only the keys that it must."""

import os
import subprocess
import sys
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import generated

from redirect.commands.logs.shares import chi_square_p
from redirect.core.hashing import FEW, Rendezvous

GENERATED = generated(40)

KEYS = [f"192.0.{number >> 8}.{number & 255}".encode() for number in range(600)]

few_weights = st.lists(st.integers(0, 1_000_000), min_size=2, max_size=12).filter(any)


def names(count: int) -> list[str]:
    return [f"origin-{number}.example" for number in range(count)]


def picks(of: Rendezvous, keys: list[bytes] = KEYS) -> list[int | None]:
    return [of.pick(key) for key in keys]


def random_weights(count: int) -> list[int]:
    random = Random(count)
    return [random.randrange(1, 100) for _ in range(count)]


def moved(before: list[int | None], after: list[int | None]) -> set[tuple[int | None, int | None]]:
    """From where to where keys moved."""
    return {pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]}


# Shares


@pytest.mark.parametrize(
    "weights",
    [[1, 1], [1, 2, 3], [1, 1000, 1], [0, 5, 1], random_weights(FEW), random_weights(FEW + 1), random_weights(300)],
    ids=len,
)
def test_shares_are_those_of_the_weights(weights: list[int]) -> None:
    """A thousandth of correct picks would be called wrong; the keys are fixed, so it is never this test that is."""
    keys = [b"%d" % number for number in range(20_000)]
    found = Counter(picks(Rendezvous(names(len(weights)), weights), keys))
    expected = [len(keys) * weight / sum(weights) for weight in weights]
    assert not any(found[at] for at, weight in enumerate(weights) if not weight)
    chi_square = sum((found[at] - each) ** 2 / each for at, each in enumerate(expected) if each)
    assert 0.001 < chi_square_p(chi_square, len([weight for weight in weights if weight]) - 1) < 0.999


def test_all_orders_of_names_occur_by_their_weights() -> None:
    """The next name of a key is picked among the rest by their weights, as if the first were not there."""
    weights, total = [1, 2, 3], 6
    of = Rendezvous(names(3), weights)
    keys = [b"%d" % number for number in range(20_000)]
    found = Counter((first, of.pick(key, {first or 0})) for key, first in zip(keys, picks(of, keys), strict=True))
    expected = {
        (first, second): len(keys) * weights[first] / total * weights[second] / (total - weights[first])
        for first in range(3)
        for second in range(3)
        if first != second
    }
    chi_square = sum((found[pair] - each) ** 2 / each for pair, each in expected.items())
    assert found.keys() == expected.keys()
    assert chi_square_p(chi_square, len(expected) - 1) > 0.001


# What moves


@GENERATED
@given(few_weights, st.integers(0, 11), st.integers(0, 1_000_000))
def test_a_weight_moves_keys_from_or_to_its_name_alone(weights: list[int], at: int, weight: int) -> None:
    at %= len(weights)
    changed = [*weights[:at], weight, *weights[at + 1 :]]
    of = Rendezvous(names(len(weights)), weights)
    before = picks(of)
    of.use(changed)
    for after in [picks(Rendezvous(names(len(weights)), changed)), picks(of)]:
        for source, destination in moved(before, after):
            assert (destination if weight > weights[at] else source) == at


def test_ten_percent_more_weight_move_ten_percent_of_its_share() -> None:
    keys = [b"%d" % number for number in range(20_000)]
    before, after = (picks(Rendezvous(names(4), [weight, 100, 100, 100]), keys) for weight in (100, 110))
    gained = sum(one != other for one, other in zip(before, after, strict=True)) / len(keys)
    assert gained == pytest.approx(110 / 410 - 100 / 400, abs=0.002)


@GENERATED
@given(few_weights, st.integers(0, 12))
def test_a_new_name_gets_keys_and_moves_no_other(weights: list[int], at: int) -> None:
    """Wherever it stands: their order has no part in it."""
    at %= len(weights) + 1
    all_names = names(len(weights) + 1)
    before = [all_names[of] if of is not None else None for of in picks(Rendezvous(all_names[:-1], weights))]
    listed = [*all_names[:-1][:at], all_names[-1], *all_names[:-1][at:]]
    after = [
        listed[of] if of is not None else None for of in picks(Rendezvous(listed, [*weights[:at], 7, *weights[at:]]))
    ]
    assert {new for old, new in zip(before, after, strict=True) if old != new} <= {all_names[-1]}


@pytest.mark.parametrize("count", [5, FEW, FEW + 1, 1000])
def test_what_is_down_moves_its_own_keys_alone(count: int) -> None:
    """However many names there are; and they come back."""
    weights = random_weights(count)
    of = Rendezvous(names(count), weights)
    before = picks(of)
    down = {before[0], before[1]}
    of.use([0 if at in down else weight for at, weight in enumerate(weights)])
    assert {source for source, _ in moved(before, picks(of))} == down
    of.use(weights)
    assert picks(of) == before


@pytest.mark.parametrize("count", [5, FEW + 1])
def test_a_slow_start_moves_keys_back_by_tenths(count: int) -> None:
    """The weights are all multiples then, of which the proportions count."""
    weights = random_weights(count)
    of = Rendezvous(names(count), weights)
    whole = picks(of)
    slow = whole[0]
    before = None
    for tenths in range(11):
        of.use([weight * (tenths if at == slow else 10) for at, weight in enumerate(weights)])
        after = picks(of)
        assert before is None or {new for _, new in moved(before, after)} <= {slow}
        before = after
    assert before == whole


@pytest.mark.parametrize("count", [300, 1000])
def test_a_weight_of_many_moves_twice_of_what_it_must_at_most(count: int) -> None:
    """Two levels of the tree. A third of a branch's keys has to move here, so that there is something to count."""
    weights = [1] * count
    changed = [count // 3, *weights[1:]]
    keys = [b"%d" % number for number in range(3000)]
    before, after = picks(Rendezvous(names(count), weights), keys), picks(Rendezvous(names(count), changed), keys)
    gained = sum(new == 0 and old != 0 for old, new in zip(before, after, strict=True))
    assert gained / len(keys) == pytest.approx(1 / 4, abs=0.03)
    assert sum(new != old for old, new in zip(before, after, strict=True)) < 2 * gained


# Which is picked


def test_picks_are_the_same_in_all_processes_of_all_versions() -> None:
    """A changed hash would move all clients of all users: these values stay."""
    code = (
        "from redirect.core.hashing import Rendezvous\n"
        "for count in 3, 100: print([Rendezvous([f'o{n}' for n in range(count)], [n % 7 + 1 for n in range(count)])"
        ".pick(b'%d' % key) for key in range(8)])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout == "[2, 2, 2, 2, 1, 1, 2, 2]\n[62, 4, 97, 48, 82, 89, 39, 76]\n"


@pytest.mark.parametrize("count", [4, FEW + 1])
def test_next_names_of_a_key_are_each_picked_once(count: int) -> None:
    of, tried = Rendezvous(names(count), random_weights(count)), set[int]()
    while (index := of.pick(b"a", tried)) is not None:
        assert index not in tried
        tried.add(index)
    assert tried == {*range(count)}


@pytest.mark.parametrize("count", [3, FEW + 1])
def test_nothing_is_picked_where_all_is_down(count: int) -> None:
    of = Rendezvous(names(count), [1] * count)
    of.use([0] * count)
    assert of.pick(b"a") is None


def test_where_nearly_all_is_down_the_rest_keeps_its_shares() -> None:
    of = Rendezvous(names(200), [1] * 200)
    of.use([1, 3] + [0] * 198)
    found = Counter(picks(of))
    assert found[1] / len(KEYS) == pytest.approx(3 / 4, abs=0.05)


@pytest.mark.parametrize(("count", "most"), [(FEW, FEW), (1000, 200), (10_000, 200)])
def test_a_pick_compares_few_names_however_many_there_are(count: int, most: int) -> None:
    of = Rendezvous(names(count), [1] * count)
    entries, compared = of._tree, 0
    while True:
        compared += len(entries)
        branches = [entry[2] for entry in entries if isinstance(entry[2], list)]
        if not branches:
            break
        entries = max(branches, key=len)
    assert compared <= most
