"""Counts: how often each combination of values is in the log. Reports are made of these.

The rule: one scan of the log, each line counted once; memory is bounded, since DuckDB spills to disk.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from redirect.commands.logs import database, files
from redirect.commands.logs.filters import Filters
from redirect.commands.logs.reports import PERIODS, Counts


@contextmanager
def counted(paths: Sequence[str], by: str | None, fields: Sequence[str], filters: Filters) -> Iterator[Counts]:
    """The selected records of the files, counted by group and `fields`."""
    columns = "".join(f"{field}, " for field in fields)
    with database.connected({}) as (connection, folder):
        verb = "CREATE TEMP TABLE scanned AS"
        for source in _sources(paths, folder):
            statement = f"""
                {verb} SELECT {database.IS_RECORD} AS is_record, {_value(by)} AS grp, {columns}
                    count(*) AS count, sum(lost) AS lost, count(lost) AS markers
                FROM {source} WHERE CASE
                    WHEN is_record THEN {filters.sql()} WHEN lost IS NOT NULL THEN {filters.time_sql()} ELSE true END
                GROUP BY ALL
            """  # noqa: S608  all quoted
            database.run(connection, statement)
            verb = "INSERT INTO scanned"
        connection.execute(
            f"CREATE VIEW counts AS SELECT grp, {columns} sum(count) AS count "  # noqa: S608  names of columns
            "FROM scanned WHERE is_record GROUP BY ALL"
        )
        totals = connection.execute(
            "SELECT sum(count) FILTER (is_record), sum(lost) FILTER (NOT is_record), "
            "sum(count - markers) FILTER (NOT is_record) FROM scanned"
        ).fetchone()
        yield Counts(connection, by, *(total or 0 for total in totals or ()))


def _sources(paths: Sequence[str], folder: Path) -> Iterator[str]:
    """The files as tables of SQL, each to be read before the next one is asked for."""
    clean = [path for path in paths if files.is_clean(path)]
    others = [path for path in paths if path not in clean]
    if clean:
        yield database.source(clean)
    if others:
        yield from (database.source([copy]) for copy in database.copies(others, folder))


def _value(by: str | None) -> str:
    return f"strftime(time, '{PERIODS[by]}')" if by in PERIODS else by or "NULL"
