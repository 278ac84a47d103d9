"""The command `redirect`."""

import signal
import sys
from typing import Any

import click

from redirect.commands.check import check
from redirect.commands.explain import explain
from redirect.commands.init import init
from redirect.commands.logs.commands import logs
from redirect.commands.pools.commands import pools
from redirect.commands.reload import reload
from redirect.commands.serve import serve
from redirect.core.compiled import reader


class _Commands(click.Group):
    """Ends at Ctrl-C as a shell has it, and silently: with exit code 1 a report says that shares are not as due."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(
    package_name="redirect", prog_name="redirect", message=f"%(prog)s, version %(version)s, {reader()}"
)
def cli() -> None:
    """A weighted redirect service: pools in a TOML file, picked from by weighted round robin."""


for command in (serve, init, check, explain, reload, logs, pools):
    cli.add_command(command)
