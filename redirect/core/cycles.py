"""Smooth weighted round robin: in which order items are picked.

The rule: in each cycle, `sum(weights) / gcd(weights)` picks, each item gets exactly its share, spread as evenly as
the weights allow, and load time and memory stay bounded whatever the weights.

A cycle that fits the budget is prepared at load: a pick is then a step along a ring, and costs the same for three
items and for ten thousand. A longer cycle is computed pick by pick. Two algorithms can do that:

- The `roundrobin` package: nginx's algorithm and order (weights 5, 1, 1 give a a b a c a a). It looks at each item at
  each pick, so it is for few items and for short cycles.
- A fair queue, a heap of deadlines, for the rest: see `_fair_queue`.

This module knows nothing of hosts, pools or requests.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from math import gcd
from random import Random
from typing import TypeVar

import roundrobin

T = TypeVar("T")

# Picks of one cycle, and of all cycles of one configuration, that may be prepared. A pick takes about 1 us and 16
# bytes at most: a second for the longest cycle, two seconds and 32 MB for the worst configuration.
CYCLE_BUDGET = 1_000_000
TOTAL_BUDGET = 2_000_000

# Items up to which the package is faster than the heap at each pick.
FEW_ITEMS = 16

# Items times picks up to which the package prepares a cycle of more items: 15 ms.
PACKAGE_BUDGET = 250_000

# Picks that are skipped at most so that a cycle that is not prepared begins at a random place: enough to spread the
# first picks of many workers by share, down to a thousandth, few enough that a request can wait for them.
MAX_SKIPPED_PICKS = 1_000


class Cycles:
    """Prepares cycles within a budget of picks; equal proportions share one cycle."""

    def __init__(self, budget: int = TOTAL_BUDGET) -> None:
        self._left = budget
        self._known: dict[tuple[int, ...], tuple[int, ...]] = {}

    def prepare(self, weights: tuple[int, ...]) -> tuple[int, ...] | None:
        """The cycle of `weights` (above 0, without a common divisor) as indices; None if it is too long."""
        cycle = self._known.get(weights)
        count, length = len(weights), sum(weights)
        most = max(FEW_ITEMS, PACKAGE_BUDGET // length)
        price = length * count // FEW_ITEMS if cycle is None and FEW_ITEMS < count <= most else length
        if length > CYCLE_BUDGET or price > self._left:
            return None
        self._left -= price
        if cycle is None:
            pick = _smooth(range(count), weights, most)
            cycle = self._known[weights] = tuple([pick() for _ in range(length)])
        return cycle

    def charge(self, weights: Sequence[int]) -> None:
        """Charges for a cycle of `weights` that an earlier configuration prepared and that stays in memory."""
        length = sum(weights) // (gcd(*weights) or 1)
        if length <= CYCLE_BUDGET:
            self._left = max(0, self._left - length)


def ring(weighted: Sequence[tuple[T, int]], cycles: Cycles, random: Random) -> tuple[T, ...] | Callable[[], T]:
    """The items of `weighted` in the order of their cycle, from the last pick to the first; where that is not prepared,
    a function that picks them one by one, from a random place on.

    Items of weight 0 are left out; one weighs more. Weights must not be negative.
    """
    eligible = [pair for pair in weighted if pair[1] > 0]
    divisor = gcd(*[weight for _, weight in eligible])
    items = [item for item, _ in eligible]
    weights = tuple([weight // divisor for _, weight in eligible])
    cycle = cycles.prepare(weights)
    if cycle is None:
        return _unprepared(items, weights, random).__next__
    return tuple([items[index] for index in reversed(cycle)])


def _unprepared(items: Sequence[T], weights: Sequence[int], random: Random) -> Iterator[T]:
    """Computes the picks one by one. Nothing is set up before the first: many pools are never asked for."""
    if len(items) > FEW_ITEMS:  # more than are skipped below: any of many equals can be the first
        start = random.randrange(len(items))
        items, weights = [*items[start:], *items[:start]], [*weights[start:], *weights[:start]]
    pick = _smooth(items, weights, FEW_ITEMS)
    for _ in range(random.randrange(min(sum(weights), MAX_SKIPPED_PICKS))):
        pick()
    while True:
        yield pick()


def _smooth(items: Sequence[T], weights: Sequence[int], most: int) -> Callable[[], T]:
    """Picks cycle after cycle from the start, by the package if there are `most` items or fewer."""
    if len(items) > most:
        return _fair_queue(items, weights).__next__
    pick: Callable[[], T] = roundrobin.smooth(list(zip(items, weights, strict=True)))
    return pick


def _fair_queue(items: Sequence[T], weights: Sequence[int]) -> Iterator[T]:
    """Picks in the order of worst-case fair weighted fair queueing, O(log n) each.

    The k-th pick (from 0) of an item is allowed from k * total / weight on, and due by (k + 1) * total / weight; of
    the picks that are allowed, the one that is due first comes next. With deadlines alone one heavy item among a
    thousand light ones would get its whole share in one row. Source: Bennett and Zhang, "WF2Q: worst-case fair
    weighted fair queueing", INFOCOM 1996.

    Exact over a cycle: before its end at least one item has a pick that is allowed, and none has more of them than
    its weight. Deadlines are floats of one division, so they are correctly rounded; two that differ do so by more
    than one part in 10^12, and weights up to 10^6 never round to a tie.
    """
    total = sum(weights)
    first = [(total / weight, index, 0) for index, weight in enumerate(weights)]
    heapify(first)
    while True:
        due = first.copy()
        later: defaultdict[int, list[tuple[float, int, int]]] = defaultdict(list)
        for now in range(total):
            if now in later:
                for coming in later.pop(now):
                    heappush(due, coming)
            _, index, picked = heappop(due)
            picked += 1
            weight = weights[index]
            if picked < weight:
                later[-(-picked * total // weight)].append(((picked + 1) * total / weight, index, picked))
            yield items[index]
