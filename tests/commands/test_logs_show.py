"""`redirect logs`: the records that are meant, in columns or as they are."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.log_lines import MARKER, line, run, zstd
from support.service import environment

TIME = "2026-11-20T19:43:07.002Z"
SHOWN = f"{TIME}\t302\tpool-a\torigin-1\tGET\t127.0.0.1\t11us\tlocalhost:8080/x?y=1\n"


def test_columns(log: Path) -> None:
    """Time, status, pool, origin, method, client, duration and target, with tabs where there is no terminal."""
    result = run("access.jsonl")
    assert (result.exit_code, result.stdout, result.stderr) == (0, SHOWN, "")


def test_absent_values(log: Path) -> None:
    """What is absent is a dash; a request without a target has none."""
    log.write_bytes(line(pool=None, origin=None, status=400, method=None, host=None, path=None, query=""))
    assert run("access.jsonl").stdout == f"{TIME}\t400\t-\t-\t-\t127.0.0.1\t11us\t-\n"


def test_nothing_of_a_client_s_reaches_the_terminal_unescaped(log: Path) -> None:
    """Control characters, also those that turn the direction of text, are shown as escapes."""
    log.write_bytes(line(host="\x1b[2J\x07", path="/\x85\n\u202e", query="\\\t\x7f"))
    assert run("access.jsonl").stdout.endswith("\t\\x1b[2J\\x07/\\x85\\n\\u202e?\\\\t\\x7f\n")


def test_a_log_that_somebody_else_wrote(log: Path) -> None:
    """Control characters that the log would have escaped do not get through either, nor what is no JSON."""
    log.write_bytes(line(host="a", path="b").replace(b'"a"', b'"\x1b[2J"').replace(b'"b"', b'"\\q\x00"'))
    result = run("access.jsonl")
    assert result.exit_code == 0
    assert result.stdout.endswith('\t"\\x1b[2J""\\q\\x00"?y=1\n')
    assert "\\x1b" in run("report", "top", "--by", "host", "access.jsonl").stdout


def test_json_is_the_lines(log: Path) -> None:
    """--json prints the lines of the log, to the byte."""
    odd = json.dumps(json.loads(line())).encode() + b"\n"
    log.write_bytes(odd + line(pool="pool-b") + line(user_agent="\xff"))
    assert run("--json", "--pool", "pool-a", "access.jsonl").stdout_bytes == odd + line(user_agent="\xff")


FILTERS: dict[str, tuple[list[str], str]] = {
    "pool": (["--pool", "pool-b"], "b"),
    "origin": (["--origin", "origin-2"], "c"),
    "status": (["--status", "422"], "d"),
    "statuses": (["--status", "307,4xx"], "bd"),
    "since": (["--since", "2026-11-20T20:00:00+01:00"], "abcde"),
    "since then": (["--since", "2026-11-21"], "e"),
    "path prefix": (["--path-prefix", "/é"], "c"),
    "all together": (["--pool", "pool-a", "--status", "302", "--since", "2026-11-21"], "e"),
}


@pytest.mark.parametrize(("options", "expected"), FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_filters(log: Path, options: list[str], expected: str, form: list[str]) -> None:
    """A record is shown if all the options hold for it; options may stand before and behind the files."""
    log.write_bytes(
        line(host="a", pool_requested="pool-b")
        + line(host="b", pool="pool-b", status=307)
        + line(host="c", origin="origin-2", path="/\xc3\xa9/x")
        + line(host="d", status=422)
        + line(host="e", time="2026-11-21T00:00:00.000Z")
    )
    for arguments in ([*options, *form, "access.jsonl"], ["access.jsonl", *form, *options]):
        result = run(*arguments)
        assert result.exit_code == 0
        shown = [host for host in "abcde" if f"\t{host}/" in result.stdout or f'"host":"{host}"' in result.stdout]
        assert "".join(shown) == expected


def test_notes(log: Path) -> None:
    """Lines that are no records are counted on standard error, and lost ones are told where they were."""
    log.write_bytes(line() + b"x\ny\n" + MARKER + line() + b"torn")
    result = run("access.jsonl")
    assert result.stdout == SHOWN * 2
    assert result.stderr == "12 lines were lost here\n2 lines are no access records and were left out\n"


def test_several_files(log: Path) -> None:
    """Files are read in the order in which they are given, compressed ones too, and standard input."""
    Path("old.jsonl.gz").write_bytes(gzip.compress(line(host="gz")))
    Path("older.jsonl.zst").write_bytes(zstd.compress(line(host="zst")))
    result = run("older.jsonl.zst", "old.jsonl.gz", "-", "access.jsonl", content=line(host="stdin"))
    assert [row.split("\t")[-1].split("/")[0] for row in result.stdout.splitlines()] == [
        "zst",
        "gz",
        "stdin",
        "localhost:8080",
    ]


def test_the_configured_file(log: Path) -> None:
    """Without a file it is the one of REDIRECT_ACCESS_LOG."""
    assert run(variables={"REDIRECT_ACCESS_LOG": str(log)}).stdout == SHOWN
    assert run("--pool", "pool-b", variables={"REDIRECT_ACCESS_LOG": str(log)}).stdout == ""


@pytest.mark.parametrize("variables", [{}, {"REDIRECT_ACCESS_LOG": "-"}, {"REDIRECT_ACCESS_LOG": "off"}])
@pytest.mark.parametrize("command", [[], ["report", "top"], ["query", "SELECT 1"]])
def test_no_file(command: list[str], variables: dict[str, str]) -> None:
    """Without any file it says what to do."""
    result = run(*command, variables=variables)
    assert result.exit_code == 2
    assert result.stderr == (
        "no FILE is given, and REDIRECT_ACCESS_LOG names none: name one, or - for standard input\n"
    )


def test_a_file_called_like_a_command(log: Path) -> None:
    """A first word that names a command is one; anywhere else, and with ./, it is a file."""
    log.rename("report")
    assert run("./report").stdout == SHOWN
    assert run("--pool", "pool-a", "report").stdout == SHOWN
    assert "shares" in run("report", "--help").stdout


@pytest.mark.parametrize("command", [[], ["report", "top"], ["query", "SELECT 1"]])
def test_a_missing_file(log: Path, command: list[str]) -> None:
    """A file that cannot be read is named; exit code 2."""
    result = run(*command, "access.jsonl", "missing")
    assert (result.exit_code, result.stderr) == (2, "missing cannot be read: No such file or directory\n")


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.gz", b"no gzip"), ("x.zst", b"no zstd"), ("x.gz", gzip.compress(b"x" * 999)[:-9] + b"z" * 9)],
)
def test_a_file_that_is_not_what_it_says(log: Path, name: str, content: bytes) -> None:
    """A file that is not compressed as its name says is named; exit code 2."""
    Path(name).write_bytes(content)
    result = run(name)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{name} cannot be read: ")


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress], ids=["gz", "zst"])
def test_a_compressed_file_that_is_torn(log: Path, compress: Callable[[bytes], bytes]) -> None:
    """A compressed file that is still written ends where it is torn."""
    content = b"".join(line(request_id=os.urandom(16).hex()) for _ in range(4000))
    name = "x.gz" if compress is gzip.compress else "x.zst"
    Path(name).write_bytes(compress(content)[:-2000])
    result = run(name, "--json")
    assert result.exit_code == 0
    assert content.startswith(result.stdout_bytes)
    assert 0 < len(result.stdout_bytes) < len(content)


@pytest.mark.parametrize("name", ["x.jsonl", "x.gz", "x.zst"])
def test_an_empty_file(log: Path, name: str) -> None:
    """An empty file holds nothing, whatever its name."""
    Path(name).write_bytes(b"")
    result = run(name)
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [("--since", "1x", "90s, 15m, 1h or 2d"), ("--status", "abc", "4xx")],
)
def test_bad_values(log: Path, option: str, value: str, allowed: str) -> None:
    """A bad value is named with its option and what is allowed; exit code 2."""
    result = run(option, value, "access.jsonl")
    assert result.exit_code == 2
    assert f"'{option}': '{value}' is" in result.stderr
    assert allowed in result.stderr


def test_help() -> None:
    """The help shows the options of the default form, and the commands."""
    printed = run("--help").stdout
    assert printed.startswith("Usage: cli logs [OPTIONS] [FILE]...")
    for word in ("--path-prefix", "--follow", "report ", "query "):
        assert word in printed


def test_a_reader_that_goes_away(log: Path) -> None:
    """A pipe that is closed ends the command without a word."""
    log.write_bytes(line() * 100_000)
    command = f"{sys.executable} -m redirect logs access.jsonl | head -n 1"
    ended = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == (SHOWN, "")


TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def test_a_terminal(log: Path) -> None:
    """At a terminal columns are aligned, and refusals have a color unless NO_COLOR is set."""
    log.write_bytes(line() + line(status=422, pool="p", origin=None))
    command = [sys.executable, "-c", TERMINAL, sys.executable, "-m", "redirect", "logs", "access.jsonl"]
    plain = (
        f"{TIME}  302  pool-a  origin-1  GET  127.0.0.1  11us  localhost:8080/x?y=1\r\n"
        f"{TIME}  422  p       -         GET  127.0.0.1  11us  localhost:8080/x?y=1\r\n"
    )
    for variables, expected in (
        ({"NO_COLOR": "1"}, plain),
        ({}, plain.replace(f"{TIME}  422", f"\x1b[33m{TIME}  422").removesuffix("\r\n") + "\x1b[0m\r\n"),
    ):
        ended = subprocess.run(
            command, env=environment(**variables), stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
        assert ended.stdout.decode() == expected
