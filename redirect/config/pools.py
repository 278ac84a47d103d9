"""Checks the table of a pool, and names its faults."""

import difflib
import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from redirect.config.positions import Path
from redirect.config.schema import BARE_KEY, POOL_KEYS, ROUTE_KEYS, Finding, finding, is_origin_table, key, model
from redirect.core.authority import DEFAULT_PORTS, parse
from redirect.core.discovery import DOCKER_KEYS
from redirect.core.pools import Pool
from redirect.core.wording import shown

_POOL_NAME = re.compile(r"[!-~]{1,128}")
_CORS = re.compile("access-control-", re.IGNORECASE)
_POOL_RULE = "a pool must be a table that begins with a line like [pool-a]"
_NAME_RULE = "a pool's name must be 1 to 128 visible ASCII characters, for it travels in a header"
_ROUTE_RULE = "a route begins with a line like [[routes]], with two brackets"
_POOL_TABLE = model(POOL_KEYS)
_NO_POOL_KEYS = ROUTE_KEYS.keys() - POOL_KEYS


def check(name: str, value: object) -> tuple[Pool | None, list[Finding]]:
    """The pool that a document has under `name`, and all its faults; the pool is good only if there are none."""
    is_named_well = _POOL_NAME.fullmatch(name)
    faults = [] if is_named_well else [Finding((name,), f"{_NAME_RULE}, got {shown(name)}", is_at_key=True)]
    if is_meant_as_route(name, value):
        return None, [*faults, Finding((name,), f"{_ROUTE_RULE}, got {_header(name, value)}", is_at_key=True)]
    if is_stray_key(name, value):
        return None, [Finding((name,), "is a key of a pool; write a line like [pool-a] before it", is_at_key=True)]
    if not isinstance(value, dict):
        return None, [*faults, Finding((name,), f"{_POOL_RULE}, got {shown(value)}", is_at_key=True)]
    faults += (Finding((name, *at), message, is_at_key=True) for at, message in _misfits(value))
    try:
        values = vars(_POOL_TABLE.model_validate(value))
    except ValidationError as error:
        unquoted = {found.path: found for found in _unquoted(name, value)}
        found = [finding((name,), each, POOL_KEYS) for each in error.errors(include_url=False)]
        faults += (_with_remedy(each, value) for each in found if each.path not in unquoted)
        return None, [*faults, *unquoted.values(), *_duplicates(name, value)]
    del values["is_default"]  # a piece has this for faulty tables as well
    pool = Pool(name, values.pop("weighted_hosts"), **values)
    if pool.cors and (double := next((field for field, _ in pool.headers if _CORS.match(field)), None)):
        faults.append(Finding((name, "headers", double), f"{double} is written by cors; leave one out", is_at_key=True))
    if "hash_on" in value and pool.pick != "hash":
        message = f'hash_on is for pick = "hash", got {shown(pool.pick)}; write that, or take hash_on away'
        faults.append(Finding((name, "hash_on"), message))
    if len({origin.authority.host for origin in pool.origins}) < len(pool.origins):  # perhaps by their ports
        faults += _duplicates(name, value)
    return pool, faults


def leads(tables: dict[str, dict[str, Any]]) -> Iterator[tuple[Path, str]]:
    for name, table in tables.items():
        if isinstance(fallback := table.get("fallback"), str):
            yield (name, "fallback"), fallback


