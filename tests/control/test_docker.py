"""The provider that follows Docker: what it asks, when, and what stays while nothing comes back."""

import asyncio
import contextlib
import json
import logging
import random
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import monotonic, time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.docker import Answer, Daemon, Entry, container, event, full_id, http, running_daemon, says, silent
from support.examples import generated

from redirect.control import docker, docker_api
from redirect.control.containers import LIST, View, read
from redirect.control.docker import DockerProvider, ask_once, container_id
from redirect.control.docker_api import DockerError, base_url
from redirect.core.discovery import Discover

SHOP = {"shop": Discover(labels=("app=shop",))}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gathers for a fifth of the time, waits a twentieth of it for Docker to come back, and lists no more often than
    events come."""
    monkeypatch.setattr(docker, "GATHER_SECONDS", 0.01)
    monkeypatch.setattr(docker, "SETTLE_SECONDS", 30.0)
    monkeypatch.setattr(docker, "FIRST_RETRY_SECONDS", 0.0125)
    monkeypatch.setattr(docker, "LAST_RETRY_SECONDS", 0.1)


@contextlib.asynccontextmanager
async def following(
    daemon: Daemon, wanted: dict[str, Discover] = SHOP, own_id: str | None = None
) -> AsyncIterator[DockerProvider]:
    """A provider that has asked the daemon for the first time."""
    changed = asyncio.Event()
    provider = DockerProvider(daemon.host, own_id, changed.set)
    provider.use(wanted)
    task = asyncio.create_task(provider.run())
    try:
        await until(lambda: provider.found.keys() == wanted.keys() or provider.trouble)
        yield provider
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def followed(
    folder: Path, *entries: Entry, wanted: dict[str, Discover] = SHOP
) -> AsyncIterator[tuple[Daemon, DockerProvider]]:
    """A daemon with these containers, and a provider that has asked it for the first time."""
    async with running_daemon(folder / "docker.sock", *entries) as daemon, following(daemon, wanted) as provider:
        yield daemon, provider


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def states(provider: DockerProvider, pool: str = "shop") -> dict[str, str]:
    found = provider.found[pool]
    return {each.name: each.state for each in found.members} | {each.name: each.state for each in found.left_out}


async def test_it_speaks_the_daemons_version_and_subscribes_before_it_lists(tmp_path: Path) -> None:
    """So that nothing is lost in between, and engines of any age answer."""
    async with running_daemon(tmp_path / "docker.sock", container(1)) as daemon:
        daemon.version = "1.52"
        async with following(daemon) as provider:
            assert states(provider) == {"shop-1": "up"}
        ping, events, listing = daemon.asked
        assert (ping, events.partition("?")[0], listing.partition("?")[0]) == ("/_ping", "/events", "/containers/json")


async def test_one_list_for_each_set_of_labels(tmp_path: Path) -> None:
    """Pools with the same labels share a list; containers that have ended are listed as well, as they are shown."""
    wanted = {
        "a": Discover(labels=("app=shop", "tier=1")),
        "b": Discover(labels=("tier=1", "app=shop"), port=90),
        "c": Discover(labels=("app=shop",)),
    }
    ended = container(2, state="exited", networks={"front": ""})
    async with followed(tmp_path, container(1, labels={"tier": "1"}), ended, wanted=wanted) as (daemon, provider):
        assert daemon.lists == 2
        assert [str(provider.found[pool].members[0].authority) for pool in "abc"] == [
            "172.18.0.1:8080",
            "172.18.0.1:90",
            "172.18.0.1:8080",
        ]
        assert (states(provider, "a"), states(provider, "c")) == (
            {"shop-1": "up"},
            {"shop-1": "up", "shop-2": "exited"},
        )


async def test_an_event_is_in_force_at_once(tmp_path: Path) -> None:
    """Long before Docker is asked again by itself."""
    async with followed(tmp_path) as (daemon, provider):
        daemon.put(container(1))
        daemon.emit("start")
        began = monotonic()
        await until(lambda: provider.found["shop"].members)
        assert monotonic() - began < docker.POLL_SECONDS / 2


@pytest.mark.parametrize("action", sorted(docker.ACTIONS - {"health_status"} | {"health_status: healthy"}))
async def test_what_matters_is_listed(tmp_path: Path, action: str) -> None:
    """Whatever may change a list: of a container or of a network."""
    kind = "network" if action in {"connect", "disconnect"} else "container"
    async with followed(tmp_path, container(1)) as (daemon, _):
        daemon.emit(action, kind=kind)
        await until(lambda: daemon.lists == 2)


async def test_what_happens_at_once_is_listed_once(tmp_path: Path) -> None:
    """A `docker compose up` of fifty containers is one change; the events of health checks are none."""
    async with followed(tmp_path) as (daemon, provider):
        for number in range(1, 51):
            daemon.put(container(number))
            for action in ("create", "start", "exec_create: true", "exec_start: true", "exec_die"):
                daemon.emit(action, number)
        await until(lambda: provider.found["shop"].members)
        assert (len(provider.found["shop"].members), daemon.lists) == (50, 2)
        for _ in range(50):
            daemon.emit("exec_die")
        await asyncio.sleep(2 * docker.GATHER_SECONDS)
        assert daemon.lists == 2


async def test_events_come_in_any_pieces(tmp_path: Path) -> None:
    """Torn in the middle, or many in one, with blank lines between."""
    event = json.dumps({"Action": "start", "Actor": {"ID": full_id(1), "Attributes": None}}).encode()
    async with followed(tmp_path) as (daemon, provider):
        daemon.put(container(1))
        for index in range(len(event)):
            daemon.send(event[index : index + 1])
            await asyncio.sleep(0)
        assert daemon.lists == 1
        daemon.send(b"\n\r\n" + event + b"\n" + event + b"\n" + event[:9])
        await until(lambda: provider.found["shop"].members)
        assert provider.trouble is None


@pytest.mark.parametrize("signal", ["15", "9", "2", "3", "28", "37", None])
async def test_a_container_is_left_out_before_it_has_stopped(tmp_path: Path, signal: str | None) -> None:
    """From the signal on it gets nothing, though docker still calls it running, and though no list comes back."""
    async with followed(tmp_path, container(1), container(2)) as (daemon, provider):
        daemon.answers["json"] = silent
        daemon.send(event("kill", {} if signal is None else {"signal": signal}))
        await until(lambda: states(provider)["shop-1"] == "draining")
        assert states(provider)["shop-2"] == "up"


@pytest.mark.parametrize("signal", ["1", "10", "12", "18"])
async def test_other_signals_stop_nothing(tmp_path: Path, signal: str) -> None:
    """HUP, USR1, USR2 and CONT tell a program something else."""
    async with followed(tmp_path, container(1)) as (daemon, provider):
        daemon.emit("kill", signal=signal)
        await until(lambda: daemon.lists == 2)
        assert states(provider) == {"shop-1": "up"}


async def test_a_container_that_does_not_stop_is_an_origin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any event: after the time in which each would have been killed."""
    monkeypatch.setattr(docker, "STOPPING_SECONDS", 0.3)
    async with followed(tmp_path, container(1)) as (daemon, provider):
        daemon.emit("kill", signal="15")
        began = monotonic()
        await until(lambda: states(provider) == {"shop-1": "draining"})
        await until(lambda: states(provider) == {"shop-1": "up"})
        assert monotonic() - began > 0.2


