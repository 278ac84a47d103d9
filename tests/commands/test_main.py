"""The command itself: how it begins, and how it ends before it has begun."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.service import ROOT, environment

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
    """As PID 1 of a container it would not be ended by it, and elsewhere would show where the imports are."""
    (tmp_path / "click.py").write_text(SLOW)
    variables = environment(PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"imported\n"
        process.send_signal(stop)
        _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (code, b"")


@pytest.mark.parametrize(
    "command", [["check"], ["check", "--json"], ["logs", "query", "SELECT 1", "/dev/null"]], ids=" ".join
)
def test_a_full_disk_is_told_in_a_line(command: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "redirect", *command],
            cwd=ROOT,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (1, b"the output cannot be written: No space left on device\n")
