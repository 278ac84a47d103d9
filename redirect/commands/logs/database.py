"""The access log in DuckDB: its columns, its files, and statements that run with a progress bar.

The rule: DuckDB reads a file itself if that is clean. Others (compressed, pipes, torn, with holes) are read by
`files`, which checks them, and DuckDB gets copies: of a pipe it would keep all of the content in memory, of a .gz
it checks no checksum, and a hole ends its scan with an error.
"""

import glob
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import duckdb

from redirect.commands.loading import leave
from redirect.commands.logs import files
from redirect.commands.logs.filters import quoted
from redirect.commands.logs.progress import Progress
from redirect.commands.logs.records import parsed
from redirect.telemetry.access_log import KEYS

_COLUMNS = {**{key.name: key.sql_type for key in KEYS}, "truncated": "BOOLEAN", "lost": "BIGINT"}
IS_RECORD = "(time IS NOT NULL AND status IS NOT NULL)"

# A thread of DuckDB holds up to two buffers of 32 MiB; what does not fit into the limit goes to the temporary folder.
_MEMORY_LIMIT = "2GB"
_MAX_THREADS = 16

_PART_BYTES = 256 * 1024 * 1024

Settings = dict[str, str | bool | int | float | list[str]]


@contextmanager
def connected(settings: Settings) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A database in memory, and a folder for what must not outlive it."""
    with (
        tempfile.TemporaryDirectory(prefix="redirect-logs-") as folder,
        duckdb.connect(config={"memory_limit": _MEMORY_LIMIT, "temp_directory": folder, **settings}) as connection,
    ):
        try:
            connection.execute(f"SET threads = least(current_setting('threads'), {_MAX_THREADS})")
            connection.execute("SET enable_progress_bar = true")  # for `query_progress`
            connection.execute("SET enable_progress_bar_print = false")
            yield connection, Path(folder)
        except duckdb.Error as error:
            leave(2, str(error))


def source(paths: Sequence[str]) -> str:
    """The lines of the files as a table of SQL. Broken lines are rows of NULLs."""
    names = ", ".join(quoted(as_pattern(path)) for path in paths)
    columns = ", ".join(f"{quoted(name)}: {quoted(sql_type)}" for name, sql_type in _COLUMNS.items())
    return f"read_json([{names}], format = 'newline_delimited', ignore_errors = true, columns = {{{columns}}})"


def as_pattern(path: str) -> str:
    """DuckDB takes names of files for patterns."""
    return glob.escape(path)


def run(connection: duckdb.DuckDBPyConnection, statement: str | duckdb.Statement) -> None:
    """Executes the statement while this thread prints the progress."""
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


def copies(paths: Sequence[str], folder: Path) -> Iterator[str]:
    """Copies all files into `folder`, part by part; a part exists until the next one is asked for."""
    copy = folder / "part.jsonl"
    progress = Progress(sum(map(files.size, paths)))
    blocks = (_whole(block) for path in paths for block in files.blocks(path, progress))
    for number in count():
        written = 0
        with copy.open("wb") as file:
            while written < _PART_BYTES and (block := next(blocks, None)) is not None:
                written += file.write(block)
        progress.clear()
        if number and not written:
            return
        yield str(copy)


def _whole(block: bytes) -> bytes:
    """The block without a torn last line, which is not counted as broken."""
    if block.endswith(b"\n"):
        return block
    return block + b"\n" if parsed(block) else b""
