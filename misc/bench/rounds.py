"""Rounds: every server's turn comes in every round, so that a disturbance of the machine hits them alike.

The rule: CPU time is the server's own, of all its threads, over the requests of one run of wrk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import machine
from figures import Spread, spread
from load import CONNECTIONS, MeasurementError, Workload, wrk
from running import Running


@dataclass(frozen=True)
class Run:
    """The figures of one run of wrk, and the two names that they are looked up by."""

    subject: str
    case: str
    cpu_us: float  # per request
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    busy: float  # CPU time of the server over time; near 1 where the load is enough


class Shot(NamedTuple):
    """What one run does, and what it is called."""

    server: Running
    subject: str
    case: str
    workload: Workload
    connections: int = CONNECTIONS
    cores: str = machine.LOAD_CORE


def alternate(shots: Sequence[Shot], rounds: int, seconds: int) -> list[Run]:
    """All shots in their order, then all of them again, `rounds` times."""
    runs = []
    for number in range(1, rounds + 1):
        print(f"  round {number} of {rounds}: {len(shots)} runs of {seconds} s", flush=True)
        runs += [_fire(shot, seconds) for shot in shots]
    return runs


def values(runs: Sequence[Run], metric: str, subject: str, case: str) -> list[float]:
    """A metric of one subject in one case, by round."""
    return [getattr(run, metric) for run in runs if (run.subject, run.case) == (subject, case)]


def cell(runs: Sequence[Run], metric: str, subject: str, case: str) -> Spread:
    return spread(values(runs, metric, subject, case))


def subjects(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.subject for run in runs))


def cases(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.case for run in runs))


def _fire(shot: Shot, seconds: int) -> Run:
    before = shot.server.cpu_us()
    try:
        seen = wrk(shot.server.port, shot.workload, seconds, shot.connections, shot.cores)
    except MeasurementError as failure:
        raise MeasurementError(f"{shot.server.name}, {shot.workload.name}: {failure}") from None
    cpu_us = shot.server.cpu_us() - before
    shot.server.empty_log()
    return Run(
        shot.subject,
        shot.case,
        cpu_us / seen.requests,
        seen.requests / seen.seconds,
        seen.p50_ms,
        seen.p99_ms,
        cpu_us / 1e6 / seen.seconds,
    )
