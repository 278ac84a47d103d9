"""`redirect check`: validates the TOML and prints shares."""

import json
import sys

import click

from redirect.commands.loading import print_faults, read_settings
from redirect.commands.shares import print_pool
from redirect.config.loader import ConfigError, load
from redirect.core.pools import Config, Fault


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
        if as_json:
            click.echo(json.dumps({"file": path, "faults": _rows(error.faults)}, indent=2))
        print_faults(() if as_json else error.faults)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(_described(path, config), indent=2))
        return
    print_faults(config.warnings, "warning: ")
    for pool in config.pools.values():
        print_pool(config, pool)


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
