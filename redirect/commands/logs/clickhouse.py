"""The log in ClickHouse: the table that misc/logs makes, asked over HTTP.

The rule: it is only read. To a GET the server answers nothing that writes, for any user.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import click

from redirect.commands.loading import leave
from redirect.commands.logs.counts import Counting, Counts
from redirect.commands.logs.text import shown

_SCHEMES = {"clickhouse": ("http", 8123), "clickhouses": ("https", 8443)}
_CONNECT_SECONDS = 5.0

# Values as DuckDB has them. What is not grouped by is NULL, and a name is a column before it is an alias.
_SETTINGS: dict[str, int | str] = {
    "group_by_use_nulls": 1,
    "prefer_column_name_to_alias": 1,
    "output_format_json_quote_64bit_integers": 0,
    "date_time_output_format": "iso",
    "wait_end_of_query": 1,
    "cancel_http_readonly_queries_on_client_close": 1,
}


@dataclass(frozen=True, slots=True)
class ClickHouse:
    url: str
    user: str
    password: str = field(repr=False)
    database: str

    def counts(self, counting: Counting, paths: Sequence[str]) -> Counts:
        """All lines that the service wrote are in `access_lines`; with FINAL, those that came twice are there once."""
        selected = {"scanned": counting.scan("access_lines FINAL", quoted), **counting.views()}
        names = ", ".join(f"{name} AS ({select})" for name, select in selected.items())
        return counting.counts(lambda select: [*map(tuple, self.answer(f"WITH {names} {select}", paths)[1])])

    def answer(self, sql: str, paths: Sequence[str]) -> tuple[Sequence[str], list[list[Any]]]:
        """The names of the columns, and the rows."""
        if paths:
            leave(2, f"--at is in place of files, and {paths[0]} is one: leave one of them out")
        statement = sql.rstrip().rstrip(";") + "\nFORMAT JSONCompactEachRowWithNamesAndTypes"
        try:
            return _table(self._get(statement))
        except ValueError:
            leave(2, f"what answers at {self.url} is not ClickHouse; name another address")

    def _get(self, statement: str) -> bytes:
        import httpx  # takes a tenth of a second

        try:
            response = httpx.get(
                self.url,
                params={"query": statement, "database": self.database, **_SETTINGS},
                headers={"X-ClickHouse-User": self.user, "X-ClickHouse-Key": self.password},
                timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
                trust_env=False,
            )
        except httpx.HTTPError as error:
            leave(1, f"ClickHouse at {self.url} cannot be asked: {error}")
        if response.status_code != httpx.codes.OK:
            leave(2, f"ClickHouse at {self.url} answered {response.status_code}: {shown(response.text.strip())}")
        return response.content


def _table(content: bytes) -> tuple[Sequence[str], list[list[Any]]]:
    """The names of the columns, and the rows. Raises ValueError if these are not lists of one length."""
    names, types, *rows = lists = [*map(json.loads, content.splitlines())]
    if {type(each) for each in lists} != {list} or len({len(each) for each in lists}) != 1:
        raise ValueError
    floats = [n for n, each in enumerate(types) if each in ("Float64", "Nullable(Float64)")]
    for row in rows:
        for n in floats:  # JSON from there has 1 for 1.0
            row[n] = row[n] if row[n] is None else float(row[n])
    return names, rows


def address(text: str) -> ClickHouse:
    """Reads clickhouse://USER:PASSWORD@HOST:PORT/DATABASE, of which only HOST is needed."""
    try:
        text.encode()
        url = urlsplit(text)
        scheme, port = _SCHEMES[url.scheme]
        port = url.port or port
        if not url.hostname or url.query or url.fragment or "/" in url.path[1:]:
            raise ValueError
    except (KeyError, ValueError):
        raise click.BadParameter(
            f"{text!r} is no address such as clickhouse://user:password@host:8123/database, or clickhouses:// for TLS"
        ) from None
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    password = os.environ.get("CLICKHOUSE_PASSWORD", "") if url.password is None else unquote(url.password)
    user, database = unquote(url.username or "default"), unquote(url.path[1:]) or "default"
    return ClickHouse(f"{scheme}://{host}:{port}", user, password, database)


at = click.option(
    "--at",
    metavar="URL",
    type=address,
    help="In place of files, the tables in ClickHouse: clickhouse://user:password@host:8123/database.",
)


def quoted(text: str) -> str:
    """The text as a literal of ClickHouse, for which a backslash is special."""
    escaped = text.encode(errors="backslashreplace").decode().replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
