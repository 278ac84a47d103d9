"""The plots. Colours are those of Okabe and Ito, which colour-blind people tell apart."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # draws into files, wherever it runs

from comparison import Comparison
from concurrency import Concurrency
from figures import number
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from rounds import Run, cases, cell, subjects

COLOURS = {
    "Redirect": "#0072B2",
    "Redirect, Starlette front": "#56B4E9",
    "nginx": "#009E73",
    "HAProxy": "#E69F00",
    "Caddy": "#CC79A7",
    "a constant from uvloop": "#7F7F7F",
}


def comparison(measured: Comparison, path: Path) -> None:
    """CPU per redirect of every server, a panel for each workload; whiskers from lowest to highest."""
    runs = measured.runs
    figure, panels = plt.subplots(1, len(cases(runs)), figsize=(15, 5.5), sharey=True, layout="constrained")
    for axes, case in zip(panels, cases(runs), strict=True):
        _bars(axes, runs, case)
    panels[0].set_yticks(range(len(subjects(runs))), subjects(runs))
    panels[0].invert_yaxis()
    figure.suptitle("What a redirect costs: CPU time of the server, one worker, 64 connections")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def latency(measured: Concurrency, path: Path) -> None:
    """Response time against connections."""
    figure, axes = plt.subplots(figsize=(9, 6.5), layout="constrained")
    for subject in subjects(measured.runs):
        _lines(axes, measured.runs, subject)
    connections = [int(case) for case in cases(measured.runs)]
    axes.set(xscale="log", yscale="log", xlabel="connections that ask at once", ylabel="response time, ms")
    axes.set_xticks(connections, [f"{count:,}" for count in connections])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(alpha=0.3)
    axes.legend(title="p50 solid, p99 dashed")
    axes.set_title("Response time of a bare request, one worker")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _bars(axes: Axes, runs: Sequence[Run], case: str) -> None:
    spreads = [cell(runs, "cpu_us", subject, case) for subject in subjects(runs)]
    middles = [each.median for each in spreads]
    whiskers = [[each.median - each.low for each in spreads], [each.high - each.median for each in spreads]]
    axes.barh(range(len(spreads)), middles, xerr=whiskers, capsize=3, color=[_colour(name) for name in subjects(runs)])
    for place, each in enumerate(spreads):
        axes.annotate(number(each.median), (each.high, place), (5, 0), textcoords="offset points", va="center")
    axes.set(title=case, xlabel="CPU per redirect, µs (less is better)")
    axes.margins(x=0.15)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _lines(axes: Axes, runs: Sequence[Run], subject: str) -> None:
    connections = [int(case) for case in cases(runs)]
    for metric, style, label in (("p50_ms", "-", subject), ("p99_ms", "--", None)):
        middles = [cell(runs, metric, subject, case).median for case in cases(runs)]
        axes.plot(connections, middles, style, marker="o", markersize=4, color=_colour(subject), label=label)


def _colour(subject: str) -> str:
    """The colour of a server, or of the server that it is a variant of."""
    return COLOURS.get(subject) or COLOURS[subject.partition(",")[0]]
