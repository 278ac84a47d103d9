"""Filters: which records are selected, as options, as a predicate and as a condition of SQL.

The rule: a filter compares with what the log holds. The log's paths are the bytes that came, as latin-1.
"""

import functools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from redirect.commands.loading import F, leave, read_settings

_AGO = re.compile(r"([0-9]+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_STATUS = re.compile(r"[1-5](?:[0-9][0-9]|xx)")


@dataclass(frozen=True, slots=True)
class Filters:
    """Selects a record if all that is not None holds, and one of `statuses`, which are like 422 and 4xx."""

    pool: str | None = None
    origin: str | None = None
    statuses: tuple[str, ...] | None = None
    since: str | None = None
    path_prefix: str | None = None

    def match(self, record: dict[str, Any]) -> bool:
        return (
            (self.pool is None or record.get("pool") == self.pool)
            and (self.origin is None or record.get("origin") == self.origin)
            and (self.statuses is None or any(_is(record["status"], each) for each in self.statuses))
            and self.match_time(record["time"])
            and (self.path_prefix is None or str(record.get("path") or "").startswith(_as_logged(self.path_prefix)))
        )

    def match_time(self, time: str) -> bool:
        return self.since is None or time >= self.since  # RFC 3339, UTC, milliseconds: text compares as time does

    def time_sql(self) -> str:
        return "true" if self.since is None else f"time >= {quoted(self.since)}"

    def sql(self) -> str:
        conditions = [self.time_sql()]
        if self.pool is not None:
            conditions.append(f"pool = {quoted(self.pool)}")
        if self.origin is not None:
            conditions.append(f"origin = {quoted(self.origin)}")
        if self.statuses is not None:
            ranges = [f"status BETWEEN {each.replace('x', '0')} AND {each.replace('x', '9')}" for each in self.statuses]
            conditions.append(f"({' OR '.join(ranges)})")
        if self.path_prefix:  # a request without a path has the empty prefix, too
            conditions.append(f"starts_with(path, {quoted(_as_logged(self.path_prefix))})")
        return " AND ".join(conditions)


def since(text: str, now: datetime) -> str:
    """Reads 90s, 15m, 1h or 2d before `now`, or a date or a time of RFC 3339, into a time as the log writes it.

    A time without an offset is UTC.
    """
    try:
        ago = _AGO.fullmatch(text)
        if ago:
            time = now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            time = datetime.fromisoformat(text)
            time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is neither a time ago, such as 90s, 15m, 1h or 2d, "
            "nor a date or a time, such as 2026-11-20 or 2026-11-20T19:43:07Z"
        ) from None
    return f"{time.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def statuses(text: str) -> tuple[str, ...]:
    """Reads a list of statuses and classes of statuses."""
    parts = tuple(text.split(","))
    if not all(map(_STATUS.fullmatch, parts)):
        raise click.BadParameter(
            f"{text!r} is no status, such as 422, no class, such as 4xx, and no list of them: 302,4xx"
        )
    return parts


def filtered(function: F) -> F:
    """Adds FILEs, passed as `paths`, and the options that are passed as `filters`."""

    @click.argument("paths", metavar="[FILE]...", nargs=-1)
    @click.option("--pool", metavar="P", help="Decided by this pool.")
    @click.option("--origin", metavar="O", help="This origin was picked.")
    @click.option("--status", "statuses", metavar="S", type=statuses, help="Such as 422, 4xx or 302,4xx.")
    @click.option(
        "--since",
        metavar="WHEN",
        type=lambda text: since(text, datetime.now(UTC)),
        help="Not before: 90s, 15m, 1h or 2d ago, or a time like 2026-11-20T19:43:07Z.",
    )
    @click.option("--path-prefix", metavar="/X", help="The path begins so.")
    @functools.wraps(function)
    def command(paths: Sequence[str], **options: Any) -> None:
        filters = Filters(**{name: options.pop(name) for name in Filters.__slots__})
        function(given_or_configured(paths), filters, **options)

    return command  # type: ignore[return-value]


def given_or_configured(paths: Sequence[str]) -> Sequence[str]:
    log = read_settings("access_log").access_log
    if not paths and log in ("-", "off"):
        leave(2, "no FILE is given, and REDIRECT_ACCESS_LOG names none: name one, or - for standard input")
    return paths or [log]


def quoted(text: str) -> str:
    """The text as a literal of SQL. Bytes of the command line that are not UTF-8 become escapes."""
    return "'" + text.encode(errors="backslashreplace").decode().replace("'", "''") + "'"


def _is(status: int, expected: str) -> bool:
    return expected in (str(status), f"{status // 100}xx")


def _as_logged(path: str) -> str:
    return os.fsencode(path).decode("latin-1")
