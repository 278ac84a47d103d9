"""Origins that come and go, in the processes of an instance: a scripted Docker daemon has the containers."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from support.docker import Daemon, container
from support.docker_thread import docker
from support.service import CLIENT, Running, replace_controller, running, status, wait_for

from redirect.control.docker import POLL_SECONDS

pytestmark = pytest.mark.processes

POOLS: dict[str, Any] = {
    "shop": {"discover": {"labels": ["app=shop"]}, "is_default": True},
    "static": {"weighted_hosts": {"static.example.com": 1}},
}

# Long before Docker is asked again by itself: an event of it has brought the change.
IN_FORCE_SECONDS = POLL_SECONDS / 2


def answers(service: Running, expected: str) -> bool:
    """Whether what every worker answers is this: a Location, or the reason why there is none."""
    responses = [CLIENT.get(f"{service.url}/") for _ in range(8)]
    found = {each.headers.get("location") or each.json()["detail"] for each in responses}
    current = status(service)["configuration"]["change"]
    return found == {expected} and {worker["change"] for worker in status(service)["workers"]} == {current}


def test_origins_come_and_go(tmp_path: Path) -> None:
    """A change is in force in every worker as Docker tells it. Without origins the answer says why. What was found
    outlives the controller and a reload, also while Docker cannot be asked."""

    def change(work: Callable[[Daemon], object], expected: str) -> None:
        found.do(work)
        wait_for(lambda: answers(service, expected), IN_FORCE_SECONDS)

    def start(daemon: Daemon) -> None:
        daemon.put(container(1))
        daemon.emit("start")

    def stop(daemon: Daemon) -> None:
        daemon.emit("kill", signal="15")

    def end(daemon: Daemon) -> None:
        daemon.containers.clear()
        daemon.emit("die")

    with docker(tmp_path) as found, running(tmp_path, pools=POOLS, REDIRECT_DOCKER_HOST=found.daemon.host) as service:
        none = "shop is configured, but no container with app=shop was found"
        wait_for(lambda: answers(service, none))
        assert CLIENT.get(f"{service.url}/").headers["retry-after"] == "5"
        change(start, "http://172.18.0.1:8080/")

        found.do(lambda daemon: daemon.answers.update(_ping=_nothing))
        replace_controller(service)
        wait_for(lambda: bool(_trouble(service)))
        assert answers(service, "http://172.18.0.1:8080/")
        service.pools.write_text(tomli_w.dumps(POOLS | {"static": POOLS["static"] | {"status": 307}}))
        wait_for(lambda: status(service)["pools"]["static"]["status"] == 307)
        wait_for(lambda: answers(service, "http://172.18.0.1:8080/"))
        found.do(lambda daemon: daemon.answers.clear())
        wait_for(lambda: not _trouble(service) and bool(found.daemon.subscribers))

        change(stop, "no origin of shop is eligible: shop-1 is draining, docker stops it")
        change(end, none)


def _trouble(service: Running) -> object:
    return status(service)["pools"]["shop"]["trouble"]


async def _nothing(writer: asyncio.StreamWriter) -> None:
    writer.close()
