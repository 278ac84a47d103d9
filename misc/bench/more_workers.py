"""More workers: what a second one adds, where the cores are there for it."""

from collections.abc import Sequence

import machine
import servers
from load import BARE
from rounds import Run, Shot, alternate, cell, subjects
from running import running
from scale import Scale
from table import Table

METRICS = ("cpu_us", "requests_per_s", "busy")


def measure(scale: Scale) -> list[Run]:
    """A subject is a number of workers. Nothing is pinned: they and wrk share all cores."""
    with (
        running(servers.redirect("Redirect, 1 worker", servers.POOLS, workers=1), machine.ALL_CORES) as one,
        running(servers.redirect("Redirect, 2 workers", servers.POOLS, workers=2), machine.ALL_CORES) as two,
    ):
        shots = [
            Shot(server, workers, BARE.name, BARE, cores=machine.ALL_CORES)
            for server, workers in ((one, "1"), (two, "2"))
        ]
        return alternate(shots, scale.growth_rounds, seconds=1)


def table(runs: Sequence[Run]) -> Table:
    rows = [
        (subject, *(str(cell(runs, metric, subject, BARE.name)) for metric in METRICS)) for subject in subjects(runs)
    ]
    header = ("workers", "CPU per redirect, µs", "redirects/s", "cores busy")
    note = f"The workers share {len(machine.CORES)} cores with wrk, which keeps the better part of one busy itself."
    return Table("More workers", header, rows, note)