async def test_a_restart_ends_it(tmp_path: Path) -> None:
    """`docker restart`: kill, die, stop, start; within what is gathered, too."""
    async with followed(tmp_path, container(1)) as (daemon, provider):
        daemon.emit("kill", signal="15")
        await until(lambda: states(provider) == {"shop-1": "draining"})
        daemon.put(container(1, state="exited", networks={"front": ""}))
        daemon.emit("die")
        daemon.emit("stop")
        await until(lambda: states(provider) == {"shop-1": "exited"})
        daemon.put(container(1, endpoint="another"))
        daemon.emit("start")
        daemon.emit("restart")
        await until(lambda: states(provider) == {"shop-1": "up"})
        for action in ("kill", "die", "stop", "start", "restart"):
            daemon.emit(action)
        before = daemon.lists
        await until(lambda: daemon.lists > before)
        await asyncio.sleep(2 * docker.GATHER_SECONDS)
        assert states(provider) == {"shop-1": "up"}


async def test_a_restart_that_is_not_heard_of_ends_it_too(tmp_path: Path) -> None:
    """A container that was started again has other endpoints in its networks: Docker itself may have been restarted,
    which stops all containers, and starts them before anything listens."""
    async with followed(tmp_path, container(1), container(2)) as (daemon, provider):
        daemon.emit("kill", 1, signal="15")
        daemon.emit("kill", 2, signal="15")
        await until(lambda: states(provider) == {"shop-1": "draining", "shop-2": "draining"})
        await daemon.stop()
        daemon.put(container(1, endpoint="another"))
        await daemon.start()
        await until(lambda: states(provider) == {"shop-1": "up", "shop-2": "draining"})


