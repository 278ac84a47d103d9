"""The README is true: every command that it shows is run, every answer compared.

`make run` is started as it says, and the console blocks are run against it. What needs a container
engine is run by tests/e2e; `make test` runs this.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.corpus import CORPUS
from support.logged import KEYS, write_log
from support.service import ROOT, environment, free_port, is_ready, wait_for

from redirect.config.loader import load, parse_config
from redirect.config.schema import HealthCheckTable
from redirect.config.settings import Settings

README = (ROOT / "README.md").read_text()


class Shown(NamedTuple):
    """A command of the README and what it prints there."""

    command: str
    output: str


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


CONSOLE = [
    Shown(*each.groups())
    for block in blocks("console")
    for each in re.finditer(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]


def pattern(output: str) -> str:
    """What a command may print where the README shows `output`: another date, another origin of the pool."""
    escaped = re.escape(output)
    escaped = re.sub(r"date:\\ .*", "date: .*", escaped)
    return re.sub(r"(location:\\ http://origin\\-)\d", r"\1[456]", escaped)


class Made(NamedTuple):
    """`make run`: its input, which is a terminal's, and how to reach what it serves."""

    process: subprocess.Popen[str]
    port: int
    admin_port: int


# A terminal around a command: what comes in on standard input is typed there.
TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    """`make run` at a terminal, with ports of its own."""
    port, admin_port = free_port(), free_port()
    venv = f"VENV={sys.prefix}"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            TERMINAL,
            "make",
            "--no-print-directory",
            "run",
            venv,
            f"--old-file={sys.prefix}/.ready-run",
        ],
        cwd=ROOT,
        env=environment(REDIRECT_SERVER_PORT=str(port), REDIRECT_ADMIN_BIND=f"127.0.0.1:{admin_port}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for(lambda: is_ready(f"http://127.0.0.1:{admin_port}") or process.poll() is not None)
        yield Made(process, port, admin_port)
    finally:
        if process.poll() is None:
            process.communicate("\x03", timeout=30)


def run(command: str, made: Made, folder: Path) -> str:
    """What `command` prints, on standard output and error, with its own ports instead of the README's."""
    own = command.replace("localhost:8080", f"localhost:{made.port}").replace(
        "localhost:9000", f"localhost:{made.admin_port}"
    )
    if "access.jsonl" in command:
        write_log(folder / "access.jsonl")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = environment(PATH=path, REDIRECT_POOLS_CONFIG_PATH=str(ROOT / "redirect_pools_config.toml"))
    ended = subprocess.run(
        ["bash", "-c", own], cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return ended.stdout.decode().replace("\r\n", "\n")


def test_there_is_something_to_run() -> None:
    """The README shows curl, check, explain, the log's reports and the admin listener."""
    commands = [shown.command.split()[0:2] for shown in CONSOLE]
    assert ["curl", "-si"] in commands
    assert ["redirect", "check"] in commands
    assert ["redirect", "explain"] in commands
    assert ["redirect", "logs"] in commands
    assert ["curl", "-s"] in commands


@pytest.mark.parametrize("shown", CONSOLE, ids=[shown.command[:40] for shown in CONSOLE])
def test_commands_print_what_is_shown(shown: Shown, made: Made, tmp_path: Path) -> None:
    """Each command, run as it stands, prints what the README shows."""
    printed = run(shown.command, made, tmp_path)
    assert re.fullmatch(pattern(shown.output.rstrip("\n")), printed.rstrip("\n")), printed


def test_make_run_ends_with_ctrl_c(made: Made) -> None:
    """Ctrl-C at the terminal ends `make run` with exit code 0."""
    assert made.process.poll() is None
    output, _ = made.process.communicate("\x03", timeout=30)
    assert made.process.returncode == 0, output
    assert "make: ***" not in output


def test_make_run_ends_with_term() -> None:
    """TERM to `make run` where there is no terminal, as a supervisor sends it, ends the service too."""
    port, admin_port = free_port(), free_port()
    process = subprocess.Popen(
        ["make", "run", f"VENV={sys.prefix}", f"--old-file={sys.prefix}/.ready-run"],
        cwd=ROOT,
        env=environment(REDIRECT_SERVER_PORT=str(port), REDIRECT_ADMIN_BIND=f"127.0.0.1:{admin_port}"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_for(lambda: is_ready(f"http://127.0.0.1:{admin_port}") or process.poll() is not None)
    process.terminate()
    output, _ = process.communicate(timeout=30)  # ends when the last process that holds the pipe does
    assert b"Shutting down: Master" in output


def test_what_make_installs(tmp_path: Path) -> None:
    """`make run` installs what serving needs, `make test` the developers' packages, and each leaves the other's work
    alone."""

    def installs(target: str) -> list[str]:
        command = ["make", "--dry-run", target, f"VENV={tmp_path}"]
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return re.findall(r"pip install .* -e (\S+)$", shown, re.MULTILINE)

    assert installs("run") == ["."]
    (tmp_path / ".ready-run").touch()
    assert installs("run") == []
    assert installs("test") == ["'.[dev]'"]
    (tmp_path / ".ready-dev").touch()
    assert installs("run") == installs("test") == []


def test_the_toml() -> None:
    """The TOML that is shown is one, and shows what the text says of it."""
    block, probed = blocks("toml")
    pool = parse_config(block.encode(), "README.md").default
    assert [origin.weight for origin in pool.origins] == [3, 2, 1]
    assert load(ROOT / "redirect_pools_config.toml").warnings == ()

    config = parse_config(probed.encode(), "README.md")
    assert config.warnings == ()
    assert config.default.health_check is not None


def test_the_health_check() -> None:
    """The table of keys has every key of a health check, with its default."""
    table = README[README.index("| key of `health_check`") :].partition("\n\n")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:3]] for row in table.splitlines()[2:]]
    shown = {key: default for keys, default in rows for key in re.findall(r"`(\w+)`", keys)}
    assert list(shown) == list(HealthCheckTable.model_fields)
    fields = HealthCheckTable.model_fields
    assert all(str(fields[name].default) in shown[name] for name in ("scheme", "timeout", "expect"))
    assert shown["interval"].split(", ")[0] == str(fields["interval"].default)
    assert shown["passes"] == f"{fields['passes'].default}, {fields['fails'].default}"


def test_the_record() -> None:
    """The record that is shown has every key, in order."""
    (block,) = blocks("json")
    assert list(json.loads(block)) == KEYS


def test_the_settings() -> None:
    """The table of variables has every setting, with its default."""
    rows = dict(
        re.findall(r"^\|[^|]*\| `([A-Z_]+)`(?:, `[A-Z_]+`)? \| `?([^|`]*?)`?(?:, `[^|`]*`)? \|", README, re.MULTILINE)
    )
    shown = {*re.findall(r"`((?:REDIRECT|FORWARDED)_[A-Z_]+)`", README)}
    assert shown == {
        "FORWARDED_ALLOW_IPS" if name == "forwarded_allow_ips" else f"REDIRECT_{name.upper()}"
        for name in Settings.model_fields
    }
    assert rows["REDIRECT_POOLS_CONFIG_PATH"] == "redirect_pools_config.toml"
    for name in ("pool_id_header", "admin_bind", "access_log", "keepalive", "graceful_timeout", "server_host"):
        assert rows[f"REDIRECT_{name.upper()}"] == str(Settings.model_fields[name].default), name


def test_the_hostile_requests() -> None:
    """There are as many hostile requests as it says."""
    assert f" {len(CORPUS)} requests of the kind" in README


def test_the_targets_of_make() -> None:
    """Every target of make that is shown is there."""
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = {line.partition(" - ")[0] for line in listed.splitlines()}
    assert set(re.findall(r"\bmake ([a-z0-9-]+)\b", README)) <= targets
