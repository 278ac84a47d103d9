"""What the page shows: pools with their shares, and the last requests, as values for the templates.

The page shows no more than a reader can take in, whatever the configuration and the traffic, and how much it leaves
out. Lines of the access log are matched as bytes; only those that are shown are parsed.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from redirect.admin.troubles import FAILS_NOT, Troubles
from redirect.core.pools import Config, Origin, Pool
from redirect.core.routes import Route
from redirect.telemetry.history import WINDOWS, Subject
from redirect.telemetry.snapshot import NO_COUNT, Count

MAX_POOLS = 50  # on one page of them
MAX_ORIGINS_OF_POOL = 50
MAX_ORIGINS = 300  # of all pools together; those behind them show
LEAST_ORIGINS = 3
MAX_ROUTES = 50

_STATUS = re.compile(r"([1-5])(\d\d|xx)", re.IGNORECASE | re.ASCII)


class Query(NamedTuple):
    """What a reader typed or chose: the time that is drawn, whether the page reloads itself where it has no JavaScript,
    which pools are shown and in which order, and which requests are listed."""

    over: str = ""
    reload: str = ""
    find: str = ""
    down: str = ""
    sort: str = ""
    page: str = ""
    pool: str = ""
    origin: str = ""
    status: str = ""
    path: str = ""

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> "Query":
        return cls(*(parameters.get(name, "").strip() for name in cls._fields))

    @property
    def window(self) -> str:
        return self.over if self.over in WINDOWS else "minute"

    @property
    def page_number(self) -> int:
        return int(self.page) if re.fullmatch("[1-9][0-9]{0,6}", self.page) else 1

    def others(self, *names: str) -> dict[str, str]:
        """What was typed or chosen but for these, which a form or a link sets itself."""
        return {name: value for name, value in self._asdict().items() if value and name not in names}

    def link(self, **values: object) -> str:
        """The address of the page with these values in place of those there are."""
        return "./?" + urlencode(self.others(*values) | {name: value for name, value in values.items() if value})

    @property
    def is_status_wrong(self) -> bool:
        """Whether the status is neither a status nor a class of them like 4xx: then it does not filter."""
        return bool(self.status) and not _STATUS.fullmatch(self.status)

    @property
    def is_filter(self) -> bool:
        return any((self.pool, self.origin, self.status, self.path))

    def line_filter(self) -> Callable[[bytes], bool]:
        """Whether a line is listed. A quote within a value is escaped, so a key is found only as a key."""
        names = (("pool", self.pool), ("origin", self.origin))
        needles = [f'"{key}":{json.dumps(name)},' for key, name in names if name]
        if status := _STATUS.fullmatch(self.status):
            needles.append(f'"status":{status[0] if status[2].isdigit() else status[1]}')  # they have three digits
        if self.path:  # as it is listed, with the query behind it
            needles.append(f'"path":{json.dumps(self.path)[:-1]}'.replace("?", '","query":"', 1))
        encoded = [needle.encode("ascii") for needle in needles]
        return lambda line: all(needle in line for needle in encoded) or b'"lost":' in line


class Selection(NamedTuple):
    """The pools of `config` that are shown on one of `pages`, each with those of its origins that are, and their
    shares; `matching` counts those on all pages."""

    config: Config
    shown: Sequence[tuple[Pool, Sequence[tuple[Origin, float]]]]
    matching: int
    page: int
    pages: int


class OriginView(NamedTuple):
    """An origin with its counts and its shares, which are 0 to 1; `observed` is the one under the configuration in
    force, and `due` what it should be; None before the pool's first pick."""

    origin: Origin
    configured: float
    due: float | None
    observed: float | None
    counted: Count


