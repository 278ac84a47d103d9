"""How messages say values and names: as the TOML spells them, cut to a length that can be read."""

import difflib
import json
from collections.abc import Iterable, Sequence

MAX_LISTED_NAMES = 10

_MAX_SHOWN_LENGTH = 80
_ESCAPES = ("\\u{:04x}", "\\U{:08x}")


def shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "an array"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    text = quoted(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _MAX_SHOWN_LENGTH else f"{text[: _MAX_SHOWN_LENGTH - 1]}…"


def instead(name: str, names: Iterable[str]) -> str:
    """What names there are in place of `name`, the nearest first."""
    names = [*names]
    near = difflib.get_close_matches(name, names, n=1)
    listed = ", ".join(map(shown, names[:MAX_LISTED_NAMES])) or "none"
    rest = f" and {len(names) - MAX_LISTED_NAMES:,} more" if len(names) > MAX_LISTED_NAMES else ""
    return (f"; did you mean {shown(near[0])}? There" if near else "; there") + f" are {listed}{rest}"


def some(names: Sequence[str], most: int) -> str:
    """The first of the names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def visible(text: str) -> str:
    """With escapes for what cannot be seen: `\\x1b`, `\\u202e` instead of what such a one would do."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def quoted(text: str) -> str:
    """In quotes, with escapes for what cannot be seen."""
    escaped = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else _ESCAPES[ord(char) > 0xFFFF].format(ord(char)) for char in escaped)
