"""More origins in a pool: what a redirect costs, whatever their weights. `picks` has the pick by itself."""

from collections.abc import Sequence

import more_pools
import pools
import servers
from load import Workload
from rounds import Run, Shot, alternate
from running import running
from scale import Scale
from table import Table

LIMIT = 1.10  # in parts of the cost with the fewest origins


def measure(scale: Scale) -> list[Run]:
    """A subject is a number of origins, a case their weights. One server has a pool of each kind."""
    kinds = [(count, kind) for kind in pools.WEIGHTS for count in scale.origins]
    toml = pools.toml({f"pool-{n}": pools.large(count, kind) for n, (count, kind) in enumerate(kinds)})
    with running(servers.redirect("Redirect, large pools", toml)) as server:
        shots = [
            Shot(server, f"{count:,}", kind, Workload(kind, "named_pools.lua", (f"pool-{n}",)))
            for n, (count, kind) in enumerate(kinds)
        ]
        return alternate(shots, scale.growth_rounds, seconds=1)


def table(runs: Sequence[Run]) -> Table:
    return more_pools.grown("More origins in a pool", ("weights", "origins"), runs, dict.fromkeys(pools.WEIGHTS, LIMIT))
