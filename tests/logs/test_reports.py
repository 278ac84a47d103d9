"""The same questions have the same answers from files and from ClickHouse."""

import pytest
from support.log_lines import MARKER, line, run
from support.logged import write_log

from .engine import Engine

ODD = [
    line(pool=None, origin=None, status=404, path=None, duration_us=None),
    line(path="/o'b\\r%_", user_agent='"\\', host="b\u00fccher.example"),
    line(path="/caf\u00c3\u00a9", status=422, origin=None),
    line(path="/" + "x" * 5000),
    line(route="/api", action="forward", origin_status=200, origin_us=7),
    line(route="/api", action="forward", origin_status=502, status=502, detail="late", duration_us=5),
    line(route="/api", action="forward", served_from="cache", duration_us=6),
    MARKER,
]


@pytest.fixture(scope="module")
def log(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file, whose lines are in the engine, too; a tenth of them twice, as of a collector that was killed."""
    path = tmp_path_factory.mktemp("log") / "access.jsonl"
    write_log(path, 3000)
    with path.open("ab") as file:
        file.writelines(ODD)
    lines = path.read_bytes().splitlines(keepends=True)
    engine.load(lines)
    engine.load(lines[:300])
    return str(path)


@pytest.mark.parametrize(
    "question",
    [
        "report top",
        "report top --by hour --json",
        "report top --by pool --limit 2",
        "report top --by worker",
        "report top --by route",
        "report top --by served_from --json",
        "report latency --by action",
        "report statuses --by origin_status",
        "report statuses --by detail",
        "report latency",
        "report latency --by pool --json",
        "report latency --by minute --since 2026-11-20T10:00:00Z --until 2026-11-20T10:30:00Z",
        "report statuses",
        "report statuses --by day --json",
        "report statuses --by origin --status 302,404-422",
        "report shares --json",
        "report shares --by hour --pool pool-a --json",
        "report shares --origin origin-1",
        "report top --path-prefix /o'b\\",
        "report top --path-prefix /caf\u00e9",
        "report top --pool x'\\",
    ],
)
def test_a_report_is_the_same(engine: Engine, log: str, question: str) -> None:
    of_file, of_engine = run(*question.split(), log), run(*question.split(), "--at", engine.url)
    assert of_file.exit_code in (0, 1), of_file.output
    assert (of_engine.exit_code, of_engine.output) == (of_file.exit_code, of_file.output)


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) AS records, sum(duration_us) AS us FROM access -- all;",
        "SELECT pool, status, count(*) AS n, avg(duration_us) AS us FROM access GROUP BY ALL ORDER BY ALL;",
        "SELECT path, host, user_agent, truncated FROM access WHERE instance = 'web-1' ORDER BY ALL LIMIT 5",
        "SELECT request_id, config, due, weights, referer FROM access ORDER BY time, request_id LIMIT 7",
    ],
)
def test_an_answer_is_the_same(engine: Engine, log: str, sql: str, form: list[str]) -> None:
    of_file, of_engine = run("query", *form, sql, log), run("query", *form, sql, "--at", engine.url)
    assert of_file.exit_code == 0, of_file.output
    assert (of_engine.exit_code, of_engine.output) == (0, of_file.output)


@pytest.mark.parametrize("sql", ["TRUNCATE TABLE access_lines", "SELECT nothing FROM access", "SELECT"])
def test_what_the_engine_refuses_is_told(engine: Engine, sql: str) -> None:
    said = run("query", sql, "--at", engine.url)
    assert (said.exit_code, said.stdout) == (2, "")
    assert "ClickHouse at http://127.0.0.1" in said.stderr
    assert "DB::Exception" in said.stderr


def test_a_wrong_password_is_told(engine: Engine) -> None:
    said = run("report", "top", "--at", f"clickhouse://redirect:x@127.0.0.1:{engine.port}/redirect")
    assert said.exit_code == 2
    assert "answered 403: Code: 516" in said.stderr
