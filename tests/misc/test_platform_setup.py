"""setup.sh of the assembly `platform`: run with programs that only note how they were called, on files of the test."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.service import ROOT

pytestmark = pytest.mark.processes

SETUP = ROOT / "misc" / "assemblies" / "platform" / "setup.sh"
TOOLS = "bash cat dirname env grep od tail tee tr".split()
HOSTS = "127.0.0.1 localhost\n::1 localhost # no platform"


class Machine:
    """A Debian whose user `ada` is not root. `ls` of its bin are the programs that it has."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.hosts, self.env, self.release = (folder / each for each in ("bin", "hosts", ".env", "release"))
        self.called = folder / "called"
        self.bin.mkdir()
        self.hosts.write_text(HOSTS)
        self.release.write_text("ID=debian\n")
        for tool in TOOLS:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        self.has("sudo", '"$@"')
        for program in ("usermod", "chown"):
            self.has(program, f'echo "{program} $*" >>{self.called}')
        self.has("apt-cache", '[ "$2" = docker-compose ]')
        self.has("id", 'case $1 in -u) echo 1000;; -un) echo ada;; -nG) echo "ada users";; esac')
        # What it installs is there afterwards.
        install = f"[ $1 = update ] || /bin/ln -sf /bin/true {self.bin}/docker"
        self.has("apt-get", f'echo "apt-get $*" >>{self.called}; {install}')

    def has(self, program: str, script: str) -> None:
        path = self.bin / program
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def has_docker(self) -> None:
        self.has("docker", "exit 0")
        self.has("id", 'case $1 in -u) echo 1000;; -un) echo ada;; -nG) echo "ada docker";; esac')

    def has_sudo_run(self) -> None:
        """It is root that runs setup."""
        self.has("id", 'case $1 in -u) echo 0;; -un) echo root;; -nG) echo "ada docker";; esac')

    def setup(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        files = {"HOSTS_FILE": str(self.hosts), "ENV_FILE": str(self.env), "OS_RELEASE": str(self.release)}
        environment = {"PATH": str(self.bin), **files, **variables}
        return subprocess.run([SETUP, *arguments], env=environment, capture_output=True, text=True, check=False)

    def calls(self) -> list[str]:
        return self.called.read_text().splitlines() if self.called.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_is_missing_is_installed_and_the_user_told_to_log_in_again(machine: Machine) -> None:
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    assert machine.calls() == [
        "apt-get update",
        "apt-get install -y docker.io docker-compose",
        "usermod --append --groups docker ada",
    ]
    assert "only then ada may use docker" in done.stdout


def test_the_domain_and_the_secret_are_added_once(machine: Machine) -> None:
    machine.has_docker()
    machine.setup()
    hosts, env = machine.hosts.read_text(), machine.env.read_text()
    assert hosts == f"{HOSTS}\n127.0.0.1 platform\n"
    name, _, secret = env.strip().partition("=")
    assert (name, len(bytes.fromhex(secret)), os.stat(machine.env).st_mode & 0o077) == ("JWT_SECRET", 32, 0)

    again = machine.setup()
    assert again.returncode == 0, again.stderr
    assert (machine.hosts.read_text(), machine.env.read_text(), machine.calls()) == (hosts, env, [])


def test_with_sudo_the_secret_is_the_users(machine: Machine) -> None:
    """As compose runs as the user. One that root has from an earlier time is given to the user, too."""
    machine.has_docker()
    machine.has_sudo_run()
    given = f"chown ada: {machine.env}"
    assert machine.setup(SUDO_USER="ada").returncode == 0
    assert machine.calls() == [given]
    again = machine.setup(SUDO_USER="ada")
    assert (again.returncode, machine.calls()) == (0, [given, given]), again.stderr
    assert "JWT_SECRET is in" in again.stdout


def test_root_keeps_the_secret_without_sudo(machine: Machine) -> None:
    machine.has_docker()
    machine.has_sudo_run()
    assert machine.setup().returncode == 0
    assert (machine.env.exists(), machine.calls()) == (True, [])


@pytest.mark.parametrize(
    "line", ["", '""', "''", " ", ' ""', '"" # none', '" "', "\r", "a\nJWT_SECRET="], ids=lambda line: repr(line)
)
def test_a_secret_without_a_value_is_none(machine: Machine, line: str) -> None:
    """As compose sees it, which would refuse: the last line counts."""
    machine.has_docker()
    machine.env.write_text(f"JWT_SECRET={line}\n")
    machine.setup()
    before, _, secret = machine.env.read_text().removesuffix("\n").rpartition("\nJWT_SECRET=")
    assert (before, len(bytes.fromhex(secret))) == (f"JWT_SECRET={line}".replace("\r", ""), 32)


@pytest.mark.parametrize("line", ["JWT_SECRET=a", 'JWT_SECRET="a"', "export JWT_SECRET=a", "JWT_SECRET = a"])
def test_a_secret_of_the_user_is_kept(machine: Machine, line: str) -> None:
    machine.has_docker()
    machine.env.write_text(f"{line}\n")
    done = machine.setup()
    assert (machine.env.read_text(), "JWT_SECRET is in" in done.stdout) == (f"{line}\n", True)


def test_a_dry_run_changes_nothing_and_says_what_it_would_do(machine: Machine) -> None:
    done = machine.setup("--dry-run")
    assert done.returncode == 0, done.stderr
    assert (machine.hosts.read_text(), machine.env.exists(), machine.calls()) == (HOSTS, False, [])
    for would in (
        "apt-get install -y docker.io docker-compose",
        "--groups docker ada",
        "127.0.0.1 platform",
        "JWT_SECRET",
    ):
        assert would in done.stdout


@pytest.mark.parametrize("release", ["ID=fedora\n", None], ids=["Fedora", "a Mac"])
def test_another_system_is_refused_with_what_to_do_there(machine: Machine, release: str | None) -> None:
    machine.release.unlink()
    if release:
        machine.release.write_text(release)
    done = machine.setup()
    assert done.returncode == 1
    assert "On a Mac or elsewhere, install Docker Desktop" in done.stderr
    assert (machine.hosts.read_text(), machine.env.exists(), machine.calls()) == (HOSTS, False, [])


def test_compose_of_version_1_is_not_enough(machine: Machine) -> None:
    machine.has("docker", '[ "$1" != compose ]')
    machine.has("apt-get", f'echo "apt-get $*" >>{machine.called}')
    done = machine.setup()
    assert done.returncode == 1
    assert "docker compose is still missing" in done.stderr
