"""rgate and kx: what their READMEs say once is enough for each later command, in any terminal."""

import os
import re
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest
from support.assemblies import ASSEMBLIES
from support.service import ROOT

# Of none of these containers anything runs here: what is asked is whether compose takes its files.
LATER = ["config --quiet", "ps", "logs", "stop", "down"]


def copied(name: str, folder: Path) -> Path:
    """The assembly as it is fetched, beside the window on docker's API. Compose names a project after its folder."""
    shutil.copytree(ROOT / "misc" / "docker-api", folder / "docker-api", ignore=lambda *_: [".env"])
    assembly = folder / "assemblies" / f"redirect-{name}-{secrets.token_hex(4)}"
    shutil.copytree(ASSEMBLIES / name, assembly)
    return assembly


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """In a terminal in which nothing else was said."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def commands(folder: Path) -> list[str]:
    """Of the README's first block."""
    block = re.search(r"(?:^ {4}.*\n)+", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert block is not None
    return [line.strip() for line in block[0].splitlines()]


@pytest.mark.parametrize(("name", "files"), [("rgate", [""]), ("kx", ["", "--env-file .env.dev "])])
def test_later_commands_need_no_more_than_the_first_one(name: str, files: list[str], tmp_path: Path) -> None:
    folder = copied(name, tmp_path)
    once, up = commands(folder)
    assert up == "docker compose up --build --wait"
    assert "set it in misc/docker-api/.env" in run("docker compose ps", folder).stderr
    assert run(once, folder).returncode == 0
    done = [run(f"docker compose {file}{later}", folder) for file in files for later in LATER]
    assert [each for each in done if each.returncode] == []


def test_what_is_written_there_is_no_change_to_commit() -> None:
    assert "misc/docker-api/.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()
