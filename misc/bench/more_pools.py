"""More pools: a redirect must not cost more for the pools that it does not use, nor much for using them all."""

from collections.abc import Iterable, Mapping, Sequence

import pools
import servers
from figures import number, ratio, verdict
from load import Workload
from rounds import Run, Shot, alternate, cases, cell, subjects, values
from running import all_running
from scale import Scale
from table import Table

# Which pools are asked for, and what that may cost at most, in parts of the cost with the fewest pools.
SAME_THREE = "first, middle and last"
IN_TURN = "999 of them, in turn"
ANY = "any, at random, no head twice"
LIMITS = {SAME_THREE: 1.05, IN_TURN: 1.30, ANY: 1.30}


def server_with(count: int) -> servers.Server:
    return servers.redirect(f"Redirect, {count:,} pools", pools.toml(pools.many(count)))


def measure(scale: Scale) -> list[Run]:
    """A subject is a number of pools, a case which of them are asked for."""
    with all_running(map(server_with, scale.pools)) as started:
        shots = [
            Shot(server, f"{count:,}", workload(count).name, workload(count))
            for workload in (_the_same_three, _in_turn, _any)
            for server, count in zip(started, scale.pools, strict=True)
        ]
        return alternate(shots, scale.growth_rounds, seconds=1)


def table(runs: Sequence[Run]) -> Table:
    return grown("More pools, of three origins each", ("asked for", "pools"), runs, LIMITS)


def grown(title: str, header: tuple[str, str], runs: Sequence[Run], limits: Mapping[str, float]) -> Table:
    """What each subject costs in parts of the first one, in each case."""

    def row(case: str, subject: str) -> tuple[str, ...]:
        fewest = subjects(runs)[0]
        parts = ratio(values(runs, "cpu_us", subject, case), values(runs, "cpu_us", fewest, case))
        reached = "" if subject == fewest else verdict(parts.median, limits[case])
        return case, subject, str(cell(runs, "cpu_us", subject, case)), str(parts), number(limits[case]), reached

    columns = (*header, "CPU per redirect, µs", "in parts of the fewest", "at most", "")
    return Table(title, columns, [row(case, subject) for case in cases(runs) for subject in subjects(runs)])


def _the_same_three(count: int) -> Workload:
    return _named(SAME_THREE, (0, count // 2, count - 1))


def _in_turn(count: int) -> Workload:
    return _named(IN_TURN, sorted({index * count // 999 for index in range(999)}))


def _any(count: int) -> Workload:
    return Workload(ANY, "any_pool.lua", (str(count),))


def _named(case: str, numbers: Iterable[int]) -> Workload:
    return Workload(case, "named_pools.lua", tuple(f"pool-{number}" for number in numbers))
