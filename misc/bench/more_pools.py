"""More pools: a redirect must not cost more for the pools that it does not use, nor much for using them all."""

from collections.abc import Sequence

import pools
import servers
from figures import number, ratio, verdict
from load import Workload
from rounds import Run, Shot, alternate, cases, cell, subjects, values
from running import all_running
from scale import Scale
from table import Table

LIMIT = 1.05  # in parts of the cost with the fewest pools


def server_with(count: int) -> servers.Server:
    return servers.redirect(f"Redirect, {count:,} pools", pools.toml(pools.many(count)))


def measure(scale: Scale) -> list[Run]:
    """A subject is a number of pools, a case which of them are asked for."""
    with all_running(map(server_with, scale.pools)) as started:
        shots = [
            Shot(server, f"{count:,}", workload(count).name, workload(count))
            for workload in (_the_same_three, _any)
            for server, count in zip(started, scale.pools, strict=True)
        ]
        return alternate(shots, scale.growth_rounds, seconds=1)


def table(runs: Sequence[Run]) -> Table:
    rows = [_row(runs, case, subject) for case in cases(runs) for subject in subjects(runs)]
    header = ("asked for", "pools", "CPU per redirect, µs", "in parts of the fewest", "at most", "")
    return Table("More pools, of three origins each", header, rows)


def _row(runs: Sequence[Run], case: str, subject: str) -> tuple[str, ...]:
    fewest = subjects(runs)[0]
    grown = ratio(values(runs, "cpu_us", subject, case), values(runs, "cpu_us", fewest, case))
    reached = "" if subject == fewest else verdict(grown.median, LIMIT)
    return case, subject, str(cell(runs, "cpu_us", subject, case)), str(grown), number(LIMIT), reached


def _the_same_three(count: int) -> Workload:
    names = tuple(f"pool-{index}" for index in (0, count // 2, count - 1))
    return Workload("first, middle and last", "named_pools.lua", names)


def _any(count: int) -> Workload:
    return Workload("any, at random, no head twice", "any_pool.lua", (str(count),))
