"""The start with very many pools: how long until the service is ready, and what an origin costs of memory."""

from dataclasses import dataclass

from figures import number, spread, verdict
from more_pools import server_with
from running import running
from scale import Scale
from table import Table

LIMIT_S = 10.0
LIMIT_KIB = 1.0
ORIGINS = 3  # in each pool
STARTS = 3


@dataclass(frozen=True)
class Start:
    pools: int
    seconds: list[float]  # from exec to /readyz, of each start
    origin_kib: float


def measure(scale: Scale) -> Start:
    fewest, most = scale.pools[0], scale.pools[-1]
    again = [_seconds(most) for _ in range(STARTS - 1)]
    with running(server_with(fewest)) as small, running(server_with(most)) as large:
        kib = (large.pss_kib() - small.pss_kib()) / ((most - fewest) * ORIGINS)
        return Start(most, [*again, large.seconds_to_start], kib)


def table(measured: Start) -> Table:
    seconds = spread(measured.seconds)
    rows = [
        ("seconds from exec to /readyz", str(seconds), number(LIMIT_S), verdict(seconds.median, LIMIT_S)),
        (
            "KiB of memory per origin",
            number(measured.origin_kib),
            number(LIMIT_KIB),
            verdict(measured.origin_kib, LIMIT_KIB),
        ),
    ]
    return Table(f"The start with {measured.pools:,} pools of three origins", ("", "reached", "at most", ""), rows)


def _seconds(count: int) -> float:
    with running(server_with(count)) as server:
        return server.seconds_to_start
