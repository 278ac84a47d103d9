"""What is legal in a TOML and will surprise, as warnings: keys without effect, and what clients get to see."""

from collections.abc import Iterator

from redirect.config.pieces import Piece
from redirect.config.positions import Path
from redirect.config.schema import Finding
from redirect.core.authority import DEFAULT_PORTS
from redirect.core.destination import PERMANENT
from redirect.core.keys import given
from redirect.core.pools import Config, Pool
from redirect.core.routes import METHODS, Route
from redirect.core.wording import shown

_SEEN = "origins to which routes forward: clients see where these are"
_NO_HEALTH = "has no effect without health_check or eject"
_NO_PROBES = "has no effect without health_check"
_LAST_STAYS = "hardly ever serves without health_check, as eject never takes out the last origin that is up"
_NO_REDIRECT = "has no effect on forwards: what their origins say passes"
_CERTIFICATES = "has the certificates of origins checked against the addresses that are found; few are for one"

# What the admin listener shows of pools and origins.
_TELLING = ("stats", "status", "metrics")

# Methods that browsers write in capitals, whatever a page does (Fetch standard, "normalize a method").
_UPPERED = ("DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT")


class Surprises:
    """Those of a file without faults, which is that configuration."""

    def __init__(self, config: Config) -> None:
        self._default = config.default.name if config.default else None
        self._takes_all = any(route.name == "/*" for route in config.routes)  # that no other route takes
        self._forwarded = config.forwarded()
        self._only_forwarded = config.only_forwarded()
        self._served_by = {pool.fallback: name for name, pool in config.pools.items() if pool.fallback is not None}

    def of(self, piece: Piece) -> Iterator[Finding]:
        for pool in piece.pools:
            yield from (Finding((pool.name, *key), message) for key, message in self._of_pool(pool))
            for origin in pool.origins if pool.name in self._forwarded and pool.scheme is None else ():
                if origin.authority.port == DEFAULT_PORTS["https"]:
                    message = 'is asked over http, as the pool has no scheme; write scheme = "https" in the pool'
                    yield Finding((pool.name, "weighted_hosts", origin.name), message, is_at_key=True)
        for name in piece.defaults:
            if name != self._default:
                message = f"has no effect, {shown(self._default)} is the default pool already"
                yield Finding((name, "is_default"), message)
            elif name in self._forwarded and not self._takes_all:
                yield Finding((name, "is_default"), f"has requests that no route takes redirected to {_SEEN}")
        for name in piece.with_status:
            if name in self._only_forwarded:
                yield Finding((name, "status"), "has no effect, for routes only forward to this pool")
        for index, route in enumerate(piece.routes):
            yield from (Finding(("routes", index, *key), message) for key, message in _of_route(route))

    def _of_pool(self, pool: Pool) -> Iterator[tuple[Path, str]]:
        if pool.status in PERMANENT:
            cached, others = f"browsers cache a permanent redirect ({pool.status})", "302, 303 and 307 are not cached"
            if len(pool.origins) > 1 or pool.discover:
                yield ("status",), f"{cached}, so the weights lose their meaning; {others}"
            if up := self._served_by.get(pool.name):
                yield ("status",), f"{cached}, also when {up} is up again, whose fallback this is; {others}"
        for method in pool.cors.methods if pool.cors is not None else ():
            if method.upper() in _UPPERED and method not in _UPPERED:
                yield ("cors", "methods"), f"has no effect for {shown(method)}: browsers ask for {method.upper()}"
        is_forwarded, is_only = pool.name in self._forwarded, pool.name in self._only_forwarded
        no_health, ignores, stays = not pool.has_health, pool.when_all_down == "ignore", pool.on_loop == "stay"
        by_labels = pool.discover and pool.discover.labels
        rows = (
            ("slow_start", no_health and pool.slow_start, _NO_HEALTH),
            ("when_all_down", no_health and ignores, _NO_HEALTH),
            ("fallback", no_health and pool.fallback, _NO_PROBES),
            ("fallback", pool.eject and not (pool.health_check or pool.discover) and pool.fallback, _LAST_STAYS),
            ("fallback", ignores and pool.fallback, 'has no effect, as when_all_down = "ignore" uses all origins'),
            ("fallback", not is_forwarded and pool.fallback in self._forwarded, f"has clients redirected to {_SEEN}"),
            ("stay_status", not stays and pool.stay_status != 421, 'has no effect without on_loop = "stay"'),
            ("eject", not is_forwarded and pool.eject, "has no effect, for no route forwards to this pool"),
            ("headers", is_only and pool.headers, _NO_REDIRECT),
            ("cors", is_only and pool.cors, _NO_REDIRECT),
            ("on_loop", is_only and pool.on_loop != "refuse", "has no effect on forwards, which are no redirects"),
            ("scheme", is_forwarded and pool.scheme == "https" and by_labels, _CERTIFICATES),
        )
        yield from (((key,), message) for key, applies, message in rows if applies)


def _of_route(route: Route) -> Iterator[tuple[Path, str]]:
    for method in route.methods:
        if method not in METHODS:
            yield ("methods",), f"has no effect for {shown(method)}: such requests are refused before routes are asked"
    if route.show in _TELLING and route.host is None:
        yield ("show",), "tells any client of pools and origins; limit it with host, or ask the admin listener instead"
    total = route.timeouts.total
    for name, seconds in given(route.timeouts).items():
        if total is not None and name != "total" and seconds > total:
            yield ("timeouts", name), f"has no effect, as timeouts.total ends the request after {total:g} s"
