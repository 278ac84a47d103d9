"""Smooth weighted round robin: whose turn it is.

The rule: of every full turn, `sum(weights) / gcd(weights)` picks, each item gets exactly its share,
spread as evenly as the weights allow, and load time and memory stay bounded whatever the weights.

Three ways to keep it, chosen by what a turn costs to prepare:

- The turn fits the budget: it is played once, at load, with the `roundrobin` package (nginx's
  algorithm and order: weights 5, 1, 1 give a a b a c a a). A pick steps along a ring.
- It does not, and there are few items: `roundrobin` itself, at each pick.
- It does not, and there are many: a heap, see `_fair_queue`.

This module knows nothing of hosts, pools or requests.
"""

from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import cycle
from math import gcd
from random import Random
from typing import TypeVar

import roundrobin

T = TypeVar("T")

# Steps (items times picks) that one turn, and all the turns of one configuration, may cost to
# prepare. A step takes about 60 ns, a pick of a ring up to 24 bytes: 15 ms for the largest turn, half
# a second and less than 200 MB for the worst configuration.
TURN_BUDGET = 250_000
TOTAL_BUDGET = 8_000_000

# Up to here asking each item costs less than the heap does.
FEW = 16

# Where the turn is not prepared, a random start has to be played: enough picks to spread the first
# ones of many workers by share, few enough to load a hundred thousand such pools in seconds.
LONGEST_LEAD = 64


class Turns:
    """Prepares turns within the budget of one configuration; equal proportions are played once."""

    def __init__(self, budget: int = TOTAL_BUDGET) -> None:
        self._left = budget
        self._known: dict[tuple[int, ...], tuple[int, ...]] = {}

    def prepare(self, weights: tuple[int, ...]) -> tuple[int, ...] | None:
        """The turn of `weights` (above 0, without a common divisor) as indices; None if too long."""
        length = sum(weights)
        steps = length * len(weights)
        price = length if weights in self._known else steps
        if steps > TURN_BUDGET or price > self._left:
            return None
        self._left -= price
        if weights not in self._known:
            pick = roundrobin.smooth(list(enumerate(weights)))
            self._known[weights] = tuple(pick() for _ in range(length))
        return self._known[weights]


def rotate(weighted: Sequence[tuple[T, int]], turns: Turns, random: Random) -> Callable[[], T] | None:
    """A pick over the items of `weighted`, starting at a random place of their turn.

    Items of weight 0 are left out; None where nothing is left. Weights must not be negative.
    """
    eligible = [(item, weight) for item, weight in weighted if weight > 0]
    if not eligible:
        return None
    divisor = gcd(*(weight for _, weight in eligible))
    items = [item for item, _ in eligible]
    weights = tuple(weight // divisor for _, weight in eligible)

    turn = turns.prepare(weights)
    if turn is not None:
        start = random.randrange(len(turn))
        return cycle([items[index] for index in turn[start:] + turn[:start]]).__next__

    pick: Callable[[], T]
    if len(items) <= FEW:
        pick = roundrobin.smooth(list(zip(items, weights, strict=True)))
    else:
        order = random.sample(range(len(items)), len(items))  # ties go by it: equals begin anywhere
        pick = _fair_queue([items[index] for index in order], [weights[index] for index in order]).__next__
    for _ in range(random.randrange(min(sum(weights), LONGEST_LEAD))):
        pick()
    return pick


def _fair_queue(items: Sequence[T], weights: Sequence[int]) -> Iterator[T]:
    """Picks in the order of worst-case fair weighted fair queueing, O(log n) each.

    The k-th pick (from 0) of an item may come once k of its shares are over, at k * total / weight,
    and is due by the time of the next, (k + 1) * total / weight; of those that may come, the one due
    first comes. A heap of deadlines alone, without the "may come", gives the heavy item of one among
    a thousand light ones its whole share in one row. Source: Bennett and Zhang, "WF2Q: worst-case fair weighted
    fair queueing", INFOCOM 1996.

    Exact over a turn: before its end at least one item has a pick that may come, and none has more of
    them than its weight. Deadlines are floats of one division, so they are correctly rounded; two
    that differ do so by more than one part in 10^12, and weights up to 10^6 never round to a tie.
    """
    total = sum(weights)
    first = [(total / weight, index, 0) for index, weight in enumerate(weights)]
    heapify(first)
    while True:
        due = first.copy()
        later: list[tuple[int, int, int]] = []
        for now in range(total):
            while later and later[0][0] <= now:
                _, index, picked = heappop(later)
                heappush(due, ((picked + 1) * total / weights[index], index, picked))
            _, index, picked = heappop(due)
            picked += 1
            if picked < weights[index]:
                heappush(later, (-(-picked * total // weights[index]), index, picked))
            yield items[index]
