"""The comparison: what a redirect costs us and others, side by side on the same requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import servers
from figures import Spread, number, ratio, verdict
from load import BARE, BROWSER, NEVER, PROXIED, Workload
from rounds import Run, Shot, alternate, cases, cell, subjects, values
from running import all_running, running
from scale import Scale
from table import Table

# Those that the goals set ours against come first: less time passes between the two runs of a pair.
SERVERS = (
    servers.OURS,
    servers.NGINX,
    servers.CONSTANT,
    servers.PURE_PYTHON,
    servers.STARLETTE,
    servers.NGINX_NO_LOG,
    servers.HAPROXY,
    servers.HAPROXY_NO_LOG,
    servers.CADDY,
    servers.CADDY_NO_LOG,
)
# What real users send comes first.
WORKLOADS = (NEVER, PROXIED, BARE, BROWSER)


NOTE = """\
Medians (lowest-highest) of all rounds. Memory is the PSS of all processes after a second of load, alone.

Paths and queries never repeat, but for bare. Never: a browser's 17 headers, of which Cookie and X-Request-ID differ in
each request. Proxied: the same as our nginx.conf sends it on, of 5,000 clients with 200 agents on each connection.
Bare: a request line and Host, always the same. Browser: 15 headers, the same in each request."""


class Goal(NamedTuple):
    """The CPU per redirect of ours in parts of `against`'s may be `limit` at most."""

    against: str
    workload: Workload
    limit: float
    subject: str = servers.OURS.name


GOALS = (
    Goal(servers.NGINX.name, NEVER, 1.00),
    Goal(servers.NGINX.name, PROXIED, 1.10),
    Goal(servers.NGINX.name, BARE, 0.95),
    Goal(servers.NGINX.name, BROWSER, 0.95),
    Goal(servers.CONSTANT.name, NEVER, 1.60),
    Goal(servers.CONSTANT.name, PROXIED, 1.70),
    Goal(servers.CONSTANT.name, BARE, 1.40),
    Goal(servers.CONSTANT.name, BROWSER, 1.45),
    Goal(servers.STARLETTE.name, BARE, 0.30),
    Goal(servers.STARLETTE.name, BROWSER, 0.35),
    Goal(servers.NGINX.name, NEVER, 1.90, servers.PURE_PYTHON.name),
    Goal(servers.NGINX.name, PROXIED, 2.00, servers.PURE_PYTHON.name),
)


@dataclass(frozen=True)
class Comparison:
    runs: list[Run]
    memory_kib: dict[str, int]


def measure(scale: Scale) -> Comparison:
    with all_running(SERVERS) as started:
        alternate([Shot(server, "", "warm-up", BROWSER) for server in started], rounds=1, seconds=1)
        shots = [Shot(server, server.name, workload.name, workload) for workload in WORKLOADS for server in started]
        runs = alternate(shots, scale.rounds, scale.seconds)
    measured = set(subjects(runs))
    return Comparison(runs, {server.name: _memory_kib(server) for server in SERVERS if server.name in measured})


def _memory_kib(server: servers.Server) -> int:
    """Alone, because servers that run at once share the pages of an interpreter, and that would flatter ours."""
    with running(server) as started:
        alternate([Shot(started, server.name, "memory", BARE)], rounds=1, seconds=1)
        return started.pss_kib()


def tables(measured: Comparison) -> list[Table]:
    runs = measured.runs
    return [_costs(measured), *(_workload(runs, case) for case in cases(runs)), _ratios(runs), _goals(runs)]


def _costs(measured: Comparison) -> Table:
    runs = measured.runs
    rows = [
        (
            subject,
            *(str(cell(runs, "cpu_us", subject, case)) for case in cases(runs)),
            number(measured.memory_kib[subject] / 1024),
        )
        for subject in subjects(runs)
    ]
    header = ("server", *(f"{case}, µs" for case in cases(runs)), "memory, MiB")
    return Table("CPU time per redirect, and memory", header, rows, NOTE)


def _workload(runs: Sequence[Run], case: str) -> Table:
    metrics = ("requests_per_s", "p50_ms", "p99_ms", "busy")
    rows = [(subject, *(str(cell(runs, metric, subject, case)) for metric in metrics)) for subject in subjects(runs)]
    note = (
        "Busy is the server's CPU time over time: well below 1, it waited for the load, which limits its redirects/s."
    )
    return Table(f"Speed: {case}", ("server", "redirects/s", "p50, ms", "p99, ms", "busy"), rows, note)


def _ratios(runs: Sequence[Run]) -> Table:
    """A row for each two servers that a goal is about."""
    rows = [
        (subject, against, *(str(_ratio(runs, subject, against, case)) for case in cases(runs)))
        for subject, against in dict.fromkeys((goal.subject, goal.against) for goal in _measured_goals(runs))
    ]
    header = ("server", "in parts of", *cases(runs))
    return Table("CPU time per redirect, ours in parts of theirs", header, rows, "Paired by round.", labels=2)


def _goals(runs: Sequence[Run]) -> Table:
    rows = []
    for goal in _measured_goals(runs):
        reached = _ratio(runs, goal.subject, goal.against, goal.workload.name).median
        row = (f"{goal.limit:.2f}", number(reached), verdict(reached, goal.limit))
        rows.append((goal.subject, goal.against, goal.workload.name, *row))
    return Table("Goals", ("server", "in parts of", "workload", "at most", "reached", ""), rows, labels=3)


def _measured_goals(runs: Sequence[Run]) -> list[Goal]:
    """Without those about a server that was left out."""
    measured = {*subjects(runs)}
    return [goal for goal in GOALS if {goal.subject, goal.against} <= measured]


def _ratio(runs: Sequence[Run], subject: str, against: str, case: str) -> Spread:
    return ratio(values(runs, "cpu_us", subject, case), values(runs, "cpu_us", against, case))