def select(config: Config, query: Query, troubles: Troubles, traffic: Mapping[Subject, float]) -> Selection:
    """The pools with `find` in their name, or in an origin's, with `down` only those that fail. First the busiest, or
    else those that fail, the gravest before all, the default pool, and the others in the file's order."""
    failing, find = troubles.failing(), query.find.lower()

    def place(pool: Pool) -> tuple[float, ...]:
        if query.sort == "traffic":
            return (-traffic.get((pool.name, None), 0),)
        return *failing.get(pool.name, FAILS_NOT), pool is not config.default

    pools = [pool for pool in config.pools.values() if pool.name in failing or not query.down]
    if find:
        pools = [pool for pool in pools if find in pool.name.lower() or _found(pool, find)]
    pages = max(1, -(-len(pools) // MAX_POOLS))
    page = min(query.page_number, pages)
    shown, left = [], MAX_ORIGINS
    for pool in sorted(pools, key=place)[(page - 1) * MAX_POOLS : page * MAX_POOLS]:
        shares = _ordered(pool, query, troubles, traffic)[: min(MAX_ORIGINS_OF_POOL, max(left, LEAST_ORIGINS))]
        shown.append((pool, shares))
        left -= len(shares)
    return Selection(config, shown, len(pools), page, pages)


def _found(pool: Pool, find: str) -> set[str]:
    """The origins with `find` in their name."""
    return {origin.name for origin in pool.origins if find in origin.name.lower()}


def _ordered(
    pool: Pool, query: Query, troubles: Troubles, traffic: Mapping[Subject, float]
) -> list[tuple[Origin, float]]:
    """The origins of a pool, with their shares: those that were looked for first, then as pools."""
    found, down = _found(pool, query.find.lower()), troubles.down.get(pool.name, {})

    def place(share: tuple[Origin, float]) -> tuple[float, ...]:
        name = share[0].name
        return name not in found, -traffic.get((pool.name, name), 0) if query.sort == "traffic" else name not in down

    return sorted([share for share in pool.shares() if share[0].name in down or not (query.down and down)], key=place)


def origin_views(
    shares: Sequence[tuple[Origin, float]], counts: Mapping[str, Count], dues: Mapping[str | None, float]
) -> list[OriginView]:
    """Origins of a pool with their numbers; `counts` are those of all its origins that were picked, by name, and `dues`
    the picks that were due while the weights were not as configured."""
    total = sum(count.since_load for count in counts.values())
    usual = max(0.0, total - dues.get(None, 0.0))  # picks by the configured weights
    views = []
    for origin, share in shares:
        count = counts.get(origin.name, NO_COUNT)
        due = (usual * share + dues.get(origin.name, 0.0)) / total if total else None
        views.append(OriginView(origin, share, due, count.since_load / total if total else None, count))
    return views


class RouteView(NamedTuple):
    route: Route
    requests: int
    refused: int  # with statuses of 400 to 499
    errors: int  # with 500 and above


def routed(routes: Sequence[Route], counts: Mapping[tuple[str, int], int], find: str) -> tuple[list[RouteView], int]:
    """The routes with `find` in their name or in that of their pool, the most specific first, and how many more."""
    found = [route for route in routes if find.lower() in f"{route.name} {route.pool or ''}".lower()]
    totals: dict[str, list[int]] = {}
    for (name, status), count in counts.items():
        numbers = totals.setdefault(name, [0, 0, 0])
        numbers[0] += count
        numbers[1] += count if 400 <= status <= 499 else 0
        numbers[2] += count if status >= 500 else 0
    shown = sorted(found, key=lambda route: route.rank)[:MAX_ROUTES]
    return [RouteView(route, *totals.get(route.name, (0, 0, 0))) for route in shown], len(found) - len(shown)


def listed(lines: Sequence[bytes], query: Query, limit: int) -> tuple[list[dict[str, Any]], int]:
    """The last requests that pass the filter, newest first, and how many more there were; a line that says how many
    were lost always passes."""
    passed = list(filter(query.line_filter(), lines))
    return [json.loads(line) for line in reversed(passed[-limit:])], max(0, len(passed) - limit)
