"""Reads a document in pieces of about 64 pools each, and a piece that did not change not again.

Why: `tomllib` keeps notes on all that it reads until it is done, and reading is most of the work of a reload
(docs/decisions/0008-reading-in-pieces.md has the figures).

A piece ends before a line like [pool-a]. If such a line is within a string or an array, the piece before it is
no TOML. If all pieces are TOML and no two have a table in common, they mean what the whole means; else the
document is read as a whole. Which lines end a piece depends on their text only, so that a change in one piece
leaves the others as they are.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from zlib import crc32

from redirect.config import pools, routes
from redirect.config.positions import Path
from redirect.config.schema import Finding
from redirect.core.pools import Pool
from redirect.core.routes import Route

POOLS_PER_PIECE = 64  # on average

_POOL_HEADER = re.compile(r"^\[[A-Za-z0-9_-]+\]", re.MULTILINE)


class Piece(NamedTuple):
    """A part of a document that is read by itself: its pools and its routes, or what is wrong with them."""

    text: str
    tables: tuple[str, ...]
    names: tuple[str, ...]  # of the tables that are pools, faulty ones too
    defaults: tuple[str, ...]  # of those that are meant as the default pool
    with_status: tuple[str, ...]  # of those that state one
    by_requests: tuple[str, ...]  # of those whose pick is by requests under way
    pools: tuple[Pool, ...]
    has_routes: bool  # faulty ones too, and keys outside of a table
    routes: tuple[Route, ...]
    leads: tuple[tuple[Path, str], ...]  # keys of routes and pools that name a pool, and its name
    logs: tuple[tuple[int, str], ...]  # error logs, by the index of their route
    faults: tuple[Finding, ...]


def read_in_pieces(text: str, known: Mapping[str, Piece]) -> list[Piece] | None:
    """The pieces of a document, without reading those that are `known` by their text; None if it has to be read as a
    whole."""
    pieces: list[Piece] = []
    tables: set[str] = set()
    for part in _split(text):
        try:
            piece = known.get(part) or checked(part, tomllib.loads(part))
        except (ValueError, RecursionError):  # no TOML by itself
            return None
        if not tables.isdisjoint(piece.tables):
            return None
        tables.update(piece.tables)
        pieces.append(piece)
    return pieces


def _split(text: str) -> Iterator[str]:
    start = 0
    for header in _POOL_HEADER.finditer(text):
        if crc32(header[0].encode()) % POOLS_PER_PIECE == 0:
            yield text[start : header.start()]
            start = header.start()
    yield text[start:]


def checked(text: str, document: dict[str, object]) -> Piece:
    array = document.get("routes")
    array = array if isinstance(array, list) else []
    tables = {name: table for name, table in document.items() if name != "routes" or not isinstance(table, list)}
    meant = [
        name
        for name, table in tables.items()
        if not (pools.is_meant_as_route(name, table) or pools.is_stray_key(name, table))
    ]
    dicts = {name: table for name in meant if isinstance(table := tables[name], dict)}
    results = [pools.check(name, table) for name, table in tables.items()]
    good, faults = routes.check(array)
    return Piece(
        text=text,
        tables=tuple(document),
        names=tuple(meant),
        defaults=tuple([name for name, table in dicts.items() if table.get("is_default")]),
        with_status=tuple([name for name, table in dicts.items() if "status" in table]),
        by_requests=tuple([name for name, table in dicts.items() if table.get("pick") == "least_requests"]),
        pools=tuple([pool for pool, _ in results if pool is not None]),
        has_routes=bool(array) or len(meant) < len(tables),
        routes=tuple(good),
        leads=(*routes.leads(array), *pools.leads(dicts)),
        logs=tuple(routes.logs(array)),
        faults=(*faults, *(fault for _, faults in results for fault in faults)),
    )
