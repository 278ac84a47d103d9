"""A pool as the commands print it: its name and status, and a line for each origin with its weight and share."""

import click

from redirect.core.pools import Config, Pool


def print_pool(config: Config, pool: Pool) -> None:
    click.echo(f"{pool.name}  {pool.status}" + ("  default" if pool is config.default else ""))
    width = name_width(pool)
    for origin, share in pool.shares():
        click.echo(f"  {origin.name:<{width}}  weight {origin.weight:>7}  {share:7.2%}")


def name_width(pool: Pool) -> int:
    return max(len(origin.name) for origin in pool.origins)
