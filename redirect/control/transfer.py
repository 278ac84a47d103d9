"""The handover: a configuration on its way from the master, which has checked it, into the processes that serve it.

The rule: nothing is checked a second time, and a pool that is the same stays the same object, so that whoever takes
another configuration has to do with what differs. It is read in pieces, since Python does nothing else while it
reads one.

What goes over are plain tuples, which are read in a fiftieth of the time that their TOML takes. Those who write
and who read them are one program, and the memory that they use is theirs alone.
"""

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from io import BytesIO
from types import MappingProxyType
from typing import Any, TypeVar

from redirect.core.authority import Authority
from redirect.core.pools import Config, Origin, Pool

# Origins of a piece, about: they are read in a third of a millisecond.
PIECE = 500

# A pool has its name, its origins, and this: the same for most pools.
_OTHERS = [field.name for field in fields(Pool)][2:]

# Name, host, port and weight of each.
_Origins = tuple[tuple[str, str, int | None, int], ...]

T = TypeVar("T")


def pack(config: Config) -> bytes:
    """What `unpack` makes a configuration of."""
    known: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    pools = []
    for pool in config.pools.values():
        others = _others(pool)
        pools.append((pool.name, _origins(pool), known.setdefault(others, others)))
    of_pools = [*_pieces(pools, lambda pool: len(pool[1]))]
    of_warnings = [*_pieces(config.warnings, lambda warning: 1)]
    head = config.hash, config.default.name, len(of_pools), len(of_warnings)
    return b"".join(map(pickle.dumps, (head, *of_pools, *of_warnings)))


def unpack(content: bytes, before: Config, pause: Callable[[], object] = lambda: None) -> Config:
    """The configuration that was packed, with the pools of `before` where they are the same. Between two pools it
    calls `pause`."""
    file = BytesIO(content)
    config_hash, default, of_pools, of_warnings = _read(file)
    pools: dict[str, Pool] = {}
    for _ in range(of_pools):
        for name, origins, others in _read(file):
            pause()
            was = before.pools.get(name)
            is_same = was is not None and _origins(was) == origins and _others(was) == others
            pools[name] = was if was is not None and is_same else _pool(name, origins, others)
    warnings = tuple([warning for _ in range(of_warnings) for warning in _read(file)])
    return Config(MappingProxyType(pools), pools[default], config_hash, warnings)


def _origins(pool: Pool) -> _Origins:
    return tuple([(origin.name, *origin.authority, origin.weight) for origin in pool.origins])


def _others(pool: Pool) -> tuple[Any, ...]:
    return tuple([getattr(pool, name) for name in _OTHERS])


def _pool(name: str, origins: _Origins, others: tuple[Any, ...]) -> Pool:
    made = [Origin(origin, Authority(host, port), weight) for origin, host, port, weight in origins]
    return Pool(name, tuple(made), *others)


def _pieces(items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """The items in lists, each of which ends once it has the size of a PIECE."""
    piece: list[T] = []
    left = PIECE
    for item in items:
        piece.append(item)
        left -= size(item)
        if left <= 0:
            yield piece
            piece, left = [], PIECE
    yield piece


def _read(file: BytesIO) -> Any:
    return pickle.load(file)  # noqa: S301  what this program has written, see above
