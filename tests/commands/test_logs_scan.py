"""Work on all pieces of the log, by several processes where there is much of it."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.log_lines import line
from support.service import environment

from redirect.commands.logs import files, progress, scan
from redirect.commands.logs.progress import Progress

LINES = 100_000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A log that several processes read; every thousandth line is of pool-b, the last one is torn."""
    path = tmp_path_factory.mktemp("large") / "access.jsonl"
    thousand = b"".join(line(pool="pool-b" if each == 999 else "pool-a", duration_us=each) for each in range(1000))
    path.write_bytes(thousand * (LINES // 1000) + line()[:50])
    assert path.stat().st_size > scan.MUCH
    yield path
    path.unlink()


def run(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "redirect", "logs", *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, check=False)


def test_processes_find_each_line_once(large: Path) -> None:
    """Of a large file each line is found, once, and in its order."""
    shown = run("--json", "--pool", "pool-b", str(large))
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert shown.stdout == line(pool="pool-b", duration_us=999) * (LINES // 1000)
    said = json.loads(run("report", "latency", "--json", str(large)).stdout)
    assert (said["records"], said["left_out"]) == (LINES, 0)
    assert said["rows"][0]["p50_us"] == 499


@pytest.mark.parametrize("size", [1, 1000, 5000, files.PIECE])
def test_pieces_are_all_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Pieces, and the blocks of a piece, are whole lines, and all of them together are the file."""
    monkeypatch.setattr(files, "BLOCK", max(1, size // 3))
    path = tmp_path / "x"
    content = b"".join(line(user_agent="x" * (each * 37 % 900)) for each in range(50)) + b"torn"
    path.write_bytes(content)
    blocks = [block for piece in files.pieces(str(path), size) for block in piece.blocks()]
    assert b"".join(blocks) == content
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    assert sum(piece.size for piece in files.pieces(str(path), size)) == len(content)


def test_a_file_that_is_rotated_away(tmp_path: Path) -> None:
    """A piece is not read from another file that took the name meanwhile."""
    path = tmp_path / "x"
    path.write_bytes(line())
    (place,) = files.places(str(path))
    path.rename(tmp_path / "y")
    path.write_bytes(line())
    with pytest.raises(files.UnreadableError, match="x was rotated while it was read; ask again"):
        list(place.blocks())


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stderr", "silence", "shown"),
    [
        (Terminal(), 0.0, "\r[###############               ]  50%\r\x1b[K"),
        (Terminal(), 1000.0, ""),
        (io.StringIO(), 0.0, ""),
    ],
    ids=["it takes long", "it does not", "no terminal"],
)
def test_progress(stderr: io.StringIO, silence: float, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """How far we are is told at a terminal, if it takes long, and is gone when we are done."""
    monkeypatch.setattr(progress, "LONGEST_SILENCE", silence)
    monkeypatch.setattr("sys.stderr", stderr)
    bar = Progress(10)
    bar.advance(5)
    bar.clear()
    bar.clear()
    assert stderr.getvalue() == shown


def test_ctrl_c(large: Path) -> None:
    """Ctrl-C ends all processes, without a traceback."""
    script = (
        f"import sys; from redirect.commands.main import cli; sys.argv[1:] = ['logs', '--json', {str(large)!r}]; cli()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        process.stdout.read(1000)  # it is at work, and waits for us to read on
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, stderr.strip()) == (1, b"Aborted!")
