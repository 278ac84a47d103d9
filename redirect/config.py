"""The TOML: pools, their origins and weights, checked as a whole.

The rule: a file is taken whole or not at all. `load` returns a frozen `Config`, or raises
`ConfigError` with every fault of the file, each with its line and column, the key, the value and
what is allowed. What is legal but will surprise becomes a warning of the `Config`.
"""

import gc
import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from redirect import positions, schema
from redirect.authority import Authority, parse
from redirect.schema import Found, HealthCheckTable, PoolTable

PERMANENT_STATUSES = (301, 308)

# Characters, about, of a document that are read at once: two thousand pools and more.
PIECE = 1_000_000

_HEADER = re.compile(r"^\[[A-Za-z0-9_-]+\]", re.MULTILINE)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Origin:
    """A host that clients are sent to. `name` is its key in the TOML, to the letter."""

    name: str
    authority: Authority
    weight: int


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How the origins of a pool are probed: what is asked for, how often, and what the answers mean.

    `host` and `port` are None where they are the origin's own. `interval` (while an origin is up), `down_interval`
    (while it is down) and `timeout` are seconds. `passes` and `fails` are how many probes in a row turn the state.
    """

    path: str
    scheme: str
    host: str | None
    port: int | None
    interval: float
    down_interval: float
    timeout: float
    passes: int
    fails: int
    expect: int


@dataclass(frozen=True, slots=True)
class Pool:
    """A named set of origins with one redirect status.

    With a `health_check` they are probed, and those that are down are not picked. One that comes back gets its share
    over `slow_start` seconds; where all are down, all are used if `ignores_all_down`, else none.
    """

    name: str
    origins: tuple[Origin, ...]
    status: int
    health_check: HealthCheck | None = None
    slow_start: float = 0
    ignores_all_down: bool = False

    def shares(self) -> list[tuple[Origin, float]]:
        """Each origin with the part of the pool's redirects, from 0 to 1, that goes to it."""
        total = sum(origin.weight for origin in self.origins)
        return [(origin, origin.weight / total) for origin in self.origins]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where: `line` and `column` count from 1, `key` is the path in the TOML."""

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (f"{self.file}:{self.line}:{self.column}", self.key, self.message) if part)


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that is free of faults. `hash` tells one file's content from another's."""

    pools: Mapping[str, Pool]
    default: Pool
    hash: str
    warnings: tuple[Fault, ...] = ()


class ConfigError(Exception):
    """The file cannot be used; `faults` says why, in the order of the file."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


def load(path: str | Path) -> Config:
    """The configuration in the file at `path`. Raises ConfigError."""
    content = read_config(path)
    with no_collections():
        return parse_config(content, str(path))


def read_config(path: str | Path) -> bytes:
    """The content of the file at `path`. Raises ConfigError."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = f"cannot be read: {error.strerror}; name another in the command or in REDIRECT_POOLS_CONFIG_PATH"
        raise ConfigError((Fault(str(path), 1, 1, "", reason),)) from None


def content_hash(content: bytes) -> str:
    """What tells one file's content from another's: twelve hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:12]


def parse_config(content: bytes, file: str) -> Config:
    """The configuration that `content` spells; `file` is its name in messages. Raises ConfigError."""
    text = _decode(content.removeprefix(_BYTE_ORDER_MARK), file)
    try:
        pools, defaults, found = _read(_tables_by_pieces(text))
    except (ValueError, RecursionError):  # the file is no TOML, or has to be read as a whole
        pools, defaults, found = _read(_tables(text, file))
    if found:
        raise ConfigError(_placed(found, text, file))
    warnings = _placed(list(_warnings(pools, defaults)), text, file)
    return Config(MappingProxyType(pools), pools[defaults[0]], content_hash(content), warnings)


@contextmanager
def no_collections() -> Iterator[None]:
    """Without Python looking for rings of garbage: there are none, and it takes a third of the time of a large file."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read(tables: Iterable[tuple[str, object]]) -> tuple[dict[str, Pool], list[str], list[Found]]:
    """The pools, the names of those that mean to be the default, and all faults.

    Raises ValueError if a name comes twice.
    """
    pools: dict[str, Pool] = {}
    claims: dict[str, bool] = {}
    found: list[Found] = []
    for name, value in tables:
        if name in claims:
            raise ValueError(f"{name} comes twice")
        claims[name] = schema.claims_default(value)
        table, faults = schema.check(name, value)
        found += faults
        if table is not None:
            pools[name] = _pool(name, table)
    found += schema.default_faults(claims)
    return pools, [name for name, claim in claims.items() if claim], found


