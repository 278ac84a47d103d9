"""`redirect logs`: its commands and options.

Exit codes: 0 done; 1 shares that are not as configured, or no pick that the given TOML decided; 2 the command is
wrong, or a file cannot be read.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from redirect.commands.loading import leave, load_or_exit, read_settings
from redirect.commands.logs import filters as parse
from redirect.commands.logs import reports
from redirect.commands.logs.filters import Filters
from redirect.commands.logs.reports import BY, Counts, Report
from redirect.telemetry.access_log import KEYS

F = TypeVar("F", bound=Callable[..., Any])

# Shares are of the origins of a pool, whatever became of a pick.
_BY_SHARES = [each for each in BY if each not in ("pool", "origin", "status", "level", "config")]
_BY_STATUSES = [each for each in BY if each != "status"]


class _Logs(click.Group):
    """Takes FILEs and options of its own, unless the first argument names a command."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in self.commands:
            return self.commands[args[0]].make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


def _filtered(function: F) -> F:
    """Adds FILEs, passed as `paths`, and the options that are passed as `filters`."""

    @click.argument("paths", metavar="[FILE]...", nargs=-1)
    @click.option("--pool", metavar="P", help="Decided by this pool.")
    @click.option("--origin", metavar="O", help="This origin was picked.")
    @click.option("--status", "statuses", metavar="S", type=parse.statuses, help="Such as 422, 4xx or 302,4xx.")
    @click.option(
        "--since",
        metavar="WHEN",
        type=lambda text: parse.since(text, datetime.now(UTC)),
        help="Not before: 90s, 15m, 1h or 2d ago, or a time like 2026-11-20T19:43:07Z.",
    )
    @click.option("--path-prefix", metavar="/X", help="The path begins so.")
    @functools.wraps(function)
    def command(paths: Sequence[str], **options: Any) -> None:
        names = ("pool", "origin", "statuses", "since", "path_prefix")
        filters = Filters(**{name: options.pop(name) for name in names})
        function(_paths(paths), filters, **options)

    return command  # type: ignore[return-value]


@click.group(
    cls=_Logs,
    invoke_without_command=True,
    subcommand_metavar="",
    context_settings={"allow_interspersed_args": True},
)
@_filtered
@click.option("--follow", "-f", is_flag=True, help="Show the last ten records, and then those that come.")
@click.option("--json", "as_json", is_flag=True, help="Print the lines as they are in the log.")
def logs(paths: Sequence[str], filters: Filters, follow: bool, as_json: bool) -> None:
    """Show the records of the access log that meet all the options.

    FILEs are read in their order: plain, compressed (.gz, .zst), or - for standard input; without any, the file
    of REDIRECT_ACCESS_LOG. A FILE that is called like a command is named ./report.
    """
    from redirect.commands.logs import follow as following
    from redirect.commands.logs import show

    if not follow:
        show.show(paths, filters, as_json)
        return
    with contextlib.suppress(KeyboardInterrupt):
        following.follow(paths, filters, as_json)


@logs.group()
def report() -> None:
    """Sum up the records: shares, top, latency, statuses."""


def _by(allowed: list[str], default: str | None = None) -> Callable[[F], F]:
    kind = click.Choice(allowed)
    return click.option("--by", metavar="KEY", type=kind, default=default, help=f"One of {', '.join(allowed)}.")


def _reporting(*fields: str) -> Callable[[F], click.Command]:
    """Makes a command of a function that makes a report of counts by `--by` and `fields`."""

    def decorate(function: F) -> click.Command:
        @report.command(function.__name__)
        @click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
        @_filtered
        @functools.wraps(function)
        def command(paths: Sequence[str], filters: Filters, by: str | None, as_json: bool, **options: Any) -> None:
            from redirect.commands.logs.output import print_report

            with _duckdb_needed():
                from redirect.commands.logs.counts import counted

            make = function(filters, **options)
            with counted(paths, by, fields, filters) as counts:
                made: Report = make(counts)
            print_report(made, counts, as_json)
            sys.exit(made.exit_code)

        return command

    return decorate


@_reporting("pool", "origin", "config")
@_by(_BY_SHARES)
@click.option("--config", "toml", metavar="FILE", help="The TOML that decided; REDIRECT_POOLS_CONFIG_PATH.")
def shares(filters: Filters, toml: str | None) -> Callable[[Counts], Report]:
    """Compare the picks of each origin with its configured share.

    By a chi-square test: p is the probability that random picks would be as far off. Ours are more even than chance,
    so p is near 1, and a pool is called NOT as configured below 0.001. Only picks that this very TOML decided are
    judged. Exit code 1 if a pool is not as configured, or if all picks were decided by another TOML.
    """
    from redirect.commands.logs.shares import shares

    config = load_or_exit(read_settings(pools_config_path=toml), 2)
    return lambda counts: shares(counts, config, filters)


@_reporting()
@_by(BY, default="path")
@click.option("--limit", metavar="N", type=click.IntRange(1), default=20, help="So many at most.")
def top(_: Filters, limit: int) -> Callable[[Counts], Report]:
    """List the most frequent paths, or other values. The counts are exact."""
    return lambda counts: reports.top(counts, limit)


@_reporting("duration_us")
@_by(BY)
def latency(_: Filters) -> Callable[[Counts], Report]:
    """Show how long answers took, in microseconds: average, percentiles, longest."""
    return reports.latency


@_reporting("status")
@_by(_BY_STATUSES)
def statuses(_: Filters) -> Callable[[Counts], Report]:
    """Count the statuses that were answered."""
    return reports.statuses


_COLUMNS = "\n".join(f"{key.name:<15}{key.sql_type:<10}  {key.meaning}" for key in KEYS)


@logs.command(epilog=f"\b\n{_COLUMNS}")
@click.argument("sql", metavar="SELECT")
@click.argument("paths", metavar="[FILE]...", nargs=-1)
@click.option("--json", "form", flag_value="json", help="Print one JSON object a line.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
def query(sql: str, paths: Sequence[str], form: str | None) -> None:
    """Answer one SELECT of SQL over the view `access`, by DuckDB.

    The view has a column for each key of a record, and `truncated`, which is true for a line that was cut.
    """
    from redirect.commands.logs.output import print_answer

    with _duckdb_needed():
        from redirect.commands.logs.query import answer

    with answer(sql, _paths(paths)) as found:
        print_answer(found, form or "table")


@contextlib.contextmanager
def _duckdb_needed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError:
        leave(2, "DuckDB is not installed: pip install 'redirect[logs]'")


def _paths(paths: Sequence[str]) -> Sequence[str]:
    """The given files, or the configured one."""
    log = read_settings().access_log
    if not paths and log in ("-", "off"):
        leave(2, "no FILE is given, and REDIRECT_ACCESS_LOG names none: name one, or - for standard input")
    return paths or [log]
