"""Which origins may be ejected, for how long, and what is said of their failures."""

import pytest

from redirect.core.authority import Authority
from redirect.core.ejections import FAILURES, code_of, may_eject, seconds, words_of
from redirect.core.pools import Ejection, Origin, Pool


def pool(**weights: int) -> Pool:
    return Pool("p", tuple(Origin(name, Authority(name, None), weight) for name, weight in weights.items()))


@pytest.mark.parametrize(
    ("origins", "down", "ejected", "allowed"),
    [
        ("a", "", "", False),
        ("ab", "", "", True),
        ("ab", "", "b", False),
        ("ab", "b", "", False),
        ("abc", "", "", True),
        ("abc", "", "b", False),
        ("abcd", "", "b", True),
        ("abcd", "", "bc", False),
        ("abcd", "bcd", "", False),
        ("abcd", "bc", "", True),
        ("abcd", "", "ab", True),  # a on trial, again
        ("abcd", "cd", "ab", False),
    ],
)
def test_at_most_half_are_ejected_and_never_the_last(origins: str, down: str, ejected: str, allowed: bool) -> None:
    """`a` may be, where others are down or ejected; one on trial is none that is left."""
    assert may_eject(pool(**dict.fromkeys(origins, 1)), "a", down, frozenset(ejected)) == allowed


def test_drained_origins_do_not_count() -> None:
    assert not may_eject(pool(a=1, b=0), "a", "", frozenset())
    assert not may_eject(pool(a=1, b=1, c=1, d=0), "a", "", frozenset("b"))


def test_each_ejection_in_a_row_is_longer() -> None:
    assert [seconds(Ejection(5, 30), times) for times in (1, 2, 3, 10, 11)] == [30, 60, 90, 300, 300]
    assert seconds(Ejection(5, 300), 7) == 300


def test_the_words_for_failures() -> None:
    """An error that has none is a failure, too."""
    assert words_of(code_of("connection_refused")) == "it refused the connection"
    assert [words_of(code_of(str(status))) for status in FAILURES] == [f"it answered {status}" for status in FAILURES]
    assert words_of(code_of("odd")) == "its answer failed"
