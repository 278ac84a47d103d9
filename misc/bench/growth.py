"""Growth: what becomes of our costs with more pools, origins, workers and connections. A module for each."""

from dataclasses import dataclass

import idle
import more_origins
import more_pools
import more_workers
import picks
import start
from rounds import Run
from scale import Scale
from table import Table


@dataclass(frozen=True)
class Growth:
    pools: list[Run]
    origins: list[Run]
    picks: list[picks.Pick]
    workers: list[Run]
    idle: idle.Idle
    start: start.Start


def measure(scale: Scale) -> Growth:
    return Growth(
        more_pools.measure(scale),
        more_origins.measure(scale),
        picks.measure(scale),
        more_workers.measure(scale),
        idle.measure(scale),
        start.measure(scale),
    )


def tables(measured: Growth) -> list[Table]:
    return [
        more_pools.table(measured.pools),
        more_origins.table(measured.origins),
        picks.table(measured.picks),
        more_workers.table(measured.workers),
        idle.table(measured.idle),
        start.table(measured.start),
    ]
