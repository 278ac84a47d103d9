"""Positions: every key and value of a TOML document is found where it stands, whatever stands around it."""

import re
import tomllib
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from support.examples import generated

from redirect.config.positions import Path, Place, places, position

GENERATED = generated(300)


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [
        pytest.param("", 0, (1, 1), id="empty text"),
        pytest.param("abc", 0, (1, 1), id="beginning"),
        pytest.param("abc", 2, (1, 3), id="in the first line"),
        pytest.param("abc", 3, (1, 4), id="end"),
        pytest.param("a\nb", 1, (1, 2), id="at the line feed"),
        pytest.param("a\nb", 2, (2, 1), id="behind the line feed"),
        pytest.param("a\n", 2, (2, 1), id="end behind the last line feed"),
        pytest.param("\n\n  x", 4, (3, 3), id="third line"),
        pytest.param("é😀x", 2, (1, 3), id="columns count characters, not bytes"),
        pytest.param("\tx", 1, (1, 2), id="a tab is one column"),
    ],
)
def test_position(text: str, offset: int, expected: tuple[int, int]) -> None:
    """An offset is shown as line and column, both counted from 1."""
    assert position(text, offset) == expected


def shown(text: str) -> dict[Path, tuple[str, str]]:
    """Each path with where its key and its value stand, as `line:column`."""
    tomllib.loads(text)
    return {
        path: tuple("{}:{}".format(*position(text, offset)) for offset in place)  # type: ignore[misc]
        for path, place in places(text).items()
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", {}, id="empty document"),
        pytest.param("# [a]\n\n  # b = 1", {}, id="comments only"),
        pytest.param("a = 1", {("a",): ("1:1", "1:5")}, id="pair"),
        pytest.param("\n\t a\t=\t1 # b = 2\n", {("a",): ("2:3", "2:7")}, id="pair among blanks and a comment"),
        pytest.param("1-_A=1", {("1-_A",): ("1:1", "1:6")}, id="bare key of every kind"),
        pytest.param('"a.b" = 1', {("a.b",): ("1:1", "1:9")}, id="quoted key"),
        pytest.param("'a\\u0041\"' = 1", {('a\\u0041"',): ("1:1", "1:14")}, id="literal key"),
        pytest.param(
            "\"\" = 1\n[a]\n'' = 2",
            {("",): ("1:1", "1:6"), ("a",): ("2:2", "2:4"), ("a", ""): ("3:1", "3:6")},
            id="empty keys",
        ),
        pytest.param(
            r'"\b\t\n\f\r\"\\\u00e9\U0001F600" = 1',
            {('\b\t\n\f\r"\\é😀',): ("1:1", "1:36")},
            id="every escape in a key",
        ),
        pytest.param('"ключ" = 1', {("ключ",): ("1:1", "1:10")}, id="unicode in a key"),
        pytest.param(
            "a . 'b'.\"c\" = 1",
            {("a",): ("1:1", "1:1"), ("a", "b"): ("1:5", "1:5"), ("a", "b", "c"): ("1:9", "1:15")},
            id="dotted key",
        ),
        pytest.param(
            "[ a . b ]\nc = 1",
            {("a",): ("1:3", "1:3"), ("a", "b"): ("1:7", "1:10"), ("a", "b", "c"): ("2:1", "2:5")},
            id="header with blanks",
        ),
        pytest.param(
            "[a.b]\n[a]\nc = 1",
            {("a",): ("1:2", "2:4"), ("a", "b"): ("1:4", "1:6"), ("a", "c"): ("3:1", "3:5")},
            id="a super-table that is opened later keeps the place where it was named first",
        ),
        pytest.param(
            "[[a]]\nb = 1\n[[a]]\nc = 2",
            {
                ("a",): ("1:3", "3:6"),
                ("a", 0): ("1:3", "1:6"),
                ("a", 0, "b"): ("2:1", "2:5"),
                ("a", 1): ("3:3", "3:6"),
                ("a", 1, "c"): ("4:1", "4:5"),
            },
            id="array of tables",
        ),
        pytest.param(
            "[[a]]\n[[a]]\n[a.b]\nc = 1\n[[a.d]]\n[a.d.e]\n[b]\n[[a]]\n[a.b]",
            {
                ("a",): ("1:3", "8:6"),
                ("a", 0): ("1:3", "1:6"),
                ("a", 1): ("2:3", "2:6"),
                ("a", 1, "b"): ("3:4", "3:6"),
                ("a", 1, "b", "c"): ("4:1", "4:5"),
                ("a", 1, "d"): ("5:5", "5:8"),
                ("a", 1, "d", 0): ("5:5", "5:8"),
                ("a", 1, "d", 0, "e"): ("6:6", "6:8"),
                ("b",): ("7:2", "7:4"),
                ("a", 2): ("8:3", "8:6"),
                ("a", 2, "b"): ("9:4", "9:6"),
            },
            id="tables within the last of an array of tables",
        ),
        pytest.param(
            'a = { "b" = 1, c.d = { } , e = [] }',
            {
                ("a",): ("1:1", "1:5"),
                ("a", "b"): ("1:7", "1:13"),
                ("a", "c"): ("1:16", "1:16"),
                ("a", "c", "d"): ("1:18", "1:22"),
                ("a", "e"): ("1:28", "1:32"),
            },
            id="inline table",
        ),
        pytest.param(
            "a = [ # ]\n  1,\n  { b = 2 }, # }\n  [ 3 ],\n]\nc = 4",
            {
                ("a",): ("1:1", "1:5"),
                ("a", 0): ("2:3", "2:3"),
                ("a", 1): ("3:3", "3:3"),
                ("a", 1, "b"): ("3:5", "3:9"),
                ("a", 2): ("4:3", "4:3"),
                ("a", 2, 0): ("4:5", "4:5"),
                ("c",): ("6:1", "6:5"),
            },
            id="array over lines with comments that hold brackets",
        ),
        pytest.param(
            'a = """\nb = 1\n[c]\n"""\nd = 2', {("a",): ("1:1", "1:5"), ("d",): ("5:1", "5:5")}, id="multi-line string"
        ),
        pytest.param(
            "a = '''\n\"\"\"b = 1\n\\'''\nd = 2",
            {("a",): ("1:1", "1:5"), ("d",): ("4:1", "4:5")},
            id="multi-line literal",
        ),
        pytest.param(
            "a = \"\"\"\"\"\"\nb = ''''''\nc = \"\"\nd = ''\ne = 1",
            {(key,): (f"{line}:1", f"{line}:5") for line, key in enumerate("abcde", 1)},
            id="empty strings of every kind",
        ),
        pytest.param(
            'a = """""x"""""\nb = \'\'\'\'\'x\'\'\'\'\'\nc = """\\"""x\\\\"""\nd = 1',
            {(key,): (f"{line}:1", f"{line}:5") for line, key in enumerate("abcd", 1)},
            id="quotes next to the quotes",
        ),
        pytest.param(
            'a = "b = 1 # \\" ] }"\nc = \'\\\'\nd = 1',
            {("a",): ("1:1", "1:5"), ("c",): ("2:1", "2:5"), ("d",): ("3:1", "3:5")},
            id="strings that hold what else has a meaning",
        ),
        pytest.param(
            "a = 1979-05-27 07:32:00Z # , ]\nb = [+1e-5, 0xdead_beef,inf]\nc = {d = -nan,e=true}",
            {
                ("a",): ("1:1", "1:5"),
                ("b",): ("2:1", "2:5"),
                ("b", 0): ("2:6", "2:6"),
                ("b", 1): ("2:13", "2:13"),
                ("b", 2): ("2:25", "2:25"),
                ("c",): ("3:1", "3:5"),
                ("c", "d"): ("3:6", "3:10"),
                ("c", "e"): ("3:15", "3:17"),
            },
            id="scalars",
        ),
    ],
)
def test_places(text: str, expected: dict[Path, tuple[str, str]]) -> None:
    """Keys and values of each form that TOML knows are found where they stand."""
    assert shown(text) == expected


