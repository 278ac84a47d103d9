"""Overrides: shares that take the place of the file's for a while, at once or by a ramp.

The rule: an override gives one origin a part of its pool's traffic, and leaves the others their proportions in the
rest. It moves in at most a hundred steps, holds its last share for a stated time, and ends by itself: the file counts
again. A pool keeps the weights of its file beside those in force, so that shares are told from what is configured.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from math import ceil, gcd, isclose
from typing import Any

from redirect.core.authority import parse
from redirect.core.pools import Config, Pool
from redirect.core.wording import instead, shown

# Shares are whole numbers of these parts, so that cycles stay short.
PARTS = 1000

MAX_STEPS = 100

_NEEDED = ("pool", "origin", "to")
_OBJECT = "an override is a JSON object with pool, origin and to, and perhaps from, over and hold"
_KEYS = (*_NEEDED, "from", "over", "hold")

MAX_SECONDS = 30 * 24 * 3600

# Unix time, in the year 9892: later ones cannot be shown.
MAX_TIME = 250e9

DEFAULT_HOLD_SECONDS = 24 * 3600

# Before the end; a tenth of the time for which the last share holds, if that is shorter.
MAX_WARNING_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Override:
    """`first` and `last` are parts of the pool's traffic; `began` is Unix time, `over` and `hold` are seconds."""

    pool: str
    origin: str
    first: int
    last: int
    began: float
    over: float
    hold: float

    @property
    def reached_at(self) -> float:
        return self.began + self.over

    @property
    def ends_at(self) -> float:
        return self.reached_at + self.hold

    @property
    def warns_at(self) -> float:
        """When to say that it ends soon."""
        return self.ends_at - min(MAX_WARNING_SECONDS, self.hold / 10)

    def parts(self, now: float) -> int:
        """The share that is in force at `now`, in steps of at least a second."""
        if now >= self.reached_at or not self.over:  # the clock may have been set back
            return self.last
        steps = max(1, min(MAX_STEPS, abs(self.last - self.first), ceil(self.over)))
        step = int(max(0.0, now - self.began) / self.over * steps)
        return self.first + (self.last - self.first) * step // steps

    def share(self, now: float) -> float:
        """The one that is in force, from 0 to 1."""
        return self.parts(now) / PARTS

    @property
    def way(self) -> str:
        return percent(self.last) if self.first == self.last else f"{percent(self.first)} to {percent(self.last)}"

    def __str__(self) -> str:
        return f"{self.origin} of {self.pool}: {self.way}"


def percent(parts: int) -> str:
    return f"{parts * 100 / PARTS:g} %"


def of_file(pool: Pool) -> Pool:
    """The pool with the weights of its file."""
    if pool.file_weights is None:
        return pool
    pairs = zip(pool.origins, pool.file_weights, strict=True)
    return replace(pool, origins=tuple([replace(origin, weight=weight) for origin, weight in pairs]), file_weights=None)


