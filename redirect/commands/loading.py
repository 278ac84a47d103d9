"""Settings and configuration for a command, or an exit with the reason.

Exit codes of all commands: 0 done, 1 the configuration has faults or a listener cannot be had, 2 the command or a
setting is wrong.
"""

import sys
from typing import Any, NoReturn

import click

from redirect.config.loader import ConfigError, load
from redirect.config.settings import Settings, SettingsError, load_settings
from redirect.core.pools import Config, Fault

CONFIG_OPTION = click.option("--config", "pools_config_path", metavar="FILE", help="The TOML of the pools.")


def read_settings(**options: Any) -> Settings:
    try:
        return load_settings(**options)
    except SettingsError as error:
        leave(2, str(error))


def load_or_exit(settings: Settings) -> Config:
    try:
        return load(settings.pools_config_path)
    except ConfigError as error:
        leave(1, str(error))


def leave(code: int, message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)


def print_faults(faults: tuple[Fault, ...], prefix: str = "") -> None:
    for fault in faults:
        click.echo(f"{prefix}{fault}", err=True)
