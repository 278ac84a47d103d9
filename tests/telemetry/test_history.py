"""The history: what the counters gained in each cell of a minute, an hour and a day."""

import pytest

from redirect.telemetry import history
from redirect.telemetry.history import NOTE_SECONDS, WINDOWS, History
from redirect.telemetry.snapshot import (
    BOUNDS_US,
    NO_DURATIONS,
    SECONDS,
    Count,
    Counted,
    Durations,
    Forwards,
    Loading,
    OriginNumbers,
    Snapshot,
    Totals,
)


def up_to(bound: int, count: int) -> list[int]:
    """So many durations in the bucket that ends with `bound`."""
    return [count if each == bound else 0 for each in BOUNDS_US] + [0]


def snapshot(counts: dict[tuple[str, str | None, int], int], responses: list[int] | None = None) -> Snapshot:
    """With so many requests by pool, origin and status; `responses` are those of origin-1 of pool a."""
    durations = Durations(up_to(10, sum(counts.values())), 0, [NO_DURATIONS] * SECONDS)
    origins: dict[tuple[str, str | None], OriginNumbers] = {}
    if responses is not None:
        origins["a", "origin-1"] = OriginNumbers(responses)
    nothing = Durations(NO_DURATIONS, 0, durations.seconds)
    requests: dict[Counted, Count] = {key: Count(count, count, 0) for key, count in counts.items()}
    forwards = Forwards(nothing, 0, origins, {})
    return Snapshot(0, requests, {}, Totals(), durations, forwards, [], Loading(0))


def noted(*snapshots: Snapshot, begin: float = 86_400.0) -> History:
    """A history with a note of each at the usual interval; the first one is at the begin of a cell."""
    found = History()
    for index, each in enumerate(snapshots):
        found.note(each, begin + index * NOTE_SECONDS)
    return found


def test_a_cell_has_what_the_counters_gained_in_it() -> None:
    """What was counted before the history began is in none."""
    key = ("a", "origin-1", 302)
    found = noted(snapshot({key: 1000}), snapshot({key: 1010}), snapshot({key: 1010}), snapshot({key: 1060}))
    assert found.trend("minute", ("a", "origin-1")).rates == [None] * 9 + [2, 0, 10]
    assert found.trend("hour", ("a", "origin-1")).rates == [None] * 59 + [60 / 15]
    assert found.trend("day", ("a", "origin-1")).rates == [None] * 59 + [60 / 15]
    assert [sum(cell.answers) for cell in found.whole("minute")[-3:]] == [10, 0, 50]
    assert found.traffic("hour") == {("a", "origin-1"): 60, ("a", None): 60}


def test_a_pool_has_the_requests_of_its_origins_and_those_without_one() -> None:
    first: dict[tuple[str, str | None, int], int] = {("a", "origin-1", 200): 5}
    found = noted(
        snapshot(first), snapshot({("a", "origin-1", 200): 15, ("a", "origin-2", 502): 5, ("a", None, 503): 10})
    )
    assert found.trend("minute", ("a", None)).rates[-1] == 5
    assert found.trend("minute", ("a", None)).errors[-1] == 3
    assert found.trend("minute", ("a", "origin-1")).errors[-1] == 0
    assert found.trend("minute", ("a", "origin-2")).errors[-1] == 1
    assert found.trend("minute", ("b", None)).rates[-1] == 0


def test_the_p99_of_a_cell_is_of_the_answers_in_it() -> None:
    key = ("a", "origin-1", 200)
    found = noted(
        snapshot({key: 1}, up_to(1_000_000, 1)),
        snapshot({key: 101}, [*map(sum, zip(up_to(1_000_000, 1), up_to(1000, 100), strict=True))]),
    )
    for origin in ("origin-1", None):
        p99 = found.trend("minute", ("a", origin)).p99
        assert p99[:-1] == [None] * 11
        assert p99[-1] is not None
        assert 700 < p99[-1] <= 1000


def test_a_window_forgets_what_is_older() -> None:
    """A pool without requests in it takes no memory; the longer windows still have it."""
    key = ("a", "origin-1", 302)
    found = noted(snapshot({}), *[snapshot({key: 10})] * (WINDOWS["minute"][0] + 2))
    assert found.traffic("minute") == {}
    assert found.trend("minute", ("a", "origin-1")).rates == [0] * 12
    assert found.traffic("hour") == {("a", "origin-1"): 10, ("a", None): 10}


def test_cells_in_which_nothing_was_noted_were_not_seen() -> None:
    key = ("a", "origin-1", 302)
    found = noted(snapshot({}), snapshot({key: 10}))
    found.note(snapshot({key: 10}), 86_400.0 + 5 * NOTE_SECONDS)
    assert found.trend("minute", ("a", None)).rates[-5:] == [2, None, None, None, 0]
    found.note(snapshot({key: 20}), 2 * 86_400.0)
    rates = found.trend("minute", ("a", None)).rates
    assert rates[:-1] == [None] * 11
    assert rates[-1] == pytest.approx(10 / (86_400 - 25))


def test_series_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_SERIES", 2)
    found = noted(snapshot({}), snapshot({("a", "origin-1", 302): 1, ("b", "origin-1", 302): 1}))
    assert found.traffic("day") == {("a", None): 1, ("a", "origin-1"): 1}


def test_numbers_of_runs_before_are_no_traffic_of_now() -> None:
    """The keeper may find them a while after the start."""
    key = ("a", "origin-1", 302)
    found = History()
    for step, (count, since) in enumerate([(10, 2.0), (20, 2.0), (1_000_030, 1.0), (1_000_040, 1.0)]):
        found.note(snapshot({key: count}), 86_400.0 + step * NOTE_SECONDS, since)
    assert found.trend("minute", ("a", "origin-1")).rates[-3:] == [2, None, 2]


def test_on_a_machine_that_has_just_started_nothing_that_was_counted_before_is_drawn() -> None:
    """The first cell is one like the others."""
    key = ("a", "origin-1", 302)
    found = noted(snapshot({key: 1_000_000}), snapshot({key: 1_000_010}), begin=3.0)
    for window in ("minute", "hour", "day"):
        assert found.trend(window, ("a", "origin-1")).rates[-1] == 2
        assert found.whole(window)[-1].seconds == NOTE_SECONDS
