"""`redirect check`: validates the TOML and prints shares."""

import json
import sys

import click

from redirect.commands.loading import leave, print_warnings, read_settings
from redirect.config.loader import ConfigError, load
from redirect.core.pools import Config, Fault, Pool


@click.command()
@click.argument("file", required=False, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def check(file: str | None, as_json: bool) -> None:
    """Validate the TOML and print its pools with their shares."""
    settings = read_settings(pools_config_path=file)
    path = str(settings.pools_config_path)
    try:
        config = load(path)
    except ConfigError as error:
        if not as_json:
            leave(1, str(error))
        click.echo(json.dumps({"file": path, "faults": _rows(error.faults)}, indent=2))
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(_described(path, config), indent=2))
        return
    print_warnings(config)
    for pool in config.pools.values():
        print_pool(config, pool)


def print_pool(config: Config, pool: Pool) -> None:
    """Prints name and status, and a line for each origin with its weight and share."""
    click.echo(f"{pool.name}  {pool.status}" + ("  default" if pool is config.default else ""))
    width = max(len(origin.name) for origin in pool.origins)
    for origin, share in pool.shares():
        click.echo(f"  {origin.name:<{width}}  weight {origin.weight:>7}  {share:7.2%}")


def _rows(faults: tuple[Fault, ...]) -> list[dict[str, object]]:
    return [{name: getattr(fault, name) for name in ("line", "column", "key", "message")} for fault in faults]


def _described(path: str, config: Config) -> dict[str, object]:
    return {
        "file": path,
        "hash": config.hash,
        "pools": [
            {
                "name": pool.name,
                "status": pool.status,
                "is_default": pool is config.default,
                "origins": [
                    {"name": origin.name, "weight": origin.weight, "share": share} for origin, share in pool.shares()
                ],
            }
            for pool in config.pools.values()
        ],
        "warnings": _rows(config.warnings),
    }
