"""All that is under way in a worker is looked at again and again, while requests go on."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from support.wire import new_recorder

from redirect.config.loader import parse_config
from redirect.core.destination import Destination
from redirect.proxy.connections import Connections
from redirect.proxy.forwarder import CHECK_SECONDS, CHECK_SECONDS_OF_EACH, STEP_EXCHANGES, Forwarder
from redirect.proxy.limits import Limits

MANY = 5 * STEP_EXCHANGES


class Idle:
    """An exchange in which nothing happens."""

    destination: Destination | None = None
    connections: Connections | None = None
    is_connected, is_tunnel = False, True

    def __init__(self, note: Callable[[], None]) -> None:
        self._note = note

    def check(self, now: int) -> None:
        self._note()


def forwarding(count: int, note: Callable[[], None]) -> Forwarder:
    config = parse_config(b"[p]\nis_default = true\nweighted_hosts.a = 1\n", "pools.toml")
    forwarder = Forwarder(new_recorder(config, "off"), config, Limits())
    for _ in range(count):
        forwarder.began(Idle(note), "p")
    return forwarder


async def test_other_things_are_done_between_looks_at_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redirect.proxy.forwarder.CHECK_SECONDS", 0)
    monkeypatch.setattr("redirect.proxy.forwarder.CHECK_SECONDS_OF_EACH", 0)
    turn, looks = 0, Counter[int]()

    def note() -> None:
        looks[turn] += 1

    forwarder = forwarding(MANY, note)
    while looks.total() < MANY:
        turn += 1
        await asyncio.sleep(0)
    assert set(looks.values()) == {STEP_EXCHANGES}
    assert len(list(forwarder.report())) == MANY // STEP_EXCHANGES


@pytest.mark.parametrize("count", [1, 10_000])
def test_looks_take_a_bounded_part_of_the_time(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The more there are, the longer it is between two."""

    class Loop:
        """Does at once what is to be done soon, and notes what is for later."""

        def __init__(self) -> None:
            self.later: list[tuple[float, Callable[[], None]]] = []

        def call_soon(self, act: Callable[[], None]) -> Any:
            act()
            return self

        def call_later(self, seconds: float, act: Callable[[], None]) -> Any:
            self.later.append((seconds, act))
            return self

    loop, looks = Loop(), Counter[str]()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    forwarding(count, lambda: looks.update(["look"]))
    for seconds in (CHECK_SECONDS, max(CHECK_SECONDS, count * CHECK_SECONDS_OF_EACH)):
        ((waited, act),) = loop.later
        assert waited == seconds
        loop.later.clear()
        act()
    assert looks["look"] == 2 * count
