"""Edits of the TOML's text: sets the weight of an origin, adds or removes an origin.

Every byte that is not meant stays. A weight is replaced where it stands; an origin comes or goes with its comma, or
with its line and the comment on it. The text is never parsed and written again: `positions` tells where things are,
in whatever layout. docs/decisions/0006-toml-edits.md compares this with the libraries that edit TOML.

An origin's value is a number, or a table that has it as `weight`: of the table nothing else is touched.

An origin is found by what it means (Origin-1.Example.COM. is origin-1.example.com), a pool by its name. An EditError
says what is wrong with the command; what a file may hold is checked by `config`, on the whole result.
"""

import re
import tomllib
from codecs import BOM_UTF8
from collections.abc import Callable
from typing import NamedTuple

from redirect.config import positions, schema
from redirect.config.loader import ConfigError, no_collections, parse_config
from redirect.core.authority import Authority, parse
from redirect.core.pools import Config
from redirect.core.wording import instead, shown

Edit = Callable[[str], str]

_NUMBER = re.compile(r"[0-9A-Za-z_+.-]+")
_LINE_END = re.compile(r"\r?\n|\Z")
# Behind the comma of a member: the rest of its line, if that is blank or a comment; or blanks.
_REST_OF_LINE = re.compile(r"[ \t]*(?:#[^\n]*|\r)?(?:\n|\Z)")
_BLANKS = re.compile(r"[ \t]*")
# The dotted part of a key, before its last: `weighted_hosts.` in { weighted_hosts.a = 1 }.
_DOTTED = re.compile(r"""(?:(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*)*\Z""")


class EditError(Exception):
    """The command cannot be carried out; the message says why, and what there is instead."""


class RefusedError(ConfigError):
    """The file would have these faults after the edit."""


class _Entry(NamedTuple):
    """An origin with a number for its weight: offsets of the key's last part, of the value and of the value's end, and
    of the number and of its end. The value is None where it is a table in several places of the text."""

    name: str
    weight: float
    key: int
    value: int | None
    end: int
    number: int
    number_end: int


@no_collections()
def edited(content: bytes, file: str, edit: Edit) -> tuple[bytes, Config]:
    """Returns the edited content of `file`, and the configuration that it is.

    Raises RefusedError if the edit makes faults, ConfigError if the file has faults that the edit does not mend,
    EditError.
    """
    mark = BOM_UTF8 if content.startswith(BOM_UTF8) else b""
    try:
        new = mark + edit(content.removeprefix(mark).decode("utf-8")).encode("utf-8")
    except (ValueError, RecursionError, EditError):  # faults of the file may be the reason
        parse_config(content, file)
        raise
    try:
        return new, parse_config(new, file)
    except ConfigError as error:
        parse_config(content, file)
        raise RefusedError(error.faults) from None


def set_weight(text: str, pool: str, origin: str, weight: int) -> str:
    """An equal number keeps its spelling."""
    entry = _find(text, pool, origin)
    is_set = type(entry.weight) is int and entry.weight == weight
    return text if is_set else f"{text[: entry.number]}{weight}{text[entry.number_end :]}"


def add(text: str, pool: str, origin: str, weight: int, creates_pool: bool = False) -> str:
    """Adds the origin behind the last one of the pool, in that one's layout.

    A missing pool is made at the end of the text if `creates_pool`.
    """
    key = schema.key(("pool", "weighted_hosts", origin)).removeprefix("pool.weighted_hosts.")  # in quotes
    line_end = "\r\n" if "\r\n" in text else "\n"
    if creates_pool and pool not in tomllib.loads(text):
        gap = "" if not text else line_end if text.endswith("\n") else line_end * 2
        return f"{text}{gap}[{schema.key((pool,))}]{line_end}weighted_hosts = {{ {key} = {weight} }}{line_end}"
    entries = _entries(text, pool, "; --create makes a new one")
    if entry := _named(entries, origin):
        raise EditError(f"{pool} has {shown(entry.name)} with weight {entry.weight} already; set-weight changes it")
    if not entries:
        raise EditError(f"{pool} has no origin behind which another could be added")
    last = next((each for each in reversed(entries) if each.value is not None), None)
    if last is None or last.value is None:
        raise EditError(f"the origins of {pool} are tables with lines of their own: add another one by hand")
    added = f"{key}{'=' if text[last.value - 1] == '=' else ' = '}{weight}"
    if _is_member(text, last):
        start = _start(text, last)
        before = text[:start].rstrip()
        blanks = text[len(before) : start] or (" " if before.endswith("{") else "")
        return f"{text[: last.end]},{blanks}{text[start : last.key]}{added}{text[last.end :]}"
    end = _LINE_END.search(text, last.end)
    assert end
    line = text[text.rfind("\n", 0, last.key) + 1 : last.key] + added
    return f"{text[: end.start()]}{end[0] or line_end}{line}{text[end.start() :]}"


