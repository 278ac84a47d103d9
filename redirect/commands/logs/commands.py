"""`redirect logs`: its commands and options.

Exit codes: 0 done; 1 shares that are not as due, or picks of other configurations only; 2 the command is
wrong, or a file cannot be read.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import click

from redirect.commands.logs import clickhouse
from redirect.commands.logs.answer import print_rows
from redirect.commands.logs.clickhouse import ClickHouse
from redirect.commands.logs.filters import Filters, filtered, given_or_configured
from redirect.commands.logs.follow import follow as show_and_follow
from redirect.commands.logs.reports import latency, require_duckdb, statuses, top
from redirect.commands.logs.shares import shares
from redirect.commands.logs.show import show
from redirect.telemetry.access_log import KEYS


class _Logs(click.Group):
    """Takes FILEs and options of its own, unless the first argument names a command."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in self.commands:
            return self.commands[args[0]].make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.group(
    cls=_Logs, invoke_without_command=True, subcommand_metavar="", context_settings={"allow_interspersed_args": True}
)
@filtered
@click.option("--follow", "-f", is_flag=True, help="Show the last ten records, and then those that come.")
@click.option("--json", "as_json", is_flag=True, help="Print the lines as they are in the log.")
def logs(paths: Sequence[str], filters: Filters, follow: bool, as_json: bool) -> None:
    """Show the records of the access log that meet all the options.

    FILEs are read in their order: plain, compressed (.gz, .zst), or - for standard input; without any, the file
    of REDIRECT_ACCESS_LOG. A FILE that is called like a command is named ./report.
    """
    paths = given_or_configured(paths)
    if not follow:
        show(paths, filters, as_json)
        return
    with contextlib.suppress(KeyboardInterrupt):
        show_and_follow(paths, filters, as_json)


@logs.group()
def report() -> None:
    """Sum up the records: shares, top, latency, statuses."""


for command in (shares, top, latency, statuses):
    report.add_command(command)

_COLUMNS = "\n".join(f"{key.name:<15}{key.sql_type:<10}  {key.meaning}" for key in KEYS)


def _is_text(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise click.BadParameter("it is not UTF-8") from None
    return value


@logs.command(epilog=f"\b\n{_COLUMNS}")
@click.argument("sql", metavar="SELECT", callback=_is_text)
@click.argument("paths", metavar="[FILE]...", nargs=-1)
@click.option("--json", "form", flag_value="json", help="Print one JSON object a line.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@clickhouse.at
def query(sql: str, paths: Sequence[str], form: str | None, at: ClickHouse | None) -> None:
    """Answer one SELECT of SQL over the view `access`, by DuckDB, or by ClickHouse at a URL.

    The view has a column for each key of a record, and `truncated`, which is true for a line that was cut.
    """
    if at is not None:
        print_rows(*at.answer(sql, paths), form)
        return
    require_duckdb()
    from redirect.commands.logs.query import print_answer

    print_answer(sql, given_or_configured(paths), form)
