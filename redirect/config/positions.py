"""Where in a TOML document each key and value stands.

`tomllib` returns values without their positions; a fault must name line and column. This module walks the text
of a document that `tomllib` has accepted, and keeps offsets, no values. It relies on the text being well-formed.
A path has the number of the element, from 0, behind the key of an array, also of one made of lines like [[a]].
"""

import re
import tomllib
from typing import NamedTuple

Path = tuple[str | int, ...]

BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_STRING = r'"""(?:[^\\]|\\.)*?"{3,5}|\'{3}.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''
_KEY = re.compile(rf"[A-Za-z0-9_-]+|{_STRING}", re.DOTALL)
_SCALAR = re.compile(rf"{_STRING}|[^,\]}}#\n]*", re.DOTALL)


class Place(NamedTuple):
    """Offsets of a key and of its value; a table's value is where its body begins."""

    key: int
    value: int


def position(text: str, offset: int) -> tuple[int, int]:
    """The line and the column of an offset, counted from 1, in characters."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def places(text: str) -> dict[Path, Place]:
    """The place of every key of `text`, a document that `tomllib.loads` accepts, by its path."""
    return _Walk(text).document()


def value_end(text: str, offset: int) -> int:
    """Where the value ends that begins at `offset`."""
    walk = _Walk(text)
    walk.at = offset
    walk.value(())
    return walk.at


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, Place] = {}
        self.key_at = 0  # where the last part of the key begins that was skipped last
        self.last: dict[Path, int] = {}  # of each array of tables the element that is open

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
        if brackets == 2:
            self.last[path] = self.last.get(path, -1) + 1
            path = (*path, self.last[path])
            self.found[path] = Place(self.key_at, self.at)
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
            start = self.key_at = self.at
            if path in self.last:
                path = (*path, self.last[path])
            path = (*path, _name(self.skip(_KEY)))
            self.found.setdefault(path, Place(start, start))
            self.blank()
            if self.text[self.at] != ".":
                return path
            self.at += 1

    def value(self, path: Path) -> None:
        if self.text[self.at] in "{[":
            self.members(path)
        else:
            self.skip(_SCALAR)

    def members(self, path: Path) -> None:
        closing = "}" if self.text[self.at] == "{" else "]"
        index = 0
        self.at += 1
        self.blank()
        while self.text[self.at] != closing:
            if self.text[self.at] == ",":
                self.at += 1
            elif closing == "}":
                self.pair(path)
            else:
                self.found[*path, index] = Place(self.at, self.at)
                self.value((*path, index))
                index += 1
            self.blank()
        self.at += 1

    def blank(self) -> None:
        self.skip(BLANK)

    def skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"not a TOML document that tomllib accepts, at {position(self.text, self.at)}")
        self.at = match.end()
        return match[0]


def _name(key: str) -> str:
    if "\\" in key:
        return next(iter(tomllib.loads(f"{key} = 0")))
    return key[1:-1] if key[0] in "\"'" else key
