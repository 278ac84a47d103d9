"""A forward: the decision that an origin of a pool answers, and how it is asked."""

from redirect.core.balancer import Balancer
from redirect.core.decision import Decision
from redirect.core.due import Due
from redirect.core.routes import Route


class Forward:
    """What a route that forwards says of each of its requests. The origin is picked when the request is sent, and
    another one if that fails; while none is eligible, the request is that of the `fallback`."""

    __slots__ = (
        *("_answered", "_balancer", "fallback", "fallback_for", "is_by_key", "name", "passes_host", "pool", "route"),
        "scheme",
    )

    def __init__(self, route: Route, balancer: Balancer, fallback: "Forward | None", fallback_for: str | None) -> None:
        self.route = route
        self.name = route.name
        self._balancer = balancer
        self.fallback = fallback
        self.fallback_for = fallback_for
        self.pool = balancer.pool
        # Whether a key of the request may be needed.
        self.is_by_key: bool = balancer.is_by_key or (fallback is not None and fallback.is_by_key)
        # Whether the origin gets the client's Host: over TLS it must fit the name in the certificate.
        self.passes_host = self.pool.scheme != "https" if route.pass_host is None else route.pass_host
        self._answered: dict[tuple[str, int], Decision] = {}

    @property
    def balancer(self) -> Balancer:
        """The one in use by now: a request that began before the origins changed must get none that has gone."""
        latest = self._balancer.latest
        return latest[0] if latest else self._balancer

    def answered(self, origin: str, status: int, due: Due | None) -> Decision:
        """The decision in the record where the `origin` answered with this status."""
        found = self._answered.get((origin, status))
        if found is None or found.due is not due:
            found = Decision(
                status, self.pool.name, origin, route=self.name, is_forward=True, fallback_for=self.fallback_for,
                due=due,
            )  # fmt: skip
            self._answered[origin, status] = found
        return found
