"""`--at`: where ClickHouse is, and what it is asked. `make logs` asks its engine."""

import pytest
from support.log_lines import run
from support.service import ROOT

from redirect.commands.logs.clickhouse import ClickHouse, address, quoted
from redirect.telemetry.access_log import KEYS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clickhouse://db", ClickHouse("http://db:8123", "default", "", "default")),
        ("clickhouse://u:p%40%2F@db:1/logs", ClickHouse("http://db:1", "u", "p@/", "logs")),
        ("clickhouses://u@[::1]/logs", ClickHouse("https://[::1]:8443", "u", "", "logs")),
    ],
)
def test_an_address_names_host_port_user_and_database(text: str, expected: ClickHouse) -> None:
    assert address(text) == expected


def test_a_password_that_the_address_has_not_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of ClickHouse's own client; on a command line all users of a machine can read it."""
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "secret")
    assert address("clickhouse://u@db").password == "secret"
    assert address("clickhouse://u:@db").password == ""
    assert "secret" not in repr(address("clickhouse://u@db"))


@pytest.mark.parametrize(
    "text", ["db", "http://db", "clickhouse://", "clickhouse://db:x", "clickhouse://db/a/b", "clickhouse://db/\udcff"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    said = run("query", "SELECT 1", "--at", text)
    assert said.exit_code == 2
    assert "is no address such as clickhouse://" in said.stderr


@pytest.mark.parametrize("command", [["query", "SELECT 1"], ["report", "top"]])
def test_files_and_an_address_exclude_each_other(command: list[str]) -> None:
    said = run(*command, "access.jsonl", "--at", "clickhouse://127.0.0.1")
    assert (said.exit_code, said.stderr) == (
        2,
        "--at is in place of files, and access.jsonl is one: leave one of them out\n",
    )


def test_a_server_that_is_not_there_is_told() -> None:
    said = run("report", "top", "--at", "clickhouse://127.0.0.1:1")
    assert said.exit_code == 1
    assert said.stderr.startswith("ClickHouse at http://127.0.0.1:1 cannot be asked: ")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b'{"a":1}\n{"a":2}\n',
        b"1\n2\n",
        b'["a"]\n["String"]\n["x","y"]\n',
        b'["a"]\n["Float64"]\n["x"]\n',
        b"\xff\n\xff\n",
    ],
)
def test_what_is_no_answer_of_clickhouse_is_told(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(ClickHouse, "_get", lambda *_: content)
    said = run("query", "SELECT 1; SELECT 2", "--at", "clickhouse://127.0.0.1")
    assert (said.exit_code, said.output) == (
        2,
        "what answers at http://127.0.0.1:8123 is not ClickHouse; name another address\n",
    )


def test_quotes_and_backslashes_are_escaped() -> None:
    assert quoted("a'b\\c") == "'a\\'b\\\\c'"


def test_the_table_has_a_column_for_each_key() -> None:
    table = (ROOT / "misc/logs/clickhouse.sql").read_text().partition("(\n")[2].partition("\n)")[0]
    columns = [row.split()[0] for row in table.splitlines()]
    assert columns == [*(key.name for key in KEYS), "truncated", "lost", "logged"]
