"""Picks by a key: the same key gets the same of several names, in proportion to their weights (rendezvous hashing).

The rule: a pick is a pure function of the key, the names and the weights. All workers, replicas and restarts agree,
whatever the order of the names; neither the pool nor Python's randomised `hash` has a part in it.

Each name draws an exponential time from a hash of the key and the name, divided by its weight, and the first one wins.
So the shares are exact, and a name whose weight changes, that is new or gone, wins keys from the others or loses keys
to them: no other key moves. Sources: Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
IEEE/ACM Transactions on Networking 6(1), 1998; with weights Schindelhauer and Schomaker, "Weighted distributed hash
tables", SPAA 2005.

Up to FEW names are compared one by one. More are the leaves of a tree by the digits of their hashes, in which a branch
is picked in the same way by the sum of its weights, so that a pick costs O(log n): Yao, Ravishankar and Tripathi,
"Hash-based virtual hierarchies for caching in hybrid content-delivery networks", 2001. The shares are as exact, but a
branch that wins keys divides them among all of its names: a change moves as many keys as it must for each level of the
tree, at most. There are two up to about 1,000 names and three up to 16,000. What is down or starts slowly is drawn as
before and refused, and the key draws again, so that its own keys move alone here, too: Shrivastava, "Simple and
efficient weighted minwise hashing", NIPS 2016.
"""

from collections.abc import Container, Sequence
from hashlib import blake2b
from math import inf, log1p
from struct import Struct
from typing import TypeAlias

# Names that are compared one by one.
FEW = 64

# Draws of a key before what may be picked gets a tree of its own: enough where half of a pool is down.
MAX_DRAWS = 16

_DIGIT_BITS = 4  # 16 branches of a node
_RANGE = 1 << 64
_MASK = _RANGE - 1
_LOG_RANGE = log1p(_MASK)
_NUMBERS = Struct("<QQ")

# The hash of a name or a branch, 1 / its weight, and its index or the branch's own nodes.
_Entry: TypeAlias = "tuple[int, float, int | list[_Entry]]"

# What a key draws: two numbers, whose products with a name's hash are as random as the keys.
_Draw = tuple[int, int]


class Rendezvous:
    """Picks among `names`, as their indices. `weights` are those that are configured."""

    __slots__ = ("_configured", "_hashes", "_parts", "_rest", "_tree", "_weights")

    def __init__(self, names: Sequence[str], weights: Sequence[int]) -> None:
        self._hashes = [_draw(name.encode())[0] for name in names]
        self._configured = weights
        self._tree = self._tree_of(weights)
        self.use(weights)

    def use(self, weights: Sequence[int]) -> None:
        """From now on the names have these weights; where they are many, each is a part of the configured one."""
        self._weights = weights
        self._rest: list[_Entry] | None = None
        if len(weights) <= FEW:
            self._tree = self._tree_of(weights)
        pairs = zip(weights, self._configured, strict=True)
        parts = [weight / whole if whole else 0.0 for weight, whole in pairs]
        largest = max(parts) or 1.0
        self._parts = [part / largest for part in parts]

    def pick(self, key: bytes, without: Container[int] = ()) -> int | None:
        """The index of the name for `key`, the next one in the key's order `without` some; None if none is left."""
        if len(self._hashes) <= FEW:
            left = [entry for entry in self._tree if entry[2] not in without] if without else self._tree
            return _first(left, _draw(key))
        for nth in range(MAX_DRAWS):
            draw = _draw(key, nth)
            index = _first(self._tree, draw)
            if index is None or (index not in without and self._takes(index, draw)):
                return index
        return _first(self._remaining(without), _draw(key, MAX_DRAWS))

    def _takes(self, index: int, draw: _Draw) -> bool:
        part = self._parts[index]
        return part == 1 or (draw[0] ^ self._hashes[index]) < part * _RANGE

    def _remaining(self, without: Container[int]) -> list[_Entry]:
        if without:
            return self._tree_of([0 if index in without else weight for index, weight in enumerate(self._weights)])
        if self._rest is None:
            self._rest = self._tree_of(self._weights)
        return self._rest

    def _tree_of(self, weights: Sequence[int]) -> list[_Entry]:
        entries = zip(self._hashes, weights, range(len(weights)), strict=True)
        return _nodes([(hashed, 1 / weight, index) for hashed, weight, index in entries if weight])


def _nodes(entries: list[_Entry], depth: int = 0) -> list[_Entry]:
    """The root of a tree: names that are few, or branches by the next digit of their hashes."""
    shift = 64 - _DIGIT_BITS * (depth + 1)
    if len(entries) <= FEW or shift < 0:
        return entries
    branches: dict[int, list[_Entry]] = {}
    for entry in entries:
        branches.setdefault(entry[0] >> shift, []).append(entry)
    return [
        (_draw(b"%d/%d" % (depth, digits))[0], 1 / sum([1 / each[1] for each in branch]), _nodes(branch, depth + 1))
        for digits, branch in branches.items()
    ]


def _first(entries: list[_Entry], draw: _Draw) -> int | None:
    """The index of the name whose time is the first."""
    one, other = draw
    while True:
        first: int | list[_Entry] | None = None
        earliest = inf
        for hashed, inverse, item in entries:
            time = (_LOG_RANGE - log1p((one ^ hashed) * (other ^ hashed) & _MASK)) * inverse
            if time < earliest:
                earliest, first = time, item
        if not isinstance(first, list):
            return first
        entries = first


def _draw(key: bytes, nth: int = 0) -> _Draw:
    return _NUMBERS.unpack(blake2b(key, digest_size=16, salt=b"%d" % nth if nth else b"").digest())
