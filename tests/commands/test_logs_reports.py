"""`redirect logs report`: what the records add up to."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.log_lines import MARKER, line, run

from redirect.commands.logs.reports import BY

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


def test_top(report: Path) -> None:
    """The most frequent paths, with their share of all; what was left out and lost is said."""
    result = run("report", "top", "--limit", "2", "access.jsonl")
    assert result.exit_code == 0
    assert result.stdout == (
        "path    count   share\n/a          2  50.00%\n/b\\x1b      1  25.00%\n2 of 3 values, of 4 records\n"
    )
    assert result.stderr == (
        "1 line is no access record and was left out\n12 lines were lost by the service, and cannot be counted\n"
    )


def test_top_json(report: Path) -> None:
    """For machines: an object with the rows, how many records there are, and how many lines are missing."""
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


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("kind", ["top", "latency", "statuses"])
def test_by(report: Path, kind: str, by: str) -> None:
    """Every report can be grouped by every value, but statuses by themselves; no record is counted twice."""
    if (kind, by) == ("statuses", "status"):
        assert run("report", kind, "--by", by, "access.jsonl").exit_code == 2
        return
    rows = said(kind, "--by", by)["rows"]
    assert sum(row["count"] for row in rows) == 4
    assert all(by in row for row in rows)


def test_by_something_else(report: Path) -> None:
    """What cannot be grouped by is refused, with what can; exit code 2."""
    result = run("report", "top", "--by", "color", "access.jsonl")
    assert result.exit_code == 2
    assert "'color' is not one of 'pool', 'origin', 'path'" in result.stderr


def test_filters(report: Path) -> None:
    """The filters of `redirect logs` choose what is counted."""
    assert said("top", "--by", "hour", "--since", "2026-11-20T20:00:00Z")["rows"] == [
        {"hour": "2026-11-20T20", "count": 1, "share": 1.0}
    ]
    assert said("statuses", "--status", "4xx", "--path-prefix", "/")["rows"] == [
        {"status": 422, "count": 1, "share": 1.0}
    ]
    assert said("top", "--pool", "pool-a", "--origin", "origin-1")["records"] == 2


def test_latency(report: Path) -> None:
    """Average, percentiles and the longest, in microseconds."""
    assert run("report", "latency", "access.jsonl").stdout == (
        "count  average_us  p50_us  p90_us  p95_us  p99_us  max_us\n"
        "    4       265.0      20   1,000   1,000   1,000   1,000\n"
    )


def test_percentiles(report: Path) -> None:
    """A percentile is the smallest duration that so many of a hundred do not exceed."""
    report.write_bytes(b"".join(line(duration_us=duration) for duration in range(1, 101)))
    (row,) = said("latency")["rows"]
    assert [row[key] for key in ("p50_us", "p90_us", "p95_us", "p99_us", "max_us")] == [50, 90, 95, 99, 100]


def test_statuses(report: Path) -> None:
    """How often each status was answered, with its share of the group; periods are in their order."""
    assert run("report", "statuses", "--by", "hour", "access.jsonl").stdout == (
        "hour           status  count    share\n"
        "2026-11-20T19     302      1   33.33%\n"
        "2026-11-20T19     400      1   33.33%\n"
        "2026-11-20T19     422      1   33.33%\n"
        "2026-11-20T20     302      1  100.00%\n"
    )


@pytest.mark.parametrize("kind", ["top", "latency", "statuses"])
def test_nothing_to_report(report: Path, kind: str) -> None:
    """Of an empty log the table is empty; exit code 0."""
    report.write_bytes(b"")
    assert said(kind)["rows"] == []
    assert run("report", kind, "access.jsonl").exit_code == 0


def test_several_files(report: Path) -> None:
    """Several files are counted together."""
    assert json.loads(run("report", "top", "access.jsonl", "access.jsonl", "--json").stdout)["records"] == 8
