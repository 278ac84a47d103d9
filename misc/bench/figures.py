"""Figures: what several rounds say together.

The rule: a figure is a median with the lowest and the highest value beside it, and two servers are
compared round by round. What disturbs the machine in a round disturbs both of them, and drops out of
their ratio; it would not drop out of a ratio of medians.
"""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Spread(NamedTuple):
    median: float
    low: float
    high: float

    def __str__(self) -> str:
        around = f" ({number(self.low)}-{number(self.high)})" if self.low < self.high else ""
        return number(self.median) + around


def spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ours in parts of theirs, paired by round: below 1 is less than they need."""
    return spread([one / other for one, other in zip(ours, theirs, strict=True)])


def number(value: float) -> str:
    """Three significant digits, as many as these measurements bear, and no exponent."""
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def verdict(value: float, limit: float) -> str:
    return "met" if value <= limit else "missed"
