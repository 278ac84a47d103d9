"""Routes: what becomes of a request, by its host, its path and its method.

The rule: the most specific route wins, wherever it stands in the file. The host decides first (exact, then the longest
wildcard, then any), then the path (exact, then the longest prefix of whole segments), then the method. Where routes for
the host and the path exist and none takes the method, no shorter prefix is asked.

Paths are compared with the escapes of letters, digits, `-`, `.`, `_` and `~` decoded (RFC 3986, section 6.2.2), and
passed on as they came. The tables are compiled at load: a lookup costs the same for three routes and for a thousand.
"""

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Annotated, Any, NamedTuple

from redirect.core.authority import Endpoint, parse
from redirect.core.fields import TOKEN, is_value, table_of_fields
from redirect.core.keys import FLAG, Limit, distinct, one_of, refuse, seconds, text, whole

MAX_PATH_CHARACTERS = 1024

# Hosts, with their ports, whose routes are remembered. One more costs a lookup for each of its labels.
MAX_KNOWN_HOSTS = 4096

MAX_IN_FLIGHT = 1_000_000

# The methods of requests that come to routes: those that the parser knows, but CONNECT and what is not HTTP.
METHODS = frozenset(
    """GET HEAD POST PUT PATCH DELETE OPTIONS TRACE QUERY ACL BIND CHECKOUT COPY LINK LOCK M-SEARCH MERGE MKACTIVITY
    MKCALENDAR MKCOL MOVE NOTIFY PROPFIND PROPPATCH PURGE REBIND REPORT SEARCH SUBSCRIBE UNBIND UNLINK UNLOCK
    UNSUBSCRIBE""".split()
)

CONDITIONS = ("host", "path", "path_prefix", "methods")

# The keys of which a route has one, and those that only the first of them has.
ACTIONS = ("forward_to", "redirect_to", "respond", "show")
FORWARD_KEYS = ("strip_prefix", "target", "pass_host", "timeouts", "retries", "retry_on", "limit", "cache", "error_log")

_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# What servers take for the border of a segment: some take more than the slash.
_BORDER = r"[/\\;]|%2f|%5c|%3b"
_DOT_SEGMENT = re.compile(rf"(?:^|{_BORDER})(?:\.|%2e){{1,2}}(?:$|{_BORDER})", re.IGNORECASE)
_PATH = re.compile(r"/[!-~]*")


def normalised(path: str) -> str:
    """The path as routes compare it."""
    return _ESCAPE.sub(_unescaped, path) if "%" in path else path


def has_dot_segment(path: str) -> bool:
    """Whether a server behind us might resolve a segment of `path` as `.` or `..`."""
    if path[:1] == "." or "/." in path or "%" in path or "\\" in path or ";" in path:  # else there is none
        return _DOT_SEGMENT.search(path) is not None
    return False


def _unescaped(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16))
    return char if char in _UNRESERVED else match[0].upper()


# What the keys may hold.


def path_prefix(value: str) -> str:
    if set("*?#") & {*value}:
        raise ValueError("a prefix is whole segments without *, ? and #")
    return _path(value)


def _path(value: str) -> str:
    if not _PATH.fullmatch(value) or len(value) > MAX_PATH_CHARACTERS:
        raise ValueError
    if set("*?#") & {*value}:
        raise ValueError("a path has no *, ? and #")
    if has_dot_segment(value):
        raise ValueError("a segment of dots never arrives: requests with one are refused")
    return value


def _host(value: str) -> str:
    parse(value.removeprefix("*."))
    return value


def _fault_of_method(method: str) -> str:
    if not TOKEN.fullmatch(method):
        return f'"{method}" is no method'
    return "" if method == method.upper() else f"methods are in capitals, write {method.upper()}"


def _statuses(values: Any) -> tuple[int, ...]:
    refuse(f"{value} is none of them" for value in values if value not in (502, 503, 504))
    return tuple(values)


def _log(value: str) -> str:
    if not 1 <= len(value) <= MAX_PATH_CHARACTERS or "\0" in value:
        raise ValueError
    return value


