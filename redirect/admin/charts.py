"""The charts: requests and durations over time, as paths of an SVG.

A chart is as wide as there are cells, which are seconds or longer, and HEIGHT high, whatever it shows. A cell is a
step, not a point, so that one with requests between two without any is seen; a cell without requests has no duration.
A cell that was not seen is marked, as it is not known to be one without requests.
"""

from collections.abc import Sequence
from math import ceil, log10
from typing import NamedTuple

from redirect.telemetry.history import Cell
from redirect.telemetry.snapshot import Buckets, added, quantile

HEIGHT = 100
SPARK_HEIGHT = 12

# Where the axis of the rates may end; half of it is a whole number too.
_ENDS = [digit * 10**power for power in range(9) for digit in (1, 2, 4, 6, 8)][1:]

# The axis of durations has at least so many decades, so that it seldom changes.
_MIN_DECADES = 3

Ticks = list[tuple[int, float]]  # values on an axis, and how far each is below the top


class Rates(NamedTuple):
    """Requests per second: in the last cell, on average, and at most, None if nothing was seen; bars, and what was not
    seen, as paths."""

    now: float | None
    mean: float | None
    most: float | None
    ticks: Ticks
    path: str
    unseen: str


class Quantile(NamedTuple):
    """A quantile of the durations in microseconds: in the last cell and in all of them; steps as a path."""

    now: float | None
    overall: float | None
    path: str


def rates(cells: Sequence[Cell]) -> Rates:
    """All requests of the cells, per second."""
    counts = [sum(cell.answers) + sum(cell.forwards) for cell in cells]
    values = [count / cell.seconds if cell.seconds else None for count, cell in zip(counts, cells, strict=True)]
    most = max((value for value in values if value is not None), default=None)
    end = next((end for end in _ENDS if end >= (most or 0)), ceil(most or 0))
    bars = [f"M{x} {HEIGHT}v{-HEIGHT * value / end:.2f}h.8V{HEIGHT}" for x, value in enumerate(values) if value]
    ticks = [(value, HEIGHT - HEIGHT * value / end) for value in (0, end // 2, end)]
    seconds = sum(cell.seconds for cell in cells)
    mean = sum(counts) / seconds if seconds else None
    return Rates(values[-1], mean, most, ticks, "".join(bars), unseen(values, HEIGHT))


def durations(cells: Sequence[Buckets], *parts: float, least_us: int = 1) -> tuple[list[Quantile], Ticks]:
    """One for each of `parts`, on a common logarithmic axis that begins at `least_us`, a power of ten."""
    lines = [[quantile(buckets, part) for buckets in cells] for part in parts]
    longest = max((value for line in lines for value in line if value is not None), default=least_us)
    decades = max(_MIN_DECADES, ceil(log10(longest / least_us)))
    overall = added(cells)
    both = zip(parts, lines, strict=True)
    drawn = [Quantile(line[-1], quantile(overall, part), _steps(line, least_us, decades)) for part, line in both]
    return drawn, [(least_us * 10**decade, HEIGHT - HEIGHT * decade / decades) for decade in range(decades + 1)]


def spark(values: Sequence[float | None], most: float) -> str:
    """An area SPARK_HEIGHT high, as wide as there are values, with a gap where there is none; empty where there is
    nothing but 0."""
    if not any(values):
        return ""
    tops = [None if value is None else SPARK_HEIGHT - ceil(SPARK_HEIGHT * value / most) for value in values]
    steps = "".join(f"V{SPARK_HEIGHT}m1 0" if top is None else f"V{top}h1" for top in tops)
    return f"M0 {SPARK_HEIGHT}{steps}V{SPARK_HEIGHT}z"


def unseen(values: Sequence[float | None], height: int = SPARK_HEIGHT) -> str:
    """A block over each cell that has no value."""
    return "".join(f"M{x} 0h1v{height}h-1z" for x, value in enumerate(values) if value is None)


def _steps(values: Sequence[float | None], least_us: int, decades: int) -> str:
    """A line that is level for each cell, with a gap where there is no value."""
    path, drawing = [], False
    for index, value in enumerate(values):
        if value is not None:
            y = HEIGHT - HEIGHT * log10(max(1.0, value / least_us)) / decades
            path.append(f"V{y:.1f}" if drawing else f"M{index} {y:.1f}")
            path.append(f"H{index + 1}")
        drawing = value is not None
    return "".join(path)
