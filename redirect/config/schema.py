"""The keys of the TOML, as the fields of `core.pools` and `core.routes` state them, and what to say of a bad one.

The rule: every fault is found in one pass, and each message names the value and what is allowed. pydantic
checks the values; our words for its errors are found by the key at which they arose. A finding names its
key by the path in the document; `loader` adds line and column.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WrapValidator, create_model
from pydantic_core import ErrorDetails

from redirect.config.positions import Path
from redirect.core.authority import Authority
from redirect.core.keys import FLAG, HOST, origin_authority
from redirect.core.pools import Expected, Origin, Pool
from redirect.core.routes import Route
from redirect.core.wording import quoted, shown

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_DEFAULT_HELP = "serves requests that name no pool, or an unknown one; the first pool with `true` counts"
# Of the keys of a dataclass, those that the TOML spells otherwise.
_IN_TOML: dict[Any, Any] = {
    tuple[str, ...]: list[str], tuple[int, ...]: list[int], tuple[tuple[str, str], ...]: dict[str, Any],
    frozenset[str]: Any, Expected: Any,
}  # fmt: skip


class Finding(NamedTuple):
    """What is wrong or surprising about the value at `path`, or about its key. The message has `{line}` for the line of
    the key at `other`."""

    path: Path
    message: str
    is_at_key: bool = False
    other: Path | None = None


class Key(NamedTuple):
    """What a table may hold under a key: as a type that pydantic checks, and in words. A table has `keys` itself."""

    type: Any
    rule: str
    help: str
    default: Any
    keys: "Mapping[str, Key]" = {}  # noqa: RUF012  nothing writes to it


def keys_of(owner: type) -> dict[str, Key]:
    """The keys that the annotated fields of a dataclass state, in their order. The field `for_` has the key `for`, as
    that is a word of Python."""
    hints = get_type_hints(owner, include_extras=True)
    stated = [field for field in dataclasses.fields(owner) if get_origin(hints[field.name]) is Annotated]
    return {field.name.removesuffix("_"): _key(hints[field.name], field.default) for field in stated}


def _key(annotation: Any, default: Any) -> Key:
    kept_as, limit, help_text = get_args(annotation)
    default = ... if default is dataclasses.MISSING else default
    for owner in (kept_as, *get_args(kept_as)):
        if dataclasses.is_dataclass(owner):
            keys = keys_of(owner)  # type: ignore[arg-type]
            table: Any = Annotated[model(keys), AfterValidator(partial(_kept, owner))]
            if limit.convert:
                table = Annotated[table, WrapValidator(partial(_in_place, limit.convert))]
            return Key(table, limit.rule, help_text, default, keys)
    check = AfterValidator(limit.convert) if limit.convert else Field(**limit.bounds)
    return Key(Annotated[_IN_TOML.get(kept_as, kept_as), check], limit.rule, help_text, default)


def _kept(owner: Any, table: BaseModel) -> object:
    names = {field.name.removesuffix("_"): field.name for field in dataclasses.fields(owner)}
    return owner(**{names[name]: value for name, value in vars(table).items()})


def _in_place(convert: Callable[[Any], object], value: object, check: Callable[[object], object]) -> object:
    return check(value) if isinstance(value, dict) else convert(value)


def model(keys: Mapping[str, Key]) -> type[BaseModel]:
    fields: dict[str, Any] = {name: (key.type, key.default) for name, key in keys.items()}
    return create_model("Table", __config__=ConfigDict(extra="forbid", strict=True), **fields)


def _host_key(host: str) -> tuple[str, Authority]:
    return host, origin_authority(host)


def _origin_value(value: object, as_weight: Callable[[object], object]) -> object:
    return _ORIGIN_TABLE.model_validate(value) if is_origin_table(value) else as_weight(value)


def _origins(values: dict[tuple[str, Authority], Any]) -> tuple[Origin, ...]:
    tables = [(host, {"weight": value} if type(value) is int else vars(value)) for host, value in values.items()]
    origins = tuple([Origin(*host, **table) for host, table in tables])
    if not any(origin.weight for origin in origins):
        raise ValueError("weighted_hosts needs at least one host with a weight above 0")
    return origins


# How keys and values are shown.


def key(path: Path) -> str:
    """A path as the TOML would write it, hosts always quoted; the elements of an array count from 0."""
    host = 2 if path[1:2] == ("weighted_hosts",) else -1
    parts = [
        f"[{part}]"
        if isinstance(part, int)
        else f".{part if depth != host and BARE_KEY.fullmatch(part) else quoted(part)}"
        for depth, part in enumerate(path)
    ]
    return "".join(parts).removeprefix(".")


# The keys of a pool and of a route. Two keys of the pool itself are not kept in a field of the same name.

ORIGIN_KEYS = keys_of(Origin)
WEIGHT = ORIGIN_KEYS["weight"]
_ORIGIN_TABLE = model(ORIGIN_KEYS)
_ORIGIN_VALUE: Any = Annotated[WEIGHT.type, WrapValidator(_origin_value)]
POOL_KEYS = {
    "weighted_hosts": Key(
        Annotated[dict[Annotated[str, AfterValidator(_host_key)], _ORIGIN_VALUE], AfterValidator(_origins)],
        'must be a table of hosts and weights such as { "origin-1.example.com" = 2 }',
        f"table of origins and their weights: a host with an optional port, and {WEIGHT.help}, or a table",
        (),
    ),
    "is_default": _key(Annotated[bool, FLAG, _DEFAULT_HELP], False),
    **keys_of(Pool),
}
ROUTE_KEYS = keys_of(Route)


# What to say of a bad value.


def finding(table: Path, error: ErrorDetails, keys: Mapping[str, Key]) -> Finding:
    """One of pydantic's errors about the table at `table`, which has these keys, in the words of our users."""
    loc = error["loc"]
    if loc[0] == "weighted_hosts" and len(loc) > 1 and loc[-1] != "[key]":  # of an origin
        table, loc, keys = (*table, *loc[:2]), loc[2:], ORIGIN_KEYS
    path = (*table, *loc)
    *before, last = loc or ("weight",)
    got = f", got {shown(error['input'])}"
    reason = str(error.get("ctx", {}).get("error", ""))  # of a ValueError that a function of ours raised
    match error["type"]:
        case "value_error" if last == "[key]":  # pydantic puts this behind a key
            return Finding(path[:-1], f"host {HOST.rule}{got}: {reason}", is_at_key=True)
        case "value_error" if last == "weighted_hosts":
            return Finding(path, reason)
        case "missing":
            name, rule, _ = _last_known([*before, last][:1], keys)
            return Finding(path[:-1], f"{last} is missing; {name} {rule}", is_at_key=True)
        case "extra_forbidden":
            return Finding(path, _unknown(str(last), _last_known(before, keys)[2]), is_at_key=True)
    name, rule, _ = _last_known([*before, last], keys)
    return Finding(path, f"{name} {rule}{got}" + (reason and f": {reason}"))


