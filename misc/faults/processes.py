"""The service as bare processes: a gunicorn master and two workers, nothing in front of them.

The rule: it runs in a folder and a process group of its own, and nothing of it outlives us.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import machine
from admin import Admin
from configuration import GOOD, PoolsFile
from fault import FaultError, Injected, until
from traffic import ROOT, Target

WORKERS = 2

# Within this many seconds a worker that was killed has to be replaced.
REPLACED = 2.0


class Service:
    def __init__(self, pools: PoolsFile, process: subprocess.Popen[bytes], target: Target, admin: Admin) -> None:
        self.process = process
        self.pools = pools
        self.target = target
        self.admin = admin

    def admins(self) -> Sequence[Admin]:
        return [self.admin]

    def workers(self) -> set[int]:
        return {*self.admin.workers()}

    def controller(self) -> int:
        """The process id of the controller; 0 where there is none now."""
        pid = self.process.pid
        children = {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
        found = children - self.workers()
        return found.pop() if len(found) == 1 else 0

    def until_replaced(self, gone: set[int]) -> float:
        """Seconds until those processes have ended and as many others serve."""
        begun = time.monotonic()
        until(self.workers, lambda now: len(now - gone) == WORKERS == len(now), "there are new workers")
        took = time.monotonic() - begun
        until(lambda: [pid for pid in gone if Path(f"/proc/{pid}").exists()], lambda left: not left, "they end")
        return took


@contextlib.contextmanager
def service(good: bytes = GOOD, mix: str = "redirects", access_log: Path | None = None) -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        pools = PoolsFile(folder / "pools.toml", good)
        pools.put(good)
        port, admin_port = machine.free_ports(2)
        settings = {
            "REDIRECT_POOLS_CONFIG_PATH": str(folder / "pools.toml"),
            "REDIRECT_SERVER_HOST": "127.0.0.1",
            "REDIRECT_SERVER_PORT": str(port),
            "REDIRECT_ADMIN_BIND": f"127.0.0.1:{admin_port}",
            "REDIRECT_WORKERS": str(WORKERS),
            "REDIRECT_ACCESS_LOG": str(access_log or folder / "access.log"),
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("REDIRECT_", "FORWARDED_"))}
        with (folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "redirect", "serve"],
                cwd=ROOT,
                env=kept | settings,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
            )
        try:
            started = Service(pools, process, Target("127.0.0.1", port, mix), Admin("127.0.0.1", admin_port))
            until(lambda: len(started.workers()), WORKERS.__eq__, "the service starts")
            yield started
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def end_a_worker(service: Service) -> Injected:
    victim = service.admin.busiest()
    os.kill(victim, signal.SIGTERM)
    return Injected(service.until_replaced({victim}))


def reload(service: Service) -> Injected:
    gone = service.workers()
    service.process.send_signal(signal.SIGHUP)
    return Injected(service.until_replaced(gone))


def kill_a_worker(service: Service) -> Injected:
    """Takes down, just before, which clients the worker has: their requests end with it, and no others may."""
    victim = service.admin.busiest()
    clients, at = clients_of(victim, service.target.port), time.monotonic()
    os.kill(victim, signal.SIGKILL)
    took = service.until_replaced({victim})
    if took > REPLACED:
        raise FaultError(f"the worker was replaced after {took:.1f} s, not within {REPLACED:.0f}")
    return Injected(took, at, clients)


def clients_of(pid: int | str, port: int) -> frozenset[int]:
    """The clients' ports of the connections to `port` that a process has, named as /proc names it."""
    links = set[str]()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.add(os.readlink(path))
    clients = set[int]()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *more = line.split()
        if int(local.partition(":")[2], 16) == port and f"socket:[{more[6]}]" in links:
            clients.add(int(remote.partition(":")[2], 16))
    return frozenset(clients - {0})  # the listener has no client
