"""The TOML: routes, pools, their origins and weights, checked as a whole.

The rule: a file is taken whole or not at all. `Loader` returns a frozen `Config`, or raises `ConfigError` with every
fault of the file, each with its line and column, the key, the value and what is allowed.
"""

import errno
import gc
import hashlib
import os
import re
import stat
import tomllib
from codecs import BOM_UTF8
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import IO

from redirect.config import positions, schema
from redirect.config.pieces import Piece, checked, read_in_pieces
from redirect.config.routes import unusable
from redirect.config.schema import Finding
from redirect.config.surprises import Surprises
from redirect.core.limits import numbered
from redirect.core.pools import Config, Fault, with_fallbacks
from redirect.core.wording import instead, shown

MAX_CONFIG_BYTES = 64 * 1024 * 1024

# By how a message of tomllib begins, what is wrong most often.
_INLINE = "{ } is one line with commas between its members; for more lines write [POOL.weighted_hosts] above them"
_REMEDIES = {
    "Cannot overwrite a value": "the key is there already, leave one out",
    "Cannot declare": "the table is there already, leave one out",
    "Duplicate inline table key": "leave one out",
    "Invalid initial character for a key part": _INLINE,
    "Unclosed inline table": _INLINE,
    "Invalid value": "text is in quotes, true and false are not",
    "Expected '=' after a key": "a key with other characters than letters, digits, _ and - is in quotes",
}


class ConfigError(Exception):
    """The file cannot be used; `faults` says why, in the order of the file."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


def read_config(path: str | Path, *, waits: bool = True) -> bytes:
    """The content of the file at `path`.

    Raises ConfigError. A file over MAX_CONFIG_BYTES is refused, and a pipe or a device unless it `waits` for a writer.
    """
    extra = 0 if waits else os.O_NONBLOCK
    try:
        with open(path, "rb", opener=lambda path, flags: os.open(path, flags | extra)) as file:
            status = os.fstat(file.fileno())
            if not (waits or stat.S_ISREG(status.st_mode)):
                raise OSError(errno.EINVAL, "not a regular file")
            content = file.read(MAX_CONFIG_BYTES + 1) if status.st_size <= MAX_CONFIG_BYTES else b""
    except OSError as error:
        reason = f"cannot be read: {error.strerror}; name another in the command or in REDIRECT_POOLS_CONFIG_PATH"
        raise _error(path, reason) from None
    _check_size(path, max(status.st_size, len(content)))  # a pipe has no size
    return content


def read_input(file: IO[bytes], name: str) -> bytes:
    """The content of an open file such as standard input, which messages call `name`. Raises ConfigError."""
    try:
        content = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise _error(name, f"cannot be read: {error.strerror}; name a file") from None
    _check_size(name, len(content))
    return content


def _check_size(path: str | Path, size: int) -> None:
    if size > MAX_CONFIG_BYTES:
        most = f"at most {MAX_CONFIG_BYTES:,} ({MAX_CONFIG_BYTES >> 20} MiB) are read"
        remedy = "name another file, or divide its pools among several services"
        raise _error(path, f"too large: at least {size:,} bytes, {most}; {remedy}")


def content_hash(content: bytes) -> str:
    """What tells one file's content from another's: twelve hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:12]


def parse_config(content: bytes, file: str, *, is_served: bool = False) -> Config:
    """Returns the configuration that `content` spells; `file` is its name in messages. Raises ConfigError."""
    return Loader(file, is_served=is_served).parse(content)


