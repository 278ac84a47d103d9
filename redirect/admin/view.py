"""What the page shows: pools with their shares, and the last requests, as values for the templates.

The rule: no more is shown than a reader can take in, whatever the configuration and the traffic, and it
says how much is left out. The event loop that runs this answers redirects: whatever grows with either is
gone through in `leisurely` steps, and lines of the access log are matched as the bytes they are; only
those that are shown are parsed.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

from redirect.control.instance import State
from redirect.core.pools import Config, Origin, Pool
from redirect.telemetry.snapshot import Count, Snapshot

MOST_POOLS = 50
MOST_ORIGINS = 50  # of one pool
MOST_OF_ALL = 300  # origins of all pools together

# Seconds for which the event loop is held at most.
LONGEST_STEP = 0.001

_STATUS = re.compile(r"([1-5])(\d\d|xx)", re.IGNORECASE | re.ASCII)
_NOBODY = Count(0, 0, 0)

T = TypeVar("T")


class Query(NamedTuple):
    """What a reader typed: which pools to find, and which requests to list."""

    find: str = ""
    pool: str = ""
    origin: str = ""
    status: str = ""
    path: str = ""

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> "Query":
        return cls(*(parameters.get(name, "").strip() for name in cls._fields))

    @property
    def is_status_wrong(self) -> bool:
        """Whether the status is none, nor a class of them like 4xx: then all are listed."""
        return bool(self.status) and not _STATUS.fullmatch(self.status)

    @property
    def is_filter(self) -> bool:
        """Whether not all requests are listed."""
        return any((self.pool, self.origin, self.status, self.path))

    def wants(self) -> Callable[[bytes], bool]:
        """Whether a line is to be listed. A quote within a value is escaped, so a key is found only as a key."""
        needles = []
        if self.pool:
            needles.append(f'"pool":{json.dumps(self.pool)},')
        if self.origin:
            needles.append(f'"origin":{json.dumps(self.origin)},')
        if status := _STATUS.fullmatch(self.status):
            needles.append(f'"status":{status[0] if status[2].isdigit() else status[1]}')  # they have three digits
        if self.path:  # as it is listed, with the query behind it
            needles.append(f'"path":{json.dumps(self.path)[:-1]}'.replace("?", '","query":"', 1))
        sought = [needle.encode("ascii") for needle in needles]
        return lambda line: all(needle in line for needle in sought) or _is_marker(line)


class Selection(NamedTuple):
    """The pools of `config` that are shown, each with those of its origins, and their shares, that are;
    `matching` is how many would be."""

    config: Config
    shown: Sequence[tuple[Pool, Sequence[tuple[Origin, float]]]]
    matching: int


class OriginView(NamedTuple):
    """An origin: shares from 0 to 1, `observed` under the configuration in force, None before its pool's first
    pick; when it was picked last (Unix time), None if never."""

    name: str
    weight: int
    configured: float
    observed: float | None
    state: State
    picks: int
    last: float | None


class PoolView(NamedTuple):
    """A pool, with as many of its `size` origins as are shown."""

    name: str
    status: int
    is_default: bool
    picks: int
    size: int
    origins: Sequence[OriginView]


async def leisurely(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, with time for whatever else the event loop has to do."""
    until = perf_counter() + LONGEST_STEP
    for item in items:
        yield item
        if perf_counter() > until:
            await asyncio.sleep(0)
            until = perf_counter() + LONGEST_STEP


async def select(config: Config, find: str) -> Selection:
    """The pools in whose name, or an origin's, `find` is: the default pool first, then in the file's order."""
    shown: list[tuple[Pool, list[tuple[Origin, float]]]] = []
    matching, room, find = 0, MOST_OF_ALL, find.lower()
    async for pool in leisurely([config.default, *(p for p in config.pools.values() if p is not config.default)]):
        origins = [origin.name for origin in pool.origins if find in origin.name.lower()] if find else ()
        if find and find not in pool.name.lower() and not origins:
            continue
        matching += 1
        if len(shown) < MOST_POOLS and room:
            found = frozenset(origins)
            shares = sorted(pool.shares(), key=lambda share: share[0].name not in found)  # stable, so in order else
            shown.append((pool, shares[: min(MOST_ORIGINS, room)]))
            room -= len(shown[-1][1])
    return Selection(config, shown, matching)


async def pools(selection: Selection, snapshot: Snapshot, state: Callable[[Pool, Origin], State]) -> list[PoolView]:
    """The selected pools with their numbers."""
    counts: dict[str | None, dict[str, Count]] = {pool.name: {} for pool, _ in selection.shown}
    async for (pool_name, origin_name, _), count in leisurely(snapshot.requests.items()):
        if origin_name is not None and (of_pool := counts.get(pool_name)) is not None:
            total, since_load, last_ms = of_pool.get(origin_name, _NOBODY)
            of_pool[origin_name] = Count(
                total + count.total, since_load + count.since_load, max(last_ms, count.last_ms)
            )
    views = []
    async for pool, shares in leisurely(selection.shown):
        of_pool = counts[pool.name]
        picks = sum(count.since_load for count in of_pool.values())
        origins = []
        for origin, share in shares:
            count = of_pool.get(origin.name, _NOBODY)
            observed = count.since_load / picks if picks else None
            last = count.last_ms / 1000 if count.total else None
            origins.append(
                OriginView(origin.name, origin.weight, share, observed, state(pool, origin), count.since_load, last)
            )
        is_default = pool is selection.config.default
        views.append(PoolView(pool.name, pool.status, is_default, picks, len(pool.origins), origins))
    return views


class Listed(NamedTuple):
    """Records of requests, newest first, and how many more there were."""

    records: list[dict[str, Any]]
    more: int


def listed(lines: Sequence[bytes], query: Query, most: int) -> Listed:
    """The last of the requests that the reader wants to see; a line that says what was lost is among them."""
    wanted = list(filter(query.wants(), lines))
    return Listed([json.loads(line) for line in reversed(wanted[-most:])], max(0, len(wanted) - most))


def _is_marker(line: bytes) -> bool:
    return b'"lost":' in line
