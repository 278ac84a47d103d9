"""A destination: what it means for a request to be sent to an origin.

The rule: the redirect to an origin is the same for every request of a scheme, so it is worked out once, when it is
first needed, and looked up from then on.
"""

from redirect.core.authority import Endpoint
from redirect.core.decision import Decision
from redirect.core.pools import Origin, Pool

# The endpoint for which the redirect would be a loop, and the redirect.
Outcome = tuple[Endpoint, Decision]


class Destination:
    """An origin of a pool, with its outcome for each scheme that was asked for."""

    __slots__ = ("http", "https", "origin", "pool", "requests")

    def __init__(self, pool: Pool, origin: Origin) -> None:
        self.pool = pool
        self.origin = origin
        self.http: Outcome | None = None
        self.https: Outcome | None = None
        self.requests = 0  # that are forwarded there at this moment

    def work_out(self, scheme: str) -> Outcome:
        """The outcome for `scheme` ("http" or "https"), kept in the attribute of that name."""
        pool, origin = self.pool, self.origin
        sent = pool.scheme or scheme
        host = origin.name if origin.name.isascii() else str(origin.authority)
        redirect = Decision(pool.status, pool.name, origin.name, f"{sent}://{host}")
        outcome = origin.authority.endpoint(sent), redirect
        setattr(self, scheme, outcome)
        return outcome
