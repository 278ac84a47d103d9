"""What the controller knows of its instance: states of origins, and whether all workers have the configuration."""

from dataclasses import replace

import pytest

from redirect.config.loader import Loader, parse_config
from redirect.control.discovery import Discovery
from redirect.control.dns_provider import DnsProvider
from redirect.control.instance import APPLY_MS, READY, Instance, OriginState
from redirect.control.prober import Prober
from redirect.control.publisher import Publisher, loading, publish_loading
from redirect.core.health import HealthStatus, encode
from redirect.core.pools import Config
from redirect.telemetry.counters import Counters
from redirect.telemetry.scoreboard import Scoreboard, now_ms
from redirect.telemetry.snapshot import Loading

TEXT = (
    b'[p]\nis_default = true\nhealth_check = { path = "/" }\nweighted_hosts = { a = 1, b = 1, c = 0, d = 1 }\n'
    b"[q]\nweighted_hosts = { a = 1 }\n"
)
CONFIG = parse_config(TEXT, "pools.toml")
OTHER = replace(parse_config(TEXT + b"\n", "pools.toml"), change=1)


@pytest.fixture
def scoreboard() -> Scoreboard:
    scoreboard = Scoreboard()
    scoreboard.common.started_ms = 100_000
    publish_loading(scoreboard, Loading(100.0, None, None, CONFIG.hash, now_ms()))
    for slot in range(2):
        scoreboard.make_slot(slot)
    return scoreboard


def look(scoreboard: Scoreboard, config: Config = CONFIG, *, waits: bool = False) -> Instance:
    """The instance with this configuration, whose health checks have not begun."""
    return Instance(
        scoreboard,
        Publisher(scoreboard, "pools.toml", config, Loader("pools.toml")),
        Prober(scoreboard, config),
        Discovery(lambda _: DnsProvider(lambda: None), config, waits=waits),
    )


async def test_states_of_origins(scoreboard: Scoreboard) -> None:
    """A probed origin is down, or up again, since its state changed; a drained one is draining; without health checks
    all are up, since the start."""
    found = {name: HealthStatus(name == "b", 200.0, 5.0, f"probe of {name}") for name in "abc"}
    scoreboard.health.publish(encode({"p": found, "q": {"a": found["a"]}}))
    instance, pool = look(scoreboard), CONFIG.pools["p"]
    states = {origin.name: instance.state(pool, origin) for origin in pool.origins}
    assert states == {
        "a": OriginState("down", 200.0, "probe of a"),
        "b": OriginState("up", 200.0, "probe of b"),
        "c": OriginState("draining", 100.0),
        "d": OriginState("up", 100.0),
    }
    unprobed = CONFIG.pools["q"]
    assert instance.state(unprobed, unprobed.origins[0]) == OriginState("up", 100.0)


async def test_states_of_origins_that_may_be_ejected(scoreboard: Scoreboard) -> None:
    """Without health checks, too; one on trial is up."""
    route = '[[routes]]\nforward_to = "p"\n[p]\nweighted_hosts = { a = 1, b = 1, c = 1 }\neject = {}\n'
    config = parse_config(route.encode(), "pools.toml")
    found = {name: HealthStatus(name == "b", 200.0, 5.0, f"{name} failed", 1) for name in "ab"}
    scoreboard.health.publish(encode({"p": found}))
    instance, pool = look(scoreboard, config), config.pools["p"]
    assert {origin.name: instance.state(pool, origin) for origin in pool.origins} == {
        "a": OriginState("down", 200.0, "a failed"),
        "b": OriginState("up", 200.0, "b failed"),
        "c": OriginState("up", 100.0),
    }


async def test_a_configuration_is_applied_once_every_worker_has_it(scoreboard: Scoreboard) -> None:
    first, second = [Counters(scoreboard.slots()[slot], CONFIG) for slot in range(2)]
    instance = look(scoreboard, OTHER)
    assert not instance.is_applied()
    first.use(OTHER)
    assert not instance.is_applied()
    second.slot.free()  # it ends
    assert instance.is_applied()


