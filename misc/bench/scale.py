"""How much is measured: half an hour for figures to show, a minute to see that it all works."""

from typing import NamedTuple


class Scale(NamedTuple):
    rounds: int
    seconds: int  # of one run of wrk, which takes whole ones
    connections: tuple[int, ...]
    connections_rounds: int
    pools: tuple[int, ...]
    origins: tuple[int, ...]
    growth_rounds: int  # of one second
    picks: int
    idle_connections: int
    forwarding_rounds: int
    tunnels: int


FULL = Scale(
    rounds=15,
    seconds=1,
    connections=(1, 4, 16, 64, 256, 1024),
    connections_rounds=3,
    pools=(3, 100, 1_000, 10_000, 100_000),
    origins=(3, 100, 1_000, 10_000),
    growth_rounds=7,
    picks=100_000,
    idle_connections=10_000,
    forwarding_rounds=11,
    tunnels=10_000,
)
QUICK = Scale(
    rounds=1,
    seconds=1,
    connections=(1, 64, 1024),
    connections_rounds=1,
    pools=(3, 1_000),
    origins=(3, 1_000),
    growth_rounds=1,
    picks=10_000,
    idle_connections=1_000,
    forwarding_rounds=1,
    tunnels=1_000,
)
