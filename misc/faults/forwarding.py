"""The faults of forwarding: the service as bare processes, three origins behind it, and nothing in front of it.

The rule: a GET never fails. A POST is lost only where its origin ended the connection on which it was sent, and none
reaches the origins twice.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import machine
from admin import Admin
from configuration import PoolsFile, replace_all_the_time
from fault import Fault, FaultError, Injected, until
from processes import Service, kill_a_worker, service
from traffic import HERE, Target

from redirect.config.loader import content_hash

ORIGINS = 3
SCALED = 5

# Seconds that a fault lasts, and that an origin which has ended stays away.
LASTS = 2.0
DOWN = 1.0

# Seconds for what waited meanwhile, at half of the peak: else a second fault would add to the delay of the first.
CATCH_UP = 2 * LASTS

SLOW_SECONDS = 0.05
RESET_SHARE = 0.02
DROP_SECONDS = 0.005
CONNECTIONS_LEFT = 2  # of an origin that is out of descriptors


class Origin:
    """A process that can be told how to behave, ended and started again, on the same port."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.notes = folder / f"posts-{port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(HERE / "fault_origin.py"), str(self.port), str(self.notes)]
        self.process = subprocess.Popen(  # noqa: S603  our own words
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self.process.stdout
        if self.process.stdout.readline() != b"begun\n":
            raise FaultError("an origin does not start")

    def tell(self, what: str, value: float) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{what} {value}\n".encode())
        self.process.stdin.flush()

    def end(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        assert self.process.stdin
        assert self.process.stdout
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()

    def posts(self) -> list[bytes]:
        """The ids of all POSTs whose heads it has read."""
        return self.notes.read_bytes().split()

    def until_asked(self) -> float:
        """Seconds until it gets a POST."""
        begun, so_far = time.monotonic(), self.notes.stat().st_size
        until(lambda: self.notes.stat().st_size, lambda now: now > so_far, "the origin is asked")
        return time.monotonic() - begun


class Gateway:
    def __init__(self, service: Service, origins: list[Origin]) -> None:
        self.service = service
        self.origins = origins

    @property
    def target(self) -> Target:
        return self.service.target

    @property
    def pools(self) -> PoolsFile:
        return self.service.pools

    def admins(self) -> Sequence[Admin]:
        return self.service.admins()


def repeated(origins: Sequence[Origin]) -> int:
    """How many POSTs reached the origins more than once."""
    times = Counter(post for origin in origins for post in origin.posts())
    return sum(each > 1 for each in times.values())


def toml(origins: Sequence[Origin]) -> bytes:
    hosts = ", ".join(f'"127.0.0.1:{origin.port}" = 1' for origin in origins)
    route = '[[routes]]\npath_prefix = "/"\nforward_to = "origins"\nretries = 2\n'
    return f"{route}[origins]\nweighted_hosts = {{ {hosts} }}\n".encode()


@contextlib.contextmanager
def gateway() -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, contextlib.ExitStack() as stack:
        origins: list[Origin] = []
        for port in machine.free_ports(SCALED):
            origins.append(Origin(Path(folder), port))
            stack.callback(lambda origin: origin.end(signal.SIGKILL), origins[-1])
        yield Gateway(stack.enter_context(service(toml(origins[:ORIGINS]), "forwards")), origins)


def calm(_: Gateway) -> Injected:
    time.sleep(1)
    return Injected()


def kill_an_origin(gateway: Gateway) -> Injected:
    return _away(gateway.origins[0], signal.SIGKILL)


def restart_an_origin(gateway: Gateway) -> Injected:
    return _away(gateway.origins[0], signal.SIGTERM)


def _away(victim: Origin, how: signal.Signals) -> Injected:
    victim.end(how)
    time.sleep(DOWN)
    victim.start()
    return Injected(victim.until_asked())


def pause_an_origin(gateway: Gateway) -> Injected:
    victim = gateway.origins[0]
    victim.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(LASTS)
    finally:
        victim.process.send_signal(signal.SIGCONT)
    took = victim.until_asked()
    time.sleep(CATCH_UP)
    return Injected(took)


def slow_an_origin(gateway: Gateway) -> Injected:
    return _told(gateway.origins[0], "slow", SLOW_SECONDS)


def reset_at_random(gateway: Gateway) -> Injected:
    return _told(gateway.origins[0], "reset", RESET_SHARE)


def drop_at_random(gateway: Gateway) -> Injected:
    """Requests meet connections that are just being closed, as where a server's keep-alive ends."""
    return _told(gateway.origins[0], "drop", DROP_SECONDS)


def _told(victim: Origin, what: str, value: float) -> Injected:
    victim.tell(what, value)
    time.sleep(LASTS)
    victim.tell(what, 0)
    return Injected(victim.until_asked())


def _is_no_socket(descriptor: Path) -> bool:
    try:
        return not os.readlink(descriptor).startswith("socket:")
    except FileNotFoundError:  # a connection that has just ended
        return False


def take_descriptors(gateway: Gateway) -> Injected:
    """Those connections that it has end with their answers, and next to none can be made: they wait to be accepted."""
    victim = gateway.origins[0]
    pid = victim.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    victim.tell("close", 1)
    victim.until_asked()
    others = sum(map(_is_no_socket, Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (others + 1 + CONNECTIONS_LEFT, before[1]))
    time.sleep(LASTS)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    victim.tell("close", 0)
    took = victim.until_asked()
    time.sleep(CATCH_UP)
    return Injected(took)


def kill_the_worker(gateway: Gateway) -> Injected:
    return kill_a_worker(gateway.service)


def kill_the_controller(gateway: Gateway) -> Injected:
    victim, begun = gateway.service.controller(), time.monotonic()
    if not victim:
        raise FaultError("there is no controller")
    os.kill(victim, signal.SIGKILL)
    until(gateway.service.controller, lambda now: now not in (0, victim), "another controller takes the place")
    until(gateway.service.admin.is_ready, bool, "the admin listener answers again")
    return Injected(time.monotonic() - begun)


def scale_up_and_down(gateway: Gateway) -> Injected:
    took = []
    for origins in (gateway.origins, gateway.origins[:ORIGINS]):
        content = toml(origins)
        begun = time.monotonic()
        gateway.pools.put(content)
        until(gateway.service.admin.configurations, {content_hash(content)}.__eq__, "the origins are in force")
        for origin in origins:
            origin.until_asked()
        took.append(time.monotonic() - begun)
    return Injected(max(took))


FAULTS: tuple[Fault[Gateway], ...] = (
    Fault("forwards: none", calm),
    Fault("forwards: kill -9 of an origin", kill_an_origin),
    Fault("forwards: restart of an origin", restart_an_origin),
    Fault("forwards: pause of an origin for 2 s", pause_an_origin),
    Fault("forwards: an origin 50 ms slower", slow_an_origin),
    Fault("forwards: an origin without descriptors", take_descriptors),
    Fault("forwards: 2 % of an origin's requests reset", reset_at_random),
    Fault("forwards: connections closed behind answers", drop_at_random),
    Fault("forwards: scaling 3 to 5 to 3 origins", scale_up_and_down),
    Fault("forwards: kill -9 of a worker", kill_the_worker),
    Fault("forwards: kill -9 of the controller", kill_the_controller),
    Fault("forwards: configuration replaced 20 times a second", replace_all_the_time),
)
