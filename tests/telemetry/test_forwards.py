"""What a worker counts of forwards, and what all workers of an instance make of it."""

import pytest
from support.logged import HEAD
from support.programs import ended_process

from redirect.config.loader import parse_config
from redirect.core.decision import Decision, Outcome
from redirect.telemetry import statistics
from redirect.telemetry.counters import Counters
from redirect.telemetry.forwards import ForwardCounters
from redirect.telemetry.record import Record
from redirect.telemetry.scoreboard import Scoreboard
from redirect.telemetry.snapshot import BOUNDS_US, Connections, Forwards, Loading, OriginNumbers

CONFIG = parse_config(b'[[routes]]\nforward_to = "p"\n[p]\nweighted_hosts = { o = 1 }\n', "pools.toml")


def worker(scoreboard: Scoreboard, slot: int = 0) -> ForwardCounters:
    """A worker that begins in that slot."""
    return Counters(scoreboard.slots()[slot], CONFIG).forwards


def dies(scoreboard: Scoreboard, slot: int = 0) -> None:
    """Its worker is killed."""
    scoreboard.slots()[slot].numbers.pid = ended_process()


def look(scoreboard: Scoreboard) -> Forwards:
    return statistics.snapshot(scoreboard, Loading(0.0)).forwards


def of(scoreboard: Scoreboard, origin: str = "o") -> OriginNumbers:
    return look(scoreboard).origins[("p", origin)]


def forwarded(origin_us: int | None, origin: str | None = "o", bytes_in: int = 0, bytes_out: int = 0) -> Record:
    decision = Decision(200, "p", origin, is_forward=True)
    return decision, HEAD, "id", "/", 0, 1, CONFIG.hash, Outcome(200, origin_us, 1, bytes_in, bytes_out)


def test_responses_are_counted_in_buckets_by_origin(scoreboard: Scoreboard) -> None:
    """The bound of a bucket belongs to it; what takes longer than all bounds is in the last."""
    counters = worker(scoreboard)
    counters.count([forwarded(us) for us in (0, 1, 2, 1000, 1001, 60_000_000, 60_000_001)])
    counters.count([forwarded(5, "other"), forwarded(None, "silent"), forwarded(None, None)])
    found = look(scoreboard).origins
    assert found.keys() == {("p", "o"), ("p", "other")}
    buckets = dict(zip((*BOUNDS_US, None), found["p", "o"].responses, strict=True))
    assert {bound: count for bound, count in buckets.items() if count} == {
        1: 2, 2: 1, 1000: 1, 2000: 1, 60_000_000: 1, None: 1
    }  # fmt: skip
    assert found["p", "o"].response_sum == pytest.approx(120.002005)


def test_bytes_are_added_up(scoreboard: Scoreboard) -> None:
    worker(scoreboard).count([forwarded(1, bytes_in=2, bytes_out=30)] * 3)
    worker(scoreboard, 1).count([forwarded(None, bytes_in=1)])
    totals = statistics.snapshot(scoreboard, Loading(0.0)).totals
    assert (totals.bytes_in, totals.bytes_out) == (7, 90)


def test_counts_go_on_whichever_worker_ends(scoreboard: Scoreboard) -> None:
    """In its slot the next one counts on; all workers add up."""
    for slot in (0, 1, 0):
        counters = worker(scoreboard, slot)
        counters.count([forwarded(10)])
        counters.failed("p", "o", "dns_error")
        counters.failed("p", "o", "connection_refused")
        counters.failed("p", "o", "dns_error")
        counters.retried("p", "o", None)
        dies(scoreboard, slot)
    seen = of(scoreboard)
    assert sum(seen.responses) == 3
    assert seen.response_sum == pytest.approx(30e-6)
    assert seen.failures == {"dns_error": 6, "connection_refused": 3}
    assert seen.retries == 3


def test_a_response_that_is_tried_again_is_counted(scoreboard: Scoreboard) -> None:
    """It took its time, whatever its status was."""
    worker(scoreboard).retried("p", "o", 30)
    assert (of(scoreboard).retries, sum(of(scoreboard).responses), of(scoreboard).response_sum) == (1, 1, 30e-6)


def test_what_is_under_way_is_as_the_workers_reported_it_last(scoreboard: Scoreboard) -> None:
    """What one does not report any more is none."""
    one, other = worker(scoreboard), worker(scoreboard, 1)
    one.report({("p", "o"): 3, ("p", "gone"): 1}, {"o:80": (4, 2), "gone:80": (1, 1)}, 1)
    other.report({("p", "o"): 2}, {"o:80": (0, 2)}, 1)
    one.report({("p", "o"): 1}, {"o:80": (3, 1)}, 2)
    seen = look(scoreboard)
    assert {origin: numbers.in_flight for (_, origin), numbers in seen.origins.items()} == {"o": 3, "gone": 0}
    assert seen.connections == {"o:80": Connections(3, 3), "gone:80": Connections(0, 0)}
    assert seen.tunnels == 3


def test_what_was_under_way_is_gone_with_the_worker(scoreboard: Scoreboard) -> None:
    """Nothing is left of it, neither while its slot is empty nor when the next worker has it."""
    for slot in range(2):
        worker(scoreboard, slot).report({("p", "o"): 1}, {"o:80": (1, 1)}, 1)
    dies(scoreboard)
    seen = look(scoreboard)
    assert (of(scoreboard).in_flight, seen.connections, seen.tunnels) == (1, {"o:80": Connections(1, 1)}, 1)
    worker(scoreboard)
    assert look(scoreboard) == seen
    scoreboard.slots()[1].free()
    seen = look(scoreboard)
    assert (of(scoreboard).in_flight, seen.connections, seen.tunnels) == (0, {"o:80": Connections(0, 0)}, 0)
