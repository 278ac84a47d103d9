"""`redirect logs`: the selected records, in columns or as they are."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.log_lines import MARKER, line, run, zstd
from support.service import ended, environment

TIME = "2026-11-20T19:43:07.002Z"
SHOWN = f"{TIME}\t302\tpool-a\torigin-1\tGET\t127.0.0.1\t11us\tlocalhost:8080/x?y=1\n"


def test_columns_are_separated_by_tabs_where_there_is_no_terminal(log: Path) -> None:
    """Time, status, pool, origin, method, client, duration and target."""
    result = run("access.jsonl")
    assert (result.exit_code, result.stdout, result.stderr) == (0, SHOWN, "")


def test_an_absent_value_is_a_dash(log: Path) -> None:
    log.write_bytes(line(pool=None, origin=None, status=400, method=None, host=None, path=None, query=""))
    assert run("access.jsonl").stdout == f"{TIME}\t400\t-\t-\t-\t127.0.0.1\t11us\t-\n"


def test_nothing_of_a_client_reaches_the_terminal_unescaped(log: Path) -> None:
    """Control characters, also those that turn the direction of text, are shown as escapes."""
    log.write_bytes(line(host="\x1b[2J\x07", path="/\x85\n\u202e", query="\\\t\x7f"))
    assert run("access.jsonl").stdout.endswith("\t\\x1b[2J\\x07/\\x85\\n\\u202e?\\\\t\\x7f\n")


def test_a_log_of_another_writer_reaches_the_terminal_escaped_or_not_at_all(log: Path) -> None:
    """Raw control characters are no JSON; as text they may be in place of any value."""
    log.write_bytes(line(host="a").replace(b'"a"', b'"\x1b[2J"') + line(duration_us="\x1b[2J"))
    result = run("access.jsonl")
    assert (result.exit_code, result.stderr) == (0, "1 line is no access record and was left out\n")
    assert "\t\\x1b[2Jus\t" in result.stdout
    assert "\x1b" not in result.stdout


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


def test_broken_and_lost_lines_are_noted_on_standard_error(log: Path) -> None:
    log.write_bytes(line() + b"x\ny\n" + MARKER + line() + b"torn")
    result = run("access.jsonl")
    assert result.stdout == SHOWN * 2
    assert result.stderr == "12 lines were lost here\n2 lines are no access records and were left out\n"


def test_files_are_read_in_the_order_in_which_they_are_given(log: Path) -> None:
    """Compressed ones too, and standard input."""
    Path("old.jsonl.gz").write_bytes(gzip.compress(line(host="gz")))
    Path("older.jsonl.zst").write_bytes(zstd.compress(line(host="zst")))
    result = run("older.jsonl.zst", "old.jsonl.gz", "-", "access.jsonl", content=line(host="stdin"))
    assert [row.split("\t")[-1].split("/")[0] for row in result.stdout.splitlines()] == [
        "zst",
        "gz",
        "stdin",
        "localhost:8080",
    ]


def test_without_a_file_it_is_the_one_of_the_settings(log: Path) -> None:
    assert run(REDIRECT_ACCESS_LOG=str(log)).stdout == SHOWN
    assert run("--pool", "pool-b", REDIRECT_ACCESS_LOG=str(log)).stdout == ""


@pytest.mark.parametrize("variables", [{}, {"REDIRECT_ACCESS_LOG": "-"}, {"REDIRECT_ACCESS_LOG": "off"}])
@pytest.mark.parametrize("command", [[], ["report", "top"], ["query", "SELECT 1"]])
def test_without_any_file_it_says_what_to_do(command: list[str], variables: dict[str, Any]) -> None:
    result = run(*command, **variables)
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
def test_a_file_that_cannot_be_read_is_named(log: Path, command: list[str]) -> None:
    result = run(*command, "access.jsonl", "missing")
    assert (result.exit_code, result.stderr) == (2, "missing cannot be read: No such file or directory\n")


@pytest.mark.parametrize("command", [[], ["report", "top"]])
@pytest.mark.parametrize(
    ("name", "content"),
    [("x.gz", b"no gzip"), ("x.zst", b"no zstd"), ("x.gz", gzip.compress(b"x" * 999, mtime=0)[:-9] + b"z" * 9)],
)
def test_a_file_that_is_not_compressed_as_its_name_says_is_named(
    log: Path, name: str, content: bytes, command: list[str]
) -> None:
    Path(name).write_bytes(content)
    result = run(*command, name)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{name} cannot be read: ")


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress], ids=["gz", "zst"])
def test_a_compressed_file_ends_where_it_is_torn(log: Path, compress: Callable[[bytes], bytes]) -> None:
    content = b"".join(line(request_id=os.urandom(16).hex()) for _ in range(4000))
    name = "x.gz" if compress is gzip.compress else "x.zst"
    Path(name).write_bytes(compress(content)[:-2000])
    result = run(name, "--json")
    warning = f"warning: {name} is torn: what is behind its last whole block is missing\n"
    assert (result.exit_code, result.stderr) == (0, warning)
    assert content.startswith(result.stdout_bytes)
    assert 0 < len(result.stdout_bytes) < len(content)
    said = json.loads(run("report", "top", "--json", name).stdout)
    assert (said["records"], said["left_out"]) == (result.stdout.count("\n"), 0)


@pytest.mark.parametrize("name", ["x.jsonl", "x.gz", "x.zst"])
def test_an_empty_file_holds_nothing_whatever_its_name(log: Path, name: str) -> None:
    Path(name).write_bytes(b"")
    result = run(name)
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(
    ("option", "value", "allowed"), [("--since", "1x", "90s, 15m, 1h30m, 2d or 1w"), ("--status", "abc", "4xx")]
)
def test_a_bad_value_is_named_with_what_is_allowed(log: Path, option: str, value: str, allowed: str) -> None:
    result = run(option, value, "access.jsonl")
    assert result.exit_code == 2
    assert f"'{option}': '{value}' is" in result.stderr
    assert allowed in result.stderr


def test_the_help_shows_options_and_commands() -> None:
    printed = run("--help").stdout
    assert printed.startswith("Usage: cli logs [OPTIONS] [FILE]...")
    for word in ("--path-prefix", "--follow", "report ", "query "):
        assert word in printed


@pytest.mark.processes
def test_a_pipe_that_is_closed_ends_the_command_silently(log: Path) -> None:
    log.write_bytes(line() * 100_000)
    done = ended("bash", "-c", f"{sys.executable} -m redirect logs {log} | head -n 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, SHOWN, "")


TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


@pytest.mark.processes
def test_at_a_terminal_columns_are_aligned_and_refusals_have_a_color(log: Path) -> None:
    """Unless NO_COLOR is set."""
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
        done = subprocess.run(
            command, env=environment(**variables), stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
        assert done.stdout.decode() == expected
