"""Options, settings and the configuration for a command, or an exit with the reason.

Exit codes of all commands: 0 done, 1 the configuration has faults, or the service cannot run here (an address, a
folder, too few open files), 2 the command or a setting is wrong.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from click.core import ParameterSource
from pydantic.fields import FieldInfo

from redirect.config.loader import ConfigError, Loader, parse_config, read_config, read_input
from redirect.config.settings import Settings, SettingsError, load_settings, variable
from redirect.core.pools import Config

F = TypeVar("F", bound=Callable[..., Any])

FLAGS = {"pools_config_path": "--config", "server_host": "--host", "server_port": "--port"}


def setting(name: str) -> Callable[[F], F]:
    """Makes an option of a field of Settings, which has its variable, default, help text and check."""
    field = Settings.model_fields[name]
    default = field.get_default(call_default_factory=True)
    return click.option(
        FLAGS.get(name, f"--{name.replace('_', '-')}"),
        name,
        type=click.Path(readable=False) if field.annotation is Path else str,
        metavar=_metavar(field),
        help=f"{field.description}.",
        envvar=variable(name),
        show_envvar=True,
        default=None if default is None else str(default),
        callback=_only_given,
    )


def _metavar(field: FieldInfo) -> str:
    """Returns what the option takes: a FILE, TEXT, or a whole number in a range such as 2..3600."""
    if field.annotation is int:
        least, most = field.metadata
        return f"{least.ge}..{most.le}"
    return "FILE" if field.annotation is Path else "TEXT"


def _only_given(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Leaves variables and defaults to Settings, whose messages name the variable."""
    return value if ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE else None


def read_settings(*used: str, **options: Any) -> Settings:
    """The settings, of which those `used` must be good, or all. A command for one thing does not depend on the rest of
    what a container or a pod has in its environment."""
    try:
        return load_settings(used or Settings.model_fields, **options)
    except SettingsError as error:
        leave(2, str(error))


def load_or_exit(settings: Settings, code: int = 1, loader: Loader | None = None) -> Config:
    file = str(settings.pools_config_path)
    try:
        return loader.load() if loader else parse_config(content_of(file), called(file))
    except ConfigError as error:
        leave(code, str(error))


def content_of(file: str) -> bytes:
    """That of a TOML, or of standard input for `-`. Raises ConfigError."""
    return read_input(sys.stdin.buffer, called(file)) if file == "-" else read_config(file)


def called(file: str) -> str:
    """What messages call it."""
    return "standard input" if file == "-" else file


def leave(code: int, message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)


def print_warnings(config: Config) -> None:
    for warning in config.warnings:
        click.echo(f"warning: {warning}", err=True)
