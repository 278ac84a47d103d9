"""A destination: what it means for a request to be sent to an origin.

The rule: the redirect to an origin is the same for every request of a scheme, so it is worked out once, when it is
first needed, and looked up from then on, until another share is due to the origin.
"""

from redirect.core.decision import Decision
from redirect.core.due import Due, Weights
from redirect.core.health import HealthStatus
from redirect.core.pools import Origin, Pool

# Redirects of these statuses are kept by caches.
PERMANENT = (301, 308)

# That have caches keep what is not permanent, beside Cache-Control and its like for caches of one kind
# (CDN-Cache-Control and others, RFC 9213).
_LIFETIMES = ("expires", "surrogate-control", "x-accel-expires")

# By which a proxy names scheme and host that were asked for. Both decide: the scheme is that of Location where the pool
# has none, and a cached redirect would lead the host that it leads to in a circle, as http does https of the same host.
_OF_PROXIES = ("X-Forwarded-Proto", "X-Forwarded-Host")


class Destination:
    """An origin of a pool, with the redirect there for each scheme that was asked for. `vary` is the field that names
    pools, where it decides."""

    __slots__ = (
        *("_due", "_weight", "_weights", "failures", "http", "https", "is_held", "origin", "pool", "requests", "trial"),
        "vary",
    )

    _due: Due | None
    http: Decision | None
    https: Decision | None

    def __init__(self, pool: Pool, origin: Origin, vary: str | None = None) -> None:
        self.pool = pool
        self.origin = origin
        self.vary = vary
        self.weigh(None, 0)
        self.requests = 0  # that are forwarded there at this moment
        self.failures = 0  # of these in a row; on trial any is the last
        self.is_held = False  # back, as it has failed and is about to be ejected
        self.trial = 0.0  # since when it is on trial (monotonic seconds); 0 if it is not

    @property
    def is_tried(self) -> bool:
        """Whether it is held back, or on trial with a request that decides, or has decided."""
        return self.is_held or bool(self.trial and (self.requests or self.failures))

    @property
    def due(self) -> Due | None:
        """What is due to it now; None outside of a service."""
        if self._due is None and self._weights is not None:
            total = self._weights.total
            self._due = Due(self._weights, self._weight / total if total else 0.0)
        return self._due

    def weigh(self, weights: Weights | None, weight: int) -> None:
        """Takes its place among the weights of its pool."""
        self._weights = weights
        self._weight = weight
        self._due = self.http = self.https = None

    def use(self, status: HealthStatus | None) -> None:
        trial = status.since_monotonic if status is not None and status.is_on_trial else 0.0
        if trial != self.trial:
            self.trial, self.failures, self.is_held = trial, 0, False

    def work_out(self, scheme: str) -> Decision:
        """The redirect for `scheme` ("http" or "https"), kept in the attribute of that name."""
        pool, origin = self.pool, self.origin
        sent = pool.scheme or scheme
        is_host = pool.discover is None and origin.name.isascii()  # a container's name means nothing to clients
        host = origin.name if is_host else str(origin.authority)
        prefix = f"{sent}://{host}{origin.path_prefix}"
        redirect = Decision(
            pool.status, pool.name, origin.name, prefix, fields=redirect_fields(pool, self.vary),
            leads_to=origin.authority.endpoint(sent), due=self.due,
        )  # fmt: skip
        setattr(self, scheme, redirect)
        return redirect


def redirect_fields(pool: Pool, vary: str | None = None) -> tuple[tuple[str, str], ...]:
    """The fields that all redirects of the pool have in addition to Location. Caches that keep them are told what
    decided in addition to the URL, `vary` being the field that names pools. `cors` for any page needs no more."""
    varies = [name for name in (vary, *_OF_PROXIES, _told_by(pool)) if name is not None and is_kept(pool)]
    allowed: tuple[tuple[str, str], ...] = ()
    if pool.cors is not None and pool.cors.is_for_any:
        allowed = pool.cors.allowing("")
    elif pool.cors is not None:
        varies.append("Origin")
    fields = [(name.lower(), value) for name, value in pool.headers]
    given = dict(fields).get("vary", "")
    known = [name.strip().lower() for name in given.split(",")]
    varies = [name for name in varies if name.lower() not in known and "*" not in known]
    if varies:
        fields = [field for field in fields if field[0] != "vary"]
        named = [given, *varies] if given else varies
        fields.append(("vary", "*" if "*" in named else ", ".join({name.lower(): name for name in named}.values())))
    return *fields, *allowed


def is_kept(pool: Pool) -> bool:
    """Whether caches may keep its redirects: permanent ones, and those whose headers say for how long."""
    names = [name.lower() for name, _ in pool.headers]
    return pool.status in PERMANENT or any(name.endswith("cache-control") or name in _LIFETIMES for name in names)


def _told_by(pool: Pool) -> str | None:
    """The field by which the pool tells clients; "*" for what is in none (RFC 9110, 12.5.5), as their address."""
    if pool.pick != "hash":
        return None
    kind, _, name = pool.hash_on.partition(":")
    return {"client_ip": "*", "header": name, "cookie": "Cookie"}.get(kind)  # a parameter is a part of the URL
