"""What a line of the log is: a record, a marker or broken. `json.loads` and DuckDB agree on it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import generated
from support.log_lines import MARKER, RECORD, line, run

from redirect.commands.logs.counts import Counting
from redirect.commands.logs.database import counted
from redirect.commands.logs.filters import Filters
from redirect.commands.logs.records import Lost, Reader, Record

NUMBER = b'"status":302'

# What is between two records, and how many records, lost lines and broken lines that is.
LINES = {
    "no JSON": (b"garbage\n", 0, 0, 1),
    "no object": (b"[1]\n2\nnull\n", 0, 0, 3),
    "an empty object": (b"{}\n", 0, 0, 1),
    "blank lines": (b"\n \n\r\n", 0, 0, 0),
    "half a record": (line()[:100] + b"\n", 0, 0, 1),
    "two halves": (line()[:100] + b"\n" + line()[100:], 0, 0, 2),
    "half a record before a whole one": (line()[:100] + line(), 0, 0, 1),
    "most of a record before a whole one": (line()[:-20] + line(pool="pool-b"), 0, 0, 1),
    "two records on one line": (line()[:-1] + line(), 0, 0, 1),
    "bytes that are no UTF-8": (b"\xff\xfe\n", 0, 0, 1),
    "bytes that are no UTF-8 in a value": (line(path="x").replace(b'"x"', b'"\xff"'), 0, 0, 1),
    "control characters in a value": (line(path="x").replace(b'"x"', b'"\x1b"'), 0, 0, 1),
    "a hole of NULs": (b"\x00" * 500 + b"\n", 0, 0, 1),
    "a hole of NULs before a record": (b"\x00" * 500 + line(), 0, 0, 1),
    "deeply nested": (b"[" * 100_000 + b"\n", 0, 0, 1),
    "a line of 3 MB": (line(host="long").replace(b"long", b"x" * 3_000_000), 1, 0, 0),
    "half a surrogate pair": (line(path="/\ud800"), 0, 0, 1),
    "a byte order mark": (b"\xef\xbb\xbf" + line(), 0, 0, 1),
    "another order of keys": (json.dumps(dict(reversed(RECORD.items()))).encode() + b"\n", 1, 0, 0),
    "spaces": (json.dumps(RECORD).encode() + b"\n", 1, 0, 0),
    "UTF-8": (json.dumps({**RECORD, "path": "/\xe9"}, ensure_ascii=False).encode() + b"\n", 1, 0, 0),
    "a new key": (line()[:-2] + b',"new":1}\n', 1, 0, 0),
    "a key too few": (b'{"time":"2026-11-20T19:43:07.002Z","status":302}\n', 1, 0, 0),
    "an end of Windows": (line()[:-1] + b"\r\n", 1, 0, 0),
    "no status": (line(status=None), 0, 0, 1),
    "no time": (line(time=None), 0, 0, 1),
    "a marker": (MARKER, 0, 12, 0),
    "a marker of another shape": (b'{"lost":3, "time":"2026-11-20T19:43:08.000Z"}\n', 0, 3, 0),
}


def read(content: bytes, filters: Filters) -> tuple[int, int, int]:
    """Records, lost lines and broken lines that `redirect logs` finds."""
    reader = Reader(filters)
    found = list(reader.read(content))
    lost = sum(each.number for each in found if isinstance(each, Lost))
    return sum(isinstance(each, Record) for each in found), lost, reader.broken


def count(path: Path, content: bytes, filters: Filters) -> tuple[int, int, int]:
    """Records, lost lines and broken lines that reports find."""
    path.write_bytes(content)
    with counted([str(path)], Counting(None, [], [], filters)) as counts:
        return counts.records, counts.lost, counts.broken


@pytest.mark.slow
@pytest.mark.parametrize("filters", [Filters(), Filters(pool="pool-a"), Filters(since="2026-11-20")], ids=str)
@pytest.mark.parametrize(("content", "records", "lost", "broken"), LINES.values(), ids=LINES)
def test_a_line_is_the_same_for_both_readers(
    log: Path, content: bytes, records: int, lost: int, broken: int, filters: Filters
) -> None:
    """Records around it are found; broken lines and markers are counted whatever the filters select."""
    if filters.pool and b'"pool"' not in content:
        records = 0
    content = line() + content + line()
    assert read(content, filters) == (records + 2, lost, broken)
    assert count(log, content, filters) == (records + 2, lost, broken)


def test_filters_select_records_but_not_markers_or_broken_lines(log: Path) -> None:
    """But a marker before `since` is not counted."""
    content = line() + MARKER + b"broken\n"
    for filters, expected in (
        (Filters(pool="pool-b"), (0, 12, 1)),
        (Filters(since="2026-11-20T19:43:08.000Z"), (0, 12, 1)),
        (Filters(since="2026-11-20T19:43:08.001Z"), (0, 0, 1)),
    ):
        assert read(content, filters) == expected
        assert count(log, content, filters) == expected


@pytest.mark.parametrize("length", [1, 50, len(line()) - 2, len(line()) - 1])
def test_the_last_line_may_be_torn(log: Path, length: int) -> None:
    """A last line without its end is a record if it is whole, and ignored if it is not."""
    content = line() + line()[:length]
    expected = (1 + (length == len(line()) - 1), 0, 0)
    assert read(content, Filters()) == expected
    assert count(log, content, Filters()) == expected


# The log writer writes none of these.
DIFFERENCES = {
    "a key twice": (line().replace(NUMBER, b'"status":422,' + NUMBER), "302", "422"),
    "a comma too many": (line()[:-2] + b",}\n", None, "302"),
    "a time that is none": (line(time="noon"), "302", None),
}


@pytest.mark.parametrize(("content", "shown", "reported"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_the_readers_differ_where_the_log_never_is(
    log: Path, content: bytes, shown: str | None, reported: str | None
) -> None:
    """The status that each reader finds; None where the line is broken for it."""
    log.write_bytes(content)
    status = run("access.jsonl").stdout.split("\t")[1:2]
    rows = json.loads(run("report", "statuses", "--json", "access.jsonl").stdout)["rows"]
    assert status == ([shown] if shown else [])
    assert [str(row["status"]) for row in rows] == ([reported] if reported else [])


nasty = st.text(st.sampled_from('ab"\\,:{}\x00\x7f\xe9\n/') | st.characters(max_codepoint=0xFF), max_size=12) | (
    st.sampled_from(['"pool":"x"', ',"pool":"x",', '","path":"', '{"time":"', "\\", '\\"', '"}\n{"time":"'])
)
records = st.fixed_dictionaries(
    {
        **dict.fromkeys(
            ["pool_requested", "location", "method", "host", "path", "user_agent", "referer"], st.none() | nasty
        ),
        **dict.fromkeys(["query", "client_ip"], nasty),
        **dict.fromkeys(["pool", "origin"], st.sampled_from([None, "x", "pool-a", 'q"\\', "it's", "größe"])),
        "status": st.sampled_from([200, 302, 400, 422, 500]),
        "time": st.sampled_from(["2026-11-20T19:43:07.002Z", "2026-11-20T20:00:00.000Z"]),
    }
)
selections = st.builds(
    Filters,
    pool=st.none() | st.sampled_from(["x", "pool-a", 'q"\\', "it's", "größe", "\udcff"]),
    origin=st.none() | st.sampled_from(["x", 'q"\\']),
    statuses=st.none() | st.sampled_from([((422, 422),), ((300, 399), (500, 500))]),
    since=st.none() | st.sampled_from(["2026-11-20T19:43:07.002Z", "2026-11-20T19:43:07.003Z"]),
    path_prefix=st.none() | st.sampled_from(["", "/", "a", '"', "\\", "é"]),
)


@pytest.mark.slow
@generated(100)
@given(records=st.lists(records, min_size=1, max_size=8), filters=selections)
def test_whatever_a_client_sends_both_readers_select_the_same(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, object]], filters: Filters
) -> None:
    path = tmp_path_factory.getbasetemp() / "generated.jsonl"
    path.write_bytes(b"".join(line(**record) for record in records))
    fields = ["path", "host", "user_agent"]
    found = [each.values for each in Reader(filters).read(path.read_bytes()) if isinstance(each, Record)]
    with counted([str(path)], Counting(None, fields, [], filters)) as counts:
        rows = counts.rows("SELECT grp, path, host, user_agent, count FROM counts")
    by_duckdb = [row[:-1] for row in rows for _ in range(row[-1])]
    assert sorted(by_duckdb, key=str) == sorted((tuple(each[key] for key in fields) for each in found), key=str)
