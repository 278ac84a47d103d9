"""The results: one page to read, one file for machines, two plots.

The rule: each part says when and on what it was made. One that is not measured again stays as it was.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import comparison
import concurrency
import deployment
import gateways
import growth
import tunnels
from comparison import Comparison
from concurrency import Concurrency
from growth import Growth
from pydantic import TypeAdapter
from rounds import Run
from table import Table
from tunnels import Tunnels


@dataclass(frozen=True)
class Results:
    """What was measured; a part that was not asked for is None."""

    made: Mapping[str, Mapping[str, str]]  # by part: the command, the date, the machine and its programs
    comparison: Comparison | None = None
    deployment: list[Run] | None = None
    concurrency: Concurrency | None = None
    growth: Growth | None = None
    forwarding: list[Run] | None = None
    tunnels: list[Tunnels] | None = None


def read(folder: Path) -> Results:
    """Those of before, if there are some."""
    path = folder / "results.json"
    return TypeAdapter(Results).validate_json(path.read_bytes()) if path.exists() else Results({})


def write(results: Results, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(asdict(results), indent=1, ensure_ascii=False) + "\n")
    (folder / "results.md").write_text(page(results))
    _draw(results, folder)


def page(results: Results) -> str:
    sections = (
        f"## {title}\n\n{_made(results.made[title.lower()])}\n" + "\n".join(table.markdown() for table in part)
        for title, part in _parts(results)
    )
    return "\n".join(["# Benchmark\n", *sections])


def _made(about: Mapping[str, str]) -> str:
    return "".join(f"- {what}: {value}\n" for what, value in about.items())


def _parts(results: Results) -> list[tuple[str, list[Table]]]:
    parts = []
    if results.comparison:
        parts.append(("Comparison", comparison.tables(results.comparison)))
    if results.deployment:
        parts.append(("Deployment", [deployment.table(results.deployment)]))
    if results.concurrency:
        parts.append(("Concurrency", concurrency.tables(results.concurrency)))
    if results.growth:
        parts.append(("Growth", growth.tables(results.growth)))
    if results.forwarding:
        parts.append(("Forwarding", gateways.tables(results.forwarding)))
    if results.tunnels:
        parts.append(("Tunnels", [tunnels.table(results.tunnels)]))
    return parts


def _draw(results: Results, folder: Path) -> None:
    import plots  # needs matplotlib, which nothing else here does

    if results.comparison:
        plots.comparison(results.comparison, folder / "comparison.png")
    if results.concurrency:
        plots.latency(results.concurrency, folder / "latency.png")
