"""The command itself: how it begins, and how it ends before it has begun."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.log_lines import line
from support.service import ROOT, ended, environment

pytestmark = pytest.mark.processes

# Stands in for a library, and takes its time.
SLOW = "import time; print('imported', flush=True); time.sleep(60)"


@pytest.mark.parametrize(
    ("command", "stop", "code"),
    [
        (["-m", "redirect", "serve"], signal.SIGTERM, 0),
        (["-m", "redirect", "serve"], signal.SIGINT, 0),
        (["redirect/server.py"], signal.SIGTERM, 0),
        (["-m", "redirect", "check"], signal.SIGINT, 128 + signal.SIGINT),
        (["-m", "redirect", "logs", "-f"], signal.SIGTERM, 128 + signal.SIGTERM),
    ],
    ids=["serve, TERM", "serve, Ctrl-C", "server.py, TERM", "check, Ctrl-C", "logs, TERM"],
)
def test_a_signal_while_it_imports_ends_it_silently(
    command: list[str], stop: signal.Signals, code: int, tmp_path: Path
) -> None:
    """As PID 1 of a container it would not be ended by it, and elsewhere would show where the imports are. Those that
    ask a service that runs for something do not end one that does not run yet."""
    (tmp_path / "click.py").write_text(SLOW)
    variables = environment(PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"imported\n"
        if code == 0:
            for other in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                process.send_signal(other)
        process.send_signal(stop)
        _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (code, b"")


def assert_full_disk_is_told(command: str) -> None:
    done = ended("bash", "-c", f"{sys.executable} -m redirect {command} > /dev/full")
    assert (done.returncode, done.stderr) == (1, "the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("command", ["check", "check --json", "logs query 'SELECT 1' /dev/null"])
def test_a_full_disk_is_told_in_a_line(command: str) -> None:
    assert_full_disk_is_told(command)


def test_a_full_disk_of_the_output_says_nothing_of_the_file_that_was_changed(tmp_path: Path) -> None:
    pools = tmp_path / "pools.toml"
    pools.write_text('[p]\nis_default = true\nweighted_hosts = { "a" = 2, "b" = 1 }\n')
    assert_full_disk_is_told(f"pools set-weight p a 7 --config {pools}")
    assert '"a" = 7' in pools.read_text()


def test_a_service_needs_the_folder_in_which_it_is_started(tmp_path: Path) -> None:
    done = ended("bash", "-c", f"cd {tmp_path}; rmdir {tmp_path}; {sys.executable} -m redirect serve")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("the folder in which it is started cannot be used: No such file or directory; ")


def test_a_service_needs_some_descriptors() -> None:
    shell = f"ulimit -n 200; {sys.executable} -m redirect serve"
    done = ended("bash", "-c", shell)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "a process may have 200 open files (ulimit -Hn); allow at least 256\n"


@pytest.mark.parametrize("command", ["logs /dev/null", "logs query 'SELECT 1' /dev/null", "check"])
def test_an_output_that_is_closed_is_no_fault(command: str) -> None:
    shell = f"{sys.executable} -m redirect {command} >&-"
    done = ended("bash", "-c", shell)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["logs", "logs --json", "logs report top", "logs query 'SELECT 1'", "check"])
def test_a_standard_error_that_is_closed_is_no_fault(command: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(line())
    file = tmp_path / "a.jsonl" if command != "check" else ""
    shell = f"{sys.executable} -m redirect {command} {file} 2>&-"
    done = ended("bash", "-c", shell)
    assert done.returncode == 0
    assert done.stdout


def test_a_standard_input_that_is_closed_is_empty() -> None:
    shell = f"{sys.executable} -m redirect check - <&-; {sys.executable} -m redirect logs - <&-"
    done = ended("bash", "-c", shell)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "standard input:1:1: holds no pool; a pool begins with a line like [pool-a]\n"


EAST = "\u6771"

IN_LATIN_1 = [
    pytest.param("check {toml}", "\\u6771", id="check"),
    pytest.param("check {toml} --diff {other}", "\\u6771", id="check --diff"),
    pytest.param("explain --config {toml}", "\\u6771", id="explain"),
    pytest.param("pools set-weight p " + EAST + " 2 --dry-run --config {toml}", EAST, id="a diff, for patch"),
    pytest.param("logs {log}", EAST, id="logs"),
    pytest.param("logs report top --by user_agent {log}", "\\u6771", id="report"),
    pytest.param("logs query 'SELECT user_agent FROM access' {log}", "\\u6771", id="query"),
    pytest.param("logs query --csv 'SELECT user_agent FROM access' {log}", EAST, id="CSV, for machines"),
]


@pytest.mark.parametrize(("command", "shown"), IN_LATIN_1)
def test_a_locale_without_a_character_shows_an_escape(command: str, shown: str, tmp_path: Path) -> None:
    """What is for machines is UTF-8, as the lines of the log and the TOML are."""
    paths = {"toml": tmp_path / "pools.toml", "other": tmp_path / "other.toml", "log": tmp_path / "a.jsonl"}
    pool = f'[p]\nis_default = true\nweighted_hosts = {{ "{EAST}" = 1 }}\n'
    paths["toml"].write_text(pool, encoding="utf-8")
    paths["other"].write_text(pool.replace(EAST, "a"), encoding="utf-8")
    paths["log"].write_bytes(line(origin=EAST, user_agent=EAST))
    shell = f"{sys.executable} -m redirect {command.format(**paths)}"
    done = ended("bash", "-c", shell, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert shown in done.stdout


def test_times_are_compared_in_utc_wherever_the_machine_is(tmp_path: Path) -> None:
    """That of a record is one, and so is `now()`."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    (tmp_path / "a.jsonl").write_bytes(line(time=time))
    sql = "SELECT count(*) FROM access WHERE abs(epoch(now()::TIMESTAMP - time)) < 600"
    for zone in ("UTC", "Asia/Tokyo", "America/New_York"):
        command = [sys.executable, "-m", "redirect", "logs", "query", "--csv", sql, str(tmp_path / "a.jsonl")]
        assert ended(*command, TZ=zone).stdout.split()[-1] == "1", zone
