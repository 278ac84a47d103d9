"""A batch: what its records add up to, whichever of the two adds them up."""

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.examples import generated

from redirect.config.loader import parse_config
from redirect.core.decision import Decision, Outcome
from redirect.core.due import Certain, Due, Weights
from redirect.telemetry.batch import BOUNDS_NS, IS_COMPILED, AddUp, Sums, _add_up, add_up
from redirect.telemetry.counters import Counters
from redirect.telemetry.record import Record
from redirect.telemetry.scoreboard import Scoreboard

# Both where the compiled one is there.
ADDERS = [_add_up, *[add_up] * IS_COMPILED]

A, B = Decision(302, "p", "a", "http://a"), Decision(302, "p", "b", "http://b")
FORWARDED = Outcome(200, 40, 1, 0, 5)


NONE = memoryview(bytearray()).cast("B").cast("Q")


def added(adder: AddUp, batch: list[Any]) -> Sums:
    """What a batch adds up to where nothing is known of its decisions."""
    return adder(batch, BOUNDS_NS, NONE, object(), 0)


def recorded(
    decision: Decision, pool: str | None = None, ns: int = 1000, outcome: Outcome | None = None, started: int = 5
) -> Record:
    head = pool, "GET", "a.example.com", None, None, None, None
    return decision, head, "id", "/", started, started + ns, "0" * 12, outcome


@pytest.mark.parametrize("adder", ADDERS)
def test_decisions_pools_and_durations_are_added_up(adder: AddUp) -> None:
    batch = [recorded(A, "p"), recorded(B, ns=1001), recorded(A, "p"), recorded(B, "q", 2**40)]
    decisions, pools, answers, forwards, forwarded = added(adder, batch)
    assert decisions == [(A, 2), (B, 2)]
    assert pools == {"p", "q", None}
    assert answers == (2**40 + 3001, [(0, 2), (1, 1), (39, 1)])
    assert (forwards, forwarded) == ((0, []), [])


@pytest.mark.parametrize("adder", ADDERS)
def test_forwards_have_durations_of_their_own(adder: AddUp) -> None:
    passed = recorded(A, ns=6000, outcome=FORWARDED)
    _, _, answers, forwards, forwarded = added(adder, [recorded(B), passed])
    assert (answers, forwards) == ((1000, [(0, 1)]), (6000, [(4, 1)]))
    assert forwarded == [passed]


@pytest.mark.parametrize("adder", ADDERS)
def test_equal_decisions_are_counted_apart_as_other_shares_may_be_due_to_each(adder: AddUp) -> None:
    twin = replace(A)
    assert twin == A
    decisions, *_ = added(adder, [recorded(A), recorded(twin), recorded(A)])
    assert [(decision is A, count) for decision, count in decisions] == [(True, 2), (False, 1)]


@pytest.mark.parametrize("adder", ADDERS)
def test_no_records_add_up_to_nothing(adder: AddUp) -> None:
    assert added(adder, []) == ([], set(), (0, []), (0, []), [])


records = st.builds(
    recorded,
    st.sampled_from([A, B, replace(A), Decision(404)]),
    st.none() | st.text(max_size=3),
    st.integers(0, 2**45) | st.integers(0, 2000).map(lambda us: us * 1000),
    st.none() | st.just(FORWARDED),
    st.integers(0, 2**62),
)


@generated(500)
@given(batch=st.lists(records, max_size=20))
def test_both_add_up_to_the_same(batch: list[Record]) -> None:
    first, *others = [added(adder, batch) for adder in ADDERS]
    assert all(other == first for other in others)
    assert sum(count for _, count in first[0]) == len(batch)


NO_RECORDS: list[Any] = [
    None,
    (),
    recorded(A)[:-1],
    (A, (), "/", 0, 1, "", None),
    (A, None, "/", 0, 1, "", None),
    (A, ([],), "/", 0, 1, "", None),
    (A, (None,), "/", None, 1, "", None),
    (A, (None,), "/", 0, "1", "", None),
]


@pytest.mark.parametrize("adder", ADDERS)
@pytest.mark.parametrize("other", NO_RECORDS, ids=repr)
def test_a_record_that_is_none_is_an_error(adder: AddUp, other: Any) -> None:
    with pytest.raises((TypeError, ValueError, IndexError)):
        added(adder, [recorded(B), other])


@pytest.mark.parametrize(
    ("started", "ns"), [(-(2**62), 2**63 - 1), (-(2**63), 2**63), (2**63, 1)], ids=["sum", "difference", "number"]
)
def test_durations_that_do_not_fit_are_an_error_of_the_compiled_adder(started: int, ns: int) -> None:
    """Those of Python have no end."""
    batch = [recorded(A, ns=ns, started=started)] * 2
    if IS_COMPILED:
        with pytest.raises((TypeError, OverflowError)):
            added(add_up, batch)