async def test_a_container_that_died_gets_nothing_though_it_is_listed_as_running(tmp_path: Path) -> None:
    """An engine tells that a container died before its list does."""
    async with followed(tmp_path, container(1)) as (daemon, provider):
        daemon.emit("die", exitCode="137")
        await until(lambda: daemon.lists == 2)
        assert states(provider) == {"shop-1": "draining"}


async def test_it_is_listed_once_more_after_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the list does not say yet it says a second later."""
    monkeypatch.setattr(docker, "SETTLE_SECONDS", 0.2)
    async with followed(tmp_path, container(1)) as (daemon, provider):
        await until(lambda: daemon.lists == 2)
        daemon.emit("pause")
        await until(lambda: daemon.lists == 3)
        daemon.put(container(1, state="paused"))
        await until(lambda: states(provider) == {"shop-1": "down"})
        assert daemon.lists == 4


async def test_events_that_are_lost_are_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is listed every 30 s without any, too."""
    for name in ("SETTLE_SECONDS", "POLL_SECONDS"):
        monkeypatch.setattr(docker, name, 0.1)
    async with followed(tmp_path, container(1)) as (daemon, provider):
        daemon.containers.clear()
        await until(lambda: not provider.found["shop"].members)
        assert len([each for each in daemon.asked if each.startswith("/events")]) == 1


async def test_what_is_found_stays_while_docker_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since when and why it cannot be asked is told, once; afterwards it is as Docker has it then."""
    caplog.set_level(logging.INFO, "gunicorn.error")
    begin = time()
    async with followed(tmp_path, container(1)) as (daemon, provider):
        found = provider.found
        reason = f"{daemon.host}: No such file or directory: does docker run, and is REDIRECT_DOCKER_HOST where it is?"
        await daemon.stop()
        await until(lambda: provider.trouble and "No such file" in provider.trouble.reason)
        since = provider.trouble and provider.trouble.since
        await asyncio.sleep(0.2)
        assert provider.found == found
        assert provider.trouble is not None
        assert provider.trouble[:2] == (since, reason)
        assert since is not None
        assert begin <= since <= time()
        monkeypatch.setattr("redirect.control.docker.time", lambda: 0.0)  # the wall clock is set back
        daemon.put(container(2))
        await daemon.start()
        await until(lambda: states(provider) == {"shop-1": "up", "shop-2": "up"})
        assert provider.trouble is None
    cut, gone, again = caplog.messages
    assert cut.startswith("docker cannot be asked: ")
    assert gone == (f"docker cannot be asked: {reason}; origins stay as they are")
    assert re.fullmatch(r"docker can be asked again, after \d+\.\d s", again)


async def test_events_that_are_cut_are_followed_again(tmp_path: Path) -> None:
    """As a proxy with a time limit cuts them; what happened meanwhile is listed."""
    async with followed(tmp_path, container(1)) as (daemon, provider):
        daemon.put(container(2))
        daemon.cut()
        await until(lambda: len(states(provider)) == 2)
        assert daemon.subscribers == 1


@pytest.mark.slow
async def test_events_that_are_cut_again_and_again_are_followed_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though each time the list comes before: a proxy that cannot pass events is no reason to ask all the time."""
    monkeypatch.setattr(docker, "LAST_RETRY_SECONDS", 0.4)
    async with followed(tmp_path, container(1)) as (daemon, provider):
        daemon.answers["events"] = says(CHUNKED + b"0\r\n\r\n")
        daemon.cut()
        await asyncio.sleep(1)
        assert len([each for each in daemon.asked if each == "/_ping"]) < 10
        del daemon.answers["events"]
        await until(lambda: daemon.subscribers and provider.trouble is None)


