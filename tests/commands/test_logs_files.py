"""The files of the log: whole lines, in blocks, whatever the file went through."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep

import pytest
from support.log_lines import line, run, zstd
from support.service import environment

from redirect.commands.logs import files, progress
from redirect.commands.logs.progress import Progress

HOLE_BYTES = 40_000_000  # more than DuckDB takes for one object


@pytest.mark.parametrize("size", [1, 1000, 5000, files.BLOCK_BYTES])
def test_blocks_are_whole_lines_and_all_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """From either end; only the last line may be torn."""
    monkeypatch.setattr(files, "BLOCK_BYTES", size)
    path = tmp_path / "x"
    content = b"".join(line(user_agent="x" * (each * 37 % 900)) for each in range(50)) + b"torn"
    path.write_bytes(content)
    with path.open("rb") as file:
        backwards = [block for block in files.blocks_backwards(file, len(content)) if block]
    for blocks in (list(files.blocks(str(path), Progress(0))), backwards[::-1]):
        assert b"".join(blocks) == content
        assert all(block.endswith(b"\n") for block in blocks[:-1])


def write_with_holes(path: Path) -> None:
    """A log that was truncated while a writer without O_APPEND had it open, as by logrotate's copytruncate."""
    with path.open("wb") as file:
        file.seek(HOLE_BYTES)
        file.write(line(host="behind") * 2)
        file.seek(HOLE_BYTES, os.SEEK_CUR)
        file.write(line(host="behind") * 2)


@pytest.mark.slow
def test_a_hole_is_one_broken_line(log: Path) -> None:
    """And what is behind it is a record. A copy without holes but with the NULs is no different at its beginning."""
    write_with_holes(log)
    shown = run("access.jsonl")
    assert (shown.stdout.count("behind"), shown.stderr) == (4, "2 lines are no access records and were left out\n")
    said = json.loads(run("report", "top", "--json", "access.jsonl").stdout)
    assert (said["records"], said["left_out"]) == (4, 2)
    assert run("query", "--csv", "SELECT count(*) AS n FROM access", "access.jsonl").stdout == "n\n4\n"
    log.write_bytes(b"\0" * HOLE_BYTES + line() * 2)
    said = json.loads(run("report", "top", "--json", "access.jsonl").stdout)
    assert (said["records"], said["left_out"]) == (2, 1)


@pytest.mark.parametrize("size", [1, 7, files.BLOCK_BYTES])
def test_a_hole_ends_a_line_wherever_blocks_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", size)
    path = tmp_path / "x"
    path.write_bytes(b"\0" * 20 + b"first\nto" + b"\0" * 20 + b"rn\n" + b"\0" * 20 + b"\nlast\0")
    with path.open("rb") as file:
        backwards = [*files.blocks_backwards(file, path.stat().st_size)]
    for blocks in (files.blocks(str(path), Progress(0)), backwards[::-1]):
        assert b"".join(blocks) == b"\0\nfirst\nto\0\nrn\n\0\nlast\0"


def test_the_last_records_are_found_before_a_hole(log: Path) -> None:
    """`--follow` reads backwards as far as it has to."""
    write_with_holes(log)
    with log.open("rb") as file:
        found = b"".join(reversed(list(files.blocks_backwards(file, log.stat().st_size))))
    assert found.count(b"behind") == 4
    assert len(found) < 10_000


@pytest.mark.slow
def test_a_report_refuses_a_line_of_more_than_16_mib(log: Path) -> None:
    """DuckDB cannot read one, and it says so; `redirect logs` can."""
    log.write_bytes(line() + b"x" * HOLE_BYTES + b"\n" + line())
    result = run("report", "top", "access.jsonl")
    assert (result.exit_code, result.stdout) == (2, "")
    assert '"maximum_object_size" of 16777216 bytes exceeded' in result.stderr
    assert run("access.jsonl").stdout.count("\n") == 2


