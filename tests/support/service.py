"""The service as a user runs it: a process of its own, on ports of its own, ended with the test."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import SystemRandom
from typing import Any

import httpx
import tomli_w

from redirect.config.loader import content_hash

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_START = 30

POOLS: dict[str, Any] = {
    "pool-a": {"weighted_hosts": {"origin-1": 5, "origin-2": 3, "origin-3": 2}, "is_default": True},
    "pool-b": {"weighted_hosts": {"origin-4": 3, "origin-5": 2, "origin-6": 1, "drained": 0}},
    "pool-c": {"weighted_hosts": {"origin-7": 1}, "status": 307},
}

# Another TOML, which sends all requests to one origin.
NEW = tomli_w.dumps({"p": {"weighted_hosts": {"new": 1}, "is_default": True}}).encode()

# Each request on a connection of its own, so that any worker may answer it. What httpx does without a client reads all
# certificates of the system for each request: 24 ms, beside 1.
CLIENT = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0))


def free_port() -> int:
    """A port that nobody has now, nor any other test gets until it comes round again in this process."""
    while True:
        port = next(_ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _own_ports() -> Iterator[int]:
    """500 ports of this process's own, in turn, for ever: who listens on one does so a second after it was chosen, and
    other processes of tests choose meanwhile. None is of those that systems give to clients, who might get it too."""
    with socket.socket(socket.AF_UNIX) as claim:
        for first in SystemRandom().sample(range(10_000, 32_000, 500), 44):
            with contextlib.suppress(OSError):
                claim.bind(f"\0redirect-tests-ports-{first}")
                yield from itertools.cycle(range(first, first + 500))
    raise RuntimeError("44 processes of tests run on this machine already: end some of them")


_ports = _own_ports()


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without settings of ours, and with `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REDIRECT_", "FORWARDED_"))}
    return kept | variables


def ended(*command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """A command that was run to its end, with `variables` in its environment."""
    return subprocess.run(
        command, cwd=ROOT, env=environment(**variables), capture_output=True, text=True, timeout=60, check=False
    )


def patched(program: str, *arguments: str) -> tuple[str, ...]:
    """The command that serves once this program has changed something of the service."""
    served = f'{program}\nfrom redirect.commands.main import cli\ncli(["serve"])'
    return sys.executable, "-c", served, *arguments


class Running:
    """A service that runs: where it is, what it logged, and how it ends."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, admin_url: str, folder: Path) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.admin_url = admin_url
        self.port = port
        self.pools = folder / "pools.toml"
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"

    def stdout(self) -> str:
        return self._stdout.read_text()

    def lines(self) -> list[str]:
        """Those on standard output, as far as they are whole."""
        return whole_lines(self._stdout)

    def stderr(self) -> str:
        return self._stderr.read_text()

    def records(self, count: int) -> list[dict[str, Any]]:
        """The access records on standard output, once there are `count` of them."""
        wait_for(lambda: len(self.lines()) >= count)
        return [json.loads(line) for line in self.lines()]

    def record(self, request_id: str) -> dict[str, Any]:
        """The access record of the request with that X-Request-ID, once it is there."""
        wait_for(lambda: any(f'"{request_id}"' in line for line in self.lines()))
        (found,) = (line for line in self.lines() if f'"{request_id}"' in line)
        record: dict[str, Any] = json.loads(found)
        return record

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends the service and returns its exit code."""
        self.process.send_signal(how)
        return self.process.wait(30)


def whole_lines(file: Path) -> list[str]:
    """The lines of a file, without one that is just being written: a reader may see a part of a write."""
    return file.read_text().rpartition("\n")[0].splitlines()


def wait_for(condition: Callable[[], bool], seconds: float = SECONDS_TO_START) -> None:
    """Returns as soon as `condition` holds; fails if it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_ready(admin_url: str) -> bool:
    try:
        return CLIENT.get(f"{admin_url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


@contextlib.contextmanager
def running(
    folder: Path,
    *,
    pools: dict[str, Any] = POOLS,
    command: tuple[str, ...] = (),
    admin_url: str | None = None,
    **variables: str,
) -> Iterator[Running]:
    """The service over `pools` as a process; `command` instead of `python -m redirect serve`."""
    port, admin_port = free_port(), free_port()
    (folder / "pools.toml").write_text(tomli_w.dumps(pools))
    settings = {
        "REDIRECT_POOLS_CONFIG_PATH": str(folder / "pools.toml"),
        "REDIRECT_SERVER_HOST": "127.0.0.1",
        "REDIRECT_SERVER_PORT": str(port),
        "REDIRECT_ADMIN_BIND": f"127.0.0.1:{admin_port}",
        "REDIRECT_WORKERS": "2",
    }
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            command or (sys.executable, "-m", "redirect", "serve"),
            cwd=ROOT,
            env=environment(**(settings | variables)),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    service = Running(process, port, admin_url or f"http://127.0.0.1:{admin_port}", folder)
    try:
        wait_for(lambda: is_ready(service.admin_url) or process.poll() is not None)
        assert process.poll() is None, service.stderr()
        yield service
    finally:
        if process.poll() is None:
            service.stop()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def status(service: Running) -> dict[str, Any]:
    found: dict[str, Any] = CLIENT.get(f"{service.admin_url}/status").json()
    return found


def is_applied(service: Running) -> bool:
    """Whether all workers have the configuration, and have applied the health that was published."""
    seen = status(service)
    published = seen["configuration"]["hash"], seen["verdicts"]
    return all((worker["config"], worker["verdicts"]) == published for worker in seen["workers"])


def configs(service: Running) -> set[str]:
    """The configurations that the workers have."""
    return {worker["config"] for worker in status(service)["workers"]}


def put_in_force(service: Running, content: bytes) -> None:
    """Writes the TOML, and waits until every worker has it."""
    service.pools.write_bytes(content)
    wait_for(lambda: configs(service) == {content_hash(content)})


def workers(service: Running) -> set[int]:
    """The workers there are; none where the admin listener ends before it answers."""
    try:
        return {worker["pid"] for worker in status(service)["workers"]}
    except httpx.TransportError:
        return set()


def controller(service: Running) -> int:
    """The process id of the controller: the child of the master that is no worker; 0 if there is none."""
    pid = service.process.pid
    children = {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    found = children - workers(service)
    return found.pop() if len(found) == 1 else 0


def replace_controller(service: Running, how: signal.Signals = signal.SIGKILL) -> None:
    before = controller(service)
    os.kill(before, how)
    wait_for(lambda: controller(service) not in (0, before))
