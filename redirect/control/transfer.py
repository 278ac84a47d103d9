"""A configuration as bytes, on its way from the controller, which has checked it, to the workers.

The rule: nothing is checked a second time, and a pool that is the same stays the same object. What travels is all of a
configuration, or its difference to another one. It is read in pieces, as Python runs nothing else while it unpickles.

Pools travel as plain tuples, which are read in a fiftieth of the time that their TOML takes. The processes that write
and read them run the same program, and no other process has the memory that they use.
"""

import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from io import BytesIO
from types import MappingProxyType
from typing import Any, NamedTuple

from redirect.core.authority import Authority
from redirect.core.pools import Config, Fault, Origin, Pool
from redirect.core.routes import Route

# Origins of a piece: they are read in a sixth of a millisecond.
PIECE_ORIGINS = 100

# A pool has its name, its origins, and these: the same for most pools.
_OTHER_FIELDS = [field.name for field in fields(Pool)][2:]

# Since when (Unix time) origins are in their state that are not in it since the start of the instance.
Since = Mapping[tuple[str, str], float]


class Head(NamedTuple):
    """What comes before the pools. `base` is the version of the configuration to which this is the difference, None if
    it is a whole one; only a whole one has warnings and `since`. Both have all routes."""

    version: tuple[str, int]
    base: tuple[str, int] | None
    default: str | None
    routes: tuple[Route, ...]
    removed: tuple[str, ...] = ()
    warnings: tuple[Fault, ...] = ()
    since: Since | None = None


def pack(config: Config, since: Since) -> bytes:
    return _join(_head(config, None)._replace(warnings=config.warnings, since=dict(since)), config.pools.values())


def pack_difference(config: Config, before: Config) -> bytes:
    """What differs from `before`."""
    changed = [pool for pool in config.pools.values() if before.pools.get(pool.name) != pool]
    removed = tuple(before.pools.keys() - config.pools.keys())
    return _join(_head(config, before.version)._replace(removed=removed), changed)


def unpack(content: bytes) -> tuple[Head, Iterator[list[Pool]]]:
    """What was packed: the pools of a whole configuration, or those that differ, some at a time."""
    file = BytesIO(content)
    head = Head(*_read(file))
    return head, _pieces(file)


def unpack_config(content: bytes) -> tuple[Config, Since]:
    head, pieces = unpack(content)
    pools = {pool.name: pool for piece in pieces for pool in piece}
    return joined(head, pools), head.since or {}


def joined(head: Head, pools: Mapping[str, Pool]) -> Config:
    (name, change), default = head.version, None if head.default is None else pools[head.default]
    return Config(MappingProxyType(pools), default, name, head.warnings, head.routes, change)


def _head(config: Config, base: tuple[str, int] | None) -> Head:
    default = config.default.name if config.default else None
    return Head(config.version, base, default, config.routes)


def _join(head: Head, pools: Iterable[Pool]) -> bytes:
    shared: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    parts, piece, origins = [pickle.dumps(tuple(head))], [], 0
    for pool in pools:
        others = tuple([getattr(pool, name) for name in _OTHER_FIELDS])
        packed = tuple([(origin.name, *origin.authority, origin.weight, origin.path_prefix) for origin in pool.origins])
        piece.append((pool.name, packed, shared.setdefault(others, others)))
        origins += len(pool.origins)
        if origins >= PIECE_ORIGINS:
            parts.append(pickle.dumps(piece))
            piece, origins = [], 0
    return b"".join([*parts, pickle.dumps(piece)])


def _pieces(file: BytesIO) -> Iterator[list[Pool]]:
    end = file.getbuffer().nbytes
    while file.tell() < end:
        yield [_pool(*packed) for packed in _read(file)]


def _pool(name: str, origins: Any, keys: tuple[Any, ...]) -> Pool:
    made = [Origin(origin, Authority(host, port), *others) for origin, host, port, *others in origins]
    return Pool(name, tuple(made), *keys)


def _read(file: BytesIO) -> Any:
    return pickle.load(file)  # noqa: S301  what this program has written, see above
