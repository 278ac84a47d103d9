"""`python -m redirect` is the `redirect` command."""

from redirect.cli import cli

cli(prog_name="redirect")