@contextmanager
def no_collections() -> Iterator[None]:
    """Disables the cyclic garbage collector: parsing creates no cycles, and it takes a third of a large file's load."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Loader:
    """Parses one version of a file after another, or raises ConfigError. Pieces that did not change are kept. Where it
    `is_served` here, error logs have to be such as can be opened."""

    def __init__(self, file: str, *, is_served: bool = False) -> None:
        self._file = file
        self._is_served = is_served
        self._known: dict[str, Piece] = {}  # those of the last version without faults, by their text

    def load(self) -> Config:
        return self.parse(read_config(self._file))

    @no_collections()
    def parse(self, content: bytes) -> Config:
        text = _decode(content.removeprefix(BOM_UTF8), self._file)
        pieces = read_in_pieces(text, self._known) or [checked(text, self._document(text))]
        faults = _faults(pieces)
        if self._is_served:
            for piece, found in zip(pieces, faults, strict=True):
                found += unusable(piece.logs)
        if any(faults):
            raise ConfigError(_placed(faults, pieces, self._file))
        self._known = {piece.text: piece for piece in pieces}
        pools = {pool.name: pool for piece in pieces for pool in piece.pools}
        default = next((pools[name] for piece in pieces for name in piece.defaults), None)
        routes = numbered(route for piece in pieces for route in piece.routes)
        config = Config(MappingProxyType(pools), default, content_hash(content), routes=routes)
        surprises = Surprises(config)
        return replace(config, warnings=_placed([[*surprises.of(each)] for each in pieces], pieces, self._file))

    def _document(self, text: str) -> dict[str, object]:
        try:
            return tomllib.loads(text)
        except ValueError as error:  # TOMLDecodeError is one, and so is what Python says of a number it cannot hold
            raise _error(self._file, *_syntax_error(str(error), text)) from None
        except RecursionError:
            raise _error(self._file, "not TOML that can be read: nested too deeply") from None


def _error(file: str | Path, reason: str, place: tuple[int, int] = (1, 1)) -> ConfigError:
    return ConfigError((Fault(str(file), *place, "", reason),))


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        reason = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file in that encoding"
        raise _error(file, reason, positions.position(before, len(before))) from None


def _syntax_error(message: str, text: str) -> tuple[str, tuple[int, int]]:
    """Splits tomllib's message into what is wrong and where."""
    reason, at, where = message.rpartition(" (at ")
    if not at:
        return f"not TOML that can be read: {message.partition(';')[0]}", (1, 1)
    numbers = [int(digits) for digits in re.findall(r"\d+", where)]
    remedy = next((f": {remedy}" for begin, remedy in _REMEDIES.items() if reason.startswith(begin)), "")
    place = (numbers[0], numbers[1]) if len(numbers) == 2 else positions.position(text, len(text))
    return f"not TOML: {reason}{remedy}", place


def _faults(pieces: list[Piece]) -> list[list[Finding]]:
    """Of each piece what is wrong in it, by itself and beside the others."""
    names = dict.fromkeys(name for piece in pieces for name in piece.names)
    leads = [lead for piece in pieces for lead in piece.leads]
    fallbacks = {str(path[0]): pool for path, pool in leads if path[-1] == "fallback"}
    forwarded = with_fallbacks([pool for path, pool in leads if path[-1] == "forward_to"], fallbacks.get)
    found = [[*piece.faults, *_misled(piece, names, fallbacks), *_not_counted(piece, forwarded)] for piece in pieces]
    if any(piece.has_routes for piece in pieces):
        return found
    if not names:
        found[0].append(Finding((), "holds no pool; a pool begins with a line like [pool-a]"))
    elif not any(piece.defaults for piece in pieces):
        first = schema.key((next(iter(names)),))
        found[0].append(Finding((), f"no pool is the default; write is_default = true in one, say [{first}]"))
    return found


def _misled(piece: Piece, names: Mapping[str, None], fallbacks: Mapping[str, str]) -> Iterator[Finding]:
    for path, pool in piece.leads:
        if pool not in names:
            yield Finding(path, f"there is no pool {shown(pool)}{instead(pool, names)}")
        elif path[-1] == "fallback" and path[0] in with_fallbacks([pool], fallbacks.get):
            yield Finding(path, f"leads back to {shown(path[0])} itself; end the chain somewhere")


def _not_counted(piece: Piece, forwarded: Container[str]) -> Iterator[Finding]:
    """Redirects are never under way: the weights of the origins would not be their shares."""
    for name in piece.by_requests:
        if name not in forwarded:
            message = 'least_requests counts forwards under way, and no route forwards to this pool; write "random"'
            yield Finding((name, "pick"), message)


def _placed(found: Iterable[list[Finding]], pieces: list[Piece], file: str) -> tuple[Fault, ...]:
    """The findings of each piece with line and column, in the order of the file. Only pieces that have one are searched
    for places; what has none stands at the beginning of its piece."""
    faults = []
    lines_before = 0
    for piece, findings in zip(pieces, found, strict=True):
        try:
            places = positions.places(piece.text) if findings else {}
        except RecursionError:  # nested almost too deeply for tomllib, and too deeply for `positions`
            places = {}
        for path, message, is_at_key, other in findings:
            place = places.get(path, positions.Place(0, 0))
            if other is not None:
                first = positions.position(piece.text, places[other].key)[0] if other in places else 1
                message = message.replace("{line}", str(lines_before + first))
            line, column = positions.position(piece.text, place.key if is_at_key else place.value)
            faults.append(Fault(file, lines_before + line, column, schema.key(path), message))
        lines_before += piece.text.count("\n")
    return tuple(sorted(faults, key=lambda fault: (fault.line, fault.column)))
