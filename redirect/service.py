"""The service: which pool, which origin, which answer. This is the product; the rest carries it.

The rule: plain values in, a frozen decision out. No web framework, server or parser is known here,
nothing is read or written, and a decision is worked out once and looked up from then on:

1. The pool that the request names, or the default pool.
2. The next origin of that pool's turn (`rotation`).
3. A loop, if that origin is the endpoint that was asked for: 422, never a redirect.
4. Otherwise the origin, behind which the raw target comes.
"""

from collections.abc import Callable
from random import Random

from redirect.authority import Endpoint
from redirect.config import Config, Origin, Pool
from redirect.decision import Decision
from redirect.rotation import Turns, rotate

# Seconds after which a client may try again where a pool has nobody to send it to.
RETRY_AFTER = 5

# What being sent to an origin means: the endpoint that would loop, and the redirect.
_Outcome = tuple[Endpoint, Decision]


class _Destination:
    """An origin of a pool, with its outcome per scheme once it was picked for one."""

    __slots__ = ("_origin", "_pool", "http", "https")

    def __init__(self, pool: Pool, origin: Origin) -> None:
        self._pool = pool
        self._origin = origin
        self.http: _Outcome | None = None
        self.https: _Outcome | None = None

    def work_out(self, scheme: str) -> _Outcome:
        outcome = _redirect(self._pool, self._origin, scheme)
        setattr(self, scheme, outcome)
        return outcome


class Service:
    """The decisions of one configuration. It owns the place in each pool's turn, and nothing else changes.

    A process has one of its own, so its turns begin at random places: `random` draws them. Where it takes
    the place of another one, pools that are the same go on in their turns.
    """

    def __init__(self, config: Config, random: Random, before: "Service | None" = None) -> None:
        self.config = config
        turns = Turns()
        self._picks: dict[str | None, Callable[[], _Destination] | None] = {}
        for name, pool in config.pools.items():
            if before is not None and before.config.pools.get(name) == pool:
                turns.keep([origin.weight for origin in pool.origins])
                self._picks[name] = before._picks[name]
            else:
                weighted = [(_Destination(pool, origin), origin.weight) for origin in pool.origins]
                self._picks[name] = rotate(weighted, turns, random)
        self._default = self._picks[config.default.name]

    def decide(self, pool_requested: str | None, scheme: str, asked: Endpoint | None) -> Decision:
        """The answer to a request at the endpoint `asked`, over `scheme` ("http" or "https").

        `pool_requested` is the header's value; None or an unknown name means the default pool.
        """
        pick = self._picks.get(pool_requested, self._default)
        if pick is None:
            pool = self.config.pools.get(pool_requested or "", self.config.default)
            return Decision(503, pool.name, detail=f"no origin of {pool.name} is eligible")
        picked = pick()
        endpoint, redirect = (picked.http if scheme == "http" else picked.https) or picked.work_out(scheme)
        return _loop(redirect) if endpoint == asked else redirect


def outcome(pool: Pool, origin: Origin, scheme: str, asked: Endpoint | None) -> Decision:
    """What `origin`, were it picked from `pool`, would mean for a request. No turn is consumed."""
    endpoint, redirect = _redirect(pool, origin, scheme)
    return _loop(redirect) if endpoint == asked else redirect


def _redirect(pool: Pool, origin: Origin, scheme: str) -> _Outcome:
    host = origin.name if origin.name.isascii() else str(origin.authority)
    return origin.authority.endpoint(scheme), Decision(pool.status, pool.name, origin.name, f"{scheme}://{host}")


def _loop(redirect: Decision) -> Decision:
    detail = f"{redirect.pool} picked {redirect.origin}, the host that was asked for: a redirect would loop"
    return Decision(422, redirect.pool, redirect.origin, detail=detail)