def _misfits(table: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys that do not go together."""
    if not _has_origins(table):
        yield (), f"weighted_hosts is missing; weighted_hosts {POOL_KEYS['weighted_hosts'].rule}; or use discover"
    discover = table.get("discover")
    if "weighted_hosts" in table and discover is not None:
        yield ("discover",), "a pool has weighted_hosts or discover, not both"
    if not isinstance(discover, dict):
        return
    if "name" in discover:
        if "labels" in discover:
            yield ("discover", "labels"), "discover has name, of which DNS is asked, or labels, of containers, not both"
        if "port" not in discover:
            yield ("discover",), "port is missing; DNS has addresses only, so write the port of the origins beside name"
        for each in DOCKER_KEYS:
            if each in discover:
                yield ("discover", each), "belongs to labels: DNS tells nothing of containers"
    elif "labels" not in discover:
        yield ("discover",), 'discover needs name, such as "api", or labels, such as ["app=shop"]'


def _has_origins(value: object) -> bool:
    return isinstance(value, dict) and ("weighted_hosts" in value or "discover" in value)


def is_meant_as_route(name: str, value: object) -> bool:
    """Whether this is [[route]], [routes] or [routes.orders], with the keys of a route; or no table but `routes`."""
    if _has_origins(value):
        return False
    is_near = bool(difflib.get_close_matches(name.lower(), ["routes"], n=1, cutoff=0.8))
    if isinstance(value, dict):
        inner = [table for each in value.values() for table in (each if isinstance(each, list) else [each])]
        tables = [value, *inner] if is_near else []
    else:
        tables = value if isinstance(value, list) else []
        if name == "routes" or (is_near and tables):
            return True
    return any(isinstance(table, dict) and not _NO_POOL_KEYS.isdisjoint(table) for table in tables)


def is_stray_key(name: str, value: object) -> bool:
    """Whether this is a key of a pool whose header is missing."""
    return name in POOL_KEYS and not _has_origins(value)


def _header(name: str, value: object) -> str:
    if isinstance(value, list):
        return f"[[{key((name,))}]]"
    if not isinstance(value, dict):
        return shown(value)
    inner = next((part for part in value if isinstance(value[part], dict | list) and part not in ROUTE_KEYS), None)
    header = f"[{key((name,) if inner is None else (name, inner))}]"
    return f"[{header}]" if isinstance(value.get(inner), list) else header


def _with_remedy(found: Finding, table: dict[str, object]) -> Finding:
    """What to write instead of [eu.west], where that was to name a pool."""
    if len(found.path) < 2 or found.path[-1] in POOL_KEYS or not found.is_at_key:
        return found
    value: object = table
    for part in found.path[1:]:
        value = value.get(part) if isinstance(value, dict) else None
    path = found.path
    while isinstance(value, dict) and value:
        if _has_origins(value):
            name = ".".join(map(str, path))
            return found._replace(message=f'{found.message}; a pool\'s name with dots must be quoted, write ["{name}"]')
        inner, value = next(iter(value.items()))
        path = (*path, inner)
    return found


def _unquoted(name: str, table: object) -> Iterator[Finding]:
    """Hosts with dots as bare keys, which TOML reads as nested tables, and what to write instead."""
    for host, value in _hosts(table).items():
        if not BARE_KEY.fullmatch(host) or is_origin_table(value):
            continue
        if isinstance(value, dict) and (leaves := [*_leaves((host,), value)]):
            quoted = ", ".join(f'"{".".join(path)}" = {shown(leaf)}' for path, leaf in leaves)
            message = f"a host with dots must be quoted, write {quoted}"
            yield Finding((name, "weighted_hosts", host), message, is_at_key=True)


def _leaves(path: tuple[str, ...], value: object) -> Iterator[tuple[tuple[str, ...], object]]:
    """The values of nested tables with their paths. Not recursive: dotted keys may nest deeper than Python's stack."""
    pending = [(path, value)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict) and not is_origin_table(value):
            pending += (((*path, part), inner) for part, inner in reversed(value.items()))
        else:
            yield path, value


def _duplicates(name: str, table: object) -> Iterator[Finding]:
    """Hosts that a client connects to at one place, under http or https, in whatever spelling."""
    seen: dict[tuple[str, tuple[str, int]], str] = {}
    for host in _hosts(table):
        try:
            authority = parse(host)
        except ValueError:
            continue  # a fault already, with a message of its own
        endpoints = [(scheme, authority.endpoint(scheme)) for scheme in DEFAULT_PORTS]
        first = next((seen[each] for each in endpoints if each in seen), None)
        if first is not None:
            message = f"is the same host as {shown(first)}, name it once"
            yield Finding((name, "weighted_hosts", host), message, is_at_key=True)
        seen.update((each, host) for each in endpoints)


def _hosts(table: object) -> dict[str, object]:
    hosts = table.get("weighted_hosts") if isinstance(table, dict) else None
    return hosts if isinstance(hosts, dict) else {}
