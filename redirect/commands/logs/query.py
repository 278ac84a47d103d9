"""SQL over the view `access`, by DuckDB.

The rule: one statement, which only reads, and only the log. That it is one SELECT is asked of DuckDB's parser. But a
SELECT of DuckDB 2 can write: `WITH x AS (COPY ... TO 'file') SELECT 1`, which DuckDB allows at the top level only. So
the statement is first planned as a part of another, where nothing that writes is let in. Other files are out of
reach, since external access is off but for the files of the log; settings are locked, and nothing is installed.

What is no record is left out of the view: lines that are broken are rows of NULLs, and no marker has a status.
"""

import glob
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from redirect.commands.logs import files
from redirect.commands.logs.lines import KEYS, NUMBERS
from redirect.commands.logs.progress import Progress

# What is not text.
_TYPES = {**dict.fromkeys(NUMBERS, "BIGINT"), "time": "TIMESTAMP", "status": "INTEGER", "truncated": "BOOLEAN"}

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
}

_ROWS = 1000  # that are fetched at once


class QueryError(Exception):
    """The statement cannot be answered; the message says why."""


class Answer(NamedTuple):
    """Columns, and some rows at a time."""

    columns: list[str]
    batches: Iterator[list[tuple[Any, ...]]]


@contextmanager
def answer(sql: str, paths: Sequence[str]) -> Iterator[Answer]:
    """What `sql` yields of the files. Raises QueryError and UnreadableError."""
    with tempfile.TemporaryDirectory(prefix="redirect-logs-") as folder, duckdb.connect(config=_SETTINGS) as connection:
        try:
            _confine(connection, [_on_disk(path, Path(folder, f"{n}.jsonl")) for n, path in enumerate(paths)], folder)
            _run(connection, _checked(connection, sql))
            columns = [column[0] for column in connection.description]
            yield Answer(columns, iter(lambda: connection.fetchmany(_ROWS), []))
        except duckdb.Error as error:
            raise QueryError(str(error)) from None


def _on_disk(path: str, copy: Path) -> str:
    """The absolute path of a file that DuckDB can read: what is no file, or nothing compressed, is copied."""
    if path != "-" and Path(path).is_file() and files.size(path):
        return os.path.abspath(path)
    with copy.open("wb") as file:
        file.writelines(block for piece in files.pieces(path) for block in piece.blocks())
    return str(copy)


def _confine(connection: duckdb.DuckDBPyConnection, paths: Sequence[str], folder: str) -> None:
    """Makes the view, and leaves nothing else to be read or set."""
    names = [glob.escape(path) for path in paths]  # DuckDB takes names for patterns
    columns = ", ".join(f"{_quoted(key)}: {_quoted(_TYPES.get(key, 'VARCHAR'))}" for key in (*KEYS, "truncated"))
    connection.execute("SET enable_progress_bar = true")  # or else the progress is not known; we print it ourselves
    connection.execute("SET enable_progress_bar_print = false")
    connection.execute(f"SET temp_directory = {_quoted(folder)}")
    connection.execute(f"SET allowed_paths = [{', '.join(map(_quoted, {*names, *paths}))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute(
        f"CREATE VIEW access AS SELECT * FROM read_json([{', '.join(map(_quoted, names))}], "  # noqa: S608  all quoted
        f"format = 'newline_delimited', ignore_errors = true, columns = {{{columns}}}) "
        "WHERE time IS NOT NULL AND status IS NOT NULL"
    )
    connection.execute("SET lock_configuration = true")


def _checked(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """The one statement in `sql`, which only reads. Raises QueryError."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise QueryError(f"one statement at a time, and this is {len(statements) or 'none'}")
    (statement,) = statements
    if statement.type != duckdb.StatementType.SELECT:
        raise QueryError(
            f"only SELECT is allowed (or FROM, WITH, VALUES, DESCRIBE, SUMMARIZE), not {statement.type.name}"
        )
    _plan(connection, statement.query.rstrip().rstrip(";"))
    return statement


def _plan(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Plans the statement where nothing that writes may be. Raises QueryError."""
    try:
        connection.execute(f"EXPLAIN SELECT * FROM (\n{query}\n)")  # noqa: S608  it is a statement of its own
    except duckdb.BinderException as error:
        if "must be at the top level" in str(error):
            raise QueryError("only what reads is allowed, and a part of this writes") from None
        raise


def _run(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    """Executes the statement, while this thread says how far that is."""
    progress = Progress(100)
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(connection.execute, statement)
        try:
            while not wait([running], 0.1).done:
                progress.reach(max(0, round(connection.query_progress())))
        except KeyboardInterrupt:
            connection.interrupt()
            raise
        finally:
            progress.clear()
        running.result()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
