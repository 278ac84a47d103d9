"""SQL of the user over the view `access`.

The rule: one statement, which only reads, and only the log. DuckDB's parser says whether it is one SELECT. But a
SELECT of DuckDB 2 can write: `WITH x AS (COPY ... TO 'file') SELECT 1`, which DuckDB allows at the top level only. So
the statement is first planned as a part of another one, where DuckDB refuses what writes. External access is off but
for the files of the log, settings are locked, and nothing is installed.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from redirect.commands.loading import leave
from redirect.commands.logs import database, files
from redirect.commands.logs.filters import quoted
from redirect.commands.logs.progress import Progress

_SETTINGS: database.Settings = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
}

_BATCH_ROWS = 1000


class Answer(NamedTuple):
    columns: list[str]
    batches: Iterator[list[tuple[Any, ...]]]


@contextmanager
def answer(sql: str, paths: Sequence[str]) -> Iterator[Answer]:
    with database.connected(_SETTINGS) as (connection, folder):
        _confine(connection, [_on_disk(path, Path(folder, f"{n}.jsonl")) for n, path in enumerate(paths)])
        database.run(connection, _checked(connection, sql))
        columns = [column[0] for column in connection.description]
        yield Answer(columns, iter(lambda: connection.fetchmany(_BATCH_ROWS), []))


def _on_disk(path: str, copy: Path) -> str:
    """The absolute path of a file that DuckDB can read any number of times: a compressed one, a clean one or a copy."""
    if files.is_clean(path) or (Path(path).is_file() and not files.is_plain(path) and files.size(path)):
        return os.path.abspath(path)
    with copy.open("wb") as file:
        file.writelines(files.blocks(path, Progress(files.size(path))))
    return str(copy)


def _confine(connection: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    """Makes the view, and locks out everything else."""
    allowed = {*paths, *map(database.as_pattern, paths)}
    connection.execute(f"SET allowed_paths = [{', '.join(map(quoted, allowed))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute(
        f"CREATE VIEW access AS SELECT * EXCLUDE lost FROM {database.source(paths)} "  # noqa: S608  all quoted
        f"WHERE {database.IS_RECORD}"
    )
    connection.execute("SET lock_configuration = true")


def _checked(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """The one statement in `sql`, which only reads."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        leave(2, f"one statement at a time, and this is {len(statements) or 'none'}")
    (statement,) = statements
    if statement.type != duckdb.StatementType.SELECT:
        leave(2, f"only SELECT is allowed (or FROM, WITH, VALUES, DESCRIBE, SUMMARIZE), not {statement.type.name}")
    _plan(connection, statement.query.rstrip().rstrip(";"))
    return statement


def _plan(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Plans the statement where DuckDB refuses what writes."""
    try:
        connection.execute(f"EXPLAIN SELECT * FROM (\n{query}\n)")  # noqa: S608  a statement of its own
    except duckdb.BinderException as error:
        if "must be at the top level" in str(error):
            leave(2, "only what reads is allowed, and a part of this writes")
        raise