async def test_docker_is_asked_again_later_and_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 0.25 s, then twice as long each time, at most 10 s, a quarter more or less; from the beginning once it
    answered."""
    monkeypatch.setattr(docker, "FIRST_RETRY_SECONDS", 0.25)
    monkeypatch.setattr(docker, "LAST_RETRY_SECONDS", 10.0)
    waits: list[float] = []
    provider = DockerProvider(f"unix://{tmp_path}/docker.sock", None, lambda: None)

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    for _ in range(8):
        await provider._retry("gone")
    for wait, exact in zip(waits, [0.25, 0.5, 1, 2, 4, 8, 10, 10], strict=True):
        assert exact * 0.75 <= wait <= exact * 1.25
    assert len({wait / exact for wait, exact in zip(waits, [0.25, 0.5, 1, 2, 4, 8, 10, 10], strict=True)}) > 1


LONG = b"[" + b" " * 5000 + b"]"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        pytest.param("_ping", says(b""), "Server disconnected without sending a response.", id="nothing"),
        pytest.param("_ping", says(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "illegal status line", id="another protocol"),
        pytest.param("_ping", says(http(b"OK")), "is not docker: it names no version of its API", id="no version"),
        pytest.param(
            "_ping",
            says(http(b"OK", "200 OK", "Api-Version: ../x")),
            "is not docker: it names no version of its API",
            id="a version that is none",
        ),
        pytest.param("_ping", silent, "sent no whole answer to /_ping within 0.1 s", id="silent"),
        pytest.param("_ping", says(http(LONG)), "the answer to /_ping has more than 4096 bytes", id="a long answer"),
        pytest.param(
            "_ping",
            says(http(b"", "502 Bad Gateway")),
            "/_ping was answered 502: may what answers there open docker's socket, and does docker run?",
            id="a window without a socket",
        ),
        pytest.param(
            "events",
            says(http(b"", "403 Forbidden")),
            "/v1.41/events was answered 403: it must let through /_ping, /v1.NN/containers/json and /v1.NN/events",
            id="a window that refuses",
        ),
        pytest.param(
            "events",
            says(http(b'{"message":"client version 1.41 is too old"}', "400 Bad Request")),
            '/v1.41/events was answered 400: \'{"message":"client version 1.41 is too old"}\'',
            id="refused with a message",
        ),
        pytest.param("events", silent, "sent no whole answer to /v1.41/events within 0.1 s", id="silent events"),
        pytest.param("events", says(CHUNKED), "incomplete chunked read", id="events that end at once"),
        pytest.param("events", says(CHUNKED + b"0\r\n\r\n"), "its events ended", id="events that end in order"),
        pytest.param(
            "events", says(CHUNKED + _chunk(b"nonsense\n")), "an event that makes no sense: b'nonsense'", id="no JSON"
        ),
        pytest.param(
            "events", says(CHUNKED + _chunk(b'{"Action":"start"}\n')), "an event that makes no sense", id="no actor"
        ),
        pytest.param(
            "events", says(CHUNKED + _chunk(b"[" * 5000 + b"\n")), "an event that makes no sense", id="a deep event"
        ),
        pytest.param(
            "events", says(CHUNKED + _chunk(b" " * 5001)), "an event of more than 5000 bytes", id="a long event"
        ),
        pytest.param("json", silent, "sent no whole answer to /v1.41/containers/json within 0.1 s", id="silent list"),
        pytest.param(
            "json",
            says(http(b'{"message":"x"}')),
            "its list of containers makes no sense: the whole: Input should be a valid ",
            id="no list",
        ),
        pytest.param(
            "json",
            says(http(b'[{"Id":"1"}]')),
            "its list of containers makes no sense: 0.Id: String should match pattern",
            id="no containers",
        ),
        pytest.param(
            "json",
            says(http(json.dumps([container(1) | {"Names": ["/a\n"]}]).encode())),
            "its list of containers makes no sense: 0.Names.0: String should match pattern",
            id="a name that is none",
        ),
        pytest.param(
            "json", says(http(b"\xff")), "its list of containers makes no sense: the whole: ", id="no JSON list"
        ),
        pytest.param("json", says(http(LONG)), "has more than 5000 bytes", id="a long list"),
        pytest.param(
            "json",
            says(http(b"", "200 OK", "Content-Encoding: gzip")),
            "its list of containers makes no sense",
            id="an encoding that nothing asked for",
        ),
        pytest.param(
            "json", says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n["), "peer closed connection", id="a torn list"
        ),
    ],
)
async def test_what_makes_no_sense_is_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, answer: Answer, reason: str
) -> None:
    """A daemon is silent, breaks off, sends too much or something else: this is told, what was found stays, and it is
    asked again until it makes sense."""
    for name in ("PING_SECONDS", "EVENTS_SECONDS", "LIST_SECONDS"):
        monkeypatch.setattr(docker_api, name, 0.1)
    for name in ("MAX_LIST_BYTES", "MAX_EVENT_BYTES"):
        monkeypatch.setattr(docker_api, name, 5000)
    async with followed(tmp_path, container(1)) as (daemon, provider):
        found = provider.found
        daemon.answers[path] = answer
        daemon.cut()
        await until(lambda: provider.trouble and reason in provider.trouble.reason)
        assert provider.found == found
        del daemon.answers[path]
        await until(lambda: provider.trouble is None)


async def test_docker_that_cannot_be_asked_at_first(tmp_path: Path) -> None:
    """Then nothing is known of any pool, and this is no "none found"; it is asked until it is there."""
    async with running_daemon(tmp_path / "docker.sock", container(1)) as daemon:
        await daemon.stop()
        async with following(daemon) as provider:
            assert provider.trouble is not None
            assert provider.found == {}
            await daemon.start()
            await until(lambda: provider.found)
            assert states(provider) == {"shop-1": "up"}


async def test_other_pools_after_a_reload(tmp_path: Path) -> None:
    """Another pool is asked for at once, one that is gone is forgotten, and one with other labels has no origins of
    its former ones; what is known counts at once."""
    async with followed(tmp_path, container(1), container(2, labels={"app": "x"})) as (_, provider):
        provider.use({"other": SHOP["shop"], "shop": Discover(labels=("app=x",))})
        assert states(provider, "other") == {"shop-1": "up"}
        assert "shop" not in provider.found
        await until(lambda: "shop" in provider.found)
        assert states(provider) == {"shop-2": "up"}
        assert provider.found.keys() == {"other", "shop"}


async def test_without_a_pool_nothing_is_asked(tmp_path: Path) -> None:
    """Docker is left alone before the first pool with labels, and after the last."""
    async with followed(tmp_path, container(1), wanted={}) as (daemon, provider):
        await asyncio.sleep(0.05)
        assert daemon.asked == []
        provider.use(SHOP)
        await until(lambda: provider.found)
        provider.use({})
        await until(lambda: not daemon.subscribers)
        daemon.put(container(1, state="paused"))
        assert provider.found == {}
        provider.use(SHOP)
        assert provider.found == {}
        await until(lambda: provider.found)
        assert states(provider) == {"shop-1": "down"}


async def test_the_gateways_own_container_and_project(tmp_path: Path) -> None:
    """It is asked for by its id: with the same project twice on one engine, "." is the own one, and the gateway is no
    origin of its own."""
    kx = {"com.docker.compose.project": "kx"}
    rg = {"com.docker.compose.project": "rg"}
    entries = container(1, labels=kx), container(2, labels=rg), container(9, "gateway", labels=kx)
    own, all_ = Discover(labels=("app=shop",), project="."), Discover(labels=("app=shop",))
    async with running_daemon(tmp_path / "docker.sock", *entries) as daemon:
        async with following(daemon, {"own": own, "all": all_}, full_id(9)) as provider:
            assert (states(provider, "own"), states(provider, "all")) == (
                {"shop-1": "up"},
                {"shop-1": "up", "shop-2": "up"},
            )
        async with following(daemon, {"own": own}) as provider:
            assert provider.found["own"].members == ()
            assert provider.found["own"].none_reason is not None


async def test_the_network_of_another_container(tmp_path: Path) -> None:
    """The other one is asked for by its id, as it need not have the labels."""
    shared = container(7, labels={"app": "vpn"})
    sharing = container(1, mode=f"container:{full_id(7)}", networks={}, labels={"redirect.port": "80"})
    async with followed(tmp_path, shared, sharing) as (_, provider):
        (member,) = provider.found["shop"].members
        assert str(member.authority) == "172.18.0.7:80"


async def test_a_container_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What its labels get wrong and why it is left out, with what to write; again for the next container."""
    bad: dict[str, Any] = {"labels": {"redirect.prt": "1"}, "ports": ()}
    async with followed(tmp_path, container(1, **bad)) as (daemon, provider):
        for count in (2, 3, 4):
            daemon.emit("update")
            while daemon.lists < count:
                await asyncio.sleep(0.002)
        assert [message.partition(":")[0] for message in caplog.messages] == [
            "the container shop-1 in shop",
            "the container shop-1 is left out of shop",
        ]
        daemon.put(container(2, **bad))
        daemon.emit("start", 2)
        await until(lambda: len(states(provider)) == 2)
    assert len(caplog.records) == 4


