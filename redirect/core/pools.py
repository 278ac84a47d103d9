"""A configuration as frozen values: pools, origins and weights, and the faults of a file.

A field that the TOML has as a key states what the key may hold, its help text and its default (`keys`).
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Any

from redirect.core.authority import Authority
from redirect.core.cors import Cors
from redirect.core.discovery import Discover
from redirect.core.fields import TOKEN, table_of_fields
from redirect.core.keys import HOST, Limit, one_of, refuse, seconds, text, whole
from redirect.core.routes import PATH_RULE, Route, path_prefix

MAX_WEIGHT = 1_000_000
MAX_EJECTION_SECONDS = 300

_QUERY_NAME = re.compile(r"[!-~]{1,128}")


def _hash_on(value: str) -> str:
    kind, colon, name = value.partition(":")
    if value == "client_ip":
        return value
    if kind not in ("header", "cookie", "query") or not colon:
        near = difflib.get_close_matches(kind, ("client_ip", "header", "cookie", "query"), n=1, cutoff=0.6)
        raise ValueError(f'did you mean "{near[0]}{"" if near[0] == "client_ip" else ":NAME"}"?' if near else "")
    if kind == "query":
        if not _QUERY_NAME.fullmatch(name) or set("&=#") & {*name}:
            raise ValueError("a parameter's name is as the client spells it, without &, = and #")
    elif not TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a {'header field' if kind == 'header' else kind}")
    return f"header:{name.lower()}" if kind == "header" else value


_HASH_ON = Limit('must be "client_ip", "header:NAME", "cookie:NAME" or "query:NAME"', convert=_hash_on)
_TABLE = Limit('must be a table such as { path = "/healthz" }')
_FIELDS = table_of_fields('"cache-control" = "no-store"', "location", "content-type")
_PATH_RULE = "must begin with / and have at most 1024 visible ASCII characters without #"
_PATH = Limit(_PATH_RULE, {"pattern": r"^/[!-\"$-~]{0,1023}$"})  # clients keep a fragment (#) to themselves


# Statuses and classes of them.
Expected = tuple[int | str, ...]


def _expected(values: Any) -> Expected:
    expected = tuple(values) if isinstance(values, list) else (values,)
    if not expected:
        raise ValueError("there is none")
    if others := [value for value in expected if not _is_expected(value)]:
        refuse(f"{value} is neither" for value in others if isinstance(values, list))
        raise ValueError
    return expected


def _is_expected(value: Any) -> bool:
    return value in ("2xx", "3xx", "4xx", "5xx") or (type(value) is int and 200 <= value <= 599)


_EXPECTED_RULE = 'must be a whole number from 200 to 599, a class such as "2xx", or an array of these'
_EXPECTED = Limit(_EXPECTED_RULE, convert=_expected)
_PROBE_FIELDS = table_of_fields('authorization = "Bearer ..."', "host", "expect")


@dataclass(frozen=True, slots=True)
class Origin:
    """A host that clients are sent to. `name` is its key in the TOML, unchanged."""

    name: str
    authority: Authority
    weight: Annotated[int, whole(0, MAX_WEIGHT), "a whole number from 0 to 1,000,000"]
    path_prefix: Annotated[
        str,
        Limit(PATH_RULE, convert=lambda value: path_prefix(value).removesuffix("/")),
        "what stands before the target there",
    ] = ""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    path: Annotated[str, _PATH, "what is asked for, behind the origin's `path_prefix`"]
    scheme: Annotated[str, one_of("http", "https"), "how it is asked; with `https` certificates are checked"] = "http"
    host: Annotated[str | None, HOST, "name in `Host` and in the certificate"] = None  # the origin's
    port: Annotated[int | None, whole(1, 65535), "port that is asked"] = None  # the origin's
    interval: Annotated[float, seconds(0.1), "seconds between two probes while an origin is up"] = 5
    down_interval: Annotated[float, seconds(0.1), "seconds between two probes while it is down"] = None  # type: ignore[assignment]
    timeout: Annotated[float, seconds(0.1), "seconds until a probe has failed"] = 2
    passes: Annotated[int, whole(1, 1000), "probes in a row after which an origin is up again"] = 2
    fails: Annotated[int, whole(1, 1000), "probes in a row after which it is down"] = 3
    expect: Annotated[
        Expected, _EXPECTED, 'the status that is good, a class as `"2xx"`, or an array; redirects are not followed'
    ] = (200,)
    method: Annotated[str, one_of("GET", "HEAD"), "how it is asked; with `HEAD` no origin sends a body in vain"] = "GET"
    headers: Annotated[
        tuple[tuple[str, str], ...], _PROBE_FIELDS, "more header fields; no log and no page has them"
    ] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.down_interval is None:
            object.__setattr__(self, "down_interval", self.interval)

    def is_good(self, status: int) -> bool:
        return status in self.expect or f"{status // 100}xx" in self.expect

    @property
    def expected(self) -> str:
        """What is good, in words."""
        return " or ".join(map(str, self.expect))


@dataclass(frozen=True, slots=True)
class Ejection:
    """When an origin is taken out for failures of what is forwarded to it."""

    fails: Annotated[int, whole(1, 1000), "failures in a row, in one worker, after which an origin is down"] = 5
    for_: Annotated[
        float,
        seconds(0.1, MAX_EJECTION_SECONDS),
        "seconds until it is tried again; twice as many the second time in a row, and so on, at most 300",
    ] = 30


@dataclass(frozen=True, slots=True)
class Pool:
    """A named set of origins with one redirect status. `balancer` has the rule by which they are picked."""

    name: str
    origins: tuple[Origin, ...]
    status: Annotated[int, one_of(301, 302, 303, 307, 308), "status of the redirects: 301, 302, 303, 307 or 308"] = 302
    scheme: Annotated[
        str | None, one_of("http", "https"), "of the Location, the request's own if left out; of forwards, `http` if so"
    ] = None
    pick: Annotated[
        str,
        one_of("round_robin", "random", "hash", "least_requests"),
        '`"round_robin"`; `"random"`; `"hash"`: the same client, the same origin; for forwards `"least_requests"`: the '
        "one of two with fewer under way by weight",
    ] = "round_robin"
    hash_on: Annotated[
        str, _HASH_ON, 'what `"hash"` tells clients by: `"client_ip"`, `"header:NAME"`, `"cookie:NAME"`, `"query:NAME"`'
    ] = "client_ip"
    health_check: Annotated[HealthCheck | None, _TABLE, "how the origins are probed; not at all if left out"] = None
    eject: Annotated[
        Ejection | None,
        Limit("must be a table such as { fails = 5, for = 30 }"),
        "when an origin is down for failures of forwards; never if left out",
    ] = None
    slow_start: Annotated[
        float, seconds(0), "seconds in which an origin that comes back gets its whole share, by tenths"
    ] = 0
    when_all_down: Annotated[
        str, one_of("refuse", "ignore"), '503 with `Retry-After`; `"ignore"`: all origins are used'
    ] = "refuse"
    discover: Annotated[
        Discover | None,
        Limit('must be a table such as { name = "api", port = 8080 }'),
        "how the origins are found, in place of `weighted_hosts`",
    ] = None
    none_found: str | None = None  # why, where it discovers and has no origins
    file_weights: tuple[int, ...] | None = None  # where overrides have others
    fallback: Annotated[
        str | None, text("must be the name of a pool", 1, 128), "the pool that serves while no origin here is eligible"
    ] = None
    on_loop: Annotated[
        str,
        one_of("refuse", "next", "stay"),
        'where the host asked for is picked: 422; `"next"`: one of the others; `"stay"`: `stay_status`',
    ] = "refuse"
    stay_status: Annotated[int, whole(400, 599), "what tells the server in front to answer by itself"] = 421
    headers: Annotated[tuple[tuple[str, str], ...], _FIELDS, "more header fields of the redirects"] = ()
    cors: Annotated[
        Cors | None,
        Limit('must be a table such as { origins = "*" }'),
        "which pages of other hosts may fetch from here",
    ] = None

    @property
    def has_health(self) -> bool:
        """Whether the state of its origins can change."""
        return any((self.health_check, self.eject, self.discover))

    def called(self, origin: Origin) -> Authority:
        """Of which name a certificate has to be, and what `Host` has: DNS finds the addresses of a name."""
        name = self.discover.name if self.discover is not None else None
        return origin.authority if name is None else Authority(name, origin.authority.port)

    def shares(self) -> list[tuple[Origin, float]]:
        """Each origin with its configured share, from 0 to 1."""
        weights = self.configured_weights
        total = sum(weights) or 1  # those that were found may all be drained
        return [(origin, weight / total) for origin, weight in zip(self.origins, weights, strict=True)]

    @property
    def is_by_shares(self) -> bool:
        """Whether weights alone say how often an origin is picked."""
        return self.pick in ("round_robin", "random") and self.on_loop != "next"

    @property
    def configured_weights(self) -> list[int]:
        return [*self.file_weights] if self.file_weights else [origin.weight for origin in self.origins]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a file and its place: `line` and `column` count from 1, `key` is the path in the TOML."""

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (f"{self.file}:{self.line}:{self.column}", self.key, self.message) if part)


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration without faults, with the origins that were found for it. `hash` identifies the content of its
    file, and `change` counts what was published before it in this instance. With routes there may be no pool, and no
    default pool."""

    pools: Mapping[str, Pool]
    default: Pool | None
    hash: str
    warnings: tuple[Fault, ...] = ()
    routes: tuple[Route, ...] = ()
    change: int = field(default=0, compare=False)

    @property
    def version(self) -> tuple[str, int]:
        """Identifies it among all that the instance ever had."""
        return self.hash, self.change

    def with_pools(self, changed: Iterable[Pool]) -> "Config":
        """The same with these in place of its own pools of their names; itself if there is none."""
        found = {pool.name: pool for pool in changed}
        if not found:
            return self
        pools = MappingProxyType({**self.pools, **found})
        return replace(self, pools=pools, default=self.default and pools[self.default.name])

    def forwarded(self) -> frozenset[str]:
        """The pools to which requests are forwarded. Clients cannot name them."""
        named = [route.forward_to for route in self.routes if route.forward_to is not None]
        return with_fallbacks(named, self.fallback)

    def only_forwarded(self) -> frozenset[str]:
        """The pools to which requests are forwarded and no client is redirected."""
        found = self.forwarded()
        if not found:
            return found
        led_to = [route.redirect_to for route in self.routes] + [self.default.name if self.default else None]
        return found - with_fallbacks([*self.pools.keys() - found, *filter(None, led_to)], self.fallback)

    def fallback(self, name: str) -> str | None:
        return self.pools[name].fallback


def with_fallbacks(names: Iterable[str], fallback_of: Callable[[str], str | None]) -> frozenset[str]:
    """The pools of these names, and those that serve in their place."""
    found: set[str] = set()
    for name in names:
        next_name: str | None = name
        while next_name is not None and next_name not in found:
            found.add(next_name)
            next_name = fallback_of(next_name)
    return frozenset(found)
