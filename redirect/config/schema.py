"""Checks a pool's table against the keys that the fields of `core.pools` state.

The rule: every fault is found in one pass, and each message names the value and what is allowed. pydantic
checks the values; our words for its errors are found by the key at which they arose. A finding names its
key by the path in the document; `loader` adds line and column.
"""

import dataclasses
import difflib
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from redirect.core.authority import DEFAULT_PORTS, Authority, parse
from redirect.core.keys import HOST, Limit, origin_authority
from redirect.core.pools import HealthCheck, Origin, Pool

_POOL_NAME = re.compile(r"[!-~]{1,128}")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = ("\\u{:04x}", "\\U{:08x}")
_POOL_RULE = "a pool must be a table that begins with a line like [pool-a]"
_DEFAULT_HELP = "serves requests that name no pool, or an unknown one; the first pool with `true` counts"
_NAME_RULE = "a pool's name must be 1 to 128 visible ASCII characters, for it travels in a header"


class Finding(NamedTuple):
    """What is wrong or surprising about the value at `path`, or about its key."""

    path: tuple[str, ...]
    message: str
    is_at_key: bool = False


class Key(NamedTuple):
    """What a table may hold under a key: as a type that pydantic checks, and in words."""

    type: Any
    rule: str
    help: str
    default: Any


def keys_of(owner: type) -> dict[str, Key]:
    """The keys that the annotated fields of a dataclass state, in their order."""
    hints = get_type_hints(owner, include_extras=True)
    return {
        field.name: _key(hints[field.name], field.default)
        for field in dataclasses.fields(owner)
        if get_origin(hints[field.name]) is Annotated
    }


def _key(annotation: Any, default: Any) -> Key:
    kept_as, limit, help_text = get_args(annotation)
    checked: Any = Annotated[kept_as, AfterValidator(limit.convert) if limit.convert else Field(**limit.bounds)]
    if HealthCheck in get_args(kept_as):
        checked = Annotated[_model(keys_of(HealthCheck)), AfterValidator(lambda table: HealthCheck(**vars(table)))]
    return Key(checked, limit.rule, help_text, ... if default is dataclasses.MISSING else default)


def _model(keys: dict[str, Key]) -> type[BaseModel]:
    fields: dict[str, Any] = {name: (key.type, key.default) for name, key in keys.items()}
    return create_model("Table", __config__=ConfigDict(extra="forbid", strict=True), **fields)


def _host_key(host: str) -> tuple[str, Authority]:
    return host, origin_authority(host)


def _origins(weights: dict[tuple[str, Authority], int]) -> tuple[Origin, ...]:
    if not any(weights.values()):
        raise ValueError("weighted_hosts needs at least one host with a weight above 0")
    return tuple([Origin(*host, weight) for host, weight in weights.items()])


# How keys and values are shown.


def key(path: tuple[str, ...]) -> str:
    """A path as the TOML would write it, hosts always quoted."""
    bare = 2 if path[1:2] == ("weighted_hosts",) else len(path)
    return ".".join(
        part if depth < bare and _BARE_KEY.fullmatch(part) else _text(part) for depth, part in enumerate(path)
    )


