"""Picks: what a pick alone costs, in this process and without HTTP."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median

from figures import number, verdict
from pools import WEIGHTS, large, toml
from scale import Scale
from table import Table

from redirect.config.loader import parse_config
from redirect.core.balancer import Balancer
from redirect.core.cycles import Cycles
from redirect.core.destination import Destination

LIMIT = 2.0  # in parts of a pick among the fewest origins
SAMPLES = 7


@dataclass(frozen=True)
class Pick:
    """CPU time of one pick; medians of samples taken in alternation with those of other sizes."""

    origins: int
    weights: str
    ns: float


def measure(scale: Scale) -> list[Pick]:
    return [pick for kind in WEIGHTS for pick in _of_kind(kind, scale)]


def _of_kind(kind: str, scale: Scale) -> list[Pick]:
    pickers = {count: _picker(count, kind) for count in scale.origins}
    samples: dict[int, list[float]] = {count: [] for count in pickers}
    for _ in range(SAMPLES):
        for count, pick in pickers.items():
            samples[count].append(_ns(pick, scale.picks))
    return [Pick(count, kind, median(taken)) for count, taken in samples.items()]


def _picker(count: int, kind: str) -> Callable[[], Destination]:
    (pool,) = parse_config(toml({"pool": large(count, kind)}).encode(), "pools.toml").pools.values()
    return Balancer(pool, Cycles(), Random(count)).pick


def _ns(pick: Callable[[], Destination], times: int) -> float:
    """Nanoseconds of one of `times` picks, the loop around them included."""
    before = time.process_time_ns()
    for _ in range(times):
        pick()
    return (time.process_time_ns() - before) / times


def table(picks: Sequence[Pick]) -> Table:
    fewest = {pick.weights: pick.ns for pick in reversed(picks)}  # the first of each kind stays
    rows = [
        (
            pick.weights,
            f"{pick.origins:,}",
            number(pick.ns),
            number(grown := pick.ns / fewest[pick.weights]),
            number(LIMIT),
            verdict(grown, LIMIT) if grown != 1 else "",
        )
        for pick in picks
    ]
    header = ("weights", "origins", "CPU of a pick, ns", "in parts of the fewest", "at most", "")
    return Table("More origins in a pool: the pick by itself", header, rows)