def remove(text: str, pool: str, origin: str) -> str:
    entry = _find(text, pool, origin)
    if entry.value is None:
        raise EditError(f"{shown(entry.name)} is a table with lines of its own: remove them by hand")
    start, end = (_member if _is_member(text, entry) else _line)(text, entry)
    return text[:start] + text[end:]


def _entries(text: str, pool: str, remedy: str = "") -> list[_Entry]:
    """Returns the origins of the pool that have numbers for weights, in the order of the text."""
    content = tomllib.loads(text)
    if isinstance(content.get(pool), list):
        raise EditError(f"[[{pool}]] is an array of tables, and no pool can have its name; take another one")
    document = {name: table for name, table in content.items() if not isinstance(table, list)}
    if pool not in document:
        raise EditError(f"there is no pool {shown(pool)}{instead(pool, document)}{remedy}")
    table = document[pool]
    if isinstance(table, dict) and "discover" in table:
        raise EditError(f"{pool} discovers its origins: the file has no weights of them")
    hosts = table.get("weighted_hosts") if isinstance(table, dict) else None
    places = positions.places(text)
    named = hosts.items() if isinstance(hosts, dict) else ()
    found = [_entry(text, places, (pool, "weighted_hosts", name), value) for name, value in named]
    return [entry for entry in found if entry is not None]


def _entry(
    text: str, places: dict[positions.Path, positions.Place], path: positions.Path, value: object
) -> _Entry | None:
    is_table = isinstance(value, dict)
    weight = value.get("weight") if isinstance(value, dict) else value
    if not isinstance(weight, int | float):
        return None
    key, begin = places[path]
    number = places[*path, "weight"].value if is_table else begin
    number_end = _skip(_NUMBER, text, number)
    is_spread = is_table and not text.startswith("{", begin)
    end = positions.value_end(text, begin) if is_table and not is_spread else number_end
    return _Entry(str(path[-1]), weight, key, None if is_spread else begin, end, number, number_end)


def _find(text: str, pool: str, origin: str) -> _Entry:
    entries = _entries(text, pool)
    if entry := _named(entries, origin):
        return entry
    raise EditError(f"{pool} has no origin {shown(origin)}{instead(origin, (each.name for each in entries))}")


def _named(entries: list[_Entry], origin: str) -> _Entry | None:
    """Returns the entry that is spelled so, or else one that means the same host and port."""
    meant = _authority(origin)
    same = (each for each in entries if meant and _authority(each.name) == meant)
    return next((each for each in entries if each.name == origin), None) or next(same, None)


def _authority(name: str) -> Authority | None:
    try:
        return parse(name)
    except ValueError:
        return None


def _is_member(text: str, entry: _Entry) -> bool:
    """Whether the entry is a member of an inline table. Else it has a line of its own."""
    return text.startswith((",", "}"), _skip(positions.BLANK, text, entry.end))


def _start(text: str, entry: _Entry) -> int:
    """Returns where the entry's dotted key begins."""
    line = text.rfind("\n", 0, entry.key) + 1
    dotted = _DOTTED.search(text[line : entry.key])
    return line + dotted.start() if dotted else entry.key


def _line(text: str, entry: _Entry) -> tuple[int, int]:
    """Returns the span of the entry's line. A last line without a line end takes the one before it."""
    start, end = text.rfind("\n", 0, entry.key) + 1, text.find("\n", entry.end) + 1
    return (start, end) if end else (len(text[:start].removesuffix("\n").removesuffix("\r")), len(text))


def _member(text: str, entry: _Entry) -> tuple[int, int]:
    """Returns the span of the entry and its comma, or that before it if none is behind."""
    start = _start(text, entry)
    comma = _skip(positions.BLANK, text, entry.end)
    if text[comma] != ",":
        before = text[:start].rstrip()
        return (len(before[:-1].rstrip()) if before.endswith(",") else start), entry.end
    line = text.rfind("\n", 0, start) + 1
    rest = _REST_OF_LINE.match(text, comma + 1)
    if rest and not text[line:start].strip():  # TOML 1.1 allows inline tables of several lines
        return line, rest.end()
    return start, _skip(_BLANKS, text, comma + 1)


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at