def shown(value: object) -> str:
    """A value as the TOML would write it, cut to a readable length."""
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "an array"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    text = _text(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _text(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else _ESCAPES[ord(char) > 0xFFFF].format(ord(char)) for char in escaped)


# The keys of each table of a pool. Two keys of the pool itself are not kept in a field of the same name.

WEIGHT = keys_of(Origin)["weight"]
POOL_KEYS = {
    "weighted_hosts": Key(
        Annotated[dict[Annotated[str, AfterValidator(_host_key)], WEIGHT.type], AfterValidator(_origins)],  # type: ignore[name-defined]
        'must be a table of hosts and weights such as { "origin-1.example.com" = 2 }',
        f"table of origins and their weights: a host with an optional port, and {WEIGHT.help}",
        ...,
    ),
    "is_default": _key(Annotated[bool, Limit("must be true or false"), _DEFAULT_HELP], False),
    **keys_of(Pool),
}
_TABLES = {(): POOL_KEYS, ("health_check",): keys_of(HealthCheck)}
_POOL_TABLE = _model(POOL_KEYS)


def check(name: str, value: object) -> tuple[Pool | None, list[Finding]]:
    """The pool that a document has under `name`, and all its faults; the pool is good only if there are none."""
    is_named_well = _POOL_NAME.fullmatch(name)
    faults = [] if is_named_well else [Finding((name,), f"{_NAME_RULE}, got {shown(name)}", is_at_key=True)]
    try:
        values = vars(_POOL_TABLE.model_validate(value))
    except ValidationError as error:
        unquoted = {finding.path: finding for finding in _unquoted(name, value)}
        found = (_finding(name, each) for each in error.errors(include_url=False))
        faults += (each for each in found if each.path not in unquoted)
        return None, [*faults, *unquoted.values(), *_duplicates(name, value)]
    del values["is_default"]  # a piece has this for faulty tables as well
    pool = Pool(name, values.pop("weighted_hosts"), **values)
    if len({origin.authority.host for origin in pool.origins}) < len(pool.origins):  # perhaps by their ports
        faults += _duplicates(name, value)
    return pool, faults


def _finding(pool: str, error: ErrorDetails) -> Finding:
    """One of pydantic's errors in the words of our users."""
    *table, name = map(str, error["loc"] or ("",))
    path, got = (pool, *table, name), f", got {shown(error['input'])}"
    reason = str(error.get("ctx", {}).get("error", ""))  # of a ValueError that a function of ours raised
    match error["type"]:
        case "value_error" if name == "[key]":  # pydantic puts this behind a key
            return Finding(path[:-1], f"host {HOST.rule}{got}: {reason}", is_at_key=True)
        case "value_error" if name == "weighted_hosts":
            return Finding(path, reason)
        case "missing":
            return Finding(path[:-1], f"{name} is missing; {path[1]} {POOL_KEYS[path[1]].rule}", is_at_key=True)
        case "extra_forbidden":
            message = _unknown(name, _TABLES[tuple(table)]) + _nested_pool(path, error["input"])
            return Finding(path, message, is_at_key=True)
        case "model_type" if not error["loc"]:
            return Finding((pool,), f"{_POOL_RULE}{got}", is_at_key=True)
    if table == ["weighted_hosts"]:
        return Finding(path, f"weight {WEIGHT.rule}{got}")
    return Finding(path, f"{name} {_TABLES[tuple(table)][name].rule}{got}" + (reason and f": {reason}"))


def _unknown(name: str, keys: dict[str, Key]) -> str:
    near = difflib.get_close_matches(name.lower(), keys, n=1)
    return f"unknown key, {f'did you mean {near[0]}? Allowed' if near else 'allowed'} are {', '.join(keys)}"


def _nested_pool(path: tuple[str, ...], value: object) -> str:
    """What to write instead of [eu.west], where that was to name a pool."""
    while isinstance(value, dict) and value:
        if "weighted_hosts" in value:
            return f'; a pool\'s name with dots must be quoted, write ["{".".join(path)}"]'
        inner, value = next(iter(value.items()))
        path = (*path, inner)
    return ""


def _unquoted(name: str, table: object) -> Iterator[Finding]:
    """Hosts with dots as bare keys, which TOML reads as nested tables, and what to write instead."""
    for host, value in _hosts(table).items():
        if _BARE_KEY.fullmatch(host) and isinstance(value, dict) and (leaves := [*_leaves((host,), value)]):
            quoted = ", ".join(f'"{".".join(path)}" = {shown(leaf)}' for path, leaf in leaves)
            message = f"a host with dots must be quoted, write {quoted}"
            yield Finding((name, "weighted_hosts", host), message, is_at_key=True)


def _leaves(path: tuple[str, ...], value: object) -> Iterator[tuple[tuple[str, ...], object]]:
    """The values of nested tables with their paths. Not recursive: dotted keys may nest deeper than Python's stack."""
    pending = [(path, value)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
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