async def test_what_docker_says_of_an_origin_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where it changes: down, up again and draining, as health checks have it."""
    caplog.set_level(logging.INFO, "gunicorn.error")
    async with followed(tmp_path, container(1)) as (daemon, provider):
        for health, state in (("unhealthy", "down"), ("healthy", "up")):
            daemon.put(container(1, health=health))
            daemon.emit(f"health_status: {health}")
            while states(provider) != {"shop-1": state}:
                await asyncio.sleep(0.002)
        daemon.emit("kill")
        await until(lambda: states(provider) == {"shop-1": "draining"})
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "shop-1 is down in shop: docker calls it unhealthy"),
        ("INFO", "shop-1 is up again in shop"),
        ("INFO", "shop-1 is draining in shop: docker stops it"),
    ]


async def test_a_change_is_told_once(tmp_path: Path) -> None:
    """Events after which all is as it was are no change."""
    told: list[object] = []
    async with running_daemon(tmp_path / "docker.sock", container(1)) as daemon:
        provider = DockerProvider(daemon.host, None, lambda: told.append(provider.found))
        provider.use(SHOP)
        task = asyncio.create_task(provider.run())
        await until(lambda: provider.found)
        daemon.emit("update")
        await until(lambda: daemon.lists == 2)
        daemon.put(container(1, health="unhealthy"))
        daemon.emit("health_status: unhealthy")
        await until(lambda: states(provider) == {"shop-1": "down"})
        assert len(told) == 2
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_fault_of_this_program_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged with its place, shown as trouble, and Docker is asked again."""
    async with followed(tmp_path, container(1)) as (daemon, provider):
        monkeypatch.setattr(docker, "read", lambda *_: 1 / 0)
        daemon.emit("start")
        await until(lambda: provider.trouble and "ZeroDivisionError" in provider.trouble.reason)
        monkeypatch.undo()
        await until(lambda: provider.trouble is None)


