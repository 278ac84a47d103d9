"""Forwarding: what a forwarded request costs us and other proxies, in front of the same origin, side by side.

The origin shares a core with wrk, the proxies the other. Ratios are of the same rounds.
"""

from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

import machine
from figures import Spread, number, ratio
from load import BROWSER, LARGE, NEVER
from proxies import NGINX, ORIGIN, OURS, forwarding_to
from rounds import Run, Shot, alternate, cases, cell, subjects, values
from running import all_running, running
from scale import Scale
from table import Table

WORKLOADS = (NEVER, BROWSER, LARGE)
LARGE_CONNECTIONS = 16
MB_OF_LARGE = 1024 * 1024 / 1e6

NOTE = """\
Medians (lowest-highest) of all rounds. Never: 1 KiB to a browser's 17 headers, of which Cookie and X-Request-ID differ
in each request. Browser: 1 KiB to 15 headers, the same in each request. Paths and queries differ in both. 1 MiB: the
bare request, at 16 connections."""


class Goal(NamedTuple):
    """A metric of ours in parts of `against`'s may be `limit` at most, or has to be that at least for a rate."""

    metric: str
    against: str
    workload: str
    limit: float

    @property
    def is_rate(self) -> bool:
        return self.metric == "requests_per_s"

    def is_met(self, reached: float) -> bool:
        return reached >= self.limit if self.is_rate else reached <= self.limit


GOALS = (
    *(Goal("cpu_us", NGINX, case.name, 1.40) for case in (NEVER, BROWSER)),
    *(Goal("cpu_us", name, case.name, 1.00) for name in ("Caddy", "Traefik", "Envoy") for case in (NEVER, BROWSER)),
    Goal("requests_per_s", NGINX, LARGE.name, 1.00),
    *(Goal("p99_ms", NGINX, case.name, 1.50) for case in (NEVER, BROWSER)),
)
METRICS = {"cpu_us": "CPU per request", "requests_per_s": "rate", "p99_ms": "p99"}


def measure(scale: Scale) -> list[Run]:
    with running(ORIGIN, machine.LOAD_CORE) as origin, all_running(forwarding_to(origin.port)) as started:
        alternate([Shot(server, "", "warm-up", BROWSER) for server in started], rounds=1, seconds=1)
        small = [
            Shot(server, server.name, workload.name, workload) for workload in (NEVER, BROWSER) for server in started
        ]
        large = [Shot(server, server.name, LARGE.name, LARGE, LARGE_CONNECTIONS) for server in started]
        return alternate([*small, *large], scale.forwarding_rounds, scale.seconds)


def tables(runs: Sequence[Run]) -> list[Table]:
    return [_costs(runs), *(_speed(runs, case) for case in cases(runs)), _goals(runs)]


def _costs(runs: Sequence[Run]) -> Table:
    rows = [
        (subject, *(str(cell(runs, "cpu_us", subject, case)) for case in cases(runs))) for subject in subjects(runs)
    ]
    header = ("proxy", *(f"{case}, µs" for case in cases(runs)))
    return Table("CPU time per forwarded request", header, rows, NOTE)


def _speed(runs: Sequence[Run], case: str) -> Table:
    in_mb = case == LARGE.name
    rows = []
    for subject in subjects(runs):
        rate = cell(runs, "requests_per_s", subject, case)
        if in_mb:
            rate = Spread(*(value * MB_OF_LARGE for value in rate))
        others = (str(cell(runs, metric, subject, case)) for metric in ("p50_ms", "p99_ms", "busy"))
        rows.append((subject, str(rate), *others))
    note = (
        "Busy is the proxy's CPU time over time: well below 1, it waited for wrk or the origin, which limit its rate."
    )
    return Table(
        f"Forwarding: {case}", ("proxy", "MB/s" if in_mb else "requests/s", "p50, ms", "p99, ms", "busy"), rows, note
    )


def _goals(runs: Sequence[Run]) -> Table:
    rows = [_goal(runs, goal) for goal in GOALS if goal.against in subjects(runs)]
    header = ("ours", "in parts of", "workload", "wanted", "by round", "of medians", "of the best", "")
    note = "The first figure decides: ratios within each round, their median (lowest-highest). The best is the lowest "
    note += "CPU time or p99, the highest rate."
    return Table("Goals of forwarding", header, rows, note, labels=3)


def _goal(runs: Sequence[Run], goal: Goal) -> tuple[str, ...]:
    ours, theirs = (values(runs, goal.metric, subject, goal.workload) for subject in (OURS, goal.against))
    best: Callable[[Sequence[float]], float] = max if goal.is_rate else min
    by_round = ratio(ours, theirs)
    return (
        METRICS[goal.metric],
        goal.against,
        goal.workload,
        f"{'≥' if goal.is_rate else '≤'} {goal.limit:.2f}",
        str(by_round),
        number(median(ours) / median(theirs)),
        number(best(ours) / best(theirs)),
        "met" if goal.is_met(by_round.median) else "missed",
    )