@pytest.mark.parametrize("text", ["a = 1\r\n[b]\r\nc = 2\r\n", "a = 1 # x\r\n[b] # y\r\nc = '''\r\n'''"])
def test_line_ends(text: str) -> None:
    """A file from Windows has its keys in the same lines and columns."""
    assert shown(text) == shown(text.replace("\r\n", "\n"))


# How a key may be spelled, and what it means; `@` stands for a number that makes it the only one of its name.
SPELLINGS = [
    ("k@", "k@"),
    ("@", "@"),
    ("-_@", "-_@"),
    ('"k@"', "k@"),
    ("'k@'", "k@"),
    ("'k@ .#]=}\"'", 'k@ .#]=}"'),
    ('"[k@] = 1 # \'"', "[k@] = 1 # '"),
    (r'"\u00e9k@\"\\\t\U0001F600"', 'ék@"\\\t😀'),
    (r"'\u00e9k@'", r"\u00e9k@"),
    ('"ключ@"', "ключ@"),
]

SCALARS = [
    *("1", "-1_000", "0xdead_beef", "+1e-5", "inf", "-nan", "true", "1979-05-27 07:32:00.5Z", "1979-05-27", "07:32:00"),
    *('""', "''", '""""""', "''''''", r'"a = 1 # ] } , \" \\"', r"'c:\'", '"é😀"'),
    *('"""\na = 1\n[b] # "" \\""" \\\n  ,"""', "'''\n[b]\n''\\ # }'''", '"""""x"""""', "'''''x'''''"),
]


