"""`redirect pools`: what its commands do and print, and how they end."""

import errno
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import Result
from support import command

POOLS = """\
# The pools.
[pool-a]
weighted_hosts = { "origin-1" = 2, "origin-2.example.com" = 1 } # ours
is_default = true

[pool-b]  # theirs
weighted_hosts = { "origin-3:8443" = 1 }
status = 308
"""
NAME = "redirect_pools_config.toml"
TAKEN = f"{NAME} is changed; a running service takes it when it reloads\n"


def run(*arguments: str, **variables: str) -> Result:
    return command.run("pools", *arguments, **variables)


DONE = {
    "set-weight": (
        ["set-weight", "pool-a", "Origin-2.Example.com.", "6"],
        ('"origin-2.example.com" = 1', '"origin-2.example.com" = 6'),
        "pool-a  302  default\n"
        "  origin-1              weight       2   25.00%\n"
        "  origin-2.example.com  weight       6   75.00%\n",
    ),
    "drain": (
        ["drain", "pool-a", "origin-1"],
        ('"origin-1" = 2', '"origin-1" = 0'),
        "pool-a  302  default\n"
        "  origin-1              weight       0    0.00%\n"
        "  origin-2.example.com  weight       1  100.00%\n",
    ),
    "add": (
        ["add", "pool-a", "origin-4"],
        ("1 } # ours", '1, "origin-4" = 1 } # ours'),
        "pool-a  302  default\n"
        "  origin-1              weight       2   50.00%\n"
        "  origin-2.example.com  weight       1   25.00%\n"
        "  origin-4              weight       1   25.00%\n",
    ),
    "add with a weight": (
        ["add", "pool-a", "origin-4", "0"],
        ("1 } # ours", '1, "origin-4" = 0 } # ours'),
        "pool-a  302  default\n"
        "  origin-1              weight       2   66.67%\n"
        "  origin-2.example.com  weight       1   33.33%\n"
        "  origin-4              weight       0    0.00%\n",
    ),
    "add to a new pool": (
        ["add", "--create", "eu.west", "origin-4", "3"],
        ("status = 308\n", 'status = 308\n\n["eu.west"]\nweighted_hosts = { "origin-4" = 3 }\n'),
        "eu.west  302\n  origin-4  weight       3  100.00%\n",
    ),
    "add to a pool that is there after all": (
        ["add", "--create", "pool-a", "origin-4", "1"],
        ("1 } # ours", '1, "origin-4" = 1 } # ours'),
        "pool-a  302  default\n"
        "  origin-1              weight       2   50.00%\n"
        "  origin-2.example.com  weight       1   25.00%\n"
        "  origin-4              weight       1   25.00%\n",
    ),
    "remove": (
        ["remove", "pool-a", "origin-1"],
        ('"origin-1" = 2, ', ""),
        "pool-a  302  default\n  origin-2.example.com  weight       1  100.00%\n",
    ),
}