def is_origin_table(value: object) -> bool:
    """Whether this is meant as what an origin has beside its weight, and not as the rest of a host with dots."""
    return isinstance(value, dict) and any(
        not isinstance(inner, dict) and difflib.get_close_matches(name, ORIGIN_KEYS, n=1, cutoff=0.75)
        for name, inner in value.items()
    )


def _last_known(path: Iterable[str | int], keys: Mapping[str, Key]) -> tuple[str, str, Mapping[str, Key]]:
    """Name, rule and keys of the last part of `path` that is a key; parts behind it are elements of its value."""
    name, rule = "", ""
    for part in path:
        if part not in keys:
            break
        name, rule, keys = str(part), keys[str(part)].rule, keys[str(part)].keys
    return name, rule, keys


def _unknown(name: str, keys: Mapping[str, Key]) -> str:
    homes = [table for table, key in keys.items() if name in key.keys]
    if keys is POOL_KEYS and name in ROUTE_KEYS:
        homes.append("a route; write it below [[routes]]")
    if keys is ROUTE_KEYS and name in POOL_KEYS:
        homes.append("a pool; write it below a line like [pool-a]")
    if homes:
        return f"{name} belongs to {', or to '.join(homes)}"
    near = difflib.get_close_matches(name.lower(), keys, n=1)
    return f"unknown key, {f'did you mean {near[0]}? Allowed' if near else 'allowed'} are {', '.join(keys)}"