def test_clean_files_and_others_are_counted_together(log: Path) -> None:
    """Standard input, a pipe, an empty and a torn file, and one named like a pattern."""
    Path("torn").write_bytes(line(host="torn") + line()[:50])
    Path("empty").touch()
    Path("[a]*").write_bytes(line(host="pattern"))
    os.mkfifo("pipe")
    writer = subprocess.Popen(["bash", "-c", "cat torn > pipe"])
    names = ["access.jsonl", "-", "pipe", "empty", "torn", "[a]*", "access.jsonl"]
    result = run("report", "top", "--by", "host", "--json", *names, content=line(host="in"))
    assert (writer.wait(), result.stderr) == (0, "")
    assert {row["host"]: row["count"] for row in json.loads(result.stdout)["rows"]} == {
        "localhost:8080": 2,
        "in": 1,
        "torn": 2,
        "pattern": 1,
    }


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stderr", "silence", "shown"),
    [
        pytest.param(Terminal(), 0.0, "\r[###############               ]  50%\r\x1b[K", id="it takes long"),
        pytest.param(Terminal(), 1000.0, "", id="it does not"),
        pytest.param(io.StringIO(), 0.0, "", id="no terminal"),
    ],
)
def test_progress_is_shown_at_a_terminal_if_it_takes_long(
    stderr: io.StringIO, silence: float, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SILENCE_SECONDS", silence)
    monkeypatch.setattr("sys.stderr", stderr)
    bar = Progress(10)
    bar.advance(5)
    bar.clear()
    bar.clear()
    assert stderr.getvalue() == shown


@pytest.mark.processes
@pytest.mark.parametrize("command", [["logs", "--json"], ["logs", "report", "shares"]], ids=" ".join)
def test_ctrl_c_ends_a_command_silently(command: list[str]) -> None:
    """Also while it waits for standard input. The exit code is none of a report."""
    process = subprocess.Popen(
        [sys.executable, "-m", "redirect", *command, "-"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(line() * 10_000)  # more than pipes hold, so it is at work when this returns
        process.stdin.flush()
        sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 128 + signal.SIGINT
        assert process.stderr is not None
        assert process.stderr.read() == b""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def packed(name: str, content: bytes) -> str:
    Path(name).write_bytes(gzip.compress(content) if name.lower().endswith("gz") else content)
    return name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("bom.jsonl", b"\xef\xbb\xbf" + line() + line(status=404), id="a byte order mark"),
        pytest.param("bom.gz", b"\xef\xbb\xbf" + line() + line(status=404), id="and packed"),
        pytest.param("text.jsonl", line(status="302") + line(status="404"), id="statuses as text"),
        pytest.param("float.jsonl", line(status=302.0) + line(status=404), id="with a fraction"),
        pytest.param("LOG.GZ", line() + line(status=404), id="capitals"),
    ],
)
def test_all_commands_read_the_same(name: str, content: bytes, log: Path) -> None:
    """However another program wrote the file: `logs`, its reports and its queries find the same records."""
    path = packed(name, content)
    shown = run("--json", path)
    assert (shown.stdout.count("\n"), shown.stderr) == (2, "")
    assert run("--status", "4xx", "--json", path).stdout.count("\n") == 1
    report = json.loads(run("report", "statuses", "--json", path).stdout)["rows"]
    assert {row["status"]: row["count"] for row in report} == {302: 1, 404: 1}
    assert run("query", "--csv", "SELECT status FROM access ORDER BY 1", path).stdout == "status\n302\n404\n"


RECORDS = line() + line(status=404)

PACKED = [
    pytest.param("a.log", gzip.compress(RECORDS), id="gzip without a suffix"),
    pytest.param("a.log", zstd.compress(RECORDS), id="zstd without a suffix"),
    pytest.param("a.gz", zstd.compress(RECORDS), id="zstd with the suffix of gzip"),
    pytest.param("a.gz", gzip.compress(RECORDS) + bytes(1000), id="NULs behind it"),
    pytest.param("a.gz", gzip.compress(line()) + gzip.compress(line(status=404)), id="in two parts"),
]


@pytest.mark.parametrize(("name", "content"), PACKED)
def test_the_first_bytes_tell_how_a_file_is_packed(name: str, content: bytes, log: Path) -> None:
    Path(name).write_bytes(content)
    sql = "SELECT status FROM access ORDER BY 1"
    for path, given in ((name, None), ("-", content)):
        shown = run("--json", path, content=given)
        assert (shown.stdout.encode(), shown.stderr) == (RECORDS, "")
        report = run("report", "statuses", "--json", path, content=given)
        assert json.loads(report.stdout)["records"] == 2
        assert run("query", "--csv", sql, path, content=given).stdout == "status\n302\n404\n"


def test_a_pipe_is_read_from_its_first_byte(log: Path) -> None:
    os.mkfifo("pipe")
    for content in (RECORDS, gzip.compress(RECORDS)):
        Path("content").write_bytes(content)
        with subprocess.Popen(["bash", "-c", "cat content > pipe"]):
            assert run("--json", "pipe").stdout.encode() == RECORDS


OTHERS = [
    pytest.param(bz2.compress(RECORDS), "is packed with bzip2, which is not read: bzip2 -dc FILE |", id="bzip2"),
    pytest.param(lzma.compress(RECORDS), "is packed with xz, which is not read: xz -dc FILE |", id="xz"),
    pytest.param(RECORDS.decode().encode("utf-16"), "is UTF-16, as PowerShell writes it: iconv ", id="UTF-16"),
    pytest.param(RECORDS.replace(b"\n", b"\r"), "has CR for line ends, and LF ends a line: tr ", id="CR"),
]


@pytest.mark.parametrize(("content", "said"), OTHERS)
def test_what_cannot_be_read_is_told_with_the_remedy(content: bytes, said: str, log: Path) -> None:
    log.write_bytes(content)
    for command in ([], ["report", "top"], ["query", "SELECT 1"]):
        for path, name in (("access.jsonl", "access.jsonl"), ("-", "standard input")):
            result = run(*command, path, content=content)
            assert (result.exit_code, result.stdout) == (2, "")
            assert result.stderr.startswith(f"{name} {said}")


@pytest.mark.parametrize(
    "content",
    [gzip.compress(RECORDS)[:12], gzip.compress(RECORDS)[:2], zstd.compress(RECORDS)[:-10], zstd.compress(RECORDS)[:3]],
    ids=["gzip", "gzip, two bytes", "zstd", "zstd, three bytes"],
)
def test_a_torn_file_of_which_nothing_is_left_is_told(content: bytes, log: Path) -> None:
    log.write_bytes(content)
    for command in ([], ["report", "top"], ["query", "SELECT 1"]):
        result = run(*command, "access.jsonl")
        assert result.exit_code == 0
        assert result.stderr == ("warning: access.jsonl is torn: what is behind its last whole block is missing\n")


def test_the_last_records_are_found_in_a_file_with_a_byte_order_mark(log: Path) -> None:
    log.write_bytes(b"\xef\xbb\xbf" + line())
    with log.open("rb") as file:
        assert b"".join(files.blocks_backwards(file, log.stat().st_size)) == line()
