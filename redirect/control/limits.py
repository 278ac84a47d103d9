"""Keeps the tokens of each limit at their number: those that are left, and those that workers hold.

The rule: what is missing is put back, what is too many is taken as it comes. Tokens are missing where a worker was
killed, or where the limit grew; they are too many where it shrank. It acts only on a view in which no worker was
between a token and its note: what the notes and the kernel say is then of one moment.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from redirect.core.limits import MAX_LIMITS
from redirect.core.routes import Route
from redirect.telemetry.scoreboard import Descriptor, Scoreboard

# Looks at a limit until it is left for the next time: each takes some microseconds, in which no worker must move.
MAX_LOOKS = 10


class LimitState(NamedTuple):
    limit: int
    under_way: int


class Limits:
    """The limits of `routes`, in the controller."""

    def __init__(self, scoreboard: Scoreboard, routes: Iterable[Route]) -> None:
        self._scoreboard = scoreboard
        self._tokens = scoreboard.tokens
        self._too_many: Counter[int] = Counter()  # tokens, by index
        # The descriptors that tell how many tokens are left, by index. What never had a token needs no look.
        held = self.held()
        files = dict(enumerate(map(_description, self._tokens)))
        self._used = {index: file for index, file in files.items() if held[index] or _left(file)}
        self._set(routes)

    def use(self, routes: Iterable[Route]) -> None:
        """Makes the tokens those of these routes, as far as this can be at once."""
        self._set(routes)
        self.reconcile()

    def reconcile(self) -> None:
        for index in self._used:
            looks = (self._look(index) for _ in range(MAX_LOOKS))
            found = next((tokens for tokens in looks if tokens is not None), None)
            if found is not None:
                self._correct(index, self._limits.get(index, 0) - found)

    def held(self) -> list[int]:
        """How many tokens workers hold, by index."""
        rows = [[held.tokens for held in slot.numbers.held] for slot in self._scoreboard.slots()]
        return [sum(column) for column in zip(*rows, strict=True)] or [0] * MAX_LIMITS

    def states(self) -> dict[str, LimitState]:
        """By the names of routes."""
        held = self.held()
        return {name: LimitState(limit.in_flight, held[limit.index]) for name, limit in self._named.items()}

    def _set(self, routes: Iterable[Route]) -> None:
        self._named = {route.name: route.limit for route in routes if route.limit is not None}  # threads read it
        self._limits = {limit.index: limit.in_flight for limit in self._named.values()}
        for index in self._limits.keys() - self._used.keys():
            self._used[index] = _description(self._tokens[index])

    def _look(self, index: int) -> int | None:
        """How many tokens there are; None if a worker was at one meanwhile."""
        of_workers = [slot.numbers.held[index] for slot in self._scoreboard.slots()]
        steps = [held.steps for held in of_workers]
        tokens = sum([held.tokens for held in of_workers]) + _left(self._used[index])
        is_still = not any(step % 2 for step in steps) and steps == [held.steps for held in of_workers]
        return tokens if is_still else None

    def _correct(self, index: int, missing: int) -> None:
        if missing > 0:
            os.eventfd_write(self._tokens[index], missing)
        if missing < 0 or self._too_many[index]:
            self._too_many[index] = max(0, -missing)
            self._take(index)

    def _take(self, index: int) -> None:
        tokens = self._tokens[index]
        with suppress(BlockingIOError):
            while self._too_many[index]:
                os.eventfd_read(tokens)
                self._too_many[index] -= 1
        loop = asyncio.get_running_loop()
        if self._too_many[index]:
            loop.add_reader(tokens, self._take, index)
        else:
            loop.remove_reader(tokens)


def _description(tokens: int) -> int:
    """A descriptor from which `_left` reads; that of the tokens does not tell."""
    return Descriptor(os.open(f"/proc/self/fdinfo/{int(tokens)}", os.O_RDONLY | os.O_CLOEXEC))


def _left(description: int) -> int:
    """How many tokens no worker holds."""
    lines = os.pread(description, 1024, 0).split(b"\n")
    (count,) = [line.split()[1] for line in lines if line.startswith(b"eventfd-count:")]
    return int(count, 16)
