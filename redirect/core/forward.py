"""A forward: the decision that an origin of a pool answers, and how it is asked."""

from typing import NamedTuple

from redirect.core.balancer import Balancer
from redirect.core.pools import Pool
from redirect.core.routes import Route


class Forward(NamedTuple):
    """The origin is picked when the request is sent, and another one if that fails."""

    route: Route
    balancer: Balancer

    @property
    def pool(self) -> Pool:
        return self.balancer.pool

    @property
    def scheme(self) -> str:
        return self.balancer.pool.scheme or "http"

    @property
    def passes_host(self) -> bool:
        """Whether the origin gets the client's Host: over TLS it must fit the name in the certificate."""
        return self.scheme == "http" if self.route.pass_host is None else self.route.pass_host