@pytest.mark.slow
async def test_a_day_of_events_in_a_moment(tmp_path: Path) -> None:
    """20,000 events, most of health checks, while 100 containers come, stop and go: what is found at the end is right,
    and it was listed at most once for each time that events are gathered."""
    random_ = random.Random(5)
    async with followed(tmp_path) as (daemon, provider):
        began = monotonic()
        for index in range(20_000):
            number = random_.randrange(1, 101)
            match random_.randrange(10):
                case 0:
                    daemon.put(container(number, endpoint=str(index)))
                    daemon.emit("start", number)
                case 1:
                    daemon.emit("kill", number, signal="15")
                    daemon.containers.pop(full_id(number), None)
                    daemon.emit("die", number)
                case _:
                    daemon.emit("exec_die", number)
            if index % 100 == 0:
                await asyncio.sleep(0.002)
        daemon.emit("update")
        expected = read(LIST.validate_python([*daemon.containers.values()]), SHOP["shop"], View())
        await until(lambda: provider.found["shop"] == expected)
        assert daemon.lists <= 2 + (monotonic() - began) / docker.GATHER_SECONDS
        assert provider.trouble is None
        assert len([each for each in daemon.asked if each.startswith("/events")]) == 1


@pytest.mark.slow
async def test_a_list_of_ten_thousand_containers(tmp_path: Path) -> None:
    """Is read whole."""
    entries = [container(number) for number in range(1, 10_001)]
    async with followed(tmp_path, *entries) as (_, provider):
        assert len(provider.found["shop"].members) == 10_000


