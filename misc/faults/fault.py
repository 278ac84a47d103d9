"""A fault: what is done to a site while requests run, as often as there is time for, and what they saw of it.

The rule: a fault that did not take place is no result: each looks for its own traces, and raises FaultError where
there are none.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from forwards import LOST
from traffic import Failure, Seen, Target, peak, traffic

# Seconds without a fault at the beginning, and behind each.
CALM = 0.5

# Seconds within which a killed process takes its connections with it.
AT_ONCE = 1.0

_IDLE = 3  # its place in a line of /proc/stat

Site = TypeVar("Site")
T = TypeVar("T")


class FaultError(Exception):
    """A fault that did not take place, or from which the service did not recover; the message says which."""


class Injected(NamedTuple):
    """What is known of a fault that took place."""

    seconds_to_recover: float | None = None
    at: float = 0.0  # as time.monotonic() tells it
    cut: frozenset[int] = frozenset()  # clients' ports of the connections that a process had that was killed

    def has_cut(self, failure: Failure) -> bool:
        return failure.port in self.cut and 0 <= failure.at - self.at < AT_ONCE


class Fault(NamedTuple, Generic[Site]):
    name: str
    inject: Callable[[Site], Injected]
    at_most_ms: float | None = None  # the promise for the worst latency


@dataclass(frozen=True)
class Outcome:
    front: str
    fault: str
    peak: float  # requests per second at most, measured just before
    times: int
    requests: int
    failed: int
    cut: int  # requests that were on a connection of a process that was killed, or that its origin lost
    p50_ms: float
    p99_ms: float
    worst_ms: float
    at_most_ms: float | None
    lag_ms: float
    idle: float  # share of the machine's CPU time that nobody wanted; near 0 all latencies are those of a full machine
    recovered_s: float | None  # at worst
    faults: dict[str, int] = field(default_factory=dict)  # what failed requests met, with how many of them


def measure(front: str, site: Site, target: Target, fault: Fault[Site], at_least: int) -> Outcome:
    """Injects the fault again and again until there were `at_least` requests, at half of the peak."""
    injected = []
    most, before = peak(target), cpu_times()
    with traffic(target, most / 2, at_least) as asked:
        time.sleep(CALM)
        while True:
            injected.append(fault.inject(site))
            time.sleep(CALM)
            if asked.is_enough():
                break
        seen = asked.end()
    return outcome(front, fault, most, injected, seen, idleness(before, cpu_times()))


def outcome(front: str, fault: Fault[Site], most: float, injected: list[Injected], seen: Seen, idle: float) -> Outcome:
    """Counts what was cut or lost apart from what failed."""
    cut = sum(failure.fault == LOST or any(each.has_cut(failure) for each in injected) for failure in seen.faults)
    recovered = [each.seconds_to_recover for each in injected if each.seconds_to_recover is not None]
    return Outcome(
        front,
        fault.name,
        most,
        len(injected),
        seen.requests,
        seen.failed - cut,
        cut,
        seen.p50_ms,
        seen.p99_ms,
        seen.worst_ms,
        fault.at_most_ms,
        seen.lag_ms,
        idle,
        max(recovered, default=None),
        dict(Counter(each.fault for each in seen.faults)),
    )


def idleness(before: list[int], after: list[int]) -> float:
    """The share of CPU time, 0 to 1, that nobody wanted between two readings."""
    passed = [now - then for now, then in zip(after, before, strict=True)]
    return passed[_IDLE] / max(1, sum(passed))


def cpu_times() -> list[int]:
    """Ticks of all cores together, as proc(5)'s stat has them, without those of guests, which are others' too."""
    return [int(ticks) for ticks in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]


def until(look: Callable[[], T], is_enough: Callable[[T], bool], what: str, seconds: float = 60) -> T:
    """What `look` finds as soon as it is enough; FaultError if it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_enough(found := look()):
        if time.monotonic() > deadline:
            raise FaultError(f"not within {seconds:.0f} s: {what}; last found: {found!r:.500}")
        time.sleep(0.1)
    return found
