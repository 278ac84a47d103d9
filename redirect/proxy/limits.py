"""The limits of a worker: how many requests of a route are under way, in all workers together.

The rule: a request that is under way holds a token, which the kernel counts, and gives it back at its end, whatever
that is. Where none is left a request waits for its turn, if the route has a queue, or is refused. A queue is of one
worker, first come first served; a token that comes free goes to the first worker that sees it.
"""

import asyncio
import os
from collections.abc import Sequence, Set
from ctypes import Array
from time import monotonic_ns
from typing import Protocol

from redirect.core.routes import RequestLimit
from redirect.telemetry.scoreboard import Held, new_tokens


class Limited(Protocol):
    """An exchange whose route has a limit."""

    def go_on(self) -> None:
        """It is under way from now on."""

    def refuse_full(self) -> None:
        """So many are under way, and it does not wait, or no longer."""


class Limits:
    """With the `tokens` of all workers, and the slot's numbers of those that this one holds; without them, for this
    process alone."""

    def __init__(self, tokens: Sequence[int] = (), held: Array[Held] | None = None) -> None:
        self._tokens = tokens
        self._held = held
        self._limits: dict[int, _Limit] = {}
        self._used: Set[int] | None = None  # those that some route has; all, until that is told

    def enter(self, exchange: Limited, limit: RequestLimit) -> bool:
        """Whether the exchange is under way; if not it waits, or was refused. One that began before its limit was gone,
        and comes behind another on its connection, has none."""
        if self._used is not None and limit.index not in self._used:
            return True
        return self._limit(limit).enter(exchange, limit)

    def leave(self, exchange: Limited, limit: RequestLimit) -> None:
        """At the end of an exchange, whatever became of it."""
        self._limit(limit).leave(exchange)

    def use(self, indexes: Set[int]) -> None:
        """Has those go on that wait for a limit that no route has any more."""
        self._used = indexes
        for index in self._limits.keys() - indexes:
            self._limits[index].release()

    def check(self, now: int) -> None:
        """Refuses those that have waited too long; `now` is by `monotonic_ns`."""
        for limit in [*self._limits.values()]:  # the request behind a refused one may be the first of another limit
            limit.check(now)

    def _limit(self, limit: RequestLimit) -> "_Limit":
        index = limit.index
        found = self._limits.get(index)
        if found is None:
            tokens = self._tokens[index] if self._tokens else new_tokens(limit.in_flight)
            found = self._limits[index] = _Limit(tokens, self._held[index] if self._held else Held())
        return found


class _Limit:
    def __init__(self, tokens: int, held: Held) -> None:
        self._descriptor = tokens  # is closed with the last object that has it
        self._tokens = int(tokens)  # in a call faster than an object of another class
        self._held = held
        self._under_way: set[Limited] = set()
        self._waiting: dict[Limited, int] = {}  # until when, in their order

    def enter(self, exchange: Limited, limit: RequestLimit) -> bool:
        if not self._waiting and self._take(exchange):
            return True
        if len(self._waiting) < limit.queue:
            if not self._waiting:
                asyncio.get_running_loop().add_reader(self._tokens, self._admit)
            self._waiting[exchange] = monotonic_ns() + int(limit.wait * 1e9)
        else:
            exchange.refuse_full()
        return False

    def leave(self, exchange: Limited) -> None:
        if exchange in self._under_way:
            self._give_back(exchange)
        elif self._waiting.pop(exchange, None) is not None:
            self._rest()

    def check(self, now: int) -> None:
        for exchange in [exchange for exchange, until in self._waiting.items() if until < now]:
            exchange.refuse_full()

    def release(self) -> None:
        waiting, self._waiting = self._waiting, {}
        if waiting:
            self._rest()
        for exchange in waiting:
            exchange.go_on()

    def _admit(self) -> None:
        """There are tokens, unless another worker was faster."""
        while self._waiting and self._take(exchange := next(iter(self._waiting))):
            del self._waiting[exchange]
            exchange.go_on()
        self._rest()

    def _rest(self) -> None:
        """Without a queue there is nothing to watch for."""
        if not self._waiting:
            asyncio.get_running_loop().remove_reader(self._tokens)

    def _take(self, exchange: Limited) -> bool:
        held = self._held
        held.steps += 1
        try:
            os.eventfd_read(self._tokens)
        except BlockingIOError:
            return False
        else:
            held.tokens += 1
            self._under_way.add(exchange)
            return True
        finally:
            held.steps += 1

    def _give_back(self, exchange: Limited) -> None:
        held = self._held
        held.steps += 1
        os.eventfd_write(self._tokens, 1)
        held.tokens -= 1
        self._under_way.remove(exchange)
        held.steps += 1
