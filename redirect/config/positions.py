"""Where in a TOML document each key and value stands.

`tomllib` returns values without their positions; a fault must name line and column. This module walks the text
of a document that `tomllib` has accepted, and keeps offsets, no values. It relies on the text being well-formed.
"""

import re
from typing import NamedTuple

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_STRING = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}|\'{3}.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


class Place(NamedTuple):
    """Offsets of a key and of its value; a table's value is where its body begins."""

    key: int
    value: int


class Position(NamedTuple):
    """A line and a column, counted from 1, in characters."""

    line: int
    column: int


def position(text: str, offset: int) -> Position:
    return Position(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def places(text: str) -> dict[Path, Place]:
    """The place of every key of `text`, a document that `tomllib.loads` accepts, by its path."""
    return _Walk(text).document()


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, Place] = {}

    def document(self) -> dict[Path, Place]:
        table: Path = ()
        self.blank()
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.blank()
        return self.found

    def header(self) -> Path:
        brackets = 2 if self.text.startswith("[[", self.at) else 1
        self.at += brackets
        path = self.key(())
        self.at += brackets
        self.found[path] = self.found[path]._replace(value=self.at)
        return path

    def pair(self, table: Path) -> None:
        path = self.key(table)
        self.at += 1  # the equals sign
        self.blank()
        self.found[path] = self.found[path]._replace(value=self.at)
        self.value(path)

    def key(self, path: Path) -> Path:
        """Skips a dotted key and the blanks around it, and records the place of each part."""
        while True:
            self.blank()
            start = self.at
            path = (*path, self.key_part())
            self.found.setdefault(path, Place(start, start))
            self.blank()
            if self.text[self.at] != ".":
                return path
            self.at += 1

    def key_part(self) -> str:
        if bare := _BARE_KEY.match(self.text, self.at):
            self.at = bare.end()
            return bare.group()
        quoted = self.string()
        inner = quoted[1:-1]
        return inner if quoted[0] == "'" else _ESCAPE.sub(_unescape, inner)

    def value(self, path: Path) -> None:
        opening = self.text[self.at]
        if opening in "{[":
            self.members(path, "}" if opening == "{" else "]")
        elif opening in "\"'":
            self.string()
        else:
            self.at = _end(_SCALAR, self.text, self.at)

    def members(self, path: Path, closing: str) -> None:
        self.at += 1
        index = 0
        while True:
            self.blank()
            if self.text[self.at] == closing:
                self.at += 1
                return
            if self.text[self.at] == ",":
                self.at += 1
            elif closing == "}":
                self.pair(path)
            else:
                self.found[*path, index] = Place(self.at, self.at)
                self.value((*path, index))
                index += 1

    def string(self) -> str:
        start, self.at = self.at, _end(_STRING, self.text, self.at)
        return self.text[start : self.at]

    def blank(self) -> None:
        self.at = _end(_BLANK, self.text, self.at)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    if match is None:
        raise ValueError(f"not a TOML document that tomllib accepts, at {position(text, at)}")
    return match.end()


def _unescape(match: re.Match[str]) -> str:
    short, long, single = match.groups()
    return _ESCAPED.get(single, single) if single else chr(int(short or long, 16))
