"""`python -m redirect` is the `redirect` command."""

from redirect.commands.main import cli

cli(prog_name="redirect")
