"""Filters: which records are selected, as options, as a predicate and as a condition of SQL.

The rule: a filter compares with what the log holds. The log's paths are the bytes that came, as latin-1.
"""

import functools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from redirect.commands.loading import F, leave, read_settings

_AGO = re.compile(r"(?:[0-9]+[smhdw])+")
_PARTS = re.compile(r"([0-9]+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAYS = {"today": 0, "yesterday": 1}
_UNIX = re.compile(r"@([0-9]{1,12}(?:\.[0-9]+)?)")
_STATUS = re.compile(r"([1-5])([0-9]{2}|xx)(?:-([1-5][0-9]{2})|(\+))?", re.IGNORECASE)


Quoting = Callable[[str], str]  # of text as a literal of SQL


@dataclass(frozen=True, slots=True)
class Filters:
    """Selects a record if all that is not None holds, and one of `statuses`, which are the first and the last of a
    range. `since` is the first moment, `until` the first that is too late."""

    pool: str | None = None
    origin: str | None = None
    statuses: tuple[tuple[int, int], ...] | None = None
    since: str | None = None
    until: str | None = None
    path_prefix: str | None = None

    def match(self, record: dict[str, Any]) -> bool:
        return (
            (self.pool is None or record.get("pool") == self.pool)
            and (self.origin is None or record.get("origin") == self.origin)
            and (self.statuses is None or any(first <= record["status"] <= last for first, last in self.statuses))
            and self.match_time(record["time"])
            and (self.path_prefix is None or str(record.get("path") or "").startswith(_as_logged(self.path_prefix)))
        )

    def match_time(self, time: str) -> bool:
        # RFC 3339, UTC, milliseconds: text compares as time does.
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)

    def time_sql(self) -> str:
        since = "true" if self.since is None else f"time >= {_timestamp(self.since)}"
        return since if self.until is None else f"{since} AND time < {_timestamp(self.until)}"

    def sql(self, quoted: Quoting) -> str:
        conditions = [self.time_sql()]
        if self.pool is not None:
            conditions.append(f"pool = {quoted(self.pool)}")
        if self.origin is not None:
            conditions.append(f"origin = {quoted(self.origin)}")
        if self.statuses is not None:
            ranges = [f"status BETWEEN {first} AND {last}" for first, last in self.statuses]
            conditions.append(f"({' OR '.join(ranges)})")
        if self.path_prefix:  # a request without a path has the empty prefix, too
            prefix = quoted(_as_logged(self.path_prefix))
            conditions.append(f"substring(path, 1, length({prefix})) = {prefix}")
        return " AND ".join(conditions)


def moment(text: str, now: datetime | None = None) -> str:
    """Reads 90s, 15m, 1h30m, 2d or 1w before `now`, now, today or yesterday, seconds of Unix time behind @, or a date
    or a time of RFC 3339, into a time as the log writes it.

    A day, and a time without an offset, is of UTC.
    """
    try:
        time = _moment(text.strip().lower(), now or datetime.now(UTC))
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(
            f"{text!r} is neither a time ago, such as 90s, 15m, 1h30m, 2d or 1w, nor now, today, yesterday, "
            "a date or a time, such as 2026-11-20, 2026-11-20T19:43:07Z or @1795203787"
        ) from None
    return f"{time.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _moment(text: str, now: datetime) -> datetime:
    if text == "now":
        return now
    if _AGO.fullmatch(text):
        return now - sum((timedelta(**{_UNITS[unit]: int(n)}) for n, unit in _PARTS.findall(text)), timedelta())
    if text in _DAYS:
        return now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=_DAYS[text])
    if unix := _UNIX.fullmatch(text):
        return datetime.fromtimestamp(float(unix[1]), UTC)
    time = datetime.fromisoformat(text.upper())
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def statuses(text: str) -> tuple[tuple[int, int], ...]:
    """Reads a list of statuses, classes and ranges of statuses."""
    ranges = []
    for part in text.split(","):
        match = _STATUS.fullmatch(part.strip())
        if match is None or (match[2].lower() == "xx" and (match[3] or match[4])):
            raise click.BadParameter(
                f"{text!r} is no status, such as 422, no class, such as 4xx, no range, such as 400-404 or 500+, "
                "and no list of them: 302,4xx"
            )
        digit, rest, last, plus = match.groups()
        if rest.lower() == "xx":
            ranges.append((int(digit) * 100, int(digit) * 100 + 99))
        else:
            first = int(digit + rest)
            if last and int(last) < first:
                raise click.BadParameter(f"{part.strip()!r} ends before it begins; write {last}-{first}")
            ranges.append((first, 599 if plus else int(last or first)))
    return tuple(ranges)


def filtered(function: F) -> F:
    """Adds FILEs, passed as `paths`, and the options that are passed as `filters`."""

    @click.argument("paths", metavar="[FILE]...", nargs=-1)
    @click.option("--pool", metavar="P", help="Decided by this pool.")
    @click.option("--origin", metavar="O", help="This origin was picked.")
    @click.option(
        "--status", "statuses", metavar="S", type=statuses, help="Such as 422, 4xx, 400-404, 500+ or 302,4xx."
    )
    @click.option(
        "--since",
        metavar="WHEN",
        type=moment,
        help="Not before: 90s, 15m, 1h30m, 2d or 1w ago, today, yesterday, or a time like 2026-11-20T19:43:07Z.",
    )
    @click.option("--until", metavar="WHEN", type=moment, help="Before then, as in --since.")
    @click.option("--path-prefix", metavar="/X", help="The path begins so.")
    @functools.wraps(function)
    def command(paths: Sequence[str], **options: Any) -> None:
        filters = Filters(**{name: options.pop(name) for name in Filters.__slots__})
        function(paths, filters, **options)

    return command  # type: ignore[return-value]


def given_or_configured(paths: Sequence[str]) -> Sequence[str]:
    log = read_settings("access_log").access_log
    if not paths and log in ("-", "off"):
        leave(2, "no FILE is given, and REDIRECT_ACCESS_LOG names none: name one, or - for standard input")
    return paths or [log]


def quoted(text: str) -> str:
    """The text as a literal of DuckDB. Bytes of the command line that are not UTF-8 become escapes."""
    return "'" + text.encode(errors="backslashreplace").decode().replace("'", "''") + "'"


def _timestamp(time: str) -> str:
    """A time of the log, as both databases read it."""
    return f"'{time.removesuffix('Z').replace('T', ' ')}'"


def _as_logged(path: str) -> str:
    return os.fsencode(path).decode("latin-1")
