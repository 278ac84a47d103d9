"""Ejections: by what workers report an origin is down, on trial, and up again."""

import logging
from dataclasses import replace

import pytest

from redirect.config.loader import parse_config
from redirect.control.ejections import Ejections
from redirect.core.authority import Authority
from redirect.core.health import NO_HEALTH, Health, HealthStatus, encode
from redirect.core.pools import Config
from redirect.telemetry.scoreboard import KINDS, Scoreboard
from redirect.telemetry.sums import ejections as ejected

TOML = """
[[routes]]
forward_to = "p"
[p]
weighted_hosts = {{ a = 1, b = 1, c = 1, d = {} }}
eject = {{ fails = 3, for = {} }}
[q]
weighted_hosts = {{ a = 1 }}
"""


def configuration(d: int = 1, seconds: int = 10) -> Config:
    return parse_config(TOML.format(d, seconds).encode(), "pools.toml")


class Clock:
    """Of the monotonic seconds."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("redirect.control.ejections.monotonic", clock)
    return clock


def report(scoreboard: Scoreboard, what: str, origin: str = "a", pool: str = "p", slot: int = 0) -> None:
    """A worker counts it; the failure is that the origin refused the connection."""
    of = scoreboard.slots()[slot]
    known = dict(of.series("outcomes"))
    index = known[pool, origin] if (pool, origin) in known else of.add_series("outcomes", (pool, origin))
    of.counts[index + KINDS["outcomes"].numbers.index(what)] += 1


def look(ejections: Ejections, probed: Health = NO_HEALTH) -> dict[str, str]:
    """The states of the origins of the pool that have one."""
    return {
        origin: "on trial" if status.is_on_trial else "up" if status.is_up else "down"
        for origin, status in ejections.look(probed).get("p", {}).items()
    }


def test_failures_in_a_row_eject_for_a_time(scoreboard: Scoreboard, clock: Clock) -> None:
    """Then the origin is on trial, until one request failed or did not."""
    ejections = Ejections(scoreboard, configuration())
    assert look(ejections) == {}
    report(scoreboard, "failed_in_a_row")
    assert look(ejections) == {"a": "down"}
    status = ejections.look(NO_HEALTH)["p"]["a"]
    assert status.reason == "ejected: 3 failures in a row, the last: it refused the connection"
    clock.now += 9.9
    assert look(ejections) == {"a": "down"}
    clock.now += 0.2
    assert look(ejections) == {"a": "on trial"}
    clock.now += 1000
    assert look(ejections) == {"a": "on trial"}
    report(scoreboard, "passed_on_trial", slot=1)
    assert look(ejections) == {"a": "up"}
    assert ejections.look(NO_HEALTH)["p"]["a"].since_monotonic == clock.now  # a slow start begins


def test_a_failure_on_trial_ejects_for_longer(scoreboard: Scoreboard, clock: Clock) -> None:
    """Each time in a row, and no longer than 300 s; once it passed, as the first time."""
    ejections = Ejections(scoreboard, configuration(seconds=100))
    report(scoreboard, "failed_in_a_row")
    for seconds in (100, 200, 300, 300):
        assert look(ejections) == {"a": "down"}
        clock.now += seconds - 0.1
        assert look(ejections) == {"a": "down"}
        clock.now += 0.2
        assert look(ejections) == {"a": "on trial"}
        report(scoreboard, "failed_on_trial")
    assert look(ejections) == {"a": "down"}
    assert ejections.look(NO_HEALTH)["p"]["a"].reason == "ejected: a failure on trial: it refused the connection"
    clock.now += 301
    look(ejections)
    report(scoreboard, "passed_on_trial")
    look(ejections)
    report(scoreboard, "failed_in_a_row")
    assert look(ejections) == {"a": "down"}
    clock.now += 101
    assert look(ejections) == {"a": "on trial"}
    assert ejected(scoreboard) == {("p", "a"): 6}


def test_what_comes_late_does_not_count(scoreboard: Scoreboard, clock: Clock) -> None:
    """Other workers see as many failures in a row, and requests of a trial end after it."""
    ejections = Ejections(scoreboard, configuration())
    report(scoreboard, "failed_in_a_row")
    look(ejections)
    for slot in (0, 1):
        report(scoreboard, "failed_in_a_row", slot=slot)
        assert look(ejections) == {"a": "down"}
    clock.now += 11
    look(ejections)
    report(scoreboard, "failed_in_a_row")
    assert look(ejections) == {"a": "on trial"}
    report(scoreboard, "passed_on_trial")
    look(ejections)
    report(scoreboard, "failed_on_trial", slot=1)
    assert look(ejections) == {"a": "up"}
    assert ejected(scoreboard) == {("p", "a"): 1}


def test_at_most_half_are_ejected(scoreboard: Scoreboard, clock: Clock) -> None:
    """Those on trial are among them."""
    ejections = Ejections(scoreboard, configuration())
    for origin in "abcd":
        report(scoreboard, "failed_in_a_row", origin)
    assert look(ejections) == {"a": "down", "b": "down"}
    clock.now += 11
    assert look(ejections) == {"a": "on trial", "b": "on trial"}
    report(scoreboard, "failed_in_a_row", "c")
    report(scoreboard, "failed_on_trial", "b")
    assert look(ejections) == {"a": "on trial", "b": "down"}
    report(scoreboard, "passed_on_trial", "a")
    look(ejections)
    report(scoreboard, "failed_in_a_row", "c")
    assert look(ejections) == {"a": "up", "b": "down", "c": "down"}


def test_a_failure_on_trial_of_one_that_may_not_be_ejected_begins_another_trial(
    scoreboard: Scoreboard, clock: Clock
) -> None:
    """Workers send nothing there after the failure until then."""
    ejections = Ejections(scoreboard, configuration())
    report(scoreboard, "failed_in_a_row")
    look(ejections)
    clock.now += 11
    before = ejections.look(NO_HEALTH)["p"]["a"]
    clock.now += 1
    report(scoreboard, "failed_on_trial")
    others = {"p": {origin: HealthStatus(False, 1.0, 1.0, "answered 500") for origin in "bcd"}}
    after = ejections.look(others)["p"]["a"]
    assert (after.is_on_trial, after.ejections, after.since_monotonic) == (True, 1, before.since_monotonic + 1)


def test_the_last_one_that_probes_found_up_stays(scoreboard: Scoreboard, clock: Clock) -> None:
    down = {"p": {origin: HealthStatus(False, 1.0, 1.0, "answered 500") for origin in "bcd"}}
    ejections = Ejections(scoreboard, configuration())
    report(scoreboard, "failed_in_a_row")
    report(scoreboard, "failed_in_a_row", "b")  # which is down already
    assert look(ejections, down) == {}
    assert ejected(scoreboard) == {}


def test_the_next_controller_begins_trials_anew(scoreboard: Scoreboard, clock: Clock) -> None:
    """A failure that was reported to the one before is not known, and behind it workers wait for the next trial."""
    before = Ejections(scoreboard, configuration())
    report(scoreboard, "failed_in_a_row")
    before.look(NO_HEALTH)
    clock.now += 11
    scoreboard.health.publish(encode(before.look(NO_HEALTH)))
    report(scoreboard, "failed_on_trial")
    clock.now += 1
    after = Ejections(scoreboard, configuration()).look(NO_HEALTH)["p"]["a"]
    assert (after.is_on_trial, after.since_monotonic) == (True, clock.now)


def test_the_next_controller_goes_on(scoreboard: Scoreboard, clock: Clock) -> None:
    """With the time and the times in a row; what was reported before is not counted again."""
    before = Ejections(scoreboard, configuration())
    report(scoreboard, "failed_in_a_row")
    report(scoreboard, "failed_in_a_row", "b")
    scoreboard.health.publish(encode(before.look(NO_HEALTH)))
    clock.now += 9
    ejections = Ejections(scoreboard, configuration())
    assert look(ejections) == {"a": "down", "b": "down"}
    clock.now += 2
    assert look(ejections) == {"a": "on trial", "b": "on trial"}
    report(scoreboard, "failed_on_trial")
    look(ejections)
    clock.now += 19
    assert look(ejections) == {"a": "down", "b": "on trial"}
    clock.now += 2
    assert look(ejections) == {"a": "on trial", "b": "on trial"}
    assert ejected(scoreboard) == {("p", "a"): 2, ("p", "b"): 1}


def test_another_configuration(scoreboard: Scoreboard, clock: Clock) -> None:
    """An origin that is drained, or whose pool ejects none, is not ejected; what is not there is not judged."""
    ejections = Ejections(scoreboard, configuration())
    for origin in "ad":
        report(scoreboard, "failed_in_a_row", origin)
    look(ejections)
    ejections.use(configuration(d=0, seconds=50))
    assert look(ejections) == {"a": "down"}
    for pool, origin in (("p", "d"), ("p", "gone"), ("q", "a"), ("gone", "a")):
        report(scoreboard, "failed_in_a_row", origin, pool)
    assert look(ejections) == {"a": "down"}
    clock.now += 11
    assert look(ejections) == {"a": "down"}
    clock.now += 40
    assert look(ejections) == {"a": "on trial"}
    ejections.use(parse_config(b"[p]\nis_default = true\nweighted_hosts = { a = 1, b = 1 }\n", "pools.toml"))
    assert ejections.look(NO_HEALTH) == {}


def test_one_at_another_address_is_another(scoreboard: Scoreboard, clock: Clock) -> None:
    """Also under its old name, as a container that was started again."""
    before = configuration()
    ejections = Ejections(scoreboard, before)
    report(scoreboard, "failed_in_a_row")
    assert look(ejections) == {"a": "down"}
    first, *others = before.pools["p"].origins
    moved = replace(before.pools["p"], origins=(replace(first, authority=Authority("192.0.2.1", 80)), *others))
    ejections.use(replace(before, pools={**before.pools, "p": moved}))
    assert look(ejections) == {}


def test_one_that_is_spelled_otherwise_is_the_same(scoreboard: Scoreboard, clock: Clock) -> None:
    ejections = Ejections(scoreboard, configuration())
    report(scoreboard, "failed_in_a_row")
    assert look(ejections) == {"a": "down"}
    ejections.use(parse_config(TOML.format(1, 10).replace("{ a = 1, b", "{ A = 1, b").encode(), "pools.toml"))
    assert look(ejections) == {"A": "down"}


def test_each_change_is_logged(scoreboard: Scoreboard, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ejections = Ejections(scoreboard, configuration())
    report(scoreboard, "failed_in_a_row")
    look(ejections)
    clock.now += 11
    look(ejections)
    report(scoreboard, "passed_on_trial")
    look(ejections)
    assert caplog.messages == [
        "a is down in p: ejected: 3 failures in a row, the last: it refused the connection",
        "a is on trial in p: was ejected for 10 s",
        "a is up again in p: answered on trial",
    ]


def test_only_what_origins_of_the_configuration_did_is_looked_at(scoreboard: Scoreboard, clock: Clock) -> None:
    """However many came and went; of one that comes back what it did before is not new."""
    ejections = Ejections(scoreboard, configuration())
    for number in range(100):
        report(scoreboard, "failed_in_a_row", f"gone-{number}")
    report(scoreboard, "failed_in_a_row", "a", pool="gone")
    assert look(ejections) == {}
    assert ejections._seen == {}
    report(scoreboard, "failed_in_a_row", "a")
    assert look(ejections) == {"a": "down"}
    ejections.use(parse_config(b"[q]\nis_default = true\nweighted_hosts = { z = 1 }\n", "pools.toml"))
    report(scoreboard, "failed_in_a_row", "b")
    ejections.use(configuration())
    assert look(ejections) == {}


def test_what_was_reported_just_before_another_configuration_counts(scoreboard: Scoreboard, clock: Clock) -> None:
    """As a step of a ramp is one: the first report of an origin by a worker may come between two looks."""
    ejections = Ejections(scoreboard, configuration())
    report(scoreboard, "failed_in_a_row", "a")
    ejections.use(configuration(d=2))
    assert look(ejections) == {"a": "down"}