def _media_type(value: str) -> str:
    if "/" not in value or not is_value(value):
        raise ValueError
    return value


PATH_RULE = f"must begin with / and have at most {MAX_PATH_CHARACTERS} visible ASCII characters"
_PATH_LIMIT = Limit(PATH_RULE, convert=_path)
_PREFIX_LIMIT = Limit(PATH_RULE, convert=path_prefix)
_STRIP_LIMIT = Limit(f"{FLAG.rule}: what path_prefix matched is cut")
_HOST_LIMIT = Limit('must be a host with an optional port, or "*." before one', convert=_host)
_METHODS_RULE = 'must be an array of methods such as ["GET", "POST"], each once'
_METHODS_LIMIT = Limit(_METHODS_RULE, convert=distinct(_fault_of_method))
_RETRY_ON_LIMIT = Limit("must be an array of 502, 503 and 504", convert=_statuses)
_FIELDS_LIMIT = table_of_fields('"cache-control" = "no-store"', "content-type")
_TYPE_LIMIT = Limit('must be a media type such as "text/html; charset=utf-8"', convert=_media_type)
_TIMEOUTS_LIMIT = Limit("must be a table such as { answer = 5 }")
_CACHE_LIMIT = Limit("must be a table such as { stale_if_down = 300 }")
_LOG_LIMIT = Limit('must be a path of 1 to 1024 characters, or "-" for standard error', convert=_log)
_DOCUMENT_LIMIT = one_of("stats", "status", "healthz", "readyz", "metrics")
_LIMIT_RULE = f"must be a whole number from 1 to {MAX_IN_FLIGHT}, or a table such as {{ in_flight = 100, queue = 50 }}"
_POOL_LIMIT = text("must be the name of a pool", 1, 128)


@dataclass(frozen=True, slots=True)
class Timeouts:
    connect: Annotated[float, seconds(0.1), "seconds to connect to an origin, with TLS"] = 1
    answer: Annotated[float, seconds(0.1), "seconds from the request sent to the head of the answer"] = 30
    idle: Annotated[float, seconds(0.1), "seconds between two pieces, in either direction"] = 60
    total: Annotated[float | None, seconds(0.1), "seconds from a request read, in its turn, to its answer's end"] = None


@dataclass(frozen=True, slots=True)
class Caching:
    stale_if_down: Annotated[float, seconds(1, 86_400), "seconds of age up to which an answer is used"]


@dataclass(frozen=True, slots=True)
class Response:
    """A constant response of ours."""

    status: Annotated[int, whole(200, 599), "its status"] = 200
    body: Annotated[str, text("must be a string", 0, 65536), "its body, sent as UTF-8"] = ""
    content_type: Annotated[str, _TYPE_LIMIT, "its Content-Type, if it has a body"] = "text/plain; charset=utf-8"
    headers: Annotated[tuple[tuple[str, str], ...], _FIELDS_LIMIT, "more header fields"] = ()


@dataclass(frozen=True, slots=True)
class RequestLimit:
    """How many requests of a route may be under way. `index` says which tokens count them (`limits.numbered`)."""

    in_flight: Annotated[int, whole(1, MAX_IN_FLIGHT), "requests under way in all workers of an instance together"]
    queue: Annotated[int, whole(0, 100_000), "further requests that wait for one of these to end, in each worker"] = 0
    wait: Annotated[float, seconds(0.1), "seconds that a request waits at most"] = 1
    index: int = field(default=0, compare=False)


def _request_limit(value: Any) -> RequestLimit:
    """What a number in place of the table means."""
    if type(value) is not int or not 1 <= value <= MAX_IN_FLIGHT:
        raise ValueError
    return RequestLimit(value)


class Place(NamedTuple):
    """Where a route is looked up. `host` is empty for any, and begins with a dot for those below it; `path` is as
    routes compare it."""

    host: str
    port: int | None
    is_exact: bool
    path: str