async def test_a_worker_without_the_configuration_is_late_after_a_while(scoreboard: Scoreboard) -> None:
    worker = Counters(scoreboard.slots()[0], CONFIG)
    instance = look(scoreboard, OTHER)
    for ago, config, is_late in ((0, OTHER, False), (APPLY_MS + 1000, OTHER, True), (APPLY_MS + 1000, CONFIG, False)):
        state = loading(scoreboard)._replace(config=config.hash, published_ms=now_ms() - ago)
        publish_loading(scoreboard, state)
        assert instance.is_late(instance.snapshot()) == is_late
    worker.slot.free()


async def test_an_instance_is_ready_while_a_worker_serves(scoreboard: Scoreboard) -> None:
    instance = look(scoreboard)
    instance.note_readiness()
    assert instance.readiness() == "starting"
    worker = Counters(scoreboard.slots()[0], CONFIG)
    scoreboard.common.has_begun = 1
    instance.note_readiness()
    assert instance.readiness() == READY
    worker.slot.numbers.heartbeat_ms = now_ms() - 4_000
    assert instance.readiness() == "hanging"
    worker.slot.numbers.heartbeat_ms = now_ms()
    assert instance.readiness() == READY
    scoreboard.common.is_stopping = 1
    assert instance.readiness() == "shutting down"
    worker.slot.free()


async def test_an_instance_that_waits_for_origins_is_not_ready(scoreboard: Scoreboard) -> None:
    config = parse_config(b'[p]\nis_default = true\ndiscover = { name = "a", port = 80 }\n', "pools.toml")
    scoreboard.common.has_begun = 1
    Counters(scoreboard.slots()[0], config)
    waiting = look(scoreboard, config, waits=True)
    waiting.note_readiness()
    assert (waiting.readiness(), scoreboard.common.has_been_ready) == ("finding origins", 0)
    instance = look(scoreboard, config)
    instance.note_readiness()
    assert instance.readiness() == READY


async def test_an_instance_is_ready_once_its_workers_have_the_origins_that_were_found(scoreboard: Scoreboard) -> None:
    """A request that comes then finds them. Later it stays ready while others are found."""
    scoreboard.common.has_begun = 1
    worker = Counters(scoreboard.slots()[0], CONFIG)
    instance = look(scoreboard, replace(CONFIG, change=2))
    instance.note_readiness()
    assert instance.readiness() == "starting"
    worker.slot.numbers.change = 2
    instance.note_readiness()
    worker.slot.numbers.change = 1
    instance.note_readiness()
    assert instance.readiness() == READY


async def test_an_instance_that_was_ready_is_so_for_the_next_controller(scoreboard: Scoreboard) -> None:
    """Though one of its workers, which hangs, has not the newest configuration, and nothing ever asked the controller
    before."""
    scoreboard.common.has_begun = 1
    for slot in scoreboard.slots():
        Counters(slot, CONFIG)
    look(scoreboard).note_readiness()
    scoreboard.slots()[0].numbers.change = 1
    following = look(scoreboard, replace(CONFIG, change=1))
    following.note_readiness()
    assert following.readiness() == READY


async def test_an_instance_is_not_ready_while_origins_that_were_found_are_published(scoreboard: Scoreboard) -> None:
    """Its workers have the configuration before, which is still the one in use."""
    scoreboard.common.has_begun = 1
    Counters(scoreboard.slots()[0], CONFIG)
    instance = look(scoreboard)
    async with instance.publisher._lock:
        instance.note_readiness()
        assert instance.readiness() == "starting"
    instance.note_readiness()
    assert instance.readiness() == READY


async def test_a_worker_without_the_origins_that_were_found_is_late(scoreboard: Scoreboard) -> None:
    """Also where it has the configuration of the same file."""
    instance = look(scoreboard, replace(CONFIG, change=3))
    Counters(scoreboard.slots()[0], replace(CONFIG, change=2))
    assert not instance.is_late(instance.snapshot())
    instance.publisher.published_ms -= APPLY_MS + 1
    assert instance.is_late(instance.snapshot())
    Counters(scoreboard.slots()[0], replace(CONFIG, change=3))
    assert not instance.is_late(instance.snapshot())