@pytest.mark.parametrize(("arguments", "change", "printed"), DONE.values(), ids=DONE)
def test_done(file: Path, arguments: list[str], change: tuple[str, str], printed: str) -> None:
    """The file is changed where it has to be, and the pool is printed with the shares that it has then."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (0, printed + TAKEN, "")
    assert file.read_text() == POOLS.replace(*change)
    assert os.listdir(file.parent) == [NAME]


@pytest.mark.parametrize("arguments", [arguments for arguments, *_ in DONE.values()], ids=DONE)
def test_dry_run(file: Path, arguments: list[str]) -> None:
    """--dry-run prints a difference, which `patch` makes of the file what the command would; the file stays."""
    result = run(*arguments, "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"--- {NAME}\n+++ {NAME}\n@@ ")
    assert file.read_text() == POOLS
    assert run(*arguments).exit_code == 0
    old, new = Counter(POOLS.splitlines()), Counter(file.read_text().splitlines())
    said = result.stdout.splitlines()[3:]
    assert Counter(line[1:] for line in said if line.startswith("-")) == old - new
    assert Counter(line[1:] for line in said if line.startswith("+")) == new - old


def test_dry_run_of_a_file_without_a_last_line_end(file: Path) -> None:
    """Lines are those of TOML, and a missing last line end is marked as `diff` marks it."""
    file.write_bytes("# a\x85b\u2028c\r\n[p]\r\nis_default = true\r\nweighted_hosts.a = 1".encode())
    result = run("set-weight", "p", "a", "2", "--dry-run")
    assert result.stdout_bytes.decode() == (
        f"--- {NAME}\n+++ {NAME}\n@@ -1,4 +1,4 @@\n # a\x85b\u2028c\r\n [p]\r\n is_default = true\r\n"
        "-weighted_hosts.a = 1\n\\ No newline at end of file\n"
        "+weighted_hosts.a = 2\n\\ No newline at end of file\n"
    )


def test_nothing_to_change(file: Path) -> None:
    """A weight that the file has already is reported, and the file is not written."""
    before = file.stat()
    result = run("set-weight", "pool-b", "origin-3:8443", "1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith(f"{NAME} says so already, nothing is changed\n")
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_which_file(file: Path) -> None:
    """The option, or else the variable, names the file."""
    other = file.rename(file.with_name("other.toml"))
    assert run("drain", "pool-a", "origin-1", "--config", "other.toml").exit_code == 0
    assert run("set-weight", "pool-a", "origin-1", "2", REDIRECT_POOLS_CONFIG_PATH=str(other)).exit_code == 0
    assert other.read_text() == POOLS
    result = run("drain", "pool-a", "origin-1")
    assert result.exit_code == 1
    assert result.stderr == f"{NAME} is not there; name another with --config, or begin one with `redirect init`\n"


def test_warnings(file: Path) -> None:
    """What is legal but will surprise is said on standard error, and done."""
    result = run("add", "pool-b", "origin-4")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {NAME}:8:10: pool-b.status: browsers cache a permanent redirect (308)")


@pytest.mark.parametrize("option", [[], ["--dry-run"]])
def test_refused(file: Path, option: list[str]) -> None:
    """A change that `redirect check` would refuse is not made; exit code 1, with the faults that it would make."""
    result = run("remove", "pool-b", "origin-3:8443", *option)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"{NAME} is as it was, with the change it would have faults:\n"
        f"{NAME}:7:18: pool-b.weighted_hosts: weighted_hosts needs at least one host with a weight above 0\n"
    )
    assert file.read_text() == POOLS


def test_faulty_file(file: Path) -> None:
    """A file that has faults that the change does not mend is refused by these; exit code 1."""
    file.write_text("[pool-a\n")
    result = run("drain", "pool-a", "origin-1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"{NAME} is as it was, it has faults already:\n"
        f"{NAME}:1:8: not TOML: Expected ']' at the end of a table declaration\n"
    )


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EROFS, "Read-only file system\n"),
        (errno.EBUSY, "Device or resource busy; it is a mount of its own: change it where it is mounted from, or"),
    ],
)
def test_file_that_cannot_be_written(file: Path, number: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be replaced is said to be as it was, with the reason; exit code 1."""

    def replace(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", replace)
    result = run("drain", "pool-a", "origin-1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{NAME} is as it was, it cannot be changed: {said}")
    assert os.listdir(file.parent) == [NAME]
    assert file.read_text() == POOLS


def test_busy(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another program changes at the same time is left as it is then; exit code 1."""
    monkeypatch.setattr(os, "fsync", lambda _: file.write_text(f"{POOLS}# theirs"))
    result = run("drain", "pool-a", "origin-1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"{NAME} was changed meanwhile and is left as it is now; try again\n"
    assert file.read_text() == f"{POOLS}# theirs"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["drain", "pool-a", "origin-3"], f'{NAME}: pool-a has no origin "origin-3"; did you mean "origin-1"?'),
        (["drain", "pool-c", "origin-3"], f'{NAME}: there is no pool "pool-c"; did you mean "pool-b"?'),
        (["remove", "x", "origin-3"], f'{NAME}: there is no pool "x"; there are "pool-a", "pool-b"\n'),
        (["add", "pool-c", "origin-3"], '"pool-b"; --create makes a new one\n'),
        (["add", "pool-a", "origin-1"], 'pool-a has "origin-1" with weight 2 already; set-weight changes it\n'),
        (["set-weight", "pool-a", "origin-1", "-1"], "'WEIGHT': -1 is not in the range 0<=x<=1000000"),
        (["set-weight", "pool-a", "origin-1", "1000001"], "'WEIGHT': 1000001 is not in the range 0<=x<=1000000"),
        (["set-weight", "pool-a", "origin-1", "1.5"], "'1.5' is not a valid whole number from 0 to 1000000."),
        (["set-weight", "pool-a", "origin-1"], "Missing argument 'WEIGHT'"),
        (["drain", "pool-a", "origin-1", "--dry-rum"], "Got unexpected extra argument (--dry-rum)"),
    ],
)
def test_wrong_command(file: Path, arguments: list[str], said: str) -> None:
    """A command that is wrong says what is right; exit code 2."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert file.read_text() == POOLS


@pytest.mark.slow
def test_at_once(file: Path) -> None:
    """Commands that run at once in processes of their own lose nothing of each other."""
    command = [sys.executable, "-m", "redirect", "pools", "add", "pool-a", "--config", str(file)]
    processes = [subprocess.Popen([*command, f"new-{number}"], stdout=subprocess.DEVNULL) for number in range(6)]
    assert [process.wait(30) for process in processes] == [0] * 6
    assert all(f'"new-{number}" = 1' in file.read_text() for number in range(6))
    assert os.listdir(file.parent) == [NAME]


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["p", "o", "x"], "'x' is no share such as 10%", 2),
        (["p", "o", "5%", "--over", "1w"], "'1w' is no duration such as 90s, 10m, 1h or 2d", 2),
        (["p", "o"], "give POOL, ORIGIN and TO, perhaps with FROM before it; or POOL, ORIGIN and --end", 2),
        (["p", "o", "5%", "--end"], "give POOL, ORIGIN and TO", 2),
        (["--end"], "give POOL, ORIGIN and TO", 2),
        (["--over", "1h"], "give POOL, ORIGIN and TO", 2),
        (["p", "o", "5%", "--admin-bind", "off"], "there is no admin listener to ask, name one", 2),
        (["--admin-bind", "127.0.0.1:1"], "no answer from the admin listener at 127.0.0.1:1", 1),
    ],
)
def test_a_ramp_that_cannot_be_asked_for_says_why(arguments: list[str], message: str, code: int) -> None:
    result = run("ramp", *arguments)
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr
