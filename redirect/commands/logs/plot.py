"""A report as a picture, by matplotlib.

The rule: what is compared stands side by side, with its unit; time runs from left to right; what a client wrote is
shown as on a terminal, and never read as a formula.
"""

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redirect.commands.logs.lines import PERIODS
from redirect.commands.logs.reports import Report
from redirect.commands.logs.shares import NOT_AS_CONFIGURED
from redirect.commands.logs.text import shown

# Groups without an order of their own that are drawn, the first of the report, and marks of an axis.
MOST = 30

# Characters of a name.
_LONGEST = 48

Row = dict[str, Any]


def draw(report: Report, path: str) -> None:
    """Draws the report into the file at `path`. Raises OSError and ValueError."""
    rows = [dict(zip(report.headings, row, strict=True)) for row in report.rows]
    figure = Figure(figsize=(11, 5.5), layout="constrained", dpi=110)
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    drawing = {"shares": _shares, "top": _top, "statuses": _statuses, "latency": _latency}[report.name]
    drawing(axes, report, rows)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path)


def _shares(axes: Axes, report: Report, rows: list[Row]) -> None:
    """Two bars for each origin."""
    names = [_name(*_before(row, "weight", report)) for row in rows][:MOST]
    verdicts = report.more["verdicts"]
    wrong = sum(each["verdict"] == NOT_AS_CONFIGURED for each in verdicts)
    places = range(len(names))
    for side, key, color in ((-0.2, "configured", "tab:gray"), (0.2, "observed", "tab:blue")):
        heights = [100 * (row[key] or 0) for row in rows[:MOST]]
        bars = axes.bar([place + side for place in places], heights, 0.38, label=key, color=color)
        axes.bar_label(bars, fmt="%.1f", fontsize=8)
    _mark(axes, names)
    axes.set_ylabel("share of the pool's picks, %")
    axes.set_title(f"Configured and observed shares: {wrong} of {len(verdicts)} NOT as configured")


def _top(axes: Axes, report: Report, rows: list[Row]) -> None:
    """A bar for each value."""
    by = report.headings[0]
    _bars(axes, by, [(row[by], row["count"]) for row in rows])
    axes.set_title(f"Most frequent by {by}, of {report.more['values']:,} that differ")


def _statuses(axes: Axes, report: Report, rows: list[Row]) -> None:
    """A bar for each group, of as many parts as there are statuses; a bar for each status if there are no groups."""
    by = report.headings[0]
    axes.set_title("Statuses" if by == "status" else f"Statuses by {by}")
    if by == "status":
        _bars(axes, by, [(row["status"], row["count"]) for row in rows])
        return
    groups = _groups(by, rows)
    bottoms = dict.fromkeys(groups, 0)
    for status in sorted({row["status"] for row in rows}):
        counts = {row[by]: row["count"] for row in rows if row["status"] == status}
        heights = [counts.get(group, 0) for group in groups]
        axes.bar(range(len(groups)), heights, 0.8, list(bottoms.values()), label=str(status))
        bottoms = {group: bottoms[group] + counts.get(group, 0) for group in groups}
    _mark(axes, [_name(group) for group in groups])
    axes.set_ylabel("records")
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _latency(axes: Axes, report: Report, rows: list[Row]) -> None:
    """A line for each percentile over time; where groups have no order, bars."""
    by = report.headings[0] if report.headings[0] != "count" else None
    percentiles = [heading for heading in report.headings if heading.startswith("p") and heading.endswith("_us")]
    groups = _groups(by, rows)
    rows = rows[: len(groups)]
    for index, key in enumerate(percentiles):
        values = [row[key] for row in rows]
        label = key.removesuffix("_us")
        if by in PERIODS:
            axes.plot(range(len(values)), values, marker=".", label=label)
        else:
            width = 0.8 / len(percentiles)
            places = [place - 0.4 + (index + 0.5) * width for place in range(len(values))]
            axes.bar_label(axes.bar(places, values, width, label=label), fontsize=8)
    _mark(axes, [_name(group) for group in groups])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("duration, microseconds")
    axes.set_title("Latency" + (f" by {by}" if by else ""))


def _bars(axes: Axes, by: str, counted: list[tuple[Any, int]]) -> None:
    """A bar to the right for each value, the first on top; from left to right if they are in time."""
    if by in PERIODS:
        counted = sorted(counted)
        axes.bar(range(len(counted)), [count for _, count in counted])
        _mark(axes, [_name(value) for value, _ in counted])
        axes.set_ylabel("records")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        return
    counted = counted[:MOST]
    bars = axes.barh([_name(value) for value, _ in counted], [count for _, count in counted])
    axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("records")
    axes.xaxis.set_major_formatter("{x:,.0f}")


def _groups(by: str | None, rows: list[Row]) -> list[Any]:
    if by is None:
        return ["all"] * len(rows)
    groups = [*dict.fromkeys(row[by] for row in rows)]
    return groups if by in PERIODS else groups[:MOST]


def _before(row: Row, key: str, report: Report) -> Iterable[Any]:
    return [row[heading] for heading in report.headings[: report.headings.index(key)]]


def _mark(axes: Axes, names: list[str]) -> None:
    """Names the places of the horizontal axis, as many as can be read."""
    step = max(1, -(-len(names) // MOST))
    axes.set_xticks(range(0, len(names), step), names[::step])
    if sum(map(len, names[::step])) > 110:
        axes.tick_params(axis="x", rotation=45)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")


def _name(*values: Any) -> str:
    text = " ".join(map(shown, values))
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return text.replace("$", r"\$")
