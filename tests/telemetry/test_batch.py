"""A batch: what its records add up to, whichever of the two adds them up."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import generated

from redirect.core.decision import Decision, Outcome
from redirect.telemetry.batch import IS_COMPILED, adder
from redirect.telemetry.record import Record

# Both where the compiled one is there.
ADDERS = [False, *[True] * IS_COMPILED]

A, B = Decision(302, "p", "a", "http://a"), Decision(302, "p", "b", "http://b")
FORWARDED = Outcome(200, 40, 1, 0, 5)


def recorded(
    decision: Decision, pool: str | None = None, ns: int = 1000, outcome: Outcome | None = None, started: int = 5
) -> Record:
    head = pool, "GET", "a.example.com", None, None, None, None, None
    return decision, head, "/", started, started + ns, "0" * 12, outcome


@pytest.mark.parametrize("is_compiled", ADDERS)
def test_decisions_pools_and_durations_are_added_up(is_compiled: bool) -> None:
    batch = [recorded(A, "p"), recorded(B, ns=1001), recorded(A, "p"), recorded(B, "q", 2**40)]
    decisions, pools, answers, forwards, forwarded = adder(is_compiled=is_compiled)(batch)
    assert decisions == [(A, 2), (B, 2)]
    assert pools == {"p", "q", None}
    assert answers == (2**40 + 3001, [(0, 2), (1, 1), (39, 1)])
    assert (forwards, forwarded) == ((0, []), [])


@pytest.mark.parametrize("is_compiled", ADDERS)
def test_forwards_have_durations_of_their_own(is_compiled: bool) -> None:
    passed = recorded(A, ns=6000, outcome=FORWARDED)
    _, _, answers, forwards, forwarded = adder(is_compiled=is_compiled)([recorded(B), passed])
    assert (answers, forwards) == ((1000, [(0, 1)]), (6000, [(4, 1)]))
    assert forwarded == [passed]


@pytest.mark.parametrize("is_compiled", ADDERS)
def test_equal_decisions_are_counted_apart_as_other_shares_may_be_due_to_each(is_compiled: bool) -> None:
    twin = A.with_due(None)
    assert twin == A
    decisions, *_ = adder(is_compiled=is_compiled)([recorded(A), recorded(twin), recorded(A)])
    assert [(decision is A, count) for decision, count in decisions] == [(True, 2), (False, 1)]


@pytest.mark.parametrize("is_compiled", ADDERS)
def test_no_records_add_up_to_nothing(is_compiled: bool) -> None:
    assert adder(is_compiled=is_compiled)([]) == ([], set(), (0, []), (0, []), [])


records = st.builds(
    recorded,
    st.sampled_from([A, B, A.with_due(None), Decision(404)]),
    st.none() | st.text(max_size=3),
    st.integers(0, 2**45) | st.integers(0, 2000).map(lambda us: us * 1000),
    st.none() | st.just(FORWARDED),
    st.integers(0, 2**62),
)


@generated(500)
@given(batch=st.lists(records, max_size=20))
def test_both_add_up_to_the_same(batch: list[Record]) -> None:
    first, *others = [adder(is_compiled=is_compiled)(batch) for is_compiled in ADDERS]
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


@pytest.mark.parametrize("is_compiled", ADDERS)
@pytest.mark.parametrize("other", NO_RECORDS, ids=repr)
def test_a_record_that_is_none_is_an_error(is_compiled: bool, other: Any) -> None:
    with pytest.raises((TypeError, ValueError, IndexError)):
        adder(is_compiled=is_compiled)([recorded(B), other])


@pytest.mark.parametrize(
    ("started", "ns"), [(-(2**62), 2**63 - 1), (-(2**63), 2**63), (2**63, 1)], ids=["sum", "difference", "number"]
)
def test_durations_that_do_not_fit_are_an_error_of_the_compiled_adder(started: int, ns: int) -> None:
    """Those of Python have no end."""
    batch = [recorded(A, ns=ns, started=started)] * 2
    if IS_COMPILED:
        with pytest.raises((TypeError, OverflowError)):
            adder()(batch)
