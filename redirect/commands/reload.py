"""`redirect reload`: asks the running service to load its TOML now."""

import click

from redirect.commands.admin import ask
from redirect.commands.loading import setting


@click.command()
@setting("admin_bind")
def reload(admin_bind: str | None) -> None:
    """Have the running service load its TOML now.

    Returns once it is in force in every worker. Otherwise prints why not, with exit code 1.
    """
    said = ask(admin_bind, "POST", "/reload", key="hash")
    click.echo(f"{said['path']} is in force: {said['hash']}")
