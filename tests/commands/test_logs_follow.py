"""`redirect logs --follow`: records as they are written, whatever becomes of the file."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.log_lines import line, run
from support.service import environment, wait_for

from redirect.commands.logs import follow
from redirect.commands.logs.follow import tail as follow_tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "access.jsonl"
    path.write_bytes(b"")
    return path


@pytest.fixture
def tail(log: Path) -> Iterator[Iterator[bytes]]:
    with closing(follow_tail(log.open("rb"))) as tail:
        yield tail


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def test_each_whole_line_comes_once(log: Path, tail: Iterator[bytes]) -> None:
    assert next(tail) == b""
    append(log, b"a\nb")
    assert next(tail) == b"a\n"
    assert next(tail) == b""
    append(log, b"c\n")
    assert next(tail) == b"bc\n"


def test_a_torn_line_may_be_taken_back(log: Path, tail: Iterator[bytes]) -> None:
    """A full disk tears a line, and the log takes the torn part back: nothing comes twice."""
    append(log, b"a\nto")
    assert next(tail) == b"a\n"
    os.truncate(log, 2)
    append(log, b"b\n")
    assert next(tail) == b"b\n"


def test_a_file_that_gets_shorter_is_read_from_its_beginning(log: Path, tail: Iterator[bytes]) -> None:
    append(log, b"a\nb\n")
    next(tail)
    log.write_bytes(b"c\n")
    assert next(tail) == b"c\n"


def test_a_new_file_that_cannot_be_read_yet_is_waited_for(log: Path, tail: Iterator[bytes]) -> None:
    """As for a moment after logs were rotated, until it is given to who may read it: a directory is none either."""
    append(log, b"a\n")
    old = log.rename(log.with_name("access.jsonl.1"))
    log.mkdir()
    assert next(tail) == b"a\n"
    append(old, b"b\n")
    assert next(tail) == b"b\n"
    log.rmdir()
    append(log, b"c\n")
    assert next(tail) + next(tail) == b"c\n"


def test_a_new_file_of_the_name_is_followed_and_the_old_one_too(log: Path, tail: Iterator[bytes]) -> None:
    """Workers change to the new one one after the other."""
    append(log, b"a\n")
    old = log.rename(log.with_name("access.jsonl.1"))
    assert next(tail) == b"a\n"
    append(old, b"b\n")
    assert next(tail) == b"b\n"
    append(log, b"c\n")
    append(old, b"d\n")
    assert next(tail) + next(tail) == b"d\nc\n"
    append(old, b"e\n")
    assert next(tail) == b"e\n"


@pytest.fixture
def following(log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The command, which follows `log`; its output is in `out` beside it."""
    for number in range(30):
        append(log, line(host=f"h{number}", status=302 + number % 2))
    append(log, line(host="torn")[:50])
    command = [sys.executable, "-m", "redirect", "logs", "--follow", "--status", "302", str(log)]
    with log.with_name("out").open("wb") as out:
        process = subprocess.Popen(command, env=environment(), stdout=out, stderr=subprocess.STDOUT)
    yield process
    process.kill()
    process.wait()


@pytest.mark.processes
def test_the_last_ten_records_are_shown_then_those_that_come(log: Path, following: "subprocess.Popen[bytes]") -> None:
    """Only selected ones count; Ctrl-C ends it silently."""

    def hosts() -> list[str]:
        rows = log.with_name("out").read_text().splitlines()
        return [row.split("\t")[-1].split("/")[0] for row in rows]

    wait_for(lambda: len(hosts()) == 10)
    append(log, line(host="torn")[50:] + line(host="not", status=303))
    log.rename(log.with_name("access.jsonl.1"))
    append(log, line(host="new"))
    wait_for(lambda: len(hosts()) == 12)
    assert hosts() == [*(f"h{number}" for number in range(10, 30, 2)), "torn", "new"]
    following.send_signal(signal.SIGINT)
    assert following.wait(30) == 0
    assert len(hosts()) == 12


def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    coming = follow.tail_of(str(path))
    assert [next(coming), next(coming)] == [b"", b""]
    append(path, line(host="first"))
    assert b"".join(next(coming) for _ in range(2)) == line(host="first")


@pytest.mark.parametrize("path", ["-", "x.gz", "/dev/null"])
def test_a_file_that_is_not_plain_cannot_be_followed(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.gz").touch()
    result = run("--follow", path)
    assert (result.exit_code, result.stderr) == (2, f"{path} cannot be followed: it is no plain file\n")
