"""`redirect logs`: its commands and options.

Exit codes: 0 done; 1 shares that are not as configured, or with no pick to judge them by that their TOML decided;
2 the command is wrong, or a file cannot be read.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

import click

from redirect.commands.logs import reports
from redirect.commands.logs import where as filters
from redirect.commands.logs.counts import Counts, count
from redirect.commands.logs.files import UnreadableError
from redirect.commands.logs.reports import BY, Report, heading
from redirect.commands.logs.where import Where
from redirect.config.loader import ConfigError, load
from redirect.config.settings import Settings, SettingsError, load_settings
from redirect.core.pools import Config

F = TypeVar("F", bound=Callable[..., Any])

# Shares are of the origins of a pool, whatever became of a pick: by these they cannot be told.
_NOT_OF_SHARES = ("pool", "origin", "status", "level", "config")


class _Logs(click.Command):
    """A command that gives way to another if its first argument names one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.others: dict[str, click.Command] = {}

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in self.others:
            return self.others[args[0]].make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Commands, as the first word"):
            formatter.write_dl([(name, other.get_short_help_str(70)) for name, other in self.others.items()])


def _read_by(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Has an option's value read by `parse`, which raises ValueError."""

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return read


def _filtered(function: F) -> F:
    """Gives the command FILEs, which become `paths`, and the options that become `where`."""

    @click.argument("paths", metavar="[FILE]...", nargs=-1)
    @click.option("--pool", metavar="P", help="Decided by this pool.")
    @click.option("--origin", metavar="O", help="This origin was picked.")
    @click.option(
        "--status",
        "statuses",
        metavar="S",
        callback=_read_by(filters.statuses),
        help="Such as 422, 4xx or 302,4xx.",
    )
    @click.option(
        "--since",
        metavar="WHEN",
        callback=_read_by(lambda text: filters.since(text, datetime.now(UTC))),
        help="Not before: 90s, 15m, 1h or 2d ago, or a time like 2026-11-20T19:43:07Z.",
    )
    @click.option("--path-prefix", metavar="/X", help="The path begins so.")
    @functools.wraps(function)
    def command(paths: Sequence[str], **options: Any) -> None:
        names = ("pool", "origin", "statuses", "since", "path_prefix")
        chosen = Where(**{name: options.pop(name) for name in names})
        with _told():
            function(_paths(paths), chosen, **options)

    return command  # type: ignore[return-value]


@click.command(cls=_Logs)
@_filtered
@click.option("--follow", "-f", is_flag=True, help="Show the last ten records, and then those that come.")
@click.option("--json", "as_json", is_flag=True, help="Print the lines as they are in the log.")
def logs(paths: Sequence[str], meant: Where, follow: bool, as_json: bool) -> None:
    """Show the records of the access log that meet all the options.

    FILEs are read in their order: plain, compressed (.gz, .zst), or - for standard input; without any, the file
    of REDIRECT_ACCESS_LOG. A FILE that is called like a command is named ./report.
    """
    from redirect.commands.logs import follow as following
    from redirect.commands.logs import show

    work = show.Verbatim(meant) if as_json else show.Columns(meant)
    if not follow:
        show.show(paths, work)
        return
    with contextlib.suppress(KeyboardInterrupt):
        following.follow(paths, work)


@click.group()
def report() -> None:
    """Sum up the records: shares, top, latency, statuses."""


def _by(*without: str, default: str | None = None) -> Callable[[F], F]:
    allowed = [each for each in BY if each not in without]
    kind = click.Choice(allowed)
    return click.option("--by", metavar="KEY", type=kind, default=default, help=f"One of {', '.join(allowed)}.")


def _reporting(function: F) -> F:
    """Makes a command of a function that yields counts and what they say."""

    @report.command(function.__name__)
    @click.option("--plot", "picture", metavar="FILE.png", help="Draw it, too.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
    @_filtered
    @functools.wraps(function)
    def command(paths: Sequence[str], meant: Where, picture: str | None, as_json: bool, **options: Any) -> None:
        from redirect.commands.logs.output import print_report

        draw = _artist(picture) if picture else None
        counts, said = function(paths, meant, **options)
        print_report(said, counts, as_json)
        if draw is not None:
            draw(said)
        sys.exit(said.exit_code)

    return command  # type: ignore[return-value]


@_reporting
@_by(*_NOT_OF_SHARES)
@click.option("--config", "toml", metavar="FILE", help="The TOML that decided; REDIRECT_POOLS_CONFIG_PATH.")
def shares(paths: Sequence[str], meant: Where, by: str | None, toml: str | None) -> tuple[Counts, Report]:
    """Hold the picks of each origin against its configured share.

    By a chi-square test: p says how likely picks by chance would be as far off. Ours are spread evener than by
    chance, so p is near 1, and a pool is called NOT as configured below 0.001. Only picks that this very TOML
    decided are judged. Exit code 1 if a pool is not as configured, or if all picks were decided by another TOML.
    """
    from redirect.commands.logs import shares as told

    config = _load(toml)
    counts = count(paths, [*heading(by), "pool", "origin", "config"], meant)
    return counts, told.shares(counts, config, by, meant)


@_reporting
@_by(default="path")
@click.option("--limit", metavar="N", type=click.IntRange(1), default=20, help="So many at most.")
def top(paths: Sequence[str], meant: Where, by: str, limit: int) -> tuple[Counts, Report]:
    """List the most frequent paths, or other values.

    The counts are exact; each value that differs takes some 250 bytes of memory.
    """
    counts = count(paths, [by], meant)
    return counts, reports.top(counts, by, limit)


@_reporting
@_by()
def latency(paths: Sequence[str], meant: Where, by: str | None) -> tuple[Counts, Report]:
    """Tell how long answers took, in microseconds: average, percentiles, longest."""
    counts = count(paths, [*heading(by), "duration_us"], meant)
    return counts, reports.latency(counts, by)


@_reporting
@_by("status")
def statuses(paths: Sequence[str], meant: Where, by: str | None) -> tuple[Counts, Report]:
    """Count the statuses that were answered."""
    counts = count(paths, [*heading(by), "status"], meant)
    return counts, reports.statuses(counts, by)


@click.command()
@click.argument("sql", metavar="SELECT")
@click.argument("paths", metavar="[FILE]...", nargs=-1)
@click.option("--json", "form", flag_value="json", help="Print one JSON object a line.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
def query(sql: str, paths: Sequence[str], form: str | None) -> None:
    """Answer one SELECT of SQL over the view `access`, by DuckDB.

    The view has a column for each key of a record: time is a TIMESTAMP (UTC), status, duration_us and worker are
    numbers, truncated is BOOLEAN, all else is text. Try: DESCRIBE access.
    """
    try:
        from redirect.commands.logs.query import QueryError, answer
    except ModuleNotFoundError:
        _leave("DuckDB is not installed: pip install 'redirect[query]'")
    from redirect.commands.logs.output import print_answer

    try:
        with _told(), answer(sql, _paths(paths)) as found:
            print_answer(found, form or "table")
    except QueryError as error:
        _leave(str(error))


logs.others = {"report": report, "query": query}


def _artist(picture: str) -> Callable[[Report], None]:
    """Draws a report into the file. That it cannot is known before the log is read."""
    try:
        from redirect.commands.logs.plot import draw
    except ModuleNotFoundError:
        _leave("matplotlib is not installed: pip install 'redirect[plot]'")

    def artist(said: Report) -> None:
        try:
            draw(said, picture)
        except (OSError, ValueError) as error:
            _leave(f"--plot {picture}: {error}")

    return artist


def _paths(paths: Sequence[str]) -> Sequence[str]:
    """The files to read: those given, or the one that is configured."""
    log = _settings().access_log
    if not paths and log in ("-", "off"):
        _leave("no FILE is given, and REDIRECT_ACCESS_LOG names none: name one, or - for standard input")
    return paths or [log]


def _load(toml: str | None) -> Config:
    try:
        return load(_settings(pools_config_path=toml).pools_config_path)
    except ConfigError as error:
        _leave(str(error))


def _settings(**options: Any) -> Settings:
    try:
        return load_settings(**options)
    except SettingsError as error:
        _leave(str(error))


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except UnreadableError as error:
        _leave(str(error))


def _leave(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(2)