@dataclass(frozen=True, slots=True)
class Route:
    """Conditions that must all hold, and exactly one action: `forward_to`, `redirect_to`, `respond` or `show`."""

    host: Annotated[str | None, _HOST_LIMIT, 'the host asked for; `"*.example.com"`: one label more, or several'] = None
    path: Annotated[str | None, _PATH_LIMIT, "exactly this path"] = None
    path_prefix: Annotated[str | None, _PREFIX_LIMIT, "the path begins with these whole segments"] = None
    methods: Annotated[tuple[str, ...], _METHODS_LIMIT, "the methods that are taken; GET includes HEAD"] = ()
    forward_to: Annotated[str | None, _POOL_LIMIT, "the pool whose origins answer"] = None
    redirect_to: Annotated[str | None, _POOL_LIMIT, "the pool to whose origins clients are sent"] = None
    respond: Annotated[Response | None, Limit("must be a table such as { status = 403 }"), "a response of ours"] = None
    show: Annotated[str | None, _DOCUMENT_LIMIT, "the document of the admin listener that is shown"] = None
    strip_prefix: Annotated[bool, _STRIP_LIMIT, "whether what `path_prefix` matched is cut for the origin"] = False
    target: Annotated[str | None, _PATH_LIMIT, "the path to ask the origin for, in place of `path`"] = None
    pass_host: Annotated[bool | None, FLAG, "whether the origin gets the client's `Host`; by `scheme`"] = None
    timeouts: Annotated[Timeouts, _TIMEOUTS_LIMIT, "how long what may take"] = Timeouts()
    retries: Annotated[
        int, whole(0, 10), "how many other origins are tried where that is safe; 0: nothing is sent twice"
    ] = 1
    retry_on: Annotated[tuple[int, ...], _RETRY_ON_LIMIT, "statuses after which another origin is tried"] = ()
    cache: Annotated[Caching | None, _CACHE_LIMIT, "old answers for when the origins do not answer"] = None
    error_log: Annotated[str | None, _LOG_LIMIT, "where requests are logged that the remote side failed"] = None
    limit: Annotated[
        RequestLimit | None,
        Limit(_LIMIT_RULE, convert=_request_limit),
        "how many requests may be under way, as a number or a table",
    ] = None

    @property
    def name(self) -> str:
        """The conditions, as the access log and the commands show them: `POST shop.example.com/api/*`."""
        place = (self.host or "") + (self.path or f"{self.prefix}/*")
        return f"{','.join(self.methods)} {place}" if self.methods else place

    @property
    def key(self) -> Hashable:
        """The same for each spelling of the same conditions."""
        return self.place, frozenset(self.methods)

    @property
    def prefix(self) -> str:
        """The path prefix without a slash at its end; empty where any path will do."""
        return (self.path_prefix or "").removesuffix("/")

    @property
    def action(self) -> str:
        """The key of the action."""
        return next(key for key in ACTIONS if getattr(self, key) is not None)

    @property
    def does(self) -> str:
        """What becomes of the requests, as the commands and the page show it: `forward_to api`."""
        return f"{self.action} {self.respond.status if self.respond else self.show or self.pool}"

    @property
    def taken(self) -> tuple[str, ...]:
        """The methods that are taken, beside HEAD where GET is; none for any."""
        return self.methods or (("GET",) if self.show else ())

    @property
    def pool(self) -> str | None:
        return self.forward_to or self.redirect_to

    @property
    def rank(self) -> tuple[object, ...]:
        """Orders routes as the commands list them: the most specific of a host first, and any host last."""
        host, port, is_exact, path = self.place
        of_host = not host, host.startswith("."), -len(host), host, port is None
        return *of_host, not is_exact, -len(path), path, not self.methods

    @property
    def place(self) -> Place:
        path = normalised(self.prefix if self.path is None else self.path)
        if self.host is None:
            return Place("", None, self.path is not None, path)
        host, port = parse(self.host.removeprefix("*."))
        return Place(f".{host}" if self.host.startswith("*.") else host, port, self.path is not None, path)

    def conditions(self) -> Iterator[tuple[Place, str | None]]:
        """What no other route may have: the place with each of the methods, or with None for any."""
        place = self.place
        return ((place, method) for method in self.methods or (None,))

    def target_of(self, target: str) -> tuple[str, str]:
        """What an origin is asked for where the client asked for `target`, and the prefix that was cut, all raw."""
        if self.target is None and not self.strip_prefix:
            return target, ""
        path, mark, query = target.partition("?")
        if self.target is not None:
            return self.target + mark + query, ""
        segments = path.split("/")
        cut = self.prefix.count("/") + 1  # an escape is never a slash
        return f"/{'/'.join(segments[cut:])}{mark}{query}", "/".join(segments[:cut])