USE = object()


def placed(*counted_at: Any) -> Decision:
    """A decision of which it is known where it is counted."""
    decision = replace(A)
    decision.counted_at = counted_at
    return decision


def test_the_compiled_adder_counts_what_it_knows_where_to_count() -> None:
    """In the numbers of the request and its route, with the time of the last one."""
    on_route, off_route = placed(USE, 1, 5, True), placed(USE, 6, None, True)
    others = [A, placed(object(), 1, None, True), placed(USE, 1, None, False), placed(), placed(USE, 1, None)]
    numbers = memoryview(bytearray(8 * 9)).cast("Q")
    batch = [recorded(each) for each in (on_route, *others, off_route, on_route)]
    if IS_COMPILED:
        left, *_ = add_up(batch, BOUNDS_NS, numbers, USE, 77)
        assert [(id(decision), count) for decision, count in left] == [(id(each), 1) for each in others]
        assert numbers.tolist() == [0, 2, 0, 77, 0, 2, 1, 0, 77]


@pytest.mark.parametrize(
    ("request_at", "route_at"),
    [*((at, None) for at in (-1, 7, 9, 2**62, 2**70, "0")), *((0, at) for at in (-1, 9, 2**62, "0"))],
)
def test_a_place_outside_of_the_slot_is_an_error_and_nothing_is_written(request_at: Any, route_at: Any) -> None:
    numbers = memoryview(bytearray(8 * 9)).cast("Q")
    if IS_COMPILED:
        with pytest.raises((IndexError, OverflowError, TypeError)):
            add_up([recorded(placed(USE, request_at, route_at, True))], BOUNDS_NS, numbers, USE, 77)
    assert not any(numbers)


CONFIG = parse_config(
    b"[p]\nis_default = true\nweighted_hosts = { a = 2, b = 1 }\n[[routes]]\npath = '/r'\nforward_to = 'q'\n"
    b"[q]\nweighted_hosts = { c = 1 }\n",
    "pools.toml",
)
CONFIGURED, OTHER = Weights(CONFIG.pools["p"], [2, 1]), Weights(CONFIG.pools["p"], [2, 0])
ANSWERS = (
    *(replace(A, due=Due(weights, 1.0)) for weights in (CONFIGURED, OTHER, OTHER, Certain("p", "a"))),
    *(
        replace(A, due=Due(CONFIGURED, 1.0), route="r"),
        replace(B, due=Due(CONFIGURED, 0.3)),
        Decision(404, detail="none"),
    ),
    *(Decision(422, "p", "a", detail="a loop", due=Due(weights, 1.0)) for weights in (CONFIGURED, OTHER)),
    Decision(422, "p", detail="no loop"),
)
FORWARDS = tuple(
    Decision(status, "q", "c", route="r", is_forward=True, due=Due(Weights(CONFIG.pools["q"], [weight]), 1.0))
    for status in (200, 422)
    for weight in (1, 2)
)
answers = st.builds(recorded, st.sampled_from(ANSWERS), st.sampled_from([None, "p", "q", "none"]))
forwards = st.builds(
    lambda decision, config: (*recorded(decision, outcome=FORWARDED)[:6], config, FORWARDED),
    st.sampled_from(FORWARDS),
    st.sampled_from([CONFIG.hash, "0" * 12]),
)


# All in one batch, and then each in a group of three.
EACH = [recorded(decision) for decision in ANSWERS]
EACH += [(*recorded(decision, outcome=FORWARDED)[:6], CONFIG.hash, FORWARDED) for decision in FORWARDS]


@generated(100)
@example(batches=[EACH, 3 * EACH], again=False)
@given(batches=st.lists(st.lists(answers | forwards, min_size=1, max_size=30), max_size=4), again=st.booleans())
def test_the_slot_has_the_same_numbers_whichever_adds_up(batches: list[list[Record]], again: bool) -> None:
    """Of several batches, since after the first it is known where decisions are counted, and of a reload between."""
    slots = []
    for adder in ADDERS:
        for decision in ANSWERS + FORWARDS:
            decision.counted_at = None
        slot = Scoreboard().make_slot(0)
        with (
            patch("redirect.telemetry.scoreboard.time", return_value=1000.0),
            patch("redirect.telemetry.counters.time", return_value=1000.0),
            patch("redirect.telemetry.counters.monotonic", return_value=50.0),
        ):
            counters = Counters(slot, CONFIG, adder)
            for batch in batches:
                counters.count(batch)
                if again:
                    counters.use(CONFIG)
        slots.append((bytes(slot.numbers), slot.counts[: slot.numbers.series_bytes // 8].tolist()))
    assert all(slot == slots[0] for slot in slots)
    assert slot.numbers.requests == sum(map(len, batches))
