"""The text of the TOML, edited: an origin's weight is set, an origin is added or removed.

The rule: what is not meant stays as it is, to the byte. A weight is replaced where it stands; an origin comes
or goes with its comma, or with its line and the comment on it. The text is never parsed and written anew:
`positions` says where things stand, so it makes no difference how the rest is laid out. (tomlkit, made for this,
sets weights likewise, and the tests hold us against it; but adding to a table it changes braces, line ends and
indents, and puts the origin behind a comment that was meant for the next pool.)

An origin is found by what it means, Origin-1.Example.COM. is origin-1.example.com; a pool by its name. What is
refused here is what the command gets wrong; what a file may hold is for `config` to say, of the whole result.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from redirect.config import positions, schema
from redirect.config.loader import ConfigError, no_collections, parse_config
from redirect.core.authority import Authority, parse
from redirect.core.pools import Config

Edit = Callable[[str], str]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NUMBER = re.compile(r"[0-9A-Za-z_+.-]+")
_BLANKS = re.compile(r"[ \t]*")
_BLANKS_AND_COMMENTS = re.compile(r"(?:\s|#[^\n]*)*")
_BLANK_LINE_END = re.compile(r"[ \t]*(?:#[^\n]*|\r)?(?:\n|\Z)")
# What stands before a key in { weighted_hosts.a = 1 }.
_DOTTED = re.compile(r"""(?:(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*)?\Z""")

# Names that a message lists at most.
_MOST_NAMES = 10


class EditError(Exception):
    """The command asks for what cannot be done; the message says why and what there is instead."""


class RefusedError(ConfigError):
    """The file would have these faults if it were edited so."""


class _Pair(NamedTuple):
    """An origin with a number for its weight: offsets of its key, of its value and of the value's end."""

    name: str
    weight: float
    key: int
    value: int
    end: int


@no_collections()
def edited(content: bytes, file: str, edit: Edit) -> tuple[bytes, Config]:
    """The content of `file` with the edit made, and the configuration that it then is.

    Raises ConfigError if the file has faults as it is that the edit does not mend, RefusedError if it is the
    edit that makes faults, EditError.
    """
    mark = _BYTE_ORDER_MARK if content.startswith(_BYTE_ORDER_MARK) else b""
    try:
        new = mark + edit(content.removeprefix(mark).decode("utf-8")).encode("utf-8")
    except (ValueError, RecursionError, EditError):  # no TOML; or nothing found, and a fault may be why
        parse_config(content, file)
        raise
    try:
        return new, parse_config(new, file)
    except ConfigError as error:
        parse_config(content, file)
        raise RefusedError(error.faults) from None


def set_weight(text: str, pool: str, origin: str, weight: int) -> str:
    """`text` with this weight of the origin. A number that means the same already stays as it is spelled."""
    pair = _find(_pairs(text, pool), pool, origin)
    if type(pair.weight) is int and pair.weight == weight:
        return text
    return text[: pair.value] + str(weight) + text[pair.end :]


def add(text: str, pool: str, origin: str, weight: int, creates_pool: bool = False) -> str:
    """`text` with the origin behind the last one of the pool, in the way in which that one is written.

    A pool that is not there is made at the end, if `creates_pool`.
    """
    if creates_pool and pool not in tomllib.loads(text):
        return text + _new_pool(text, pool, origin, weight)
    pairs = _pairs(text, pool, "; --create makes a new one")
    for pair in pairs:
        if _means(pair.name, origin):
            shown = schema.shown(pair.name)
            raise EditError(f"{pool} has {shown} with weight {pair.weight} already; set-weight changes it")
    if not pairs:
        raise EditError(f"{pool} has no origin behind which another could be added")
    last = pairs[-1]
    added = f"{_key(origin)}{_equals(text, last)}{weight}"
    return _add_line(text, last, added) if _has_line(text, last) else _add_member(text, last, added)


def remove(text: str, pool: str, origin: str) -> str:
    """`text` without the origin."""
    pair = _find(_pairs(text, pool), pool, origin)
    if _has_line(text, pair):
        start, end = _line(text, pair)
        if not text.endswith("\n", 0, end):  # a file without a last line end stays one
            start = len(text[:start].removesuffix("\n").removesuffix("\r"))
    else:
        start, end = _member(text, pair)
    return text[:start] + text[end:]


# Origins, found.


def _pairs(text: str, pool: str, remedy: str = "") -> list[_Pair]:
    """The origins of the pool that have numbers for weights, in the order of the text."""
    document = tomllib.loads(text)
    if pool not in document:
        raise EditError(f"there is no pool {schema.shown(pool)}{_instead(pool, document)}{remedy}")
    places = positions.places(text)
    pairs = []
    for name, weight in _hosts(document[pool]).items():
        if isinstance(weight, int | float):
            place = places[pool, "weighted_hosts", name]
            pairs.append(_Pair(name, weight, place.key, place.value, _skip(_NUMBER, text, place.value)))
    return pairs


def _hosts(table: object) -> dict[str, object]:
    hosts = table.get("weighted_hosts") if isinstance(table, dict) else None
    return hosts if isinstance(hosts, dict) else {}


def _find(pairs: list[_Pair], pool: str, origin: str) -> _Pair:
    spelled = [pair for pair in pairs if pair.name == origin]
    for pair in spelled or pairs:
        if _means(pair.name, origin):
            return pair
    names = (pair.name for pair in pairs)
    raise EditError(f"{pool} has no origin {schema.shown(origin)}{_instead(origin, names)}")


def _means(name: str, origin: str) -> bool:
    return name == origin or (_authority(name) is not None and _authority(name) == _authority(origin))


def _authority(name: str) -> Authority | None:
    try:
        return parse(name)
    except ValueError:
        return None


def _instead(name: str, names: Iterable[str]) -> str:
    """What there is, the like of `name` first."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=1)
    listed = ", ".join(map(schema.shown, names[:_MOST_NAMES])) or "none"
    rest = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return (f"; did you mean {schema.shown(near[0])}? There" if near else "; there") + f" are {listed}{rest}"


# Lines and members: what a pair of key and weight takes with it.


def _has_line(text: str, pair: _Pair) -> bool:
    """Whether the pair is a line; else it is a member of an inline table, which something has to close."""
    return not text.startswith((",", "}"), _skip(_BLANKS_AND_COMMENTS, text, pair.end))


def _line(text: str, pair: _Pair) -> tuple[int, int]:
    """Where the pair's line begins, and where the next does."""
    return text.rfind("\n", 0, pair.key) + 1, (text.find("\n", pair.end) + 1) or len(text)


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _start(text: str, pair: _Pair) -> int:
    """Where a member of an inline table begins, be it with its key or with weighted_hosts and a dot."""
    line = text.rfind("\n", 0, pair.key) + 1
    dotted = _DOTTED.search(text[line : pair.key])
    return line + dotted.start() if dotted else pair.key


def _add_line(text: str, last: _Pair, added: str) -> str:
    start, end = _line(text, last)
    new = text[start : last.key] + added
    if text.endswith("\n", 0, end):
        return text[:end] + new + _line_end(text[start:end]) + text[end:]
    return text + _line_end(text) + new


def _add_member(text: str, last: _Pair, added: str) -> str:
    start = _start(text, last)
    before = text[:start].rstrip()
    blanks = text[len(before) : start] or (" " if before.endswith("{") else "")
    return f"{text[: last.end]},{blanks}{text[start : last.key]}{added}{text[last.end :]}"


def _member(text: str, pair: _Pair) -> tuple[int, int]:
    """Where the pair and its comma begin and end: the comma behind it or, where there is none, that before it."""
    start = _start(text, pair)
    comma = _skip(_BLANKS_AND_COMMENTS, text, pair.end)
    if not text.startswith(",", comma):
        before = text[:start].rstrip()
        return (len(before[:-1].rstrip()) if before.endswith(",") else start), pair.end
    end = comma + 1
    line = text.rfind("\n", 0, start) + 1
    if not text[line:start].strip() and (line_end := _BLANK_LINE_END.match(text, end)):
        return line, line_end.end()  # a line of its own, in an inline table of several (TOML 1.1)
    return start, _skip(_BLANKS, text, end)


def _key(origin: str) -> str:
    """The origin as a key: in quotes, whatever it is."""
    return schema.key(("pool", "weighted_hosts", origin)).removeprefix("pool.weighted_hosts.")


def _equals(text: str, pair: _Pair) -> str:
    """What stands between key and value, but for blanks that align columns."""
    return "=" if text[pair.value - 1] == "=" else " = "


def _new_pool(text: str, pool: str, origin: str, weight: int) -> str:
    end = _line_end(text)
    gap = "" if not text else end if text.endswith("\n") else end * 2
    hosts = f"{{ {_key(origin)} = {weight} }}"
    return f"{gap}[{schema.key((pool,))}]{end}weighted_hosts = {hosts}{end}"


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at
