"""What a configuration does to traffic when it takes the place of another one, in lines for people.

The rule: what takes all traffic from somewhere is a warning and comes first; then come pools that came or went, routes,
and shares, those first that move most. However much differs, only so many lines are shown. What means the same is the
same, however it is spelled.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from decimal import Decimal
from typing import NamedTuple

from redirect.core.overrides import Override, named
from redirect.core.pools import Config, Origin, Pool
from redirect.core.routes import CONDITIONS, Route
from redirect.core.wording import shown, some

_Keyed = Pool | Route | Origin

MAX_LINES = 20
MAX_ORIGINS_OF_LINE = 5

# The conditions that every request fulfils.
_ANY = Route()

# The order of what is no warning.
_POOLS, _ROUTES, _KEYS = 4.0, 3.0, 2.0  # shares move by at most 1


class Change(NamedTuple):
    text: str
    is_warning: bool = False
    importance: float = 0.0


def changes(before: Config, after: Config, overrides: Iterable[Override] = ()) -> list[Change]:
    """What differs, the most important first; and which of the `overrides` keep weights from having an effect."""
    overrides = [*overrides]
    held = {each.pool for each in overrides}
    found = [*_default(before, after), *_pools(before, after, held), *_routes(before, after)]
    for each in overrides:
        found += _held(each, before, after)
    return sorted(found, key=lambda change: (not change.is_warning, -change.importance))


def listed(found: Sequence[Change], most: int = MAX_LINES) -> list[str]:
    """The first of the changes as lines, and how many more there are."""
    lines = [f"{'warning: ' * change.is_warning}{change.text}" for change in found[:most]]
    return lines + [f"and {len(found) - most:,} more"] * (len(found) > most)


def _default(before: Config, after: Config) -> Iterator[Change]:
    old, new = (config.default.name if config.default else "none" for config in (before, after))
    if old != new:
        yield Change(f"the default pool: {old} -> {new}", is_warning=True)


def _pools(before: Config, after: Config, held: Container[str]) -> Iterator[Change]:
    """The pools that are `held` have overrides: the shares of the files are not those of the traffic."""
    was_forwarded, is_forwarded = before.forwarded(), after.forwarded()
    default = f"get {after.default.name}, the default pool" if after.default else "get 404"
    lost = {route.pool: route.action for route in before.routes}
    for route in after.routes:
        lost.pop(route.pool, None)
    is_all_by_routes = _takes_all(before) or _takes_all(after)
    for name, old in before.pools.items():
        new = after.pools.get(name)
        if new is None:
            why = "" if name in was_forwarded else f": requests that name it {default}"
            yield Change(f"pool {name} is gone{why}", is_warning=True)
            continue
        if lost.get(name) == "forward_to":
            yield Change(f"no route forwards to pool {name} any more", is_warning=True)
        elif name in lost and is_all_by_routes and new is not after.default:
            yield Change(f"no route redirects to pool {name} any more, where all requests came from", is_warning=True)
        if name in is_forwarded - was_forwarded and new is not after.default:
            why = "as requests are forwarded to it"
            yield Change(f"pool {name} cannot be named any more, {why}: those that name it {default}", is_warning=True)
        if new is not old and new != (respelled := _respelled(old, new)):
            yield from _of_pool(respelled, new, ", in the file" if name in held else "")
    for name, pool in after.pools.items():
        if name not in before.pools:
            moves = some(_moves({}, _shares(pool)), MAX_ORIGINS_OF_LINE)
            yield Change(f"pool {name} is new{moves and f': {moves}'}", importance=_POOLS)


def _takes_all(config: Config) -> bool:
    """Whether a route takes all requests that no other takes, so that none names a pool."""
    return any(route.key == _ANY.key and not route.taken for route in config.routes)


def _respelled(old: Pool, new: Pool) -> Pool:
    """The pool before with its origins named as the other one spells them. A container is what its name says."""
    if old.discover is not None or new.discover is not None:
        return old
    names = {origin.authority: origin.name for origin in new.origins}
    origins = [replace(origin, name=names.get(origin.authority, origin.name)) for origin in old.origins]
    return replace(old, origins=tuple(origins))


def _of_pool(old: Pool, new: Pool, where: str) -> Iterator[Change]:
    before, after = _shares(old), _shares(new)
    if any(before.values()) and not any(after.values()) and not _is_yet_to_find(new):
        yield Change(f"pool {new.name} has no origin left that gets requests", is_warning=True)
    moved = [] if _is_yet_to_find(old) or _is_yet_to_find(new) else _moves(before, after)
    if moved:
        largest = max(abs(after.get(name, 0.0) - before.get(name, 0.0)) for name in {**before, **after})
        yield Change(f"pool {new.name}{where}: {some(moved, MAX_ORIGINS_OF_LINE)}", importance=largest)
    drained = [f"{name} is new, drained" for name, share in after.items() if not share and name not in before]
    drained += [f"{name}, drained, is gone" for name, share in before.items() if not share and name not in after]
    if drained and not _is_yet_to_find(new):
        yield Change(f"pool {new.name}: {some(drained, MAX_ORIGINS_OF_LINE)}", importance=_KEYS)
    was, now = (replace(pool, origins=(), none_found=None) for pool in (old, new))
    changed = [*_keys(was, now), *_keys_of_origins(old, new)]
    if changed or not (moved or drained):
        what = some(changed or ["weights or order changed"], MAX_ORIGINS_OF_LINE)
        yield Change(f"pool {new.name}: {what}", importance=_KEYS)


def _keys_of_origins(old: Pool, new: Pool) -> Iterator[str]:
    """Of their keys, but for weights, those that have other values."""
    before = {origin.name: origin for origin in old.origins}
    for origin in new.origins:
        if origin.name in before:
            was = before[origin.name]
            yield from _keys(was, replace(origin, weight=was.weight), f" of {origin.name}")


def _held(override: Override, before: Config, after: Config) -> Iterator[Change]:
    pools = [config.pools.get(override.pool) for config in (before, after)]
    old, new = (pool and _shares(pool).get(named(pool, override.origin)) for pool in pools)
    if old is not None and new is None and not (pools[1] and _is_yet_to_find(pools[1])):
        gone = f"{override.origin} is gone, and its override with it, {override.way}"
        yield Change(f"pool {override.pool}: {gone}", is_warning=True)
    if old is not None and new is not None and old != new:
        what = f"{override.origin} keeps its override, {override.way}, until that ends"
        end = f"redirect pools ramp {override.pool} {override.origin} --end"
        yield Change(f"pool {override.pool}: {what}; `{end}` ends it", is_warning=not new, importance=1.0)


def _is_yet_to_find(pool: Pool) -> bool:
    """Whether the shares are not known, as there is no answer yet."""
    return pool.discover is not None and not pool.origins and pool.none_found is None


def _keys(old: _Keyed, new: _Keyed, of: str = "", but: Container[str] = ()) -> list[str]:
    """Those that have other values, with both where they are short."""
    values = [(each.name, getattr(old, each.name), getattr(new, each.name)) for each in fields(old)]
    return [f"{name}{of} {_both(*both)}" for name, *both in values if name not in but and both[0] != both[1]]


def _both(old: object, new: object) -> str:
    texts = ["none" if value is None else shown(value) for value in (old, new)]
    is_short = all(value is None or isinstance(value, str | int | float) for value in (old, new))
    return " -> ".join(texts) if is_short else "changed"


def _shares(pool: Pool) -> dict[str, float]:
    return {origin.name: share for origin, share in pool.shares()}


def _moves(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """Origins with their shares before and after, those first that move most."""
    moves = [(before.get(name, 0.0), after.get(name, 0.0), name) for name in {**before, **after}]
    moved = sorted([move for move in moves if move[0] != move[1]], key=lambda move: -round(abs(move[1] - move[0]), 9))
    return [f"{name}: {_move(old, new)}" for old, new, name in moved]


def _move(old: float, new: float) -> str:
    """With as many digits as tell them apart."""
    shown = ((_percent(old, digits), _percent(new, digits)) for digits in range(3, 17))
    return " -> ".join(next(pair for pair in shown if pair[0] != pair[1]))


def _percent(share: float, digits: int) -> str:
    return f"{Decimal(f'{100 * share:.{digits}g}'):f} %"


def _routes(before: Config, after: Config) -> Iterator[Change]:
    old, new = ({route.key: route for route in config.routes} for config in (before, after))
    for key, route in old.items():
        if key not in new:
            yield Change(f"route {route.name} is gone: {route.does}", importance=_ROUTES)
        elif route.does != new[key].does:
            yield Change(f"route {new[key].name}: {route.does} -> {new[key].does}", importance=_ROUTES)
        elif changed := _keys(route, new[key], but=CONDITIONS):
            yield Change(f"route {new[key].name}: {', '.join(changed)}", importance=_KEYS)
    for key, route in new.items():
        if key not in old and route.place == _ANY.place and (not route.taken or "GET" in route.methods):
            which = "GET" if route.taken else "request"
            what = f"route {route.name} is new: {route.does}: no {which} without another route names a pool any more"
            yield Change(what, is_warning=True)
        elif key not in old:
            yield Change(f"route {route.name} is new: {route.does}", importance=_ROUTES)
