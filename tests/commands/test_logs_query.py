"""`redirect logs query`: one statement, which only reads, of the log only."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.log_lines import MARKER, RECORD, line, run, zstd


def answers(sql: str, *paths: str) -> list[dict[str, object]]:
    result = run("query", "--json", sql, *(paths or ["access.jsonl"]))
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(row) for row in result.stdout.splitlines()]


def test_the_view_has_a_column_for_each_key(log: Path) -> None:
    (row,) = answers("FROM access")
    assert row == {**RECORD, "time": "2026-11-20T19:43:07.002000", "truncated": None}
    types = {each["column_name"]: each["column_type"] for each in answers("DESCRIBE access")}
    assert types.pop("time") == "TIMESTAMP"
    assert types.pop("truncated") == "BOOLEAN"
    whole = "status duration_us worker origin_status origin_us tries bytes_in bytes_out".split()
    assert {types.pop(key) for key in whole} == {"INTEGER", "BIGINT"}
    assert types.pop("due") == "DOUBLE"
    assert {*types.values()} == {"VARCHAR"}


def test_an_answer_is_a_table_with_escapes_for_what_does_not_print(log: Path) -> None:
    log.write_bytes(line(path="/\x1b[2J") * 2 + line(path=None))
    result = run("query", "SELECT path, count(*) AS n FROM access GROUP BY path ORDER BY n DESC", "access.jsonl")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "path      n\n/\\x1b[2J  2\n-         1\n"
    assert run("query", "SELECT path FROM access WHERE false", "access.jsonl").stdout == "path\n"


def test_an_answer_can_be_csv(log: Path) -> None:
    log.write_bytes(line(user_agent='a "b", c'))
    sql = "SELECT time, user_agent, referer FROM access"
    assert run("query", "--csv", sql, "access.jsonl").stdout == (
        'time,user_agent,referer\n2026-11-20T19:43:07.002000,"a ""b"", c",\n'
    )


def test_rows_come_in_their_order_however_many_there_are(log: Path) -> None:
    rows = answers("SELECT range AS n FROM range(2500) ORDER BY n DESC")
    assert [row["n"] for row in rows] == [*reversed(range(2500))]
    assert len(run("query", "FROM range(2500)", "access.jsonl").stdout.splitlines()) == 2501


def test_a_line_that_is_no_record_is_no_row(log: Path) -> None:
    broken = [
        b"garbage\n",
        b"[1]\n5\nnull\n",
        b"\n",
        b"\xff\xfe\n",
        line()[:100] + line(),
        line()[:50] + b"\n",
        b"{}\n",
    ]
    log.write_bytes(line() + MARKER + b"".join(broken) + line(pool="pool-b") + line()[:200])
    assert [row["pool"] for row in answers("SELECT pool FROM access")] == ["pool-a", "pool-b"]


def test_files_may_be_several_rotated_compressed_empty_oddly_named_or_standard_input(log: Path) -> None:
    Path("access.jsonl.1").write_bytes(line(host="1"))
    Path("x.jsonl.gz").write_bytes(gzip.compress(line(host="gz")) + gzip.compress(line(host="gz")))
    Path("x.jsonl.zst").write_bytes(zstd.compress(line(host="zst")))
    Path("it's [a] *.jsonl").write_bytes(line(host="odd"))
    Path("it's [a] x.jsonl").write_bytes(line(host="not asked"))
    Path("empty.jsonl").touch()
    Path("empty.jsonl.gz").touch()
    paths = ["access.jsonl.1", "x.jsonl.gz", "x.jsonl.zst", "it's [a] *.jsonl", "empty.jsonl", "empty.jsonl.gz", "-"]
    result = run("query", "--csv", "SELECT host FROM access ORDER BY host", *paths, content=line(host="in") + b"x")
    assert result.stdout.split() == ["host", "1", "gz", "gz", "in", "odd", "zst"]


SECRET = "do not tell"

REFUSED = {
    "another file": "SELECT * FROM read_text('{other}')",
    "another file by its name": "SELECT * FROM '{other}'",
    "a neighbour": "SELECT * FROM read_json('{folder}/*.jsonl')",
    "a way round": "SELECT * FROM read_text('{log}/../other.jsonl')",
    "a list of files": "SELECT * FROM glob('{folder}/*')",
    "a system file": "SELECT * FROM read_csv('/etc/passwd')",
    "the network": "SELECT * FROM read_parquet('https://example.com/x')",
    "the environment": "SELECT getenv('HOME')",
    "a variable of Python": "SELECT * FROM statement",
    "COPY": "COPY access TO '{other}'",
    "COPY in a WITH": "WITH x AS (COPY (SELECT 1) TO '{log}' (USE_TMP_FILE false)) SELECT 1",
    "COPY in a WITH, planned": "EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1) TO '{log}' (USE_TMP_FILE false)) SELECT 1",
    "COPY in a query": "FROM query('WITH x AS (COPY (SELECT 1) TO ''{log}'' (USE_TMP_FILE false)) SELECT 1')",
    "ATTACH": "ATTACH '{folder}/x.db'",
    "INSTALL": "INSTALL httpfs",
    "LOAD": "LOAD httpfs",
    "SET": "SET enable_external_access = true",
    "PRAGMA": "PRAGMA version",
    "CALL": "CALL enable_logging()",
    "a setting through a function": "FROM enable_logging('QueryLog', storage='file', storage_path='{folder}/x')",
    "EXPORT": "EXPORT DATABASE '{folder}/x'",
    "CREATE": "CREATE TABLE x AS SELECT 1",
    "DROP": "DROP VIEW access",
    "INSERT in a WITH": "WITH x AS (DELETE FROM access RETURNING *) SELECT * FROM x",
    "PREPARE": "PREPARE x AS SELECT 1",
    "two statements": "SELECT 1; SELECT 2",
    "a statement behind": "SELECT 1; DROP VIEW access",
    "none": " -- nothing",
    "no SQL": "SELEC 1",
    "out of the parentheses": "SELECT 1) TO (SELECT 2",
    "no column": "SELECT nope FROM access",
    "no number": "SELECT CAST(path AS INTEGER) FROM access",
}


@pytest.mark.slow
@pytest.mark.parametrize("sql", REFUSED.values(), ids=REFUSED)
def test_a_statement_that_does_not_only_read_the_log_is_refused(log: Path, sql: str) -> None:
    """With a reason and exit code 2; and nothing happens."""
    other = log.with_name("other.jsonl")
    other.write_text(SECRET)
    result = run("query", sql.format(log=log, folder=log.parent, other=other), "access.jsonl")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr
    assert "Traceback" not in result.stderr
    assert SECRET not in result.stderr
    assert log.read_bytes() == line()
    assert sorted(path.name for path in log.parent.iterdir()) == ["access.jsonl", "other.jsonl"]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT 1; SELECT 2", "one statement at a time, and this is 2\n"),
        ("", "one statement at a time, and this is none\n"),
        ("SELECT '\udcff'", "Invalid value for 'SELECT': it is not UTF-8\n"),
        ("SET threads = 1", "only SELECT is allowed (or FROM, WITH, VALUES, DESCRIBE, SUMMARIZE), not SET\n"),
        ("WITH x AS (COPY (SELECT 1) TO 'x') SELECT 1", "only what reads is allowed, and a part of this writes\n"),
    ],
)
def test_our_own_refusals_have_our_own_words(log: Path, sql: str, message: str) -> None:
    assert run("query", sql, "access.jsonl").stderr.endswith(message)


def test_an_error_shows_what_a_client_wrote_with_escapes(log: Path) -> None:
    """It would rule the terminal."""
    log.write_bytes(line(user_agent="\x1b]0;owned\x07"))
    result = run("query", "SELECT user_agent::INTEGER FROM access", "access.jsonl")
    assert (result.exit_code, "\\x1b]0;owned\\x07" in result.stderr, "\x1b" in result.stderr) == (2, True, False)


def test_lines_of_the_error_log_of_a_route_are_no_records(log: Path) -> None:
    """Both may go to one place."""
    failure = b'{"time":"2026-11-20T19:43:07.002Z","request_id":"a","route":"/f","what":"status","status":500}\n'
    log.write_bytes(line() + failure + line())
    assert run("query", "--csv", "SELECT count(*) AS n FROM access", "access.jsonl").stdout.split() == ["n", "2"]
    assert run("access.jsonl").stdout.count("\n") == 2


def test_a_compressed_file_is_read_as_far_as_it_goes(log: Path) -> None:
    """DuckDB takes one as it is, but fails at a hole and where it is torn; then it gets a copy."""
    whole = gzip.compress(b"".join(line(host=str(each)) for each in range(1000)))
    Path("torn.jsonl.gz").write_bytes(whole[:-20])
    Path("hole.jsonl.gz").write_bytes(gzip.compress(b"\0" * 1_000_000 + line()))
    known = int(run("query", "--csv", "SELECT count(*) AS n FROM access", "torn.jsonl.gz").stdout.split()[1])
    shown = run("--json", "torn.jsonl.gz")
    assert 900 < known == shown.stdout.count("\n")
    assert shown.stderr == "warning: torn.jsonl.gz is torn: what is behind its last whole block is missing\n"
    assert run("query", "--csv", "SELECT count(*) AS n FROM access", "hole.jsonl.gz").stdout == "n\n1\n"
    Path("damaged.jsonl.gz").write_bytes(whole[:20] + b"\0" + whole[21:])
    result = run("query", "SELECT 1 FROM access", "damaged.jsonl.gz")
    assert (result.exit_code, result.stderr.partition(":")[0]) == (2, "damaged.jsonl.gz cannot be read")


def test_each_line_of_json_is_an_object_of_json(log: Path) -> None:
    """Whatever DuckDB's types are, and a number that is none is null."""
    (row,) = answers(
        "SELECT 'nan'::FLOAT AS a, 1.5 AS b, MAP([DATE '2026-01-02'], [TIME '03:04:05']) AS c, ['inf'::FLOAT, 1] AS d"
    )
    assert row == {"a": None, "b": 1.5, "c": {"2026-01-02": "03:04:05"}, "d": [None, 1]}
    result = run("query", "--json", "SELECT 1 AS a, 2 AS a", "access.jsonl")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "two columns are named a, and an object has one of a name: name one with AS\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "SELECT 1; -- ;",
        "SELECT 'é;' /* ; */ ; ;",
        'SELECT $$;$$ AS ";";',
        "select 1;",
        "SELECT 1 -- ;",
        "SELECT 1 AS a, 2 AS a",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "FROM access",
        "VALUES (1)",
        "SUMMARIZE access",
        "SHOW TABLES",
    ],
)
def test_every_statement_that_reads_is_allowed(log: Path, sql: str) -> None:
    result = run("query", sql, "access.jsonl")
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.processes
def test_the_temporary_folder_is_removed(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(log.parent))
    subprocess.run(
        [sys.executable, "-m", "redirect", "logs", "query", "FROM access ORDER BY path", "-"],
        input=line(),
        capture_output=True,
        check=True,
    )
    assert os.listdir(log.parent) == ["access.jsonl"]


@pytest.mark.parametrize("command", [["query", "SELECT 1"], ["report", "top"]])
def test_without_duckdb_it_says_how_to_get_it(log: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    result = run(*command, "access.jsonl")
    assert (result.exit_code, result.stderr) == (2, "DuckDB is not installed: pip install 'redirect[logs]'\n")


def test_a_time_with_a_zone_needs_no_other_package(log: Path) -> None:
    """DuckDB would make an object of pytz of it, also within a list."""
    (row,) = answers('SELECT time::TIMESTAMPTZ AS t, [time::TIMESTAMPTZ] AS l, 1 AS "a""b" FROM access')
    assert row['a"b'] == 1
    assert str(row["t"]).startswith("2026-11-20 19:43:07.002")
    assert "2026-11-20 19:43:07.002" in str(row["l"])
