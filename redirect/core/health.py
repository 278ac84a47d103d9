"""HealthStatuses: what probes found out of each origin, as a value, and as bytes that processes share.

The rule: there is a verdict once an origin's state has changed; until then it counts as up.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple


class HealthStatus(NamedTuple):
    """Whether an origin is up or down, since when (Unix time), and what the probe met that decided it."""

    is_up: bool
    since: float
    reason: str


# By pool and origin: two pools may probe one host in different ways.
HealthStatuses = Mapping[tuple[str, str], HealthStatus]


def write(verdicts: HealthStatuses) -> bytes:
    """The verdicts as bytes."""
    return json.dumps([(*place, *verdict) for place, verdict in verdicts.items()]).encode("ascii")


def read(content: bytes) -> HealthStatuses:
    """The verdicts that `write` made bytes of; none of no bytes."""
    return {(pool, origin): HealthStatus(*verdict) for pool, origin, *verdict in json.loads(content or b"[]")}


def down(verdicts: HealthStatuses) -> dict[str, frozenset[str]]:
    """The origins that are down, by their pools."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for (pool, origin), verdict in verdicts.items():
        if not verdict.is_up:
            found[pool].add(origin)
    return {pool: frozenset(origins) for pool, origins in found.items()}


def back(verdicts: HealthStatuses, now: float) -> dict[str, dict[str, float]]:
    """For how many seconds until `now` (Unix time) those that came back are up again, by their pools. They are as
    wrong as the clock is if it was set since."""
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for (pool, origin), verdict in verdicts.items():
        if verdict.is_up:
            found[pool][origin] = now - verdict.since
    return dict(found)