class Writer:
    """Writes a document at random and keeps where it wrote what."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.places: dict[Path, Place] = {}
        self._count = 0

    def document(self) -> None:
        table: Path = ()
        for _ in range(self.draw(st.integers(0, 6))):
            self.text += self.draw(st.sampled_from(["", "\n", "  ", "# [x] = {\n", "\t# 'é\n\n"]))
            if self.draw(st.booleans()):
                brackets = self.draw(st.integers(1, 2))
                self.text += "[" * brackets
                table = self.key(())
                self.text += "]" * brackets
                self.places[table] = self.places[table]._replace(value=len(self.text))
                if brackets == 2:
                    table, place = (*table, 0), self.places[table]
                    self.places[table] = place
            else:
                self.pair(table, 0)
            self.text += self.draw(st.sampled_from(["\n", "  # ] } = 1\n"]))

    def pair(self, path: Path, depth: int) -> None:
        path = self.key(path)
        self.text += "=" + self.blank()
        self.places[path] = self.places[path]._replace(value=len(self.text))
        self.value(path, depth)

    def key(self, path: Path) -> Path:
        for index in range(self.draw(st.integers(1, 3))):
            self._count += 1
            spelled, means = self.draw(st.sampled_from(SPELLINGS))
            self.text += "." * (index > 0) + self.blank()
            path = (*path, means.replace("@", f"{self._count}"))
            self.places[path] = Place(len(self.text), len(self.text))
            self.text += spelled.replace("@", f"{self._count}") + self.blank()
        return path

    def value(self, path: Path, depth: int) -> None:
        kind = self.draw(st.sampled_from(["scalar", "scalar", "array", "table"] if depth < 3 else ["scalar"]))
        if kind == "scalar":
            self.text += self.draw(st.sampled_from(SCALARS))
        elif kind == "array":
            self.array(path, depth + 1)
        else:
            self.table(path, depth + 1)

    def array(self, path: Path, depth: int) -> None:
        length = self.draw(st.integers(0, 3))
        self.text += "["
        for index in range(length):
            self.text += self.break_()
            self.places[*path, index] = Place(len(self.text), len(self.text))
            self.value((*path, index), depth)
            self.text += self.break_() + "," * (index < length - 1 or self.draw(st.booleans()))
        self.text += self.break_() + "]"

    def table(self, path: Path, depth: int) -> None:
        self.text += "{" + self.blank()
        for index in range(self.draw(st.integers(0, 3))):
            self.text += "," * (index > 0) + self.blank()
            self.pair(path, depth)
            self.text += self.blank()
        self.text += "}"

    def blank(self) -> str:
        return self.draw(st.sampled_from(["", "", " ", "\t "]))

    def break_(self) -> str:
        return self.draw(st.sampled_from(["", " ", "\n\t", " # ] , ' \"\n "]))


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[Path, Place]]:
    writer = Writer(draw)
    writer.document()
    return writer.text, writer.places


@pytest.mark.slow
@GENERATED
@given(documents())
def test_places_of_generated_documents(written: tuple[str, dict[Path, Place]]) -> None:
    """In a document made of every form of TOML 1.0 each key and value is found where it was written."""
    text, expected = written
    tomllib.loads(text)
    assert places(text) == expected


leaves: st.SearchStrategy[object] = (
    st.text(max_size=20) | st.integers() | st.booleans() | st.floats(allow_nan=False) | st.dates() | st.just([])
)
tables = st.recursive(leaves, lambda values: st.dictionaries(st.text(max_size=8), values, max_size=4), max_leaves=12)


@pytest.mark.slow
@GENERATED
@given(st.dictionaries(st.text(max_size=8), tables, max_size=4))
def test_places_of_any_keys(document: dict[str, Any]) -> None:
    """Whatever text keys are made of, at a key's place stands that key, and at its value's place that value."""
    text = tomli_w.dumps(document)
    found = places(text)
    assert set(found) == set(_paths(document, ()))
    for path, place in found.items():
        name, value = path[-1], _at(document, path)
        spelled = re.compile(r'[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"').match(text, place.key)
        assert spelled is not None
        assert tomllib.loads(f"{spelled.group()} = 1") == {name: 1}
        if not isinstance(value, dict):
            assert text[spelled.end() : place.value] == " = "
            assert tomllib.loads(f"value = {text[place.value :].partition(chr(10))[0]}") == {"value": value}
        elif place.value != place.key:
            assert text[place.value - 1 : place.value + 1] in ("]\n", "]")


def _paths(document: dict[str, Any], above: Path) -> list[Path]:
    paths: list[Path] = []
    for name, value in document.items():
        paths += [(*above, name), *(_paths(value, (*above, name)) if isinstance(value, dict) else [])]
    return paths


def _at(document: Any, path: Path) -> Any:
    for part in path:
        document = document[part]
    return document
