"""A block of the log: read by its bytes, and to the same effect as by JSON."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.log_lines import MARKER, RECORD, line, values
from support.logged import KEYS

from redirect.commands.logs import lines
from redirect.commands.logs.lines import Found, Lines
from redirect.commands.logs.where import Where
from redirect.telemetry.access_log import fit


def read(block: bytes, fields: Iterable[str] = KEYS, **where: Any) -> Found:
    return Lines(fields, Where(**where)).read(block)


def without_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a test fail where a block is read as JSON."""
    monkeypatch.setattr(lines, "_parsed", None)


@pytest.mark.parametrize("key", KEYS)
def test_what_the_log_writes_is_read_by_its_bytes(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value of a line is found without reading JSON, alone and with others, long lines that are cut too."""
    without_json(monkeypatch)
    records = [RECORD, {**RECORD, "path": None, "host": None, "origin": None}]
    long = line(user_agent="\xff" * 5000)
    block = b"".join(fit(record).encode() for record in records) + long
    assert [each[key] for each in values(read(block, [key]), [key])] == [
        *(record[key] for record in records),
        json.loads(long)[key],
    ]
    assert values(read(block)) == [*records, {key: json.loads(long)[key] for key in KEYS}]


nasty = st.text(st.sampled_from('ab"\\,:{}\x00\x7f\xe9\n/') | st.characters(max_codepoint=0xFF), max_size=12) | (
    st.sampled_from(
        ['"pool":"x"', ',"pool":"x",', '","path":"', '\\","query":"', '{"time":"', "\\", '\\"', '"}\n{"time":"']
    )
)
records = st.fixed_dictionaries(
    {
        **dict.fromkeys(
            ["pool_requested", "location", "method", "host", "path", "user_agent", "referer"], st.none() | nasty
        ),
        **dict.fromkeys(["query", "client_ip"], nasty),
        **dict.fromkeys(["pool", "origin"], st.sampled_from([None, "x", "pool-a", 'q"\\', "größe"])),
        "status": st.sampled_from([200, 302, 400, 422, 500]),
        "time": st.sampled_from(["2026-11-20T19:43:07.002Z", "2026-11-20T20:00:00.000Z"]),
    }
)
wheres = st.builds(
    Where,
    pool=st.none() | st.sampled_from(["x", "pool-a", 'q"\\', "größe"]),
    origin=st.none() | st.sampled_from(["x", 'q"\\']),
    statuses=st.none() | st.sampled_from([("422",), ("3xx", "500")]),
    since=st.none() | st.sampled_from(["2026-11-20T19:43:07.002Z", "2026-11-20T19:43:07.003Z"]),
    path_prefix=st.none() | st.sampled_from(["", "/", "a", '"', "\\", "é"]),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    records=st.lists(records, max_size=4),
    where=wheres,
    fields=st.sampled_from(
        [["line"], ["path"], ["status"], ["pool", "origin", "config"], ["hour", "duration_us"], KEYS]
    ),
)
def test_bytes_and_json_say_the_same(records: list[dict[str, Any]], where: Where, fields: list[str]) -> None:
    """Whatever a client sends, the bytes of the log are read to the same effect as its JSON, with every filter."""
    block = b"".join(line(**record) for record in records)
    reader = Lines(fields, where)
    by_json = reader._read_json(block.splitlines(keepends=True))
    assert [row[: len(fields)] for row in reader.read(block).rows] == [row[: len(fields)] for row in by_json.rows]
    meant = [each for each in map(json.loads, block.splitlines()) if where.takes(each)]
    assert len(by_json.rows) == len(meant)


@pytest.mark.parametrize(
    "other",
    [
        json.dumps(RECORD).encode() + b"\n",
        json.dumps(dict(reversed(RECORD.items())), separators=(",", ":")).encode() + b"\n",
        json.dumps({**RECORD, "path": "/\xe9"}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n",
        line()[:-2] + b',"new":1}\n',
    ],
    ids=["spaces", "another order", "UTF-8", "a new key"],
)
def test_lines_of_another_shape(other: bytes) -> None:
    """A record that is written otherwise is a record as well."""
    assert values(read(other + line()), KEYS) == [{**RECORD, "path": json.loads(other)["path"]}, RECORD]
    assert len(read(other + line(), ["line"], pool="pool-a").rows) == 2
    assert read(other + line(), ["line"], pool="pool-b").rows == []


@pytest.mark.parametrize("where", [{}, {"pool": "pool-a"}, {"pool": "pool-b"}, {"since": "2026"}], ids=str)
@pytest.mark.parametrize(
    ("block", "broken"),
    [
        (b"garbage\n", 1),
        (b"[1]\n2\nnull\n", 3),
        (b"{}\n", 1),
        (b"\n \n\r\n", 0),
        (line()[:100] + b"\n", 1),
        (line()[:100] + b"\n" + line()[100:], 2),
        (line()[:100] + line(), 1),
        (line()[:-20] + line(pool="pool-b"), 1),
        (b"\xff\xfe\n", 1),
        (b"\x00" * 500 + b"\n", 1),
        (b"[" * 100_000 + b"\n", 1),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else None,
)
def test_broken_lines_are_counted(block: bytes, broken: int, where: dict[str, str]) -> None:
    """What is no record is left out and counted, blank lines are not counted, and records around it are found."""
    found = read(line() + block + line(), ["pool"], **where)
    assert found.broken == broken
    assert len(found.rows) == (0 if where == {"pool": "pool-b"} else 2)


def test_the_last_line_may_be_torn() -> None:
    """A last line without its end counts if it is whole, and is not worth a word if it is not."""
    assert len(read(line() + line()[:-1]).rows) == 2
    for length in (1, 50, len(line()) - 2):
        found = read(line() + line()[:length])
        assert (len(found.rows), found.broken) == (1, 0)


def test_markers_tell_how_many_lines_were_lost() -> None:
    """A marker is no record, nor broken: it says how many lines were lost at its place, if that is meant."""
    assert read(line() + MARKER + line(), ["instance"]).lost == [(1, 12)]
    assert len(read(line() + MARKER + line(), ["instance"]).rows) == 2
    assert read(MARKER, pool="pool-b") == ([], [(0, 12)], 0)
    assert read(MARKER, since="2026-11-20T19:43:08.001Z").lost == []


@pytest.mark.parametrize(
    ("field", "token"), [("day", b"2026-11-20"), ("hour", b"2026-11-20T19"), ("minute", b"2026-11-20T19:43")]
)
def test_periods(field: str, token: bytes) -> None:
    """A day, an hour, a minute are the beginning of the time."""
    assert read(line(), [field]).rows == [(token, b"")]
    assert read(line() + b"\n", [field], since="2026-11-20").rows == [(token, b"")]
    assert read(line(), [field, "status"], since="2026-11-20").rows == [(token, b"302", b"")]


def test_a_line_is_given_as_it_is() -> None:
    """The line itself is there to the byte, with its end."""
    odd = json.dumps(RECORD).encode()
    assert [row[0] for row in read(line() + odd, ["line"]).rows] == [line(), odd + b"\n"]