def overridden(pool: Pool, overrides: Iterable[Override], now: float) -> Pool:
    """The pool, which has the weights of its file, with those of its overrides. One of an origin that is not there at
    the moment says nothing."""
    names = {origin.name for origin in pool.origins}
    found = {named(pool, each.origin): each.parts(now) for each in overrides if each.pool == pool.name}
    parts = {origin: share for origin, share in found.items() if origin in names}
    if not parts:
        return pool
    own = [origin.weight for origin in pool.origins]
    others = sum(origin.weight for origin in pool.origins if origin.name not in parts)
    rest = PARTS - sum(parts.values())
    shares = [(each.weight, parts.get(each.name)) for each in pool.origins]
    weights = [weight * rest if part is None else part * (others or 1) for weight, part in shares]
    if not any(weights):  # all that is overridden has nothing, and there is no other
        return pool
    unit = gcd(*weights)
    origins = [replace(each, weight=weight // unit) for each, weight in zip(pool.origins, weights, strict=True)]
    return replace(pool, origins=tuple(origins), file_weights=tuple(own))


def config_of_file(config: Config) -> Config:
    return config.with_pools([of_file(pool) for pool in config.pools.values() if pool.file_weights is not None])


def with_overrides(config: Config, overrides: Sequence[Override], now: float) -> Config:
    """The configuration, which is that of its file, with the overrides that are in force."""
    names = dict.fromkeys(each.pool for each in overrides)
    pools = [config.pools[name] for name in names if name in config.pools]
    return config.with_pools([overridden(pool, overrides, now) for pool in pools])


def left(config: Config, overrides: Sequence[Override], now: float) -> dict[Override, str | None]:
    """The overrides, with their origins as the configuration spells them, each with why it ends now, None if it goes
    on."""
    found: dict[Override, str | None] = {}
    for override in overrides:
        pool = config.pools.get(override.pool)
        each = replace(override, origin=named(pool, override.origin))
        if pool is None:
            found[each] = "the pool is gone"
        elif pool.discover is None and each.origin not in {origin.name for origin in pool.origins}:
            found[each] = "the origin is gone"
        else:
            found[each] = "its time is over" if now >= each.ends_at else None
    return found


def unpack(content: str | bytes) -> list[Override]:
    """What `pack` made. Raises ValueError and TypeError where it is anything else."""
    found = [Override(*values) for values in json.loads(content or "[]")]
    taken: Counter[str] = Counter()  # parts, by pool
    for each in found:
        if not _is_made(each):
            raise ValueError(f"{astuple(each)} is no override")
        taken[each.pool] += max(each.first, each.last)
    if over := [pool for pool, parts in taken.items() if parts > PARTS]:
        raise ValueError(f"overrides give more than all of {over[0]}")
    return found


def _is_made(override: Override) -> bool:
    """Whether `read` may have made it."""
    pool, origin, first, last, began, over, hold = astuple(override)
    return (
        type(pool) is type(origin) is str
        and all(type(parts) is int and 0 <= parts <= PARTS for parts in (first, last))
        and all(type(number) in (int, float) for number in (began, over, hold))
        and 0 <= began <= MAX_TIME
        and 0 <= over <= MAX_SECONDS
        and 0 <= hold <= MAX_SECONDS
    )


def pack(overrides: Iterable[Override]) -> str:
    return json.dumps([astuple(each) for each in overrides])


def read(wanted: object, config: Config, others: Sequence[Override], now: float) -> Override:
    """The override that is `wanted` of a configuration of a file, beside `others`. Raises ValueError with place, value
    and remedy."""
    if not isinstance(wanted, Mapping):
        raise ValueError(_OBJECT)
    if (other := next((key for key in wanted if key not in _KEYS), None)) is not None:
        raise ValueError(f"there is no key {shown(other)}{instead(other, _KEYS)}")
    if missing := [key for key in _NEEDED if key not in wanted]:
        raise ValueError(f"{_OBJECT}; {missing[0]} is missing")
    name, origin = wanted["pool"], wanted["origin"]
    pool = config.pools.get(name) if isinstance(name, str) else None
    if pool is None:
        raise ValueError(f"pool: there is no pool {shown(name)}{instead(str(name), config.pools)}")
    origin = named(pool, str(origin))
    names = [each.name for each in pool.origins]
    if origin not in names:
        raise ValueError(f"origin: {pool.name} has no origin {shown(origin)}{instead(origin, names)}")
    last = _parts(wanted, "to")
    first = _parts(wanted, "from") if wanted.get("from") is not None else _now(pool, origin, others, now)
    others = [each for each in others if (each.pool, each.origin) != (name, origin)]
    over = _number("over", wanted.get("over", 0), "seconds", 0, MAX_SECONDS)
    hold = _number("hold", wanted.get("hold", DEFAULT_HOLD_SECONDS), "seconds", 1, MAX_SECONDS)
    if wanted.get("from") is not None and not over:
        way = f"from {percent(first)} to {percent(last)}"
        raise ValueError(f"over: {way} takes 0 seconds; say how long, or leave out from")
    made = Override(pool.name, origin, first if over else last, last, now, over, hold)
    _check_room(pool, made, [each for each in others if each.pool == name])
    return made


def named(pool: Pool | None, origin: str) -> str:
    """The origin's name in the pool, if it is another spelling of an authority there; itself otherwise."""
    if pool is None or any(origin == each.name for each in pool.origins):
        return origin
    try:
        meant = parse(origin)
    except ValueError:
        return origin
    return next((each.name for each in pool.origins if each.authority == meant), origin)


def _now(pool: Pool, origin: str, overrides: Sequence[Override], now: float) -> int:
    """The share that is in force, in parts."""
    weights = {each.name: each.weight for each in overridden(pool, overrides, now).origins}
    return round(weights[origin] * PARTS / (sum(weights.values()) or 1))


def _check_room(pool: Pool, made: Override, others: Sequence[Override]) -> None:
    taken = {made.origin, *(each.origin for each in others)}
    most = PARTS - sum(max(each.first, each.last) for each in others)
    for key, parts, remedy in (("to", made.last, "ask for"), ("from", made.first, "begin with")):
        if parts > most:
            why = f"{percent(parts)} is too much, as other overrides have the rest of {pool.name}"
            raise ValueError(f"{key}: {why}; {remedy} at most {percent(most)}, or end one")
    has_rest = any(each.weight and each.name not in taken for each in pool.origins)
    if not has_rest and min(made.first, made.last) < PARTS - sum(each.last for each in others):
        raise ValueError(
            f"to: no other origin of {pool.name} has a weight and no override, so nothing gets the rest; give one a "
            "weight, or end another override"
        )


def _parts(wanted: Mapping[str, Any], key: str) -> int:
    parts = _number(key, wanted[key], "percent", 0, 100) * PARTS / 100
    if not isclose(round(parts), parts):
        raise ValueError(f"{key}: shares are whole tenths of a percent, and {wanted[key]!r} is none")
    return round(parts)


def _number(key: str, value: Any, of: str, least: int, most: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{key}: {value!r} is no number of {of} from {least} to {most:,}")
    return float(value)