def _tables_by_pieces(text: str) -> Iterator[tuple[str, object]]:
    """The tables of a document, read piece by piece. Raises ValueError where that cannot be done.

    tomllib keeps notes on all that it reads until it is done, two thirds of the 260 MB that a hundred thousand
    pools would take. A piece ends before a line like [pool-a]. If that line is amid a string or an array, the
    piece is no document. If all are documents, and no two have a table in common, they mean what the whole means.
    """
    start = 0
    while start < len(text):
        header = _HEADER.search(text, start + PIECE)
        end = header.start() if header else len(text)
        yield from tomllib.loads(text[start:end]).items()
        start = end


def _tables(text: str, file: str) -> Iterable[tuple[str, object]]:
    try:
        return tomllib.loads(text).items()
    except ValueError as error:  # TOMLDecodeError is one, and so is what Python says of a number it cannot hold
        reason, place = _syntax_error(str(error), text)
    except RecursionError:
        reason, place = "not TOML that can be read: nested too deeply", positions.Position(1, 1)
    raise ConfigError((Fault(file, place.line, place.column, "", reason),))


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        place = positions.position(before, len(before))
        reason = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file in that encoding"
        raise ConfigError((Fault(file, place.line, place.column, "", reason),)) from None


def _syntax_error(message: str, text: str) -> tuple[str, positions.Position]:
    """tomllib's message, parted into what is wrong and where."""
    reason, at, where = message.rpartition(" (at ")
    if not at:
        return f"not TOML that can be read: {message.partition(';')[0]}", positions.Position(1, 1)
    numbers = [int(digits) for digits in re.findall(r"\d+", where)]
    place = positions.Position(*numbers) if len(numbers) == 2 else positions.position(text, len(text))
    return f"not TOML: {reason}", place


def _pool(name: str, table: PoolTable) -> Pool:
    origins = (Origin(host, parse(host), weight) for host, weight in table.weighted_hosts.items())
    check, ignores_all_down = _health_check(table.health_check), table.when_all_down == schema.IGNORE
    return Pool(name, tuple(origins), table.status, check, table.slow_start, ignores_all_down)


def _health_check(table: HealthCheckTable | None) -> HealthCheck | None:
    if table is None:
        return None
    down_interval = table.interval if table.down_interval is None else table.down_interval
    host = None if table.host is None else str(parse(table.host))
    return HealthCheck(**{**table.model_dump(), "host": host, "down_interval": down_interval})


def _warnings(pools: dict[str, Pool], defaults: list[str]) -> Iterator[Found]:
    for pool in pools.values():
        if pool.status in PERMANENT_STATUSES and len(pool.origins) > 1:
            yield Found(
                (pool.name, "status"),
                f"browsers cache a permanent redirect ({pool.status}), so the weights lose their meaning; "
                "302, 303 and 307 are not cached",
            )
        if pool.health_check is None:
            of_probes = {"slow_start": pool.slow_start, "when_all_down": pool.ignores_all_down}
            for key in filter(of_probes.get, of_probes):
                yield Found((pool.name, key), "has no effect without health_check")
    for name in defaults[1:]:
        yield Found((name, "is_default"), f"has no effect, {schema.shown(defaults[0])} is the default pool already")


def _placed(found: list[Found], text: str, file: str) -> tuple[Fault, ...]:
    """Faults with line and column, in the order of the file. Finding places costs, so only if there are any."""
    if not found:
        return ()
    try:
        places = positions.places(text)
    except RecursionError:  # nested almost too deeply for tomllib, and too deeply for us
        places = {}
    faults = []
    for path, message, at_key in found:
        place = places.get(path)
        offset = 0 if place is None else place.key if at_key else place.value
        faults.append(Fault(file, *positions.position(text, offset), schema.key(path), message))
    return tuple(sorted(faults, key=lambda fault: (fault.line, fault.column)))
