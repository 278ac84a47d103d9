"""`redirect logs report --plot`: a report as a picture."""

import sys
from pathlib import Path

import pytest
from matplotlib.image import imread
from support.log_lines import line, run

REPORTS = {
    "shares": ["shares"],
    "shares by hour": ["shares", "--by", "hour"],
    "top": ["top"],
    "top by hour": ["top", "--by", "hour"],
    "latency": ["latency"],
    "latency by minute": ["latency", "--by", "minute"],
    "latency by pool": ["latency", "--by", "pool"],
    "statuses": ["statuses"],
    "statuses by hour": ["statuses", "--by", "hour"],
}


@pytest.mark.parametrize("records", [0, 1, 100])
@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_every_report_can_be_drawn(config: str, report: list[str], records: int) -> None:
    """Beside the table there is a picture, of whatever a client sent, and however little there is."""
    lines = [
        line(time=f"2026-11-20T{each // 60 + 10}:{each % 60:02}:00.000Z", path=f"/$x^{each}$_" * each, config=config)
        for each in range(records)
    ]
    Path("access.jsonl").write_bytes(b"".join(lines))
    result = run("report", *report, "--plot", "x.png", "access.jsonl")
    assert result.exit_code in (0, 1)
    assert result.stdout
    assert imread("x.png").shape[:2] == (605, 1210)


def test_a_picture_that_cannot_be_written(log: Path) -> None:
    """A place or a format that is none is named; exit code 2."""
    for name in ("missing/x.png", "x.docx"):
        result = run("report", "top", "--plot", name, "access.jsonl")
        assert result.exit_code == 2
        assert result.stderr.startswith(f"--plot {name}: ")


def test_without_matplotlib(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where matplotlib is missing it says how to get it, before the log is read."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "redirect.commands.logs.plot", raising=False)
    result = run("report", "top", "--plot", "x.png", "missing.jsonl")
    assert (result.exit_code, result.stderr) == (2, "matplotlib is not installed: pip install 'redirect[plot]'\n")
