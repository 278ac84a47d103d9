"""`misc/docker-api/nginx.conf`, the window on Docker's API, in an nginx before a scripted daemon."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from support.docker import Daemon, container, full_id, running_daemon
from support.programs import started
from support.service import ROOT, free_port

from redirect.control.docker import DockerProvider
from redirect.core.discovery import Discover

ID = full_id(1)


@contextlib.asynccontextmanager
async def window(folder: Path) -> AsyncIterator[tuple[Daemon, int]]:
    """The daemon and the port of the window before it."""
    port, conf = free_port(), (ROOT / "misc" / "docker-api" / "nginx.conf").read_text()
    conf = conf.replace("/tmp/", f"{folder}/").replace("/run/docker/docker.sock", f"{folder}/docker.sock")
    conf = conf.replace("listen 2375", f"listen 127.0.0.1:{port}")
    (folder / "nginx.conf").write_text(f"daemon off;\nuser root;\n{conf}")
    command = ["nginx", "-e", "stderr", "-c", str(folder / "nginx.conf")]
    async with running_daemon(folder / "docker.sock", container(1)) as daemon:
        with started(command, port):
            yield daemon, port


async def status(port: int, method: str, target: str) -> int:
    """That of the answer to a request whose target is sent as it stands."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nX-Registry-Auth: x\r\nContent-Length: 2\r\n\r\n"
    writer.write(head.encode() + b"{}")
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


REFUSED = [
    *((method, "/v1.41/containers/json") for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS")),
    *((method, "/v1.41/events") for method in ("POST", "PUT", "DELETE")),
    ("POST", "/_ping"),
    ("POST", "/v1.41/containers/create"),
    ("POST", f"/v1.41/containers/{ID}/kill"),
    ("POST", f"/v1.41/containers/{ID}/exec"),
    ("DELETE", f"/v1.41/containers/{ID}"),
    ("GET", f"/v1.41/containers/{ID}/json"),
    ("GET", f"/v1.41/containers/{ID}/logs?stdout=1"),
    ("GET", f"/v1.41/containers/{ID}/archive?path=/etc/shadow"),
    ("GET", f"/containers/{ID}/json"),
    ("GET", "/containers/json"),
    ("GET", "/events"),
    ("GET", "/v1.41/info"),
    ("GET", "/info"),
    ("GET", "/version"),
    ("GET", "/v1.41/images/json"),
    ("GET", "/"),
    ("GET", "/v1.41/containers/json/"),
    ("GET", "/v1.41/containers/json/../../images/json"),
    ("GET", "/v1.41/containers/json/%2e%2e/%2e%2e/info"),
    ("GET", "/v1.41/containers/json%2F..%2F..%2Finfo"),
    ("GET", "/v1.41/events/..;/info"),
    ("GET", "/_ping/../info"),
    ("GET", "/v1.41%2F..%2Finfo"),
    ("GET", "/v1.4x/containers/json"),
    ("GET", "/V1.41/containers/json"),
    ("GET", "http://docker/v1.41/info"),
]

# Other spellings of a question that may be asked.
SPELT = [
    f"/v1.41/containers/{ID}/../json?all=1",
    f"/v1.41/containers/{ID}%2F..%2Fjson?all=1",
    "/v1.41/images/../containers/json?all=1",
    "//v1.41//containers/json?all=1",
    "/v1.41/containers/json%0A?all=1",
]


async def test_all_but_three_questions_are_refused(tmp_path: Path) -> None:
    """And Docker hears nothing of them."""
    async with window(tmp_path) as (daemon, port):
        answers = {each: await status(port, *each) for each in REFUSED}
        assert answers == dict.fromkeys(REFUSED, 403)
        assert await status(port, "GET", "/v1.41/containers/json%00") == 400
        assert await status(port, "CONNECT", "docker:80") in {400, 405}  # the former of nginx before 1.27
        assert daemon.asked == []


async def test_docker_gets_the_question_and_nothing_else(tmp_path: Path) -> None:
    """However its path is spelt, and without the fields of the client."""
    async with window(tmp_path) as (daemon, port):
        assert [await status(port, "GET", each) for each in SPELT] == [200] * len(SPELT)
        assert daemon.asked == ["/containers/json?all=1"] * len(SPELT)
        head = b"GET /v1.41/containers/json?all=1 HTTP/1.1\r\nHost: docker\r\n\r\n"
        assert daemon.heads == [head] * len(SPELT)


async def test_the_provider_follows_docker_through_it(tmp_path: Path) -> None:
    """An event passes when it happens; a daemon that is gone is told with a hint, and found again."""
    async with window(tmp_path) as (daemon, port):
        provider = DockerProvider(f"tcp://127.0.0.1:{port}", None, lambda: None)
        provider.use({"shop": Discover(labels=("app=shop",))})
        task = asyncio.create_task(provider.run())
        await until(provider, {"shop-1": "up"})
        daemon.put(container(2, health="unhealthy"))
        daemon.emit("start", 2)
        daemon.emit("kill", 1, signal="15")
        await until(provider, {"shop-1": "draining", "shop-2": "down"})
        await daemon.stop()
        while provider.trouble is None or "/_ping was answered 502: may" not in provider.trouble.reason:
            await asyncio.sleep(0.01)
        daemon.containers.clear()
        await daemon.start()
        await until(provider, {})
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(provider: DockerProvider, states: dict[str, str]) -> None:
    while "shop" not in provider.found or states != {each.name: each.state for each in provider.found["shop"].members}:
        await asyncio.sleep(0.01)
