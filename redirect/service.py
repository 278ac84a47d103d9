"""The service: which pool, which origin, which answer. This is the product; the rest carries it.

The rule: plain values in, a frozen decision out. No web framework, server or parser is known here,
nothing is read or written, and all that a decision needs is worked out when the configuration loads:

1. The pool that the request names, or the default pool.
2. The next origin of that pool's turn (`rotation`).
3. A loop, if that origin is the authority that was asked for: 422, never a redirect.
4. Otherwise the origin with the raw target behind it.
"""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from redirect.authority import DEFAULT_PORTS, Authority
from redirect.config import Config, Origin, Pool
from redirect.decision import Decision
from redirect.rotation import Turns, rotate

# Seconds after which a client may try again where a pool has nobody to send it to.
RETRY_AFTER = 5


class _Destination(NamedTuple):
    """An origin, ready to be sent to: per scheme its prefix of Location and the endpoint that would loop."""

    name: str
    prefix: dict[str, str]
    endpoint: dict[str, tuple[str, int]]

    @classmethod
    def of(cls, origin: Origin) -> "_Destination":
        host = origin.name if origin.name.isascii() else str(origin.authority)
        return cls(
            origin.name,
            {scheme: f"{scheme}://{host}" for scheme in DEFAULT_PORTS},
            {scheme: origin.authority.endpoint(scheme) for scheme in DEFAULT_PORTS},
        )


class _Rotation(NamedTuple):
    pool: Pool
    pick: Callable[[], _Destination] | None


class Service:
    """The decisions of one configuration. It owns the place in each pool's turn, and nothing else changes.

    A process has one of its own, so its turns begin at random places: `random` draws them.
    """

    def __init__(self, config: Config, random: Random) -> None:
        self.config = config
        turns = Turns()
        self._rotations = {
            name: _Rotation(
                pool, rotate([(_Destination.of(origin), origin.weight) for origin in pool.origins], turns, random)
            )
            for name, pool in config.pools.items()
        }
        self._default = self._rotations[config.default.name]

    def decide(self, pool_requested: str | None, scheme: str, asked: Authority | None, target: str) -> Decision:
        """The answer to a request for `target` at the authority `asked`, over `scheme` ("http" or "https").

        `pool_requested` is the header's value; None or an unknown name means the default pool.
        """
        pool, pick = self._rotations.get(pool_requested or "", self._default)
        if pick is None:
            return Decision(503, pool.name, detail=f"no origin of {pool.name} is eligible")
        return _answer(pool, pick(), scheme, asked, target)


def outcome(pool: Pool, origin: Origin, scheme: str, asked: Authority | None, target: str) -> Decision:
    """What `origin`, were it picked from `pool`, would mean for a request. No turn is consumed."""
    return _answer(pool, _Destination.of(origin), scheme, asked, target)


def _answer(pool: Pool, picked: _Destination, scheme: str, asked: Authority | None, target: str) -> Decision:
    if asked is not None and asked.endpoint(scheme) == picked.endpoint[scheme]:
        detail = f"{pool.name} picked {picked.name}, the host that was asked for: a redirect would loop"
        return Decision(422, pool.name, picked.name, detail=detail)
    return Decision(pool.status, pool.name, picked.name, picked.prefix[scheme] + target)