ENTRIES = st.builds(
    lambda number, **given: container(number, **given),
    st.integers(1, 4),
    state=st.sampled_from(["running", "running", "paused", "exited"]),
    health=st.sampled_from([None, "healthy", "unhealthy", "health: starting"]),
    ports=st.sampled_from([(8080,), (), (1, 2)]),
    networks=st.sampled_from([{"a": "10.0.0.1"}, {"a": "10.0.0.1", "b": "10.1.0.1"}, {}, {"a": "fd00::1"}]),
    labels=st.sampled_from([{}, {"redirect.port": "80"}, {"redirect.weight": "x"}, {"app": "other"}]),
)
STATES = st.lists(ENTRIES, max_size=4, unique_by=lambda each: each["Id"])
Steps = list[tuple[list[Entry], str]]
STEPS = st.lists(st.tuples(STATES, st.sampled_from(["event", "cut", "restart", "nonsense", "lost"])), max_size=5)


@pytest.mark.slow
@generated(75)
@given(steps=STEPS)
def test_what_is_found_is_what_the_last_state_says(tmp_path_factory: pytest.TempPathFactory, steps: Steps) -> None:
    """Whatever went before: states that were told of, or whose events were cut, made no sense or were lost with the
    daemon."""
    asyncio.run(_generated(tmp_path_factory.mktemp("d"), steps))


async def _generated(folder: Path, steps: Steps) -> None:
    async with asyncio.timeout(30), followed(folder) as (daemon, provider):
        for entries, how in steps:
            daemon.containers = {each["Id"]: each for each in entries}
            match how:
                case "event":
                    daemon.emit("update")
                case "cut":
                    daemon.cut()
                case "restart":
                    await daemon.stop()
                    await daemon.start()
                case "nonsense":
                    daemon.send(b"{\n")
            await asyncio.sleep(0.02)
        listed = LIST.validate_python([each for each in daemon.containers.values() if each["Labels"]["app"] == "shop"])
        expected = read(listed, SHOP["shop"], View())
        await until(lambda: daemon.subscribers)
        daemon.emit("update")
        await until(lambda: provider.found["shop"] == expected and provider.trouble is None)


async def test_docker_is_asked_once(tmp_path: Path) -> None:
    """For `redirect check --live`: without its events, and with why not."""
    async with running_daemon(tmp_path / "docker.sock", container(1)) as daemon:
        found = await ask_once(daemon.host, None, SHOP)
        assert [each.name for each in found["shop"].members] == ["shop-1"]
        assert [each.partition("?")[0] for each in daemon.asked] == ["/_ping", "/containers/json"]
    with pytest.raises(DockerError, match="No such file or directory"):
        await ask_once(daemon.host, None, SHOP)


@pytest.mark.parametrize(
    ("host", "url", "path"),
    [
        ("unix:///var/run/docker.sock", "http://docker", "/var/run/docker.sock"),
        ("tcp://window:2375", "http://window:2375", None),
        ("http://[fd00::1]:2375/", "http://[fd00::1]:2375", None),
    ],
)
def test_where_docker_is(host: str, url: str, path: str | None) -> None:
    """A socket, or a host and a port."""
    assert base_url(host) == (url, path)


@pytest.mark.parametrize(
    "host",
    ["", "/var/run/docker.sock", "unix://run/docker.sock", "ssh://root@host", "https://host", "tcp://h/x", "tcp://h:x"],
)
async def test_where_docker_is_not(host: str) -> None:
    """Docker cannot be asked at other kinds, and the trouble says what there are."""
    with pytest.raises(DockerError, match="must be unix:///PATH or tcp://HOST:PORT"):
        await ask_once(host, None, SHOP)


MOUNTS = "91 74 254:0 /var/lib/docker/containers/{}/{} /etc/{} rw,relatime - ext4 /dev/vda rw"
ON_THE_HOST = "91 74 0:61 / /var/lib/docker/containers/{}/mounts/shm rw - tmpfs shm rw"


@pytest.mark.parametrize(
    ("mounts", "host_name", "id_"),
    [
        pytest.param(MOUNTS.format(full_id(1), "hosts", "hosts"), "web", full_id(1), id="docker"),
        pytest.param(ON_THE_HOST.format(full_id(1)), "machine", None, id="the host of containers"),
        pytest.param("", "0123456789ab", "0123456789ab", id="the name of the host"),
        pytest.param("", "machine", None, id="no container"),
    ],
)
def test_which_container_this_is(mounts: str, host_name: str, id_: str | None) -> None:
    """Docker mounts files from a folder that is named after the container; the host sees those of all."""
    assert container_id(mounts, host_name) == id_
