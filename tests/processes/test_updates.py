"""How a worker applies what the controller published."""

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any
from weakref import ref

import pytest
from support.wire import new_recorder

from redirect.config.loader import no_collections, parse_config
from redirect.control.discovery import with_found
from redirect.control.publisher import publish_loading
from redirect.control.transfer import pack, pack_difference
from redirect.core.authority import Authority
from redirect.core.discovery import Discover
from redirect.core.forward import Forward
from redirect.core.forwarded import TrustedProxies
from redirect.core.health import LINE_STATUSES, HealthStatus, encode
from redirect.core.limits import MAX_LIMITS, numbered
from redirect.core.pools import Config, Origin, Pool
from redirect.core.routes import Route
from redirect.core.service import balancers, new_service
from redirect.edge.handler import RequestHandler
from redirect.edge.reader import Reader
from redirect.processes.updates import FREEZES, Updates, in_steps
from redirect.proxy.forwarder import Forwarder
from redirect.proxy.limits import Limits
from redirect.telemetry.scoreboard import Scoreboard
from redirect.telemetry.snapshot import Loading


def configuration(*origins: str, more: str = "") -> Config:
    hosts = ", ".join(f'"{origin}" = 1' for origin in origins)
    text = f'[p]\nis_default = true\nweighted_hosts = {{ {hosts} }}\nhealth_check = {{ path = "/" }}\n{more}'
    return parse_config(text.encode(), "pools.toml")


OLD, NEW, NEWEST = configuration("old"), configuration("new"), configuration("newest")


@pytest.fixture
def scoreboard() -> Iterator[Scoreboard]:
    yield Scoreboard()
    gc.unfreeze()


def publish(scoreboard: Scoreboard, config: Config, before: Config) -> None:
    config = replace(config, change=scoreboard.change.number + 1)
    scoreboard.configuration.publish(pack(config, {}))
    publish_loading(scoreboard, Loading(1.0, None, None, config.hash, 0))
    scoreboard.change.publish(pack_difference(config, before))


def worker(scoreboard: Scoreboard, config: Config = OLD) -> tuple[RequestHandler, Updates]:
    reader = Reader("X-Pool", TrustedProxies(""))
    recorder = new_recorder(config, "off", scoreboard)
    handler = RequestHandler(new_service(config, Random(1)), reader, recorder, Forwarder(recorder, config, Limits()))
    return handler, Updates(scoreboard, handler, Random(1))


def picked(handler: RequestHandler, pool: str | None = None) -> str | None:
    return handler.service.decide(pool, "http", None).origin


async def test_a_difference_is_applied(scoreboard: Scoreboard) -> None:
    handler, updates = worker(scoreboard)
    await updates.apply()
    assert picked(handler) == "old"
    publish(scoreboard, NEW, OLD)
    await updates.apply()
    assert picked(handler) == "new"
    assert scoreboard.slots()[0].numbers.config == int(NEW.hash, 16)


def found(state: str, *hosts: str) -> Config:
    """OLD with a pool whose origins were found, at those addresses."""
    config = configuration("old", more='[q]\ndiscover = { name = "q", port = 80 }\n')
    members = tuple(Origin(host, Authority(host, 80), 1) for host in hosts)
    return with_found(config, [Pool("q", members, discover=Discover("q", port=80), none_found=state)])


async def test_origins_that_were_found_are_applied(scoreboard: Scoreboard) -> None:
    """Other pools go on where they were in their cycles; one without origins says why."""
    handler, updates = worker(scoreboard, found("", "one"))
    before = {each.pool.name: each for each in handler.service.balancers()}
    publish(scoreboard, found("DNS has no address of q"), found("", "one"))
    await updates.apply()
    assert handler.service.decide("q", "http", None).detail == "q is configured, but DNS has no address of q"
    assert before["p"] in handler.service.balancers()
    assert scoreboard.slots()[0].numbers.change == 1
    publish(scoreboard, found("", "two"), replace(found(""), change=1))
    await updates.apply()
    assert handler.service.decide("q", "http", None).prefix == "http://two:80"


async def test_a_request_that_began_before_gets_no_origin_that_has_gone(scoreboard: Scoreboard) -> None:
    """However many changes there were since."""
    handler, updates = worker(scoreboard, found("", "one"))
    (balancer,) = (each for each in handler.service.balancers() if each.pool.name == "q")
    forward = Forward(Route(forward_to="q"), balancer, None, None)
    configs = [found("", *hosts) for hosts in (("one",), ("two",), ("three",))]
    for before, config in pairwise(configs):
        publish(scoreboard, config, before)
        await updates.apply()
    assert forward.balancer.pick().origin.name == "three"


