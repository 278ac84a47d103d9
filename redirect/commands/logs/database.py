"""The access log in DuckDB: its columns, its files, and the counts that reports are made of.

The rule: one scan counts each line once. DuckDB reads a file itself if that is clean. Others (compressed, pipes, torn,
with holes) are read by `files`, which checks them, and DuckDB gets copies: of a pipe it would keep all of the content
in memory, of a .gz it checks no checksum, and a hole ends its scan with an error.
"""

import glob
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import duckdb

from redirect.commands.loading import leave
from redirect.commands.logs import files
from redirect.commands.logs.counts import Counting, Counts
from redirect.commands.logs.filters import quoted
from redirect.commands.logs.progress import Progress
from redirect.commands.logs.records import parsed
from redirect.commands.logs.text import shown
from redirect.telemetry.access_log import KEYS

_COLUMNS = {**{key.name: key.sql_type for key in KEYS}, "truncated": "BOOLEAN", "lost": "BIGINT", "what": "VARCHAR"}

# A thread of DuckDB holds up to two buffers of 32 MiB; what does not fit into the limit goes to the temporary folder.
_MEMORY_LIMIT = "2GB"
_MAX_THREADS = 16

_PART_BYTES = 256 * 1024 * 1024


@contextmanager
def connected(**settings: str | bool | int | float | list[str]) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A database in memory, and a folder for what must not outlive it."""
    with (
        tempfile.TemporaryDirectory(prefix="redirect-logs-") as folder,
        duckdb.connect(config={"memory_limit": _MEMORY_LIMIT, "temp_directory": folder, **settings}) as connection,
    ):
        try:
            connection.execute(f"SET threads = least(current_setting('threads'), {_MAX_THREADS})")
            connection.execute("SET TimeZone = 'UTC'")  # of the records: `now()` would be cast by the machine's
            connection.execute("SET enable_progress_bar = true")  # for `query_progress`
            connection.execute("SET enable_progress_bar_print = false")
            yield connection, Path(folder)
        except duckdb.Error as error:
            leave(2, "\n".join(map(shown, str(error).splitlines())))  # what clients wrote may be in it


def source(paths: Iterable[str]) -> str:
    """The lines of the files as a table of SQL, but for those of error logs of routes, which may go to the same place.
    Broken lines are rows of NULLs."""
    names = ", ".join(quoted(glob.escape(path)) for path in paths)  # which DuckDB takes for patterns
    columns = ", ".join(f"{quoted(name)}: {quoted(sql_type)}" for name, sql_type in _COLUMNS.items())
    lines = f"read_json([{names}], format = 'newline_delimited', ignore_errors = true, columns = {{{columns}}})"
    return f"(SELECT * EXCLUDE what FROM {lines} WHERE what IS NULL)"  # noqa: S608  all quoted


def run(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Executes the statement while this thread prints the progress."""
    progress = Progress(100)
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(connection.execute, statement)
        try:
            while not wait([running], 0.1).done:
                progress.reach(max(0, round(connection.query_progress())))
        except BaseException:  # Ctrl-C or TERM: the thread would be waited for
            connection.interrupt()
            raise
        finally:
            progress.clear()
        running.result()


@contextmanager
def counted(paths: Sequence[str], counting: Counting) -> Iterator[Counts]:
    with connected() as (connection, folder):
        verb = "CREATE TEMP TABLE scanned AS"
        for table in _tables(paths, folder):
            run(connection, f"{verb} {counting.scan(table, quoted)}")
            verb = "INSERT INTO scanned"
        for name, select in counting.views().items():
            connection.execute(f"CREATE VIEW {name} AS {select}")
        yield counting.counts(lambda select: connection.execute(select).fetchall())


def _tables(paths: Sequence[str], folder: Path) -> Iterator[str]:
    """The files as tables of SQL, each to be read before the next one is asked for, since copies are made in parts."""
    clean = [path for path in paths if files.is_clean(path)]
    if clean:
        yield source(clean)
    others = [path for path in paths if path not in clean]
    copy = folder / "part.jsonl"
    progress = Progress(sum(map(files.size, others)))
    blocks = (_whole(block) for path in others for block in files.blocks(path, progress))
    written = _PART_BYTES if others else 0
    while written >= _PART_BYTES:
        written = 0
        with copy.open("wb") as file:
            while written < _PART_BYTES and (block := next(blocks, None)) is not None:
                written += file.write(block)
        progress.clear()
        yield source([str(copy)])


def _whole(block: bytes) -> bytes:
    """The block without a torn last line, which is not counted as broken."""
    if block.endswith(b"\n"):
        return block
    return block + b"\n" if parsed(block) else b""
