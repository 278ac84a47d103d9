"""The numbers of an instance, and what follows from them."""

import pytest

from redirect.telemetry.snapshot import (
    BOUNDS_US,
    Count,
    Durations,
    Forwards,
    Loading,
    Snapshot,
    Totals,
    added,
    quantile,
)


def buckets(**counts: int) -> list[int]:
    """Durations by the upper bound of their bucket in microseconds, written `up_to_5=3`."""
    row = [0] * (len(BOUNDS_US) + 1)
    for name, count in counts.items():
        row[BOUNDS_US.index(int(name.removeprefix("up_to_")))] = count
    return row


BEYOND = [0] * len(BOUNDS_US) + [1]


def snapshot(**fields: object) -> Snapshot:
    nothing = {
        "time": 0.0,
        "requests": {},
        "routes": {},
        "totals": Totals(),
        "answers": Durations(buckets(), 0.0, ()),
        "forwards": Forwards(Durations(buckets(), 0.0, ()), 0, {}, {}),
        "workers": (),
        "loading": Loading(0.0),
    }
    return Snapshot(**{**nothing, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counts", "part", "expected"),
    [
        pytest.param(buckets(), 0.5, None, id="nothing was answered"),
        pytest.param(buckets(up_to_2=10), 0.5, 1.5, id="half-way through its bucket"),
        pytest.param(buckets(up_to_1=10), 0.5, 0.5, id="the first bucket begins at 0"),
        pytest.param(buckets(up_to_5=99, up_to_1000=1), 0.99, 5, id="the end of a bucket"),
        pytest.param(buckets(up_to_5=98, up_to_1000=2), 0.99, 850, id="the rare slow one"),
        pytest.param(BEYOND, 0.99, 60_000_000, id="beyond the last bound"),
    ],
)
def test_quantile(counts: list[int], part: float, expected: float | None) -> None:
    """A quantile lies in its bucket, as if the durations in there were spread evenly."""
    assert quantile(counts, part) == (None if expected is None else pytest.approx(expected))


def test_added() -> None:
    """Buckets add up one by one; those of nobody are all empty."""
    assert added([buckets(up_to_5=1), buckets(up_to_5=2, up_to_7=1)]) == buckets(up_to_5=3, up_to_7=1)
    assert added([]) == buckets()


def test_picks() -> None:
    """An origin was picked for each of its redirects and answers, from 500 on they are errors; a refusal picks none."""
    seen = snapshot(
        requests={
            ("a", "one", 302): Count(5, 3, 1000),
            ("a", "one", 502): Count(2, 0, 900),
            ("a", None, 503): Count(9, 9, 2000),
            ("b", "one", 302): Count(1, 1, 1),
            (None, None, 400): Count(1, 1, 1),
        }
    )
    assert seen.picks() == {"a": {"one": Count(7, 3, 1000, 2)}, "b": {"one": Count(1, 1, 1)}}
    assert seen.answered(400, 599) == 12
