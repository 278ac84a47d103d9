"""What is due to the origins of a pool: their shares by the weights with which the pool picks at a moment.

The rule: a pick keeps what was due when it was made. It is compared with that and with nothing else, whatever became
of the origins' health, of a slow start or of the configuration until the pick is counted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import gcd

from redirect.core.pools import Pool

# The id of weights is as long as it must be to tell apart those that one pool has one after another.
_ID_BYTES = 4


class Weights:
    """The weights by which `pool` picks for a while, in the order of its origins. Equal ones of later are others."""

    __slots__ = ("_id", "decide", "is_configured", "pool", "total", "values")

    def __init__(self, pool: Pool, values: Sequence[int]) -> None:
        self.pool = pool
        self.values = values
        self.total = sum(values)
        # Origins that are found come and go without another configuration, and their shares with them.
        self.is_configured = pool.discover is None and values == pool.configured_weights
        # Else the load, the client or the host asked for has a part in each pick, and the shares are none to judge by.
        self.decide = pool.is_by_shares
        self._id: str | None = None

    @property
    def id(self) -> str:
        """The same in all workers and replicas where the same origins have the same shares."""
        if self._id is None:
            unit = gcd(*self.values) or 1
            pairs = zip(self.pool.origins, self.values, strict=True)
            self._id = _id_of(sorted([(origin.name, weight // unit) for origin, weight in pairs if weight]))
        return self._id

    @property
    def name(self) -> str:
        """That of the pool."""
        return self.pool.name

    def by_name(self) -> list[tuple[str, float]]:
        """The origins to which something is due, with their shares."""
        pairs = zip(self.pool.origins, self.shares(), strict=True)
        return [(origin.name, share) for origin, share in pairs if share]

    def shares(self) -> list[float]:
        """From 0 to 1, in the order of the origins; 0 for all while none may be picked."""
        return [weight / self.total if self.total else 0.0 for weight in self.values]


@dataclass(frozen=True, slots=True)
class Certain:
    """Takes the place of weights where there was no choice: all was due to one origin of the pool of this name."""

    name: str
    origin: str

    is_configured = False
    decide = True

    @property
    def id(self) -> str:
        return _id_of([(self.origin, 1)])

    def by_name(self) -> list[tuple[str, float]]:
        return [(self.origin, 1.0)]


class Due:
    """The share, from 0 to 1, that was due to the origin of a pick, and the weights that say so."""

    __slots__ = ("share", "weights")

    def __init__(self, weights: Weights | Certain, share: float) -> None:
        self.share = share
        self.weights = weights


def _id_of(shares: Iterable[tuple[str, int]]) -> str:
    return blake2b(repr([*shares]).encode(), digest_size=_ID_BYTES).hexdigest()
