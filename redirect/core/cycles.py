"""Smooth weighted round robin: whose turn it is.

The rule: of every full turn, `sum(weights) / gcd(weights)` picks, each item gets exactly its share,
spread as evenly as the weights allow, and load time and memory stay bounded whatever the weights.

A turn that the budget affords is played once, at load: a pick then steps along a ring, and costs the
same for three items and for ten thousand. A longer turn is played as it is picked. Two can play:

- The `roundrobin` package, nginx's algorithm and order (weights 5, 1, 1 give a a b a c a a). It asks
  each item at each pick, so it is for few items and for short turns.
- A heap of deadlines for the rest, see `_fair_queue`.

Items that come back after a while may get their share slowly: `SlowStart` is a turn of turns.

This module knows nothing of hosts, pools or requests.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain, islice, repeat
from math import gcd, inf
from random import Random
from typing import Generic, TypeVar

import roundrobin

T = TypeVar("T")

# Picks that one turn, and all the turns of one configuration, may cost to prepare. A pick takes about
# 1 us and 16 bytes at most: a second for the longest turn, two and 32 MB for the worst configuration.
CYCLE_BUDGET = 1_000_000
TOTAL_BUDGET = 2_000_000

# Up to here asking each item costs less than the heap does.
FEW = 16

# Of more than a few items the package plays turns up to this product of items and picks: 15 ms.
PACKAGE_BUDGET = 250_000

# Where the turn is not prepared, a random start has to be played: enough picks to spread the first
# ones of many workers by share, few enough that nobody notices who waits for them.
LONGEST_LEAD = 64


# Items times picks up to which a turn's start is sought where items are to keep their places: 5 ms.
SEARCH = 20_000

# What a weight is multiplied by while its part grows: what the package itself adds at each pick, 1, must not tell.
FINE = 1_000_000_000


class Cycles:
    """Prepares turns within the budget of one configuration; equal proportions are played once."""

    def __init__(self, budget: int = TOTAL_BUDGET) -> None:
        self._left = budget
        self._known: dict[tuple[int, ...], tuple[int, ...]] = {}

    def prepare(self, weights: tuple[int, ...]) -> tuple[int, ...] | None:
        """The turn of `weights` (above 0, without a common divisor) as indices; None if too long."""
        turn = self._known.get(weights)
        count, length = len(weights), sum(weights)
        most = max(FEW, PACKAGE_BUDGET // length)
        price = length * count // FEW if turn is None and FEW < count <= most else length
        if length > CYCLE_BUDGET or price > self._left:
            return None
        self._left -= price
        if turn is None:
            pick = _player(list(range(count)), weights, most)
            turn = self._known[weights] = tuple([pick() for _ in range(length)])
        return turn

    def keep(self, weights: Sequence[int]) -> None:
        """Leaves room for a turn of `weights` that was prepared before and goes on under another configuration."""
        length = sum(weights) // (gcd(*weights) or 1)
        if length <= CYCLE_BUDGET:
            self._left = max(0, self._left - length)


def due(pick: Callable[[], T] | None, length: int) -> dict[T, float]:
    """Each item of a turn of `length` picks, with how far off its next pick is: 0 if it is the next one, towards 1 if
    it was just picked. Empty where the turn was not prepared, or is too long for a start to be sought. The turn stays
    where it is.
    """
    ring = getattr(pick, "__self__", None)
    if length > SEARCH or not isinstance(ring, chain):
        return {}
    coming = list(islice(ring, length))  # in C, so that no pick of another thread comes between: a full turn
    counts, first = Counter(coming), {item: at for at, item in reversed([*enumerate(coming)])}
    return {item: at * counts[item] / length for item, at in first.items()}


def rotate(
    weighted: Sequence[tuple[T, int]], turns: Cycles, random: Random, places: Mapping[T, float] | None = None
) -> Callable[[], T] | None:
    """A pick over the items of `weighted`, starting at a random place of their turn, or where those that have `places`,
    which `due` said of another turn, are nearest to them.

    Items of weight 0 are left out; None where nothing is left. Weights must not be negative.
    """
    eligible = [pair for pair in weighted if pair[1] > 0]
    if not eligible:
        return None
    divisor = gcd(*[weight for _, weight in eligible])
    items = [item for item, _ in eligible]
    weights = tuple([weight // divisor for _, weight in eligible])

    turn = turns.prepare(weights)
    if turn is None:
        return _unprepared(items, weights, random).__next__
    kept = {index: places[item] for index, item in enumerate(items) if item in places} if places else {}
    start = _start(turn, weights, kept) if kept else None
    if start is None:
        start = random.randrange(len(turn))
    ring = tuple([items[index] for index in turn[start:] + turn[:start]])
    return chain.from_iterable(repeat(ring)).__next__  # as fast as a cycle, which keeps a list of its own


def _start(turn: Sequence[int], weights: Sequence[int], places: Mapping[int, float]) -> int | None:
    """Where in the turn the items are nearest to their places; None if that takes too long to say."""
    if len(turn) * len(places) > SEARCH:
        return None
    coming = {index: len(turn) + turn.index(index) for index in places}
    best, start = inf, 0
    for at in range(len(turn) - 1, -1, -1):
        if turn[at] in coming:
            coming[turn[at]] = at
        off = sum(abs((coming[index] - at) * weights[index] / len(turn) - place) for index, place in places.items())
        if off < best:
            best, start = off, at
    return start


class SlowStart(Generic[T]):
    """Picks from several turns, each of a weight, of which it gets a part that may grow: the `roundrobin` package's
    slow start, of the turns and not of their items. So it takes no longer where each has many."""

    def __init__(self, turns: Sequence[tuple[Callable[[], T], int]]) -> None:
        self._picks = [pick for pick, _ in turns]
        self._weights = [weight * FINE for _, weight in turns]
        self._next = roundrobin.smooth_stateful(list(enumerate(self._weights)), initial_effective=0)

    def grow(self, parts: Sequence[float]) -> None:
        """Gives each turn that part, from 0 to 1, of its weight."""
        for index, (weight, part) in enumerate(zip(self._weights, parts, strict=True)):
            self._next.set(index, effective=int(weight * part))

    def pick(self) -> T:
        """The next item; where all parts are 0, of any turn."""
        item: T = self._picks[self._next()]()
        return item


def _unprepared(items: Sequence[T], weights: Sequence[int], random: Random) -> Iterator[T]:
    """Turn after turn, from a random place. Nothing is set up before the first pick: many pools wait long for it."""
    order: Sequence[int] = range(len(items))
    if len(items) > FEW:
        order = random.sample(order, len(order))  # ties go by it: equals begin anywhere
    pick = _player([items[index] for index in order], [weights[index] for index in order], FEW)
    for _ in range(random.randrange(min(sum(weights), LONGEST_LEAD))):
        pick()
    while True:
        yield pick()


def _player(items: Sequence[T], weights: Sequence[int], most: int) -> Callable[[], T]:
    """Turn after turn from its start, with the package for up to `most` items."""
    if len(items) > most:
        return _fair_queue(items, weights).__next__
    pick: Callable[[], T] = roundrobin.smooth(list(zip(items, weights, strict=True)))
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
