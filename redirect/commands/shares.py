"""A pool as the commands print it: its name and status, and a line for each origin with its weight and share."""

from collections.abc import Iterator

from redirect.core.pools import Config, Pool


def lines(config: Config, pool: Pool) -> Iterator[str]:
    """The pool with its shares, as lines without their ends."""
    yield f"{pool.name}  {pool.status}" + ("  default" if pool is config.default else "")
    width = name_width(pool)
    for origin, share in pool.shares():
        yield f"  {origin.name:<{width}}  weight {origin.weight:>7}  {share:7.2%}"


def name_width(pool: Pool) -> int:
    """How wide a column of the origins' names is."""
    return max(len(origin.name) for origin in pool.origins)
