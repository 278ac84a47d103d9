"""The health status of origins, as values, and as the bytes that the processes of an instance share.

The rule: an origin has a status once its state has changed; until then it counts as up. A status is what probes found,
what came of an ejection, which is for failures of forwards, or what the provider says that found the origin; the worst
of them counts.
"""

import json
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import NamedTuple

# Statuses of a line: they are decoded in a tenth of a millisecond.
LINE_STATUSES = 25


class HealthStatus(NamedTuple):
    is_up: bool
    since: float  # Unix time, for people
    since_monotonic: float  # seconds of the monotonic clock that all processes of a machine share, for slow starts
    reason: str
    ejections: int | None = None  # in a row; None if this is of no ejection
    member: str | None = None  # "up", "down" or "draining", if this is what the provider says

    @property
    def is_probed(self) -> bool:
        """Whether this is what probes found."""
        return self.ejections is None and self.member is None

    @property
    def is_on_trial(self) -> bool:
        """Whether it was ejected, and requests find out whether it is good again."""
        return self.is_up and bool(self.ejections)


# By pool, then by origin: two pools may probe one host in different ways.
Health = Mapping[str, Mapping[str, HealthStatus]]

NO_HEALTH: Health = {}


def worst(health: Health, others: Health) -> Health:
    """What counts where there are statuses of both kinds; the later one where both are up."""
    if not others:
        return health
    merged = {pool: {**statuses} for pool, statuses in health.items()}
    for pool, statuses in others.items():
        known = merged.setdefault(pool, {})
        for origin, status in statuses.items():
            other = known.get(origin)
            if other is None or _rank(status) > _rank(other):
                known[origin] = status
    return merged


def _rank(status: HealthStatus) -> tuple[bool, bool, bool, bool, float]:
    is_found_down = not status.is_up and status.ejections is None
    return status.member == "draining", is_found_down, not status.is_up, status.is_on_trial, status.since_monotonic


def encode(health: Health) -> bytes:
    rows = [(pool, origin, *status) for pool, statuses in health.items() for origin, status in statuses.items()]
    lines = [rows[begin : begin + LINE_STATUSES] for begin in range(0, len(rows), LINE_STATUSES)]
    return b"\n".join([json.dumps(line, separators=(",", ":")).encode("ascii") for line in lines])


def decoding(content: bytes, health: dict[str, dict[str, HealthStatus]]) -> Iterator[None]:
    """Adds the statuses that were encoded as `content` to `health`, a line per step."""
    for line in BytesIO(content):
        for pool, origin, *status in json.loads(line):
            health.setdefault(pool, {})[origin] = HealthStatus(*status)
        yield


def decode(content: bytes) -> Health:
    """The health that was encoded as `content`; without any content there is no status."""
    health: dict[str, dict[str, HealthStatus]] = {}
    for _ in decoding(content, health):
        pass
    return health
