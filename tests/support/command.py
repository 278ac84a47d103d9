"""The command line, within this process."""

from click.testing import CliRunner, Result

from redirect.commands.main import cli


def run(*arguments: str, content: str | bytes | None = None, **variables: str | None) -> Result:
    """Runs `redirect` with these arguments, this on its standard input, and these in its environment."""
    return CliRunner().invoke(cli, arguments, input=content, env=variables)
