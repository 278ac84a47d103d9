"""The TOML: pools, their origins and weights, checked as a whole.

The rule: a file is taken whole or not at all. `load` returns a frozen `Config`, or raises
`ConfigError` with every fault of the file, each with its line and column, the key, the value and
what is allowed. What is legal but will surprise becomes a warning of the `Config`.
"""

import errno
import gc
import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from zlib import crc32

from redirect.config import positions, schema
from redirect.config.schema import Finding
from redirect.core.pools import Config, Fault, Pool

MAX_CONFIG_BYTES = 64 * 1024 * 1024
PERMANENT_STATUSES = (301, 308)

# Pools, about, of a document that are read at once.
PIECE = 64

_HEADER = re.compile(r"^\[[A-Za-z0-9_-]+\]", re.MULTILINE)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Piece(NamedTuple):
    """What a piece of a document holds: which of its tables mean to be the default pool, the pools, the faults."""

    claims: Mapping[str, bool]
    pools: tuple[Pool, ...]
    found: tuple[Finding, ...]


_Places = dict[positions.Path, positions.Place]


class ConfigError(Exception):
    """The file cannot be used; `faults` says why, in the order of the file."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


def load(path: str | Path) -> Config:
    """The configuration in the file at `path`. Raises ConfigError."""
    return Loader(str(path)).load()


def read_config(path: str | Path, *, waits: bool = True) -> bytes:
    """The content of the file at `path`.

    Raises ConfigError. A file over MAX_CONFIG_BYTES is refused, and a pipe or a device unless it `waits` for a writer.
    """
    try:
        with open(
            path, "rb", opener=lambda path, flags: os.open(path, flags | (0 if waits else os.O_NONBLOCK))
        ) as file:
            status = os.fstat(file.fileno())
            if not (waits or stat.S_ISREG(status.st_mode)):
                raise OSError(errno.EINVAL, "not a regular file")
            size = status.st_size  # 0 for a pipe
            content = b"" if size > MAX_CONFIG_BYTES else file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        reason = f"cannot be read: {error.strerror}; name another in the command or in REDIRECT_POOLS_CONFIG_PATH"
        raise _error(path, reason) from None
    if (size := max(size, len(content))) > MAX_CONFIG_BYTES:
        most = f"at most {MAX_CONFIG_BYTES:,} ({MAX_CONFIG_BYTES >> 20} MiB) are read"
        remedy = "name another file, or divide its pools among several services"
        raise _error(path, f"too large: at least {size:,} bytes, {most}; {remedy}")
    return content


def content_hash(content: bytes) -> str:
    """What tells one file's content from another's: twelve hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:12]


def parse_config(content: bytes, file: str) -> Config:
    """Returns the configuration that `content` spells; `file` is its name in messages. Raises ConfigError."""
    return Loader(file).parse(content)


