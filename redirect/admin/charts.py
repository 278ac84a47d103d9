"""The charts: requests and durations of the last seconds, as paths of an SVG.

A chart is as wide as there are seconds, and HEIGHT high, whatever it shows. A second is a step, not a point, so that
one with requests between two without any is seen; a second without requests has no duration.
"""

from collections.abc import Sequence
from math import ceil, log10
from typing import NamedTuple

from redirect.telemetry.snapshot import Second, added, quantile

HEIGHT = 100

# Where the axis of the rates may end; half of it is a whole number too.
_ENDS = [digit * 10**power for power in range(9) for digit in (1, 2, 4, 6, 8)][1:]

# The axis of durations has at least so many decades, so that it seldom changes.
_MIN_DECADES = 3

Ticks = list[tuple[int, float]]  # values on an axis, and how far each is below the top


class Rates(NamedTuple):
    """Requests per second: in the last second, on average, and at most; bars as a path."""

    now: int
    mean: float
    most: int
    ticks: Ticks
    path: str


class Durations(NamedTuple):
    """A quantile of the durations in microseconds: in the last second and in all of them; steps as a path."""

    now: float | None
    overall: float | None
    path: str


def rates(*histories: Sequence[Second]) -> Rates:
    """The requests of all `histories` together, which are of the same seconds."""
    counts = [sum(second.requests for second in same) for same in zip(*histories, strict=True)]
    most = max(counts)
    end = next((end for end in _ENDS if end >= most), most)
    bars = [f"M{x} {HEIGHT}v{-HEIGHT * count / end:.2f}h.8V{HEIGHT}" for x, count in enumerate(counts) if count]
    ticks = [(value, HEIGHT - HEIGHT * value / end) for value in (0, end // 2, end)]
    return Rates(counts[-1], sum(counts) / len(counts), most, ticks, "".join(bars))


def durations(seconds: Sequence[Second], *parts: float, least_us: int = 1) -> tuple[list[Durations], Ticks]:
    """One for each of `parts`, on a common logarithmic axis that begins at `least_us`, a power of ten."""
    lines = [[quantile(second.buckets, part) for second in seconds] for part in parts]
    longest = max((value for line in lines for value in line if value is not None), default=least_us)
    decades = max(_MIN_DECADES, ceil(log10(longest / least_us)))
    overall = added(second.buckets for second in seconds)
    drawn = [
        Durations(line[-1], quantile(overall, part), _steps(line, least_us, decades))
        for part, line in zip(parts, lines, strict=True)
    ]
    return drawn, [(least_us * 10**decade, HEIGHT - HEIGHT * decade / decades) for decade in range(decades + 1)]


def _steps(values: Sequence[float | None], least_us: int, decades: int) -> str:
    """A line that is level for each second, with a gap where there is no value."""
    path, drawing = [], False
    for index, value in enumerate(values):
        if value is not None:
            y = HEIGHT - HEIGHT * log10(max(1.0, value / least_us)) / decades
            path.append(f"V{y:.1f}" if drawing else f"M{index} {y:.1f}")
            path.append(f"H{index + 1}")
        drawing = value is not None
    return "".join(path)
