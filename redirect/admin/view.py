"""What the page shows: pools with their shares, and the last requests, as values for the templates.

The page shows no more than a reader can take in, whatever the configuration and the traffic, and how much it leaves
out. Lines of the access log are matched as bytes; only those that are shown are parsed.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from redirect.core.pools import Config, Origin, Pool
from redirect.telemetry.snapshot import Count

MAX_POOLS = 50
MAX_ORIGINS_OF_POOL = 50
MAX_ORIGINS = 300  # of all pools together

_STATUS = re.compile(r"([1-5])(\d\d|xx)", re.IGNORECASE | re.ASCII)


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
    """The pools of `config` that are shown, each with those of its origins that are, and their shares; `matching`
    counts those that would be shown without a limit."""

    config: Config
    shown: Sequence[tuple[Pool, Sequence[tuple[Origin, float]]]]
    matching: int


class OriginView(NamedTuple):
    """An origin with its counts and its shares, which are 0 to 1; `observed` is the one under the configuration in
    force, and `due` what it should be; None before the pool's first pick."""

    origin: Origin
    configured: float
    due: float | None
    observed: float | None
    counted: Count


def select(config: Config, find: str) -> Selection:
    """The pools with `find` in their name, or in an origin's: the default pool first, then in the file's order."""
    shown: list[tuple[Pool, list[tuple[Origin, float]]]] = []
    matching, left, find = 0, MAX_ORIGINS, find.lower()
    for pool in sorted(config.pools.values(), key=lambda pool: pool is not config.default):  # a stable sort
        found = {origin.name for origin in pool.origins if find in origin.name.lower()} if find else set()
        if find and find not in pool.name.lower() and not found:
            continue
        matching += 1
        if len(shown) < MAX_POOLS and left:
            shares = sorted(pool.shares(), key=lambda share: share[0].name not in found)
            shown.append((pool, shares[: min(MAX_ORIGINS_OF_POOL, left)]))
            left -= len(shown[-1][1])
    return Selection(config, shown, matching)


def origin_views(
    shares: Sequence[tuple[Origin, float]], counts: Mapping[str, Count], dues: Mapping[str | None, float]
) -> list[OriginView]:
    """Origins of a pool with their numbers; `counts` are those of all its origins that were picked, by name, and `dues`
    the picks that were due while the weights were not as configured."""
    total = sum(count.since_load for count in counts.values())
    usual = max(0.0, total - dues.get(None, 0.0))  # picks by the configured weights
    views = []
    for origin, share in shares:
        count = counts.get(origin.name, Count(0, 0, 0))
        due = (usual * share + dues.get(origin.name, 0.0)) / total if total else None
        views.append(OriginView(origin, share, due, count.since_load / total if total else None, count))
    return views


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def listed(lines: Sequence[bytes], query: Query, limit: int) -> tuple[list[dict[str, Any]], int]:
    """The last requests that pass the filter, newest first, and how many more there were; a line that says how many
    were lost always passes."""
    passed = list(filter(query.line_filter(), lines))
    return [json.loads(line) for line in reversed(passed[-limit:])], max(0, len(passed) - limit)