class Loader:
    """Parses one version of a file after another. Pieces that did not change are not parsed again."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._pieces: dict[str, Piece] = {}  # of the last version without faults, by their text

    def load(self) -> Config:
        """Returns the configuration in the file as it is now. Raises ConfigError."""
        content = read_config(self._file)
        with no_collections():
            return self.parse(content)

    def parse(self, content: bytes) -> Config:
        """Returns the configuration that `content` spells. Raises ConfigError."""
        file = self._file
        text = _decode(content.removeprefix(_BYTE_ORDER_MARK), file)
        try:
            pieces = [
                (piece, self._pieces.get(piece) or _read(tomllib.loads(piece).items())) for piece in _pieces(text)
            ]
            pools, defaults, found = _joined(piece for _, piece in pieces)
        except (ValueError, RecursionError):  # the file is no TOML, or has to be read as a whole
            pieces = []
            pools, defaults, found = _joined([_read(_tables(text, file))])
        if found:
            raise ConfigError(_placed(found, text, file))
        surprises = list(_warnings(pools, defaults))
        places = _places_in_pieces(pieces, {surprise.path[0] for surprise in surprises}) if pieces else None
        warnings = _placed(surprises, text, file, places)
        self._pieces = dict(pieces)
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


def _error(file: str | Path, reason: str, place: tuple[int, int] = (1, 1)) -> ConfigError:
    return ConfigError((Fault(str(file), *place, "", reason),))


def _read(tables: Iterable[tuple[str, object]]) -> Piece:
    """What these tables hold."""
    claims: dict[str, bool] = {}
    pools: list[Pool] = []
    found: list[Finding] = []
    for name, value in tables:
        claims[name] = schema.claims_default(value)
        pool, faults = schema.check(name, value)
        found += faults
        if pool is not None:
            pools.append(pool)
    return Piece(claims, tuple(pools), tuple(found))


def _joined(pieces: Iterable[Piece]) -> tuple[dict[str, Pool], list[str], list[Finding]]:
    """The pools, the names of those that mean to be the default, and all faults.

    Raises ValueError if a name comes twice.
    """
    pools: dict[str, Pool] = {}
    claims: dict[str, bool] = {}
    found: list[Finding] = []
    for piece in pieces:
        if not claims.keys().isdisjoint(piece.claims):
            raise ValueError("a name comes twice")
        claims.update(piece.claims)
        pools.update([(pool.name, pool) for pool in piece.pools])
        found += piece.found
    found += schema.default_faults(claims)
    return pools, [name for name, claim in claims.items() if claim], found


def _pieces(text: str) -> Iterator[str]:
    """A document in pieces, each of which can be read by itself, mostly.

    tomllib keeps notes on all that it reads until it is done, two thirds of the 260 MB that a hundred thousand
    pools would take. A piece ends before a line like [pool-a]. If that line is amid a string or an array, the
    piece is no document. If all are documents, and no two have a table in common, they mean what the whole means.
    Before which lines is told by what they say, so that a change in one piece leaves the others as they are.
    """
    start = 0
    for header in _HEADER.finditer(text):
        if crc32(header[0].encode()) % PIECE == 0:
            yield text[start : header.start()]
            start = header.start()
    yield text[start:]


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


def _warnings(pools: dict[str, Pool], defaults: list[str]) -> Iterator[Finding]:
    for pool in pools.values():
        if pool.status in PERMANENT_STATUSES and len(pool.origins) > 1:
            yield Finding(
                (pool.name, "status"),
                f"browsers cache a permanent redirect ({pool.status}), so the weights lose their meaning; "
                "302, 303 and 307 are not cached",
            )
        if pool.health_check is None:
            of_probes = {"slow_start": pool.slow_start, "when_all_down": pool.ignores_all_down}
            for key in filter(of_probes.get, of_probes):
                yield Finding((pool.name, key), "has no effect without health_check")
    for name in defaults[1:]:
        yield Finding((name, "is_default"), f"has no effect, {schema.shown(defaults[0])} is the default pool already")


def _placed(found: list[Finding], text: str, file: str, places: _Places | None = None) -> tuple[Fault, ...]:
    """Faults with line and column, in the order of the file. Finding places costs, so only if there are any."""
    if not found:
        return ()
    if places is None:
        places = _places(text)
    faults = []
    for path, message, at_key in found:
        place = places.get(path)
        offset = 0 if place is None else place.key if at_key else place.value
        faults.append(Fault(file, *positions.position(text, offset), schema.key(path), message))
    return tuple(sorted(faults, key=lambda fault: (fault.line, fault.column)))


def _places(text: str) -> _Places:
    try:
        return positions.places(text)
    except RecursionError:  # nested almost too deeply for tomllib, and too deeply for us
        return {}


def _places_in_pieces(pieces: list[tuple[str, Piece]], tables: set[str]) -> _Places:
    """The places of what these tables hold; of a large file, that is looked for in the pieces that have one of them."""
    places: _Places = {}
    start = 0
    for text, piece in pieces:
        if not tables.isdisjoint(piece.claims):
            for path, place in _places(text).items():
                places[path] = positions.Place(start + place.key, start + place.value)
        start += len(text)
    return places
