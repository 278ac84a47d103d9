"""The tokens of limits: what is missing comes back, what is too many goes, whatever workers do meanwhile."""

import asyncio
import os
import threading

import pytest

from redirect.control.limits import Limits, LimitState
from redirect.core.limits import numbered
from redirect.core.routes import RequestLimit, Route
from redirect.telemetry.scoreboard import Held, Scoreboard


def routes(**limits: int) -> tuple[Route, ...]:
    return numbered(Route(path=f"/{name}", forward_to="p", limit=RequestLimit(n)) for name, n in limits.items())


@pytest.fixture
def scoreboard() -> Scoreboard:
    """Of three workers and a route with a limit of 5."""
    scoreboard = Scoreboard(routes(a=5))
    for slot in range(3):
        scoreboard.make_slot(slot)
    return scoreboard


def held(scoreboard: Scoreboard, slot: int, index: int = 0) -> Held:
    found: Held = scoreboard.slots()[slot].numbers.held[index]
    return found


def take(scoreboard: Scoreboard, slot: int, count: int = 1, index: int = 0) -> None:
    """A worker takes tokens."""
    note = held(scoreboard, slot, index)
    for _ in range(count):
        note.steps += 1
        os.eventfd_read(scoreboard.tokens[index])
        note.tokens += 1
        note.steps += 1


def left(scoreboard: Scoreboard, index: int = 0) -> int:
    """How many tokens are left; they are taken, and given back."""
    count = 0
    while True:
        try:
            os.eventfd_read(scoreboard.tokens[index])
            count += 1
        except BlockingIOError:
            os.eventfd_write(scoreboard.tokens[index], count)
            return count


def test_where_nothing_is_missing_nothing_changes(scoreboard: Scoreboard) -> None:
    limits = Limits(scoreboard, routes(a=5))
    for count in (0, 2, 3):
        take(scoreboard, 1, count)
        limits.reconcile()
    assert left(scoreboard) == 0
    assert limits.states() == {"/a": LimitState(5, 5)}


def test_what_a_killed_worker_held_comes_back_once(scoreboard: Scoreboard) -> None:
    """Also where it died between a token and its note, with or without the token."""
    limits = Limits(scoreboard, routes(a=5))
    take(scoreboard, 0)
    take(scoreboard, 1, 2)
    held(scoreboard, 1).steps += 1
    os.eventfd_read(scoreboard.tokens[0])
    held(scoreboard, 2).steps += 1
    limits.reconcile()
    assert left(scoreboard) == 1
    for slot in (1, 2):
        scoreboard.slots()[slot].free()
        limits.reconcile()
        limits.reconcile()
    assert left(scoreboard) == 4
    assert limits.states() == {"/a": LimitState(5, 1)}


def test_a_worker_between_a_token_and_its_note_is_waited_for(scoreboard: Scoreboard) -> None:
    """It acts on no view in which the two are not of one moment."""
    limits = Limits(scoreboard, routes(a=5))
    held(scoreboard, 0).steps += 1
    os.eventfd_read(scoreboard.tokens[0])
    limits.reconcile()
    assert left(scoreboard) == 4
    held(scoreboard, 0).tokens += 1
    held(scoreboard, 0).steps += 1
    limits.reconcile()
    assert left(scoreboard) == 4


async def test_the_next_controller_goes_on(scoreboard: Scoreboard) -> None:
    """It finds what the one before left, also of limits that are no more."""
    Limits(scoreboard, routes(a=5))
    take(scoreboard, 0, 2)
    scoreboard.slots()[0].free()
    Limits(scoreboard, ()).reconcile()
    assert left(scoreboard) == 0
    Limits(scoreboard, routes(a=5)).reconcile()
    assert left(scoreboard) == 5


def test_a_limit_that_grows_has_more_tokens_at_once(scoreboard: Scoreboard) -> None:
    limits = Limits(scoreboard, routes(a=5))
    take(scoreboard, 0, 4)
    limits.use(routes(a=8, b=2))
    assert (left(scoreboard, 0), left(scoreboard, 1)) == (4, 2)


async def test_a_limit_that_shrinks_takes_tokens_as_they_come(scoreboard: Scoreboard) -> None:
    """As many as are too many, and no more."""
    limits = Limits(scoreboard, routes(a=5))
    take(scoreboard, 0, 4)
    limits.use(routes(a=2))
    assert left(scoreboard) == 0
    note = held(scoreboard, 0)
    for under_way, free in ((3, 0), (2, 0), (1, 1), (0, 2)):
        note.steps += 1
        os.eventfd_write(scoreboard.tokens[0], 1)
        note.tokens -= 1
        note.steps += 1
        await asyncio.sleep(0.01)
        limits.reconcile()
        assert limits.states() == {"/a": LimitState(2, under_way)}
        assert left(scoreboard) == free


async def test_a_limit_that_shrinks_and_grows_again(scoreboard: Scoreboard) -> None:
    limits = Limits(scoreboard, routes(a=5))
    take(scoreboard, 0, 5)
    limits.use(routes(a=1))
    limits.use(routes(a=6))
    assert left(scoreboard) == 1
    await asyncio.sleep(0.01)  # nothing takes it any more
    assert left(scoreboard) == 1


def test_while_workers_take_and_give_none_is_lost_or_made(scoreboard: Scoreboard) -> None:
    limits = Limits(scoreboard, routes(a=5))
    ended = threading.Event()

    def work() -> None:
        note, tokens = held(scoreboard, 0), scoreboard.tokens[0]
        while not ended.is_set():
            for step in (1, -1):
                note.steps += 1
                os.eventfd_read(tokens) if step > 0 else os.eventfd_write(tokens, 1)
                note.tokens += step
                note.steps += 1

    worker = threading.Thread(target=work)
    worker.start()
    for _ in range(2000):
        limits.reconcile()
    ended.set()
    worker.join()
    assert left(scoreboard) == 5
