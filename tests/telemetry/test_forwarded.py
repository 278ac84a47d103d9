"""What is told of X-Forwarded fields that do not count: every head is counted, and few lines are written."""

import logging

import pytest

from redirect.telemetry import forwarded
from redirect.telemetry.forwarded import MAX_PEERS, ForwardedProblems
from redirect.telemetry.scoreboard import Numbers


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test moves."""
    now = [1000.0]
    monkeypatch.setattr(forwarded, "monotonic", lambda: now[0])
    return now


def test_a_value_is_shown_where_addresses_may_be_kept(caplog: pytest.LogCaptureFixture, clock: list[float]) -> None:
    problems = ForwardedProblems(Numbers())
    problems.malformed("192.0.2.1", "X-Forwarded-For", "198.51.100.7, ?")
    problems.shows_values = False
    clock[0] += 60
    problems.malformed("192.0.2.2", "X-Forwarded-For", "198.51.100.7, ?")
    assert told(caplog) == [
        "X-Forwarded-For of 192.0.2.1 is not valid, and does not count: '198.51.100.7, ?'",
        "X-Forwarded-For of 192.0.2.2 is not valid, and does not count",
    ]


def test_a_line_names_the_peer_and_the_setting(caplog: pytest.LogCaptureFixture, clock: list[float]) -> None:
    """One for each peer, and one a minute at most; all are counted."""
    numbers = Numbers()
    problems = ForwardedProblems(numbers)
    for peer in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
        problems.untrusted(peer)
    of_first = "X-Forwarded fields of 192.0.2.1 are ignored: it is not in FORWARDED_ALLOW_IPS, the list of your proxies"
    assert told(caplog) == [of_first]
    clock[0] += 60
    for other in ("192.0.2.1", "192.0.2.2", None):
        problems.untrusted(other)
    assert told(caplog) == [of_first, of_first.replace("192.0.2.1", "192.0.2.2")]
    clock[0] += 60
    problems.untrusted(None)
    assert told(caplog)[2].startswith("X-Forwarded fields of a peer without an address are ignored")
    assert (numbers.forwarded_untrusted, numbers.forwarded_malformed) == (7, 0)


def test_a_line_shows_what_is_malformed(caplog: pytest.LogCaptureFixture, clock: list[float]) -> None:
    """As much of it as a line has place for, escaped."""
    numbers = Numbers()
    ForwardedProblems(numbers).malformed("::1", "X-Forwarded-Proto", "\n" + "x" * 9999)
    (line,) = told(caplog)
    assert line.startswith("X-Forwarded-Proto of ::1 is not valid, and does not count: '\\nxxx")
    assert len(line) < 300
    assert (numbers.forwarded_untrusted, numbers.forwarded_malformed) == (0, 1)


def test_a_field_that_is_not_valid_hides_no_peer_that_is_not_trusted(
    caplog: pytest.LogCaptureFixture, clock: list[float]
) -> None:
    """Nor the other way round."""
    problems = ForwardedProblems(Numbers())
    for _ in range(2):
        problems.malformed("192.0.2.1", "X-Forwarded-Proto", "?")
        problems.untrusted("192.0.2.2")
    assert [line.partition(" of ")[0] for line in told(caplog)] == ["X-Forwarded-Proto", "X-Forwarded fields"]


def test_lines_end(caplog: pytest.LogCaptureFixture, clock: list[float]) -> None:
    """Peers are as many as there are on the net."""
    problems = ForwardedProblems(Numbers())
    for peer in range(MAX_PEERS + 9):
        problems.untrusted(str(peer))
        clock[0] += 60
    assert len(told(caplog)) == MAX_PEERS
