"""Editing: an origin is set, added or removed, and every other byte of the file stays."""

import re
import tomllib
from collections.abc import Sequence
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st
from support.examples import generated

from redirect.commands.pools import edit
from redirect.commands.pools.edit import Edit, EditError, RefusedError, edited
from redirect.config.loader import ConfigError

GENERATED = generated(120)
HEAD = "[p]\nis_default = true\n"


def made(text: str, change: Edit) -> str:
    """The text after the change, which leaves a good file."""
    return edited(text.encode(), "pools.toml", change)[0].decode()


def setting(origin: str, weight: int, pool: str = "p") -> Edit:
    return lambda text: edit.set_weight(text, pool, origin, weight)


def adding(origin: str, weight: int = 7, pool: str = "p", creates_pool: bool = False) -> Edit:
    return lambda text: edit.add(text, pool, origin, weight, creates_pool)


def removing(origin: str, pool: str = "p") -> Edit:
    return lambda text: edit.remove(text, pool, origin)


# Each layout of two origins, a and b: as it is, and what it becomes when b is set to 7, when c is added with 7,
# when a is removed, and when b is.
LAYOUTS = {
    "inline": (
        HEAD + 'weighted_hosts = { "a" = 1, "b" = 0x10 } # c\n',
        HEAD + 'weighted_hosts = { "a" = 1, "b" = 7 } # c\n',
        HEAD + 'weighted_hosts = { "a" = 1, "b" = 0x10, "c" = 7 } # c\n',
        HEAD + 'weighted_hosts = { "b" = 0x10 } # c\n',
        HEAD + 'weighted_hosts = { "a" = 1 } # c\n',
    ),
    "inline, tight": (
        HEAD + "weighted_hosts={'a'=1,'b'=2}",
        HEAD + "weighted_hosts={'a'=1,'b'=7}",
        HEAD + "weighted_hosts={'a'=1,'b'=2,\"c\"=7}",
        HEAD + "weighted_hosts={'b'=2}",
        HEAD + "weighted_hosts={'a'=1}",
    ),
    "inline, wide": (
        HEAD + "weighted_hosts\t=  {  a   =  1  ,  b =  1_0  }\n",
        HEAD + "weighted_hosts\t=  {  a   =  1  ,  b =  7  }\n",
        HEAD + 'weighted_hosts\t=  {  a   =  1  ,  b =  1_0,  "c" = 7  }\n',
        HEAD + "weighted_hosts\t=  {  b =  1_0  }\n",
        HEAD + "weighted_hosts\t=  {  a   =  1  }\n",
    ),
    "inline, dotted": (
        "p = { weighted_hosts.a = 1, weighted_hosts . b = 2, is_default = true }\n",
        "p = { weighted_hosts.a = 1, weighted_hosts . b = 7, is_default = true }\n",
        'p = { weighted_hosts.a = 1, weighted_hosts . b = 2, weighted_hosts . "c" = 7, is_default = true }\n',
        "p = { weighted_hosts . b = 2, is_default = true }\n",
        "p = { weighted_hosts.a = 1, is_default = true }\n",
    ),
    "table": (
        HEAD
        + '  [p.weighted_hosts]\n\t"a" = 1 # one\n\t# two\n\tb   =   2   # x\n\n# next\n[q]\nweighted_hosts.a = 1\n',
        HEAD
        + '  [p.weighted_hosts]\n\t"a" = 1 # one\n\t# two\n\tb   =   7   # x\n\n# next\n[q]\nweighted_hosts.a = 1\n',
        HEAD + '  [p.weighted_hosts]\n\t"a" = 1 # one\n\t# two\n\tb   =   2   # x\n\t"c" = 7\n\n# next\n[q]\n'
        "weighted_hosts.a = 1\n",
        HEAD + "  [p.weighted_hosts]\n\t# two\n\tb   =   2   # x\n\n# next\n[q]\nweighted_hosts.a = 1\n",
        HEAD + '  [p.weighted_hosts]\n\t"a" = 1 # one\n\t# two\n\n# next\n[q]\nweighted_hosts.a = 1\n',
    ),
    "table before its pool, at odds with the order": (
        "[p.weighted_hosts]\na=1\nb=2\n[q]\nweighted_hosts={a=1}\n[p]\nis_default=true\n",
        "[p.weighted_hosts]\na=1\nb=7\n[q]\nweighted_hosts={a=1}\n[p]\nis_default=true\n",
        '[p.weighted_hosts]\na=1\nb=2\n"c"=7\n[q]\nweighted_hosts={a=1}\n[p]\nis_default=true\n',
        "[p.weighted_hosts]\nb=2\n[q]\nweighted_hosts={a=1}\n[p]\nis_default=true\n",
        "[p.weighted_hosts]\na=1\n[q]\nweighted_hosts={a=1}\n[p]\nis_default=true\n",
    ),
    "table, no line end": (
        HEAD + "[p.weighted_hosts]\na = 1\nb = 2",
        HEAD + "[p.weighted_hosts]\na = 1\nb = 7",
        HEAD + '[p.weighted_hosts]\na = 1\nb = 2\n"c" = 7',
        HEAD + "[p.weighted_hosts]\nb = 2",
        HEAD + "[p.weighted_hosts]\na = 1",
    ),
    "table, CRLF, no line end": (
        "[p]\r\nis_default = true\r\n[p.weighted_hosts]\r\na = 1\r\nb = 2",
        "[p]\r\nis_default = true\r\n[p.weighted_hosts]\r\na = 1\r\nb = 7",
        '[p]\r\nis_default = true\r\n[p.weighted_hosts]\r\na = 1\r\nb = 2\r\n"c" = 7',
        "[p]\r\nis_default = true\r\n[p.weighted_hosts]\r\nb = 2",
        "[p]\r\nis_default = true\r\n[p.weighted_hosts]\r\na = 1",
    ),
    "table, CRLF": (
        "[p]\r\nis_default = true\r\n[p.weighted_hosts]\r\na = 1 # x\r\nb = 2\r\n\r\n# y\r\n",
        "[p]\r\nis_default = true\r\n[p.weighted_hosts]\r\na = 1 # x\r\nb = 7\r\n\r\n# y\r\n",
        '[p]\r\nis_default = true\r\n[p.weighted_hosts]\r\na = 1 # x\r\nb = 2\r\n"c" = 7\r\n\r\n# y\r\n',
        "[p]\r\nis_default = true\r\n[p.weighted_hosts]\r\nb = 2\r\n\r\n# y\r\n",
        "[p]\r\nis_default = true\r\n[p.weighted_hosts]\r\na = 1 # x\r\n\r\n# y\r\n",
    ),
    "byte order mark": (
        "\ufeff" + HEAD + 'weighted_hosts = { "a" = 1, "b" = 2 }\n',
        "\ufeff" + HEAD + 'weighted_hosts = { "a" = 1, "b" = 7 }\n',
        "\ufeff" + HEAD + 'weighted_hosts = { "a" = 1, "b" = 2, "c" = 7 }\n',
        "\ufeff" + HEAD + 'weighted_hosts = { "b" = 2 }\n',
        "\ufeff" + HEAD + 'weighted_hosts = { "a" = 1 }\n',
    ),
    "dotted keys": (
        HEAD + 'weighted_hosts.a = 1 # one\n"weighted_hosts" . "b" = 2\nstatus = 302\n',
        HEAD + 'weighted_hosts.a = 1 # one\n"weighted_hosts" . "b" = 7\nstatus = 302\n',
        HEAD + 'weighted_hosts.a = 1 # one\n"weighted_hosts" . "b" = 2\n"weighted_hosts" . "c" = 7\nstatus = 302\n',
        HEAD + '"weighted_hosts" . "b" = 2\nstatus = 302\n',
        HEAD + "weighted_hosts.a = 1 # one\nstatus = 302\n",
    ),
    "tables": (
        HEAD + 'weighted_hosts = { a = { weight = 1 }, "b" = { path_prefix = "/}", weight = 2 } }\n',
        HEAD + 'weighted_hosts = { a = { weight = 1 }, "b" = { path_prefix = "/}", weight = 7 } }\n',
        HEAD + 'weighted_hosts = { a = { weight = 1 }, "b" = { path_prefix = "/}", weight = 2 }, "c" = 7 }\n',
        HEAD + 'weighted_hosts = { "b" = { path_prefix = "/}", weight = 2 } }\n',
        HEAD + "weighted_hosts = { a = { weight = 1 } }\n",
    ),
    "tables on lines": (
        HEAD + "[p.weighted_hosts]\na = 1\nb = { weight = 2, path_prefix = '/x' } # y\n",
        HEAD + "[p.weighted_hosts]\na = 1\nb = { weight = 7, path_prefix = '/x' } # y\n",
        HEAD + "[p.weighted_hosts]\na = 1\nb = { weight = 2, path_prefix = '/x' } # y\n\"c\" = 7\n",
        HEAD + "[p.weighted_hosts]\nb = { weight = 2, path_prefix = '/x' } # y\n",
        HEAD + "[p.weighted_hosts]\na = 1\n",
    ),
    "dotted keys, from the top": (
        "p.is_default=true\np.weighted_hosts.a=1\nq.weighted_hosts.a=1\n'p'.weighted_hosts.\"\\u0062\"=2",
        "p.is_default=true\np.weighted_hosts.a=1\nq.weighted_hosts.a=1\n'p'.weighted_hosts.\"\\u0062\"=7",
        "p.is_default=true\np.weighted_hosts.a=1\nq.weighted_hosts.a=1\n'p'.weighted_hosts.\"\\u0062\"=2\n"
        "'p'.weighted_hosts.\"c\"=7",
        "p.is_default=true\nq.weighted_hosts.a=1\n'p'.weighted_hosts.\"\\u0062\"=2",
        "p.is_default=true\np.weighted_hosts.a=1\nq.weighted_hosts.a=1",
    ),
}


