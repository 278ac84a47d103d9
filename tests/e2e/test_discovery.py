"""The provider that follows Docker, against an engine: what it really sends, and how long a change takes.

Only containers that the tests make are touched. What is printed are the milliseconds between an event, by the clock of
the engine, and the moment at which what is found has changed.
"""

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import AsyncIterator
from time import time

import pytest
from support.compose import CANNOT_PAUSE, PAUSE_ATTEMPTS, ROOT

from redirect.control.docker import DockerProvider, ask_once
from redirect.core.discovery import Discover, LeftOut, Member

HOST = "unix:///var/run/docker.sock"

# Takes a second to stop, and nothing from HUP.
ORIGIN = """\
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit(0)))
signal.signal(signal.SIGHUP, lambda *_: None)
while True:
    signal.pause()
"""
HEALTH = ("--health-cmd=test ! -e /tmp/bad", "--health-interval=500ms", "--health-retries=1")


async def docker(*arguments: str) -> str:
    pipe = asyncio.subprocess.PIPE
    for _ in range(PAUSE_ATTEMPTS):
        process = await asyncio.create_subprocess_exec("docker", *arguments, stdout=pipe, stderr=pipe)
        output, errors = await process.communicate()
        if CANNOT_PAUSE not in errors.decode():
            break
    assert process.returncode == 0, f"docker {' '.join(arguments)}: {errors.decode()}"
    return output.decode().strip()


class Engine:
    """Containers and networks with a name and a label of their own, and the provider that follows them."""

    def __init__(self) -> None:
        self.mark = f"redirect-e2e-{secrets.token_hex(4)}"
        self.label = f"redirect-e2e={self.mark}"
        self.wanted = {"p": Discover(labels=(self.label,))}
        self.began = time()
        self.provider = DockerProvider(HOST, None, self._note)
        self._changes: list[tuple[float, dict[str, str]]] = []
        self._seen: list[tuple[str, float]] = []  # actions, and when what they changed was found

    def name(self, name: str) -> str:
        return f"{self.mark}-{name}"

    def origin(self, name: str) -> Member | LeftOut | None:
        found = self.provider.found["p"]
        origins: list[Member | LeftOut] = [*found.members, *found.left_out]
        return next((each for each in origins if each.name == self.name(name)), None)

    async def run(self, name: str, *options: str) -> None:
        given = ("--name", self.name(name), "--label", self.label, *options)
        await docker("run", "--detach", *given, "python:3.14-slim", "python", "-c", ORIGIN)

    async def network(self, name: str) -> str:
        await docker("network", "create", "--label", self.label, f"{self.mark}_{name}")
        return f"{self.mark}_{name}"

    async def until(self, name: str, state: str | None, action: str = "") -> None:
        """Waits until the container was found in this state, by a change that nothing waited for yet. `action` is what
        the engine calls the event that led to it."""
        while True:
            while not self._changes:
                await asyncio.sleep(0.005)
            at, states = self._changes.pop(0)
            if states.get(self.name(name)) == state:
                self._seen += [(action, at)] if action else []
                return

    async def lags(self) -> list[tuple[str, float]]:
        """The seconds after which events were seen."""
        output = await docker("events", f"--since={self.began:.3f}", f"--until={time():.3f}", "--format={{json .}}")
        events = [json.loads(line) for line in output.splitlines() if self.mark in line]
        times = [(each["Action"], each["timeNano"] / 1e9) for each in events]
        return [
            (action, at - max(time for name, time in times if name == action and time < at))
            for action, at in self._seen
        ]

    def _note(self) -> None:
        if "p" in self.provider.found:
            found = self.provider.found["p"]
            states = {each.name: each.state for each in found.members}
            self._changes.append((time(), states | {each.name: f"no origin, {each.state}" for each in found.left_out}))


@contextlib.asynccontextmanager
async def engine() -> AsyncIterator[Engine]:
    made = Engine()
    made.provider.use(made.wanted)
    task = asyncio.create_task(made.provider.run())
    try:
        async with asyncio.timeout(60):
            await made.until("none", None)
            yield made
        assert made.provider.trouble is None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for list_, remove in (("ps", "rm --force --volumes"), ("network ls", "network rm")):
            every = ("--all",) if list_ == "ps" else ()
            ids = await docker(*list_.split(), "--quiet", *every, f"--filter=label={made.label}")
            await asyncio.gather(*(docker(*remove.split(), each) for each in ids.split()))


