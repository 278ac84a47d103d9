"""Eligibility: which items of a pool may be picked, as probes see them.

The rule: filter first, then weigh. Items that are down are left out, and the others share what they had by their
weights. One that comes back gets its share within `slow_start` seconds, growing evenly, since a host that was
down has nothing in its caches. Where all are down there is nothing to pick, or all of them, as the pool wants it.

A slow start adds to a pick the choice among turns: of those who were there, and of those who came back together. How
many they are is bounded, whatever the pool.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from math import inf
from random import Random
from typing import Generic, TypeVar

from redirect.core.cycles import Cycles, SlowStart, rotate

T = TypeVar("T")

# Who comes back within one of so many parts of a slow start does so together: that many turns there are at most.
STEPS = 10

# Picks that may be prepared while requests wait: a few milliseconds. Longer turns are played as they are picked.
BUDGET = 2_000


class Eligibility(Generic[T]):
    """The items of one pool, by name, each with its weight. `pick` is None where none may be picked.

    Takes the place of `before`, if there is one: what is down stays so. Times are those of one monotonic clock.
    """

    pick: Callable[[], T] | None

    def __init__(
        self,
        weighted: Mapping[str, tuple[T, int]],
        slow_start: float,
        ignores_all_down: bool,
        turns: Cycles,
        random: Random,
        before: "Eligibility[T] | None" = None,
    ) -> None:
        self._weighted = weighted
        self._slow_start = slow_start
        self._ignores_all_down = ignores_all_down
        self._random = random
        self._down: frozenset[str] = before._down & weighted.keys() if before else frozenset()
        self._back: dict[str, float] = {}  # when those came back that have not their whole share yet
        if before:
            self._back = {name: at for name, at in before._back.items() if name in weighted}
        self._slow: tuple[SlowStart[T], list[float]] | None = None  # and when those of each of its turns came back
        self._arrange(turns)

    @property
    def is_growing(self) -> bool:
        """Whether an item came back that has not its whole share yet."""
        return bool(self._back)

    def set_down(self, down: frozenset[str], now: float) -> None:
        """Leaves out the items of these names from `now` on, and no others."""
        down &= self._weighted.keys()
        if down != self._down:
            back = self._back  # not changed in place: another thread may read it, for the one in this one's place
            if self._slow_start:
                back = back | dict.fromkeys(self._down - down, self._step(now))
            self._back = {name: at for name, at in back.items() if name not in down}
            self._down = down
            self._arrange(Cycles(BUDGET))
            self.grow(now)

    def came_back(self, since: Mapping[str, float], now: float) -> None:
        """Has items begin slowly that came back so many seconds before `now`, when there was nobody here to see it.
        Less than none, as after a clock was set, are none."""
        ages = {name: max(0, age) for name, age in since.items() if name in self._weighted}
        back = {name: self._step(now - age) for name, age in ages.items() if age < self._slow_start}
        if back:
            self._back = self._back | back
            self._arrange(Cycles(BUDGET))
            self.grow(now)

    def grow(self, now: float) -> None:
        """Gives those that came back what is due by `now`."""
        back = {name: at for name, at in self._back.items() if now - at < self._slow_start}
        if len(back) < len(self._back):
            self._back = back
            self._arrange(Cycles(BUDGET))
        if self._slow:
            turn, came_back = self._slow
            turn.grow([min(1, (now - at) / self._slow_start) for at in came_back])

    def _step(self, now: float) -> float:
        """When those come back who do so at `now`."""
        return now - now % (self._slow_start / STEPS)

    def _arrange(self, turns: Cycles) -> None:
        """Begins anew, with those that came back together in a turn of their own."""
        eligible = [name for name, (_, weight) in self._weighted.items() if weight and name not in self._down]
        if not eligible and self._ignores_all_down:
            eligible = [name for name, (_, weight) in self._weighted.items() if weight]
        groups: defaultdict[float, list[tuple[T, int]]] = defaultdict(list)
        for name in eligible:
            groups[self._back.get(name, -inf)].append(self._weighted[name])
        picks = [rotate(group, turns, self._random) for group in groups.values()]
        weights = [sum(weight for _, weight in group) for group in groups.values()]
        self._slow = None
        self.pick = picks[0] if picks else None
        if len(groups) > 1:
            slow = SlowStart([(pick, weight) for pick, weight in zip(picks, weights, strict=True) if pick])
            slow.grow([at == -inf for at in groups])
            self._slow = slow, list(groups)
            self.pick = slow.pick