@pytest.mark.parametrize(("text", "is_set", "added", "without_a", "without_b"), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(text: str, is_set: str, added: str, without_a: str, without_b: str) -> None:
    """However a pool is laid out, a change is made in its own way of writing, and nothing else changes."""
    assert made(text, setting("b", 7)) == is_set
    assert made(text, adding("c")) == added
    assert made(text, removing("a")) == without_a
    assert made(text, removing("b")) == without_b


SEVERAL_LINES = """\
[p]
is_default = true
weighted_hosts = {
  # all of them
  "a" = 1, # one
  "b" = 2, # two
}
"""


def test_inline_tables_of_several_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """TOML 1.1, which Python reads since 3.15, has inline tables of several lines, and commas behind the last."""
    monkeypatch.setattr(tomllib, "loads", lambda text: tomlkit.parse(text).unwrap())
    text = SEVERAL_LINES
    assert made(text, setting("b", 7)) == text.replace("2", "7")
    assert made(text, adding("c")) == text.replace("2,", '2,\n  "c" = 7,')
    assert made(text, removing("a")) == text.replace('  "a" = 1, # one\n', "")
    assert made(text, removing("b")) == text.replace('  "b" = 2, # two\n', "")
    text = text.replace(", # two", "")
    assert made(text, adding("c")) == text.replace("2", '2,\n  "c" = 7')
    assert made(text.replace(" # one", ""), removing("b")) == text.replace(', # one\n  "b" = 2', "")
    text = HEAD + 'weighted_hosts = { "a" = 1, "b" = 2, }\n'
    assert made(text, adding("c")) == text.replace("2", '2, "c" = 7')
    assert made(text, removing("b")) == text.replace(' "b" = 2,', "")


# Files in any layout

HOSTS = ["a", "b-1", "a.example.com", "A.Example.ORG.", "a:8443", "[::1]", "bücher.example", "1.2.3.4"]
blanks = st.sampled_from(["", " ", "  ", "\t"])
comments = st.sampled_from(["", "# x", " # } , ] [p] a = 1", "\t#'\"", "#é😀"])
weights = st.sampled_from(["1", "0", "2", "1_000", "0x1F", "0o17", "0b11", "+3", "1000000"])


@st.composite
def keys(draw: st.DrawFn, name: str) -> str:
    """A key in any spelling."""
    spellings = [f'"{name}"', f"'{name}'", f'"\\u{ord(name[0]):04x}{name[1:]}"']
    return draw(st.sampled_from(spellings + [name] * bool(re.fullmatch("[A-Za-z0-9_-]+", name))))


@st.composite
def pairs(draw: st.DrawFn, path: tuple[str, ...], value: str) -> str:
    dot = draw(blanks) + "." + draw(blanks)
    return f"{dot.join([draw(keys(part)) for part in path])}{draw(blanks)}={draw(blanks)}{value}"


@st.composite
def inline(draw: st.DrawFn, members: Sequence[tuple[tuple[str, ...], str]]) -> str:
    parts = [f"{draw(blanks)}{draw(pairs(*member))}{draw(blanks)}" for member in members]
    return "{" + ",".join(parts) + "}"


@st.composite
def pool_lines(draw: st.DrawFn, name: str, is_default: bool) -> list[str]:
    """A pool as lines, in one of the ways in which TOML writes tables."""
    hosts = draw(st.lists(st.tuples(st.sampled_from(HOSTS), weights), min_size=1, max_size=5, unique_by=lambda h: h[0]))
    hosts = [*hosts, ("z", "1")] if all(weight == "0" for _, weight in hosts) else hosts
    flag = [(("is_default",), "true")] * is_default
    header = f"{draw(blanks)}[{draw(blanks)}{draw(keys(name))}{draw(blanks)}]"
    way = draw(st.integers(0, 3))
    if way == 0:
        table = draw(inline([((host,), weight) for host, weight in hosts]))
        return [header, *[draw(pairs(*each)) for each in [*flag, (("weighted_hosts",), table)]]]
    if way == 1:
        lines = [draw(pairs((host,), weight)) for host, weight in hosts]
        return [header, *[draw(pairs(*each)) for each in flag], f"[{draw(keys(name))}.weighted_hosts]", *lines]
    dotted = [(("weighted_hosts", host), weight) for host, weight in hosts] + flag
    if way == 2:
        return [header, *[draw(pairs(*each)) for each in dotted]]
    lines = [draw(pairs((host,), weight)) for host, weight in hosts]
    return [f"[{draw(keys(name))}.weighted_hosts]", *lines, header, *[draw(pairs(*each)) for each in flag]]


@st.composite
def top_lines(draw: st.DrawFn) -> list[str]:
    """A pool in lines that stand before all headers."""
    hosts = draw(st.lists(st.tuples(st.sampled_from(HOSTS), weights), min_size=1, max_size=4, unique_by=lambda h: h[0]))
    dotted = [(("weighted_hosts", host), weight) for host, weight in [*hosts, ("z", "1")]]
    if draw(st.booleans()):
        return [draw(pairs(("top",), draw(inline(dotted))))]
    return [draw(pairs(("top", *path), weight)) for path, weight in dotted]


@st.composite
def files(draw: st.DrawFn) -> str:
    """A good file: pools in any layout, with comments, blank lines, any line end, and a byte order mark or none."""
    lines = draw(top_lines()) if draw(st.booleans()) else []
    for name, is_default in (("p", True), ("eu.west", False), ("q", False)):
        lines += draw(pool_lines(name, is_default))
    noise = [f"{draw(blanks)}{line}{draw(blanks)}{draw(comments)}" for line in lines]
    for at in draw(st.lists(st.integers(0, len(noise)), max_size=4)):
        noise.insert(at, draw(blanks) + draw(comments))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return draw(st.sampled_from(["", "\ufeff"])) + end.join(noise) + draw(st.sampled_from(["", end, end * 3]))


def meaning(text: str) -> dict[str, Any]:
    return tomllib.loads(text.removeprefix("\ufeff"))


def origin_of(data: st.DataObject, text: str) -> tuple[str, str]:
    """Some origin of the file: its pool and its name."""
    document = meaning(text)
    pool = data.draw(st.sampled_from([*document]))
    return pool, data.draw(st.sampled_from([*document[pool]["weighted_hosts"]]))


def by_tomlkit(text: str, pool: str, origin: str, weight: int) -> str:
    mark = text[: text.startswith("\ufeff")]
    document: Any = tomlkit.parse(text.removeprefix(mark))
    document[pool]["weighted_hosts"][origin] = weight
    return mark + tomlkit.dumps(document)


@pytest.mark.slow
@GENERATED
@given(st.data())
def test_set_weight_changes_the_value_only(data: st.DataObject) -> None:
    """In any file only the characters of the weight change, and the text is what tomlkit makes of it."""
    text = data.draw(files())
    pool, origin = origin_of(data, text)
    new = edit_with_mark(text, setting(origin, 4321, pool))
    expected = meaning(text)
    expected[pool]["weighted_hosts"][origin] = 4321
    assert meaning(new) == expected
    before, after = new.split("4321")
    assert text.startswith(before)
    assert text.endswith(after)
    assert re.fullmatch(r"[+0-9A-Za-z_]+", text[len(before) : len(text) - len(after)])
    assert new == by_tomlkit(text, pool, origin, 4321)


@pytest.mark.slow
@GENERATED
@given(st.data())
def test_add_and_remove_are_inverse(data: st.DataObject) -> None:
    """In any file an origin that is added comes last, and removing it restores every byte."""
    text = data.draw(files())
    pool, _ = origin_of(data, text)
    new = edit_with_mark(text, adding("new.example", 7, pool))
    expected = meaning(text)
    expected[pool]["weighted_hosts"]["new.example"] = 7
    assert meaning(new) == expected
    assert [*meaning(new)[pool]["weighted_hosts"]][-1] == "new.example"
    assert edit_with_mark(new, removing("new.example", pool)) == text


@pytest.mark.slow
@GENERATED
@given(st.data())
def test_remove_takes_nothing_else(data: st.DataObject) -> None:
    """In any file the origin goes, with its line or its comma, and what stays is what was there, in order."""
    text = data.draw(files())
    pool, origin = origin_of(data, text)
    expected = meaning(text)
    del expected[pool]["weighted_hosts"][origin]
    new = edit_with_mark(text, removing(origin, pool))
    left = meaning(new)
    left.setdefault(pool, {}).setdefault("weighted_hosts", {})
    assert left == expected
    before = next((at for at, (old, now) in enumerate(zip(text, new, strict=False)) if old != now), len(new))
    assert text.endswith(new[before:])
    assert text.count("\n") - new.count("\n") <= 1


@pytest.mark.slow
@GENERATED
@given(st.data())
def test_create_appends_a_pool(data: st.DataObject) -> None:
    """A new pool comes at the end of any file, which is otherwise as it was."""
    text = data.draw(files())
    new = edit_with_mark(text, adding("a.example", 3, "new.pool's", creates_pool=True))
    assert new.startswith(text)
    assert meaning(new) == meaning(text) | {"new.pool's": {"weighted_hosts": {"a.example": 3}}}


def edit_with_mark(text: str, change: Edit) -> str:
    """The text after the change, whether or not it leaves a good file."""
    mark = text[: text.startswith("\ufeff")]
    return mark + change(text.removeprefix(mark))


# What is found


TWO = HEAD + 'weighted_hosts = { "origin-1.example.com" = 1, "[2001:db8::1]:8443" = 0x2, "bücher.example" = 3 }\n'


@pytest.mark.parametrize(
    ("origin", "weight"),
    [
        pytest.param("origin-1.example.com", "1", id="to the letter"),
        pytest.param("Origin-1.Example.COM.", "1", id="case and a trailing dot"),
        pytest.param("[2001:DB8:0::1]:8443", "0x2", id="IPv6"),
        pytest.param("xn--bcher-kva.example", "3", id="A-labels"),
    ],
)
def test_origins_are_found_by_what_they_mean(origin: str, weight: str) -> None:
    """An origin is found in any spelling, and keeps its own."""
    assert made(TWO, setting(origin, 77)) == TWO.replace(f" = {weight}", " = 77")


def test_spelling_comes_first() -> None:
    """Where two keys mean one origin, which is a fault, the one that is spelled so is removed."""
    text = HEAD + 'weighted_hosts = { "a" = 1, "A" = 2 }\n'
    assert made(text, removing("A")) == HEAD + 'weighted_hosts = { "a" = 1 }\n'
    assert made(text, removing("a")) == HEAD + 'weighted_hosts = { "A" = 2 }\n'


def test_same_weight_changes_nothing() -> None:
    """A weight that is as wanted already keeps its spelling."""
    assert made(TWO, setting("[2001:db8::1]:8443", 2)) == TWO


def test_added_hosts_are_quoted() -> None:
    """A host is added as it is named, in quotes."""
    assert '"Straße.Example." = 7 }' in made(TWO, adding("Straße.Example."))


MANY = "[pool-a]\nis_default = true\nweighted_hosts = { " + ", ".join(f"o{number} = 1" for number in range(12)) + " }\n"


@pytest.mark.parametrize(
    ("text", "change", "message"),
    [
        pytest.param(
            TWO,
            setting("orign-1.example.com", 1),
            'p has no origin "orign-1.example.com"; did you mean "origin-1.example.com"? '
            'There are "origin-1.example.com", "[2001:db8::1]:8443", "bücher.example"',
            id="origin, mistyped",
        ),
        pytest.param(
            MANY,
            removing("x.example", "pool-a"),
            'pool-a has no origin "x.example"; there are "o0", "o1", "o2", "o3", "o4", "o5", "o6", "o7", "o8", "o9" '
            "and 2 more",
            id="origin, one of many",
        ),
        pytest.param(
            MANY,
            setting("o1", 1, "pool-b"),
            'there is no pool "pool-b"; did you mean "pool-a"? There are "pool-a"',
            id="pool",
        ),
        pytest.param(
            MANY,
            adding("o1", 1, "pool-b"),
            'there is no pool "pool-b"; did you mean "pool-a"? There are "pool-a"; --create makes a new one',
            id="pool to add to",
        ),
        pytest.param(
            f"[[routes]]\nrespond = {{}}\n{MANY}",
            setting("o1", 1, "routes"),
            "[[routes]] is an array of tables, and no pool can have its name; take another one",
            id="routes",
        ),
        pytest.param(
            TWO,
            adding("ORIGIN-1.example.com."),
            'p has "origin-1.example.com" with weight 1 already; set-weight changes it',
            id="origin that is there",
        ),
    ],
)
def test_what_is_not_found(text: str, change: Edit, message: str) -> None:
    """What is not there is named, with what is, the nearest first."""
    with pytest.raises(EditError) as refusal:
        made(text, change)
    assert str(refusal.value) == message


SPREAD = [
    HEAD + '[p.weighted_hosts."a.example"]\nweight = 2\npath_prefix = "/m"\n',
    HEAD + 'weighted_hosts."a.example".weight = 2\nweighted_hosts."a.example".path_prefix = "/m"\n',
]


@pytest.mark.parametrize("text", SPREAD, ids=["header", "dotted keys"])
def test_a_table_with_lines_of_its_own(text: str) -> None:
    """Its weight is set where it stands; what would take several places of the text is left to the user."""
    assert made(text, setting("A.example", 7)) == text.replace("= 2", "= 7")
    with pytest.raises(EditError, match=r'^"a.example" is a table with lines of its own: remove them by hand$'):
        made(text, removing("a.example"))
    with pytest.raises(EditError, match=r"^the origins of p are tables with lines of their own: add another one by"):
        made(text, adding("b"))


# What is refused


@pytest.mark.parametrize(
    ("text", "change", "message"),
    [
        pytest.param(
            HEAD + "weighted_hosts = { a = 1, b = 0 }\n",
            setting("a", 0),
            "pools.toml:3:18: p.weighted_hosts: weighted_hosts needs at least one host with a weight above 0",
            id="last weight drained",
        ),
        pytest.param(
            HEAD + "weighted_hosts.a = 1\n",
            removing("a"),
            "pools.toml:1:2: p: weighted_hosts is missing; "
            'weighted_hosts must be a table of hosts and weights such as { "origin-1.example.com" = 2 }',
            id="last origin removed",
        ),
        pytest.param(
            HEAD + '[p.weighted_hosts]\n"a" = 1\n',
            adding("a:80"),
            'pools.toml:5:1: p.weighted_hosts."a:80": is the same host as "a", name it once',
            id="host doubled",
        ),
        pytest.param(
            HEAD + '[p.weighted_hosts]\n"a" = 1\n',
            adding("b\x7f\n"),
            'pools.toml:5:1: p.weighted_hosts."b\\u007f\\n": '
            "host must be a name or an IP address with an optional port, "
            'without scheme, user, path or blanks, got "b\\u007f\\n": '
            "a host name is made of letters, digits, - and _ between dots",
            id="no host",
        ),
        pytest.param(
            HEAD + "weighted_hosts.a = 1\n",
            adding("a\udce9"),
            "pools.toml:4:24: not TOML: Escaped character is not a Unicode scalar value",
            id="bytes of a terminal that are not UTF-8",
        ),
        pytest.param(
            HEAD + "weighted_hosts.a = 1\n",
            adding("a", pool="ü", creates_pool=True),
            'pools.toml:5:2: "ü": a pool\'s name must be 1 to 128 visible ASCII characters, for it travels in a header',
            id="pool's name",
        ),
        pytest.param("", adding("a", creates_pool=True), None, id="first pool, not the default"),
    ],
)
def test_what_check_refuses_is_refused(text: str, change: Edit, message: str | None) -> None:
    """A change that would leave a faulty file is refused, with the faults that it would have and their places."""
    with pytest.raises(ConfigError) as refusal:
        made(text, change)
    assert isinstance(refusal.value, RefusedError) == bool(text)
    if message:
        assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "change", "message"),
    [
        pytest.param(
            "[p\n", setting("a", 1), "1:3: not TOML: Expected ']' at the end of a table declaration", id="TOML"
        ),
        pytest.param(HEAD + "weighted_hosts = {}", adding("a"), "3:18: p.weighted_hosts: weighted", id="no origin"),
        pytest.param("p = 1\n", adding("a"), "1:1: p: a pool must be a table", id="no table"),
        pytest.param(
            HEAD + "weighted_hosts = { a.example = 1 }",
            setting("a.example", 2),
            '3:20: p.weighted_hosts."a": a host with dots must be quoted, write "a.example" = 1',
            id="host that is not quoted",
        ),
        pytest.param(
            HEAD + "weighted_hosts = { a = 1, b = -1 }\nx = 1\n",
            setting("a", 2),
            '3:31: p.weighted_hosts."b": weight must be a whole number from 0 to 1000000, got -1\n'
            "pools.toml:4:1: p.x: unknown key",
            id="faults elsewhere",
        ),
    ],
)
def test_faults_that_were_there(text: str, change: Edit, message: str) -> None:
    """A file that has faults already is refused by these, in their places of today."""
    with pytest.raises(ConfigError) as refusal:
        made(text, change)
    assert not isinstance(refusal.value, RefusedError)
    assert str(refusal.value).startswith(f"pools.toml:{message}")


@pytest.mark.parametrize("weight", ["-1", "1.5", "true", "1e3", "nan", "2000000", "0"])
def test_faults_are_mended(weight: str) -> None:
    """A change that leaves no fault is made, whatever was wrong before."""
    assert made(f"{HEAD}weighted_hosts.a = {weight} # x\n", setting("a", 1)) == f"{HEAD}weighted_hosts.a = 1 # x\n"


def test_not_utf8() -> None:
    """A file that is not UTF-8 is refused as check does."""
    with pytest.raises(ConfigError, match="byte 0xff is not UTF-8"):
        edited(b"\xff", "pools.toml", setting("a", 1))
