"""`redirect logs report`: what the records add up to."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.log_lines import MARKER, line, run

from redirect.commands.logs.counts import BY

PARTS = [
    line(path="/a", duration_us=10),
    line(path="/a", duration_us=30, time="2026-11-20T20:00:00.000Z"),
    line(path="/b\x1b", duration_us=20, status=422, pool="pool-b"),
    line(path=None, duration_us=1000, status=400, pool=None, origin=None),
]


@pytest.fixture
def report(log: Path) -> Path:
    log.write_bytes(b"".join(PARTS) + b"broken\n" + MARKER)
    return log


def said(*arguments: str) -> dict[str, Any]:
    result = run("report", *arguments, "--json", "access.jsonl")
    assert (result.exit_code, result.stderr) == (0, "")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_top_lists_the_most_frequent_paths(report: Path) -> None:
    """With their share of all; lines that are left out or lost are noted."""
    result = run("report", "top", "--limit", "2", "access.jsonl")
    assert result.exit_code == 0
    assert result.stdout == (
        "path    count   share\n/a          2  50.00%\n/b\\x1b      1  25.00%\n2 of 3 values, of 4 records\n"
    )
    assert result.stderr == (
        "1 line is no access record and was left out\n12 lines were lost by the service, and cannot be counted\n"
    )


def test_the_json_has_the_rows_and_the_numbers_of_records_and_of_missing_lines(report: Path) -> None:
    assert said("top") == {
        "report": "top",
        "records": 4,
        "lost": 12,
        "left_out": 1,
        "values": 3,
        "rows": [
            {"path": "/a", "count": 2, "share": 0.5},
            {"path": "/b\x1b", "count": 1, "share": 0.25},
            {"path": None, "count": 1, "share": 0.25},
        ],
    }


@pytest.mark.slow
@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("kind", ["top", "latency", "statuses"])
def test_every_report_can_be_grouped_by_every_value(report: Path, kind: str, by: str) -> None:
    """But statuses by themselves; no record is counted twice."""
    if (kind, by) == ("statuses", "status"):
        assert run("report", kind, "--by", by, "access.jsonl").exit_code == 2
        return
    rows = said(kind, "--by", by)["rows"]
    assert sum(row["count"] for row in rows) == 4
    assert all(by in row for row in rows)


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("route", [("/api", 2), (None, 1)]),
        ("action", [("forward", 2), ("redirect", 1)]),
        ("origin_status", [(None, 2), (200, 1)]),
        ("served_from", [(None, 2), ("cache", 1)]),
        ("detail", [(None, 2), ("late", 1)]),
    ],
)
def test_a_gateways_records_can_be_grouped_by_what_became_of_them(
    report: Path, by: str, rows: list[tuple[object, int]]
) -> None:
    report.write_bytes(
        line()
        + line(route="/api", action="forward", origin_status=200)
        + line(route="/api", action="forward", served_from="cache", detail="late")
    )
    assert [(row[by], row["count"]) for row in said("top", "--by", by)["rows"]] == rows


def test_another_value_to_group_by_is_refused_with_the_allowed_ones(report: Path) -> None:
    result = run("report", "top", "--by", "color", "access.jsonl")
    assert result.exit_code == 2
    assert "'color' is not one of 'pool', 'origin', 'path'" in result.stderr


def test_filters_select_the_records_that_are_counted(report: Path) -> None:
    assert said("top", "--by", "hour", "--since", "2026-11-20T20:00:00Z")["rows"] == [
        {"hour": "2026-11-20T20", "count": 1, "share": 1.0}
    ]
    assert said("statuses", "--status", "4xx", "--path-prefix", "/")["rows"] == [
        {"status": 422, "count": 1, "share": 1.0}
    ]
    assert said("top", "--pool", "pool-a", "--origin", "origin-1")["records"] == 2


def test_latency_shows_average_percentiles_and_the_longest(report: Path) -> None:
    assert run("report", "latency", "access.jsonl").stdout == (
        "count  average_us  p50_us  p90_us  p95_us  p99_us  max_us\n"
        "    4       265.0      20   1,000   1,000   1,000   1,000\n"
    )


def test_a_percentile_is_the_smallest_duration_that_so_many_of_a_hundred_do_not_exceed(report: Path) -> None:
    report.write_bytes(b"".join(line(duration_us=duration) for duration in range(1, 101)))
    (row,) = said("latency")["rows"]
    assert [row[key] for key in ("p50_us", "p90_us", "p95_us", "p99_us", "max_us")] == [50, 90, 95, 99, 100]


def test_statuses_have_their_share_of_the_group_and_periods_their_order(report: Path) -> None:
    assert run("report", "statuses", "--by", "hour", "access.jsonl").stdout == (
        "hour           status  count    share\n"
        "2026-11-20T19     302      1   33.33%\n"
        "2026-11-20T19     400      1   33.33%\n"
        "2026-11-20T19     422      1   33.33%\n"
        "2026-11-20T20     302      1  100.00%\n"
    )


@pytest.mark.parametrize("kind", ["top", "latency", "statuses"])
def test_a_report_on_an_empty_log_has_no_rows(report: Path, kind: str) -> None:
    report.write_bytes(b"")
    assert said(kind)["rows"] == []
    assert run("report", kind, "access.jsonl").exit_code == 0


def test_several_files_are_counted_together(report: Path) -> None:
    assert json.loads(run("report", "top", "access.jsonl", "access.jsonl", "--json").stdout)["records"] == 8


def test_equal_counts_are_in_the_order_of_their_values(report: Path) -> None:
    """Groups, too."""
    report.write_bytes(b"".join(line(host=host) for host in "cab"))
    assert [row["host"] for row in said("top", "--by", "host")["rows"]] == ["a", "b", "c"]
    assert [row["host"] for row in said("latency", "--by", "host")["rows"]] == ["a", "b", "c"]


@pytest.mark.slow
def test_counts_of_many_parts_are_added_up(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What DuckDB does not read itself is copied part by part."""
    monkeypatch.setattr("redirect.commands.logs.database._PART_BYTES", 1000)
    content = b"".join(line(duration_us=each) for each in range(1, 101)) + MARKER + b"broken\n" + line()[:9]
    monkeypatch.setattr("redirect.commands.logs.files.BLOCK_BYTES", 700)
    result = json.loads(run("report", "latency", "--json", "-", content=content).stdout)
    assert (result["records"], result["lost"], result["left_out"]) == (100, 12, 1)
    assert (result["rows"][0]["p90_us"], result["rows"][0]["max_us"]) == (90, 100)