class _Methods:
    """The routes of one place. `wider` are those of the next place that its requests match, of the same host."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = sorted(routes, key=lambda route: not route.methods)
        self.wider: _Methods | None = None
        self._by_method: dict[str, Route] = {}
        for route in self.routes:
            for method in route.taken:
                self._by_method.setdefault(method, route)
        if "GET" in self._by_method:
            self._by_method.setdefault("HEAD", self._by_method["GET"])
        self._others = next((route for route in self.routes if not route.taken), (*self._by_method,))

    def find(self, method: str) -> Route | tuple[str, ...]:
        """The route, or the methods that are taken."""
        return self._by_method.get(method, self._others)


class _Paths:
    """The routes for one host."""

    def __init__(self, places: Iterable[tuple[Place, _Methods]]) -> None:
        places = [*places]
        self._exact = {place.path: methods for place, methods in places if place.is_exact}
        self._prefixes = {place.path: methods for place, methods in places if not place.is_exact}
        self._longest = max(map(len, self._prefixes), default=-1)
        for place, methods in places:
            if place.path or place.is_exact:
                methods.wider = self._longest_prefix(place.path if place.is_exact else place.path.rpartition("/")[0])

    def find(self, path: str) -> _Methods | None:
        return self._exact.get(path) or self._longest_prefix(path)

    def _longest_prefix(self, path: str) -> _Methods | None:
        prefix = path[: self._longest + 1]  # with the slash behind the longest
        prefixes = self._prefixes
        while prefix:
            if prefix in prefixes:
                return prefixes[prefix]
            prefix = prefix.rpartition("/")[0]
        return prefixes.get("")


class Routes:
    """The routes of a configuration, compiled."""

    def __init__(self, routes: Iterable[Route]) -> None:
        by_place: dict[Place, list[Route]] = {}
        for route in routes:
            by_place.setdefault(route.place, []).append(route)
        by_host: dict[tuple[str, int | None], list[tuple[Place, _Methods]]] = {}
        for place, same in by_place.items():
            by_host.setdefault((place.host, place.port), []).append((place, _Methods(same)))
        hosts = {host: _Paths(places) for host, places in by_host.items()}
        self._any = tuple([paths for host, paths in hosts.items() if host == ("", None)])
        self._has_hosts = len(hosts) > len(self._any)
        self._of = lru_cache(MAX_KNOWN_HOSTS)(partial(_of_endpoint, hosts))  # of no method: that would be a cycle

    def find(self, asked: Endpoint | None, path: str, method: str) -> Route | tuple[str, ...] | None:
        """The route of a request for the endpoint `asked` and the raw `path`; the methods that are taken if its own is
        not; None if no route is for that host and path."""
        if "%" in path:
            path = normalised(path)
        for paths in self._of(asked) if self._has_hosts and asked is not None else self._any:
            if methods := paths.find(path):
                return methods.find(method)
        return None

    def candidates(self, asked: Endpoint | None, path: str) -> list[Route]:
        """All routes for that host and path, whatever their methods; the most specific first."""
        found: list[Route] = []
        for paths in self._of(asked) if self._has_hosts and asked is not None else self._any:
            methods = paths.find(normalised(path))
            while methods:
                found += methods.routes
                methods = methods.wider
        return found


def _of_endpoint(hosts: Mapping[tuple[str, int | None], _Paths], asked: Endpoint) -> tuple[_Paths, ...]:
    """Those of the host, then of its wildcards, the longest first, then of any host; with the port before without."""
    host, port = asked
    names = (host, *(host[at:] for at, char in enumerate(host) if char == "."), "")
    return tuple([hosts[key] for name in names for key in ((name, port), (name, None)) if key in hosts])
