"""SQL of the user over the view `access`.

The rule: one statement, which only reads, and only the log. DuckDB's parser says whether it is one SELECT. But a
SELECT of DuckDB 2 can write: `WITH x AS (COPY ... TO 'file') SELECT 1`, which DuckDB allows at the top level only. So
the statement is first planned as a part of another one, where DuckDB refuses what writes. External access is off but
for the files of the log, settings are locked, and nothing is installed.
"""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

import duckdb

from redirect.commands.loading import leave
from redirect.commands.logs import database, files
from redirect.commands.logs.answer import print_rows
from redirect.commands.logs.counts import IS_RECORD
from redirect.commands.logs.filters import quoted
from redirect.commands.logs.progress import Progress

_WITH_ZONE = "TIMESTAMP WITH TIME ZONE"


def print_answer(sql: str, paths: Sequence[str], form: str | None) -> None:
    with database.connected(
        autoinstall_known_extensions=False,
        autoload_known_extensions=False,
        allow_persistent_secrets=False,
        python_enable_replacements=False,
    ) as (connection, folder):
        _confine(connection, [_on_disk(path, Path(folder, f"{n}.jsonl")) for n, path in enumerate(paths)])
        database.run(connection, _readable(connection, _checked(connection, sql)))
        columns = [column[0] for column in connection.description]
        print_rows(columns, iter(connection.fetchone, None), form)


def _on_disk(path: str, copy: Path) -> str:
    """The absolute path of a file that DuckDB can read any number of times, as it is or as a copy."""
    if files.is_clean(path) or files.is_clean_inside(path):
        return os.path.abspath(path)
    with copy.open("wb") as file:
        file.writelines(files.blocks(path, Progress(files.size(path))))
    return str(copy)


def _confine(connection: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    """Makes the view, and locks out everything else."""
    allowed = {*paths, *map(glob.escape, paths)}
    connection.execute(f"SET allowed_paths = [{', '.join(map(quoted, allowed))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute(
        f"CREATE VIEW access AS SELECT * EXCLUDE lost FROM {database.source(paths)} "  # noqa: S608  all quoted
        f"WHERE {IS_RECORD}"
    )
    connection.execute("SET lock_configuration = true")


def _checked(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The one statement in `sql`, which only reads. It is planned where DuckDB refuses what writes."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        leave(2, f"one statement at a time, and this is {len(statements) or 'none'}")
    (statement,) = statements
    if statement.type != duckdb.StatementType.SELECT:
        leave(2, f"only SELECT is allowed (or FROM, WITH, VALUES, DESCRIBE, SUMMARIZE), not {statement.type.name}")
    query = _without_end(statement.query)
    try:
        connection.execute(f"EXPLAIN SELECT * FROM (\n{query}\n)")  # noqa: S608  a statement of its own
    except duckdb.BinderException as error:
        if "must be at the top level" in str(error):
            leave(2, "only what reads is allowed, and a part of this writes")
        raise
    return query


def _readable(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """The statement, with times that have a zone as text: of these DuckDB makes objects of another package."""
    described = connection.execute(f"DESCRIBE SELECT * FROM (\n{query}\n)").fetchall()  # noqa: S608  as before
    if all(_WITH_ZONE not in sql_type for _, sql_type, *_ in described):
        return query
    columns = [
        f"c{n}{'::VARCHAR' if _WITH_ZONE in sql_type else ''} AS {_identifier(name)}"
        for n, (name, sql_type, *_) in enumerate(described)
    ]
    names = ", ".join(f"c{n}" for n in range(len(described)))
    return f"SELECT {', '.join(columns)} FROM (\n{query}\n) AS answer({names})"  # noqa: S608  one that was checked


def _without_end(statement: str) -> str:
    """The statement without its semicolon and the comments behind it, so that it can be a part of another one."""
    content = statement.encode()  # DuckDB counts bytes
    ends = (at for at, kind in duckdb.tokenize(statement) if kind == duckdb.token_type.operator)
    return content[: next((at for at in ends if content[at : at + 1] == b";"), None)].decode()


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