def test_the_life_of_a_container(capsys: pytest.CaptureFixture[str]) -> None:
    """Started, healthy, told something by HUP, paused, unhealthy, disconnected, stopped, restarted, killed, removed:
    each is found within a second, and a container drains before it has died."""

    async def run() -> list[tuple[str, float]]:
        async with engine() as made:
            front, name = await made.network("front"), made.name("a")
            await made.run("a", "--network", front, "--expose", "8000", *HEALTH)
            await made.until("a", "down", "start")
            await made.until("a", "up", "health_status: healthy")
            await docker("kill", "--signal", "HUP", name)
            await docker("pause", name)
            await made.until("a", "down", "pause")
            await docker("unpause", name)
            await made.until("a", "up", "health_status: healthy")  # the check that was paused has failed
            await docker("exec", name, "touch", "/tmp/bad")
            await made.until("a", "down", "health_status: unhealthy")
            await docker("exec", name, "rm", "/tmp/bad")
            await made.until("a", "up", "health_status: healthy")
            await docker("network", "disconnect", front, name)
            await made.until("a", "no origin, running", "disconnect")
            await docker("network", "connect", front, name)
            await made.until("a", "up", "connect")
            await docker("stop", name)
            await made.until("a", "draining", "kill")
            await made.until("a", "no origin, exited", "die")
            await docker("start", name)
            await made.until("a", "up", "health_status: healthy")
            await docker("restart", name)
            await made.until("a", "draining", "kill")
            await made.until("a", "up", "health_status: healthy")
            await docker("kill", name)
            await made.until("a", "no origin, exited", "die")
            await docker("rm", name)
            await made.until("a", None, "destroy")
            return await made.lags()

    lags = asyncio.run(run())
    with capsys.disabled():
        print("", *(f"{1000 * lag:5.0f} ms after {action}" for action, lag in lags), sep="\n")
    assert max(lag for action, lag in lags if action != "die") < 1
    assert max(lag for action, lag in lags if action == "die") < 2  # the list has it later than the events


def test_where_containers_are_reached() -> None:
    """Each way to be in a network or in none, as the engine lists it."""

    async def run() -> None:
        async with engine() as made:
            front, back = await made.network("front"), await made.network("back")
            port = ("--label", "redirect.port=80")
            await made.run("two-networks", "--network", front, "--expose", "1")
            await docker("network", "connect", back, made.name("two-networks"))
            await made.run("named", "--network", front, "--expose", "1", "--label", f"redirect.network={back}")
            await docker("network", "connect", back, made.name("named"))
            await made.run("two-ports", "--network", front, "--expose", "1", "--expose", "2")
            await made.run("one-of-two", "--network", front, "--expose", "1", "--expose", "2", *port)
            await made.run("shares", "--network", f"container:{made.name('two-ports')}", *port)
            await made.run("host", "--network", "host", *port)
            await made.run("none", "--network", "none", *port)
            found = await ask_once(HOST, None, made.wanted)
            members = {each.name.removeprefix(f"{made.mark}-"): each.authority for each in found["p"].members}
            left_out = {each.name.removeprefix(f"{made.mark}-"): each.reason for each in found["p"].left_out}
            addresses = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
            inspected = await docker("inspect", f"--format={addresses}", made.name("named"), made.name("two-ports"))
            in_both, in_front = inspected.splitlines()
            assert members.keys() == {"named", "one-of-two", "shares", "host"}
            assert members["named"].host == in_both.split()[0]  # back comes before front
            assert (members["shares"].host, members["shares"].port) == (in_front.strip(), 80)
            assert str(members["host"]) == "127.0.0.1:80"
            assert {name: reason.partition(":")[0] for name, reason in left_out.items()} == {
                "two-networks": f"it is in the networks {back}, {front}",
                "two-ports": "it exposes the ports 1, 2",
                "none": "it has no address in any network",
            }

    asyncio.run(run())


def test_the_window() -> None:
    """`misc/docker-api/nginx.conf` in the image that it is for, without root, as docs/docker.md has it: the provider
    follows the engine through it, and the environment of containers cannot be read."""

    async def run() -> None:
        async with engine() as made:
            conf = ROOT / "misc" / "docker-api" / "nginx.conf"
            group = os.stat("/var/run/docker.sock").st_gid
            limits = "--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --user 101".split()
            mounts = ("--volume", f"{conf}:/etc/nginx/nginx.conf:ro", "--volume", "/var/run:/run/docker:ro")
            given = ("--name", made.name("window"), "--label", f"{made.label}-window", *limits, *mounts)
            await docker(
                "run", "--detach", "--publish", "127.0.0.1::2375", f"--group-add={group}", *given, "nginx:1.30"
            )
            try:
                port = (await docker("port", made.name("window"), "2375")).rpartition(":")[2]
                await through_the_window(made, int(port))
            finally:
                await docker("rm", "--force", made.name("window"))

    asyncio.run(run())


async def through_the_window(made: Engine, port: int) -> None:
    seen = asyncio.Event()
    provider = DockerProvider(f"tcp://127.0.0.1:{port}", None, seen.set)
    provider.use(made.wanted)
    task = asyncio.create_task(provider.run())
    try:
        while "p" not in provider.found:
            await asyncio.sleep(0.01)
        await made.run("a", "--expose", "1")
        await made.until("a", "up")
        await asyncio.sleep(0.1)
        assert provider.found == made.provider.found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for target in ("/v1.41/info", f"/v1.41/containers/{made.name('a')}/json", "/v1.41/containers/json/../../info"):
        assert await status(port, "GET", target) == 403
    assert await status(port, "POST", f"/v1.41/containers/{made.name('a')}/kill") == 403
    assert await status(port, "GET", "/v1.41/containers/json") == 200


async def status(port: int, method: str, target: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])
