"""What the TOML may hold, and its faults in the words of those who write it.

The rule: every fault is found in one pass, and each message names the value and what is allowed.
Where a fault stands in the file is found by its path (`positions`); `config` puts the two together.
"""

import json
import re
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from redirect.core.authority import DEFAULT_PORTS, parse

STATUSES = (301, 302, 303, 307, 308)
MAX_WEIGHT = 1_000_000
SCHEMES = ("http", "https")
REFUSE, IGNORE = "refuse", "ignore"  # what becomes of a pool all of whose origins are down

# Seconds between probes, and until one has failed.
SHORTEST, LONGEST = 0.1, 3600

# Probes in a row that turn a state, and the statuses that they may wait for.
IN_A_ROW = (1, 1000)
ANSWERS = (200, 599)

_POOL_NAME = re.compile(r"[!-~]{1,128}")
_PROBE_PATH = re.compile(r"/[!-\"$-~]{0,1023}")  # no #, which is the client's affair
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = ("\\u{:04x}", "\\U{:08x}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_HOST_RULE = "host must be a name or an IP address with an optional port, without scheme, user, path or blanks"

# What the tables within a pool look like.
_FORMS = {
    "weighted_hosts": 'weighted_hosts must be a table of hosts and weights such as { "origin-1.example.com" = 2 }',
    "health_check": 'health_check must be a table such as { path = "/healthz" }',
}


class Found(NamedTuple):
    """What is wrong with the key at `path`: with its value, or with the key itself."""

    path: tuple[str, ...]
    message: str
    at_key: bool = False


# What one pool's table may hold. Validators raise the messages that users read.


def _refuse(message: str) -> PydanticCustomError:
    return PydanticCustomError("fault", message)


def _host(name: str) -> str:
    try:
        authority = parse(name)
        if name.endswith(":"):
            raise ValueError("the port is missing")
        if _NUMBER.fullmatch(authority.host.rpartition(".")[2]):
            IPv4Address(authority.host)  # browsers read a name that ends in a number as an address
    except ValueError as error:
        raise _refuse(f"{_HOST_RULE}, got {shown(name)}: {error}") from None
    return name


def _weight(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_WEIGHT:
        raise _refuse(f"weight must be a whole number from 0 to {MAX_WEIGHT}, got {shown(value)}")
    return value


def _some_weight(hosts: dict[str, int]) -> dict[str, int]:
    if not any(hosts.values()):
        raise _refuse("weighted_hosts needs at least one host with a weight above 0")
    return hosts


def _status(value: object) -> int:
    if type(value) is not int or value not in STATUSES:
        raise _refuse(f"status must be one of {', '.join(map(str, STATUSES))}, got {shown(value)}")
    return value


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise _refuse(f"is_default must be true or false, got {shown(value)}")
    return value


def _one_of(name: str, allowed: tuple[str, ...]) -> BeforeValidator:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise _refuse(f"{name} must be {' or '.join(map(shown, allowed))}, got {shown(value)}")
        return value

    return BeforeValidator(check)


def _number(name: str, least: float, most: float) -> BeforeValidator:
    def check(value: object) -> object:
        if type(value) is not int or not least <= value <= most:
            raise _refuse(f"{name} must be a whole number from {least} to {most}, got {shown(value)}")
        return value

    return BeforeValidator(check)


def _seconds(name: str, least: float = SHORTEST) -> BeforeValidator:
    def check(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= LONGEST:
            raise _refuse(f"{name} must be a number of seconds from {least} to {LONGEST}, got {shown(value)}")
        return value

    return BeforeValidator(check)


def _probe_path(value: object) -> object:
    if not isinstance(value, str) or not _PROBE_PATH.fullmatch(value):
        rule = "path must begin with / and have at most 1024 visible ASCII characters without #"
        raise _refuse(f"{rule}, got {shown(value)}")
    return value


def _probe_host(value: object) -> object:
    if not isinstance(value, str):
        raise _refuse(f"{_HOST_RULE}, got {shown(value)}")
    return _host(value)


class HealthCheckTable(BaseModel):
    """How the origins of a pool are probed, as the TOML has it."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[str, BeforeValidator(_probe_path)]
    scheme: Annotated[str, _one_of("scheme", SCHEMES)] = "http"
    host: Annotated[str | None, BeforeValidator(_probe_host)] = None
    port: Annotated[int | None, _number("port", 1, 65535)] = None
    interval: Annotated[float, _seconds("interval")] = 5
    down_interval: Annotated[float | None, _seconds("down_interval")] = None
    timeout: Annotated[float, _seconds("timeout")] = 2
    passes: Annotated[int, _number("passes", *IN_A_ROW)] = 2
    fails: Annotated[int, _number("fails", *IN_A_ROW)] = 3
    expect: Annotated[int, _number("expect", *ANSWERS)] = 200


class PoolTable(BaseModel):
    """One pool as the TOML has it."""

    model_config = ConfigDict(extra="forbid")

    weighted_hosts: Annotated[
        dict[Annotated[str, AfterValidator(_host)], Annotated[int, BeforeValidator(_weight)]],
        AfterValidator(_some_weight),
    ]
    status: Annotated[int, BeforeValidator(_status)] = 302
    is_default: Annotated[bool, BeforeValidator(_flag)] = False
    health_check: HealthCheckTable | None = None
    slow_start: Annotated[float, _seconds("slow_start", 0)] = 0
    when_all_down: Annotated[str, _one_of("when_all_down", (REFUSE, IGNORE))] = REFUSE


# The keys that a table may have, by its place in a pool.
_KEYS = {(): PoolTable.model_fields, ("health_check",): HealthCheckTable.model_fields}


def check(name: str, value: object) -> tuple[PoolTable | None, list[Found]]:
    """What a document has under `name` as a pool, and all its faults; the pool is good only if there are none."""
    found = [*_name_faults(name)]
    table = None
    try:
        table = PoolTable.model_validate(value)
    except ValidationError as error:
        dotted = dict(_dotted(name, value))
        worded = (_worded(name, each) for each in error.errors())
        found += (each for each in worded if each.path not in dotted)
        found += (Found(path, message, at_key=True) for path, message in dotted.items())
    if table is None or len({parse(host).host for host in table.weighted_hosts}) < len(table.weighted_hosts):
        found += _doubled(name, value)  # most pools name each host once, whatever the port, and need no closer look
    return table, found


def claims_default(table: object) -> bool:
    """Whether a pool's table, which may be faulty, means to be the default pool."""
    return isinstance(table, dict) and bool(table.get("is_default"))


def default_faults(claims: dict[str, bool]) -> Iterator[Found]:
    """What is wrong with a document as a whole; `claims` says of each pool whether it means to be the default."""
    if not claims:
        yield Found((), "holds no pool; a pool begins with a line like [pool-a]")
    elif not any(claims.values()):
        first = key((next(iter(claims)),))
        yield Found((), f"no pool is the default; write is_default = true in one, say [{first}]")


def _name_faults(name: str) -> Iterator[Found]:
    if not _POOL_NAME.fullmatch(name):
        rule = "a pool's name must be 1 to 128 visible ASCII characters, for it travels in a header"
        yield Found((name,), f"{rule}, got {shown(name)}", at_key=True)


def _worded(name: str, error: ErrorDetails) -> Found:
    """One of pydantic's errors in the words of our users."""
    kind, value = error["type"], error["input"]
    loc = tuple(map(str, error["loc"]))
    if kind == "fault":
        of_key = len(loc) == 3  # pydantic puts "[key]" behind a key that it refuses
        return Found((name, *loc[:2]), error["msg"], at_key=of_key)
    if kind == "missing":
        return Found((name, *loc[:-1]), f"{loc[-1]} is missing; {_FORMS[loc[0]]}", at_key=True)
    if kind == "extra_forbidden":
        allowed = f"unknown key, allowed are {', '.join(_KEYS[loc[:-1]])}"
        return Found((name, *loc), allowed + _nested_pool((name, *loc), value), at_key=True)
    if not loc:
        rule = "a pool must be a table that begins with a line like [pool-a]"
        return Found((name,), f"{rule}, got {shown(value)}", at_key=True)
    return Found((name, *loc), f"{_FORMS[loc[0]]}, got {shown(value)}")


def _nested_pool(path: tuple[str, ...], value: object) -> str:
    """What to write instead of [eu.west], where that was to name a pool."""
    while isinstance(value, dict) and value:
        if "weighted_hosts" in value:
            return f'; a pool\'s name with dots must be quoted, write ["{".".join(path)}"]'
        inner, value = next(iter(value.items()))
        path = (*path, inner)
    return ""


def _dotted(name: str, table: object) -> Iterator[tuple[tuple[str, ...], str]]:
    """Hosts with dots as bare keys, which TOML reads as nested tables, and what to write instead."""
    for host, value in _hosts(table).items():
        leaves = list(_leaves((host,), value)) if _BARE_KEY.fullmatch(host) and isinstance(value, dict) else []
        if leaves:
            quoted = ", ".join(f'"{".".join(path)}" = {shown(leaf)}' for path, leaf in leaves)
            yield (name, "weighted_hosts", host), f"a host with dots must be quoted, write {quoted}"


def _leaves(path: tuple[str, ...], value: object) -> Iterator[tuple[tuple[str, ...], object]]:
    """The values of nested tables with their paths. Dotted keys nest deeper than Python calls itself."""
    pending = [(path, value)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            pending += (((*path, part), inner) for part, inner in reversed(value.items()))
        else:
            yield path, value


def _doubled(name: str, table: object) -> Iterator[Found]:
    """Hosts that are one place to a client, under http or https, however they are spelled."""
    seen: dict[tuple[str, tuple[str, int]], str] = {}
    for host in _hosts(table):
        try:
            authority = parse(host)
        except ValueError:
            continue  # a fault already, in its own words
        endpoints = [(scheme, authority.endpoint(scheme)) for scheme in DEFAULT_PORTS]
        first = next((seen[each] for each in endpoints if each in seen), None)
        if first is not None:
            message = f"is the same host as {shown(first)}, name it once"
            yield Found((name, "weighted_hosts", host), message, at_key=True)
        seen.update((each, host) for each in endpoints)


def _hosts(table: object) -> dict[str, object]:
    hosts = table.get("weighted_hosts") if isinstance(table, dict) else None
    return hosts if isinstance(hosts, dict) else {}


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