async def test_an_origin_that_is_found_down_is_never_used(scoreboard: Scoreboard) -> None:
    """Its health is known before the origin."""
    handler, updates = worker(scoreboard, found(""))
    down = HealthStatus(False, 1.0, 1.0, "docker calls it unhealthy", member="down")
    await updates.apply()
    scoreboard.health.publish(encode({"q": {"one": down}}))
    publish(scoreboard, found("", "one"), found(""))
    seen = {handler.service.decide("q", "http", None).detail}
    applying = asyncio.ensure_future(updates.apply())
    while not applying.done():
        await asyncio.sleep(0)
        seen.add(handler.service.decide("q", "http", None).detail)
    assert seen == {
        "q is configured, but DNS was not asked for q yet",
        "no origin of q is eligible: one is down, docker calls it unhealthy",
    }


async def test_an_origin_that_is_found_down_while_health_is_read_is_never_used(
    scoreboard: Scoreboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Health is read in steps, and meanwhile more of both is published."""
    monkeypatch.setattr("redirect.processes.updates.STEP_SECONDS", 0)
    handler, updates = worker(scoreboard, found(""))
    down = HealthStatus(False, 1.0, 1.0, "docker calls it unhealthy", member="down")
    many = {f"other-{number}": {"a": down} for number in range(2 * LINE_STATUSES)}
    publish(scoreboard, found(""), found(""))
    scoreboard.health.publish(encode(many))
    applying = asyncio.ensure_future(updates.apply())
    await asyncio.sleep(0)
    scoreboard.health.publish(encode({**many, "q": {"one": down}}))
    publish(scoreboard, found("", "one"), replace(found(""), change=1))
    await applying
    assert handler.service.decide("q", "http", None).prefix is None
    await updates.apply()
    reason = "no origin of q is eligible: one is down, docker calls it unhealthy"
    assert handler.service.decide("q", "http", None).detail == reason


async def test_a_worker_that_missed_a_change_reads_all_of_the_configuration(scoreboard: Scoreboard) -> None:
    handler, updates = worker(scoreboard)
    publish(scoreboard, NEW, OLD)
    publish(scoreboard, NEWEST, NEW)
    await updates.apply()
    assert (picked(handler), handler.service.config.hash) == ("newest", NEWEST.hash)


def test_a_worker_that_began_with_the_configuration_keeps_its_service(scoreboard: Scoreboard) -> None:
    publish(scoreboard, NEW, OLD)
    handler, updates = worker(scoreboard, replace(NEW, change=1))
    service = handler.service
    asyncio.run(updates.apply())
    assert handler.service is service


async def test_a_limit_has_the_index_that_was_published(scoreboard: Scoreboard) -> None:
    """Also where all else of the configuration is what this worker has."""
    route = '[[routes]]\npath = "/{}"\nforward_to = "p"\nlimit = 1\n'
    config = configuration("old", more=route.format("a"))
    again = replace(config, routes=numbered(config.routes, (), [1] + [0] * (MAX_LIMITS - 1)))
    handler, updates = worker(scoreboard, config)
    publish(scoreboard, NEW, config)
    publish(scoreboard, again, NEW)
    await updates.apply()
    assert [route.limit.index for route in handler.service.config.routes if route.limit] == [1]


async def test_pools_that_go_and_pools_that_stay(scoreboard: Scoreboard) -> None:
    """A pool that did not change goes on where it was in its cycle; one that went is the default pool's."""
    text = '[q]\nweighted_hosts = { "a" = 1, "b" = 1, "c" = 1 }\n[r]\nweighted_hosts = { "r" = 1 }\n'
    before, after = configuration("old", more=text), configuration("new", more=text.partition("[r]")[0])
    handler, updates = worker(scoreboard, before)
    first = [picked(handler, "q") for _ in range(2)]
    publish(scoreboard, after, before)
    await updates.apply()
    assert {*first, picked(handler, "q")} == {"a", "b", "c"}
    assert picked(handler, "r") == "new"


async def test_health_is_applied_and_reported(scoreboard: Scoreboard) -> None:
    config = configuration("a", "b")
    handler, updates = worker(scoreboard, config)
    scoreboard.health.publish(encode({"p": {"a": HealthStatus(False, 1.0, 1.0, "down")}}))
    await updates.apply()
    assert {picked(handler) for _ in range(4)} == {"b"}
    assert scoreboard.slots()[0].numbers.health == scoreboard.health.number == 1


async def test_what_fails_is_tried_again(
    scoreboard: Scoreboard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that could not apply a configuration keeps what it has, logs it, and tries again by itself."""
    handler, updates = worker(scoreboard)
    failures = [KeyError("boom")] * 2
    monkeypatch.setattr("redirect.processes.updates.RETRY_SECONDS", 0)
    monkeypatch.setattr("redirect.processes.updates.POLL_SECONDS", 0)

    def fail_twice(*arguments: Any) -> object:
        if failures:
            raise failures.pop()
        return balancers(*arguments)

    monkeypatch.setattr("redirect.processes.updates.balancers", fail_twice)
    publish(scoreboard, NEW, OLD)
    running = asyncio.create_task(updates.run())
    async with asyncio.timeout(20):
        while picked(handler) != "new":
            await asyncio.sleep(0)
    running.cancel()
    assert caplog.text.count("KeyError: 'boom'") == 2


class Cycle:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.cycle = self


@pytest.fixture
def all_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is built of a change is frozen, however small it is."""
    monkeypatch.setattr("redirect.processes.updates.FREEZE_BYTES", 0)


def looks(apply: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """How often the collector looks at something meanwhile."""
    phases: list[str] = []

    def note(phase: str, _about: dict[str, int]) -> None:
        phases.append(phase)

    gc.callbacks.append(note)
    try:
        asyncio.run(apply())
    finally:
        gc.callbacks.remove(note)
    return phases.count("start")


@pytest.mark.usefixtures("all_large")
def test_garbage_is_not_frozen(scoreboard: Scoreboard) -> None:
    """It would stay for as long as the worker lives."""
    _, updates = worker(scoreboard)
    publish(scoreboard, NEW, OLD)
    with no_collections():
        garbage = ref(Cycle())
        asyncio.run(updates.apply())
        assert garbage() is None


def test_what_is_built_of_a_small_change_is_not_frozen(scoreboard: Scoreboard) -> None:
    """As a step of a ramp: requests would wait while the collector looks, for each step."""
    _, updates = worker(scoreboard)
    publish(scoreboard, NEW, OLD)
    with no_collections():
        assert looks(updates.apply) == 0
    assert gc.get_freeze_count() == 0


def test_what_is_built_of_small_changes_is_frozen_once_they_are_many(scoreboard: Scoreboard) -> None:
    more = "".join(f"[q{number}]\nweighted_hosts.a = 1\n" for number in range(500))
    configs = [configuration(origin, more=more.replace("= 1", f"= {number}")) for number, origin in enumerate("ab", 1)]
    _, updates = worker(scoreboard, configs[0])
    changes = 0
    while not gc.get_freeze_count():
        changes += 1
        before, after = configs[(changes - 1) % 2], configs[changes % 2]
        publish(scoreboard, after, replace(before, change=scoreboard.change.number))
        asyncio.run(updates.apply())
    assert changes > 2


def test_a_large_configuration_is_built_without_collections(scoreboard: Scoreboard) -> None:
    """One that looks at all of its objects would hold requests up."""
    more = "".join(f"[q{number}]\nweighted_hosts.a = 1\n" for number in range(10_000))
    after = configuration("new", more=more)
    handler, updates = worker(scoreboard)
    publish(scoreboard, after, OLD)
    assert looks(updates.apply) == 1  # before it
    assert handler.service.config.hash == after.hash
    assert gc.get_freeze_count() > 10_000


def test_a_configuration_that_was_replaced_leaves_no_garbage(scoreboard: Scoreboard) -> None:
    """Nothing would free what was frozen of it, at the start or since."""
    more = """
        [[routes]]
        path = "/forwarded"
        forward_to = "f"
        [[routes]]
        path = "/redirected"
        redirect_to = "p"
        [f]
        pick = "least_requests"
        eject = {{ fails = 2 }}
        fallback = "g"
        weighted_hosts = {{ "f-{0}" = 1, "f-2" = 2 }}
        [g]
        pick = "hash"
        weighted_hosts = {{ "g" = {0} }}
        """
    configs = [configuration("p", f"p-{number}", more=more.format(number)) for number in range(10, 13)]
    handler, updates = worker(scoreboard, configs[0])
    down = HealthStatus(False, 1.0, 1.0, "refused")
    gc.collect()
    with no_collections():
        for before, after in pairwise(configs):
            for target in ("/forwarded", "/redirected", "/"):
                handler.decide("GET", target, None, "http", None, "192.0.2.1", b"")
            scoreboard.health.publish(encode({"p": {"p": down}, "f": {"f-2": down}}))
            publish(scoreboard, after, replace(before, change=scoreboard.change.number))
            asyncio.run(updates.apply())
            assert handler.service.config.hash == after.hash
        del before, after, configs
        assert gc.collect() == 0


@pytest.mark.usefixtures("all_large")
def test_what_was_frozen_and_is_garbage_is_freed(scoreboard: Scoreboard) -> None:
    """As a tunnel that was open while a configuration came; at times, as it takes long."""
    _, updates = worker(scoreboard)
    garbage = Cycle()
    gc.freeze()
    seen = ref(garbage)
    del garbage
    configs = [configuration(f"new-{number}") for number in range(FREEZES)]
    for before, after in pairwise([OLD, *configs]):
        assert seen() is not None
        publish(scoreboard, after, replace(before, change=scoreboard.change.number))
        asyncio.run(updates.apply())
    assert seen() is None


async def test_steps_leave_time_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two items that took a while other tasks run."""
    monkeypatch.setattr("redirect.processes.updates.STEP_SECONDS", 0)
    seen: list[object] = []

    async def note() -> None:
        seen.append("other")

    tasks = [asyncio.create_task(note()) for _ in range(3)]
    async for item in in_steps(range(3)):
        seen.append(item)
    await asyncio.gather(*tasks)
    assert seen.index("other") < seen.index(2)
