"""The load: wrk against one port, and what it saw.

The rule: a run in which errors came back is no measurement, and ends the benchmark.
"""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

WORKLOADS = Path(__file__).resolve().parent / "workloads"
TARGET = "/endpoint/path?x=1&y=2"
CONNECTIONS = 64

_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_FAULTS = re.compile(r"^\s*(?:Socket errors|Non-2xx or 3xx responses): .*$", re.MULTILINE)


class MeasurementError(Exception):
    """A server does not start, or answers something else than it should; the message says which, and what."""


class Workload(NamedTuple):
    """Requests that a script of `workloads` makes."""

    name: str
    script: str
    arguments: tuple[str, ...] = ()


class Seen(NamedTuple):
    """What wrk saw in one run."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float


BARE = Workload("bare", "bare.lua")
BROWSER = Workload("browser", "browser.lua")
NEVER = Workload("never", "browser.lua", ("heads-never-repeat",))
LARGE = Workload("1 MiB", "large.lua")
PROXIED = Workload("proxied", "browser.lua", ("proxied",))


def wrk(port: int, workload: Workload, seconds: int, connections: int, cores: str) -> Seen:
    """Asks for `seconds`, with one thread on `cores`, as taskset(1) spells them."""
    command: Sequence[str] = (
        *f"taskset -c {cores} wrk --latency -t 1 -c {connections} -d {seconds}s --timeout 10s".split(),
        *("-s", str(WORKLOADS / workload.script)),
        f"http://127.0.0.1:{port}{TARGET}",
        *workload.arguments,
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own words
    if done.returncode:
        raise MeasurementError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return parse(done.stdout)


def parse(report: str) -> Seen:
    """Reads the report of `wrk --latency`. Raises MeasurementError where it tells of errors, or of no answer at all."""
    if faults := _FAULTS.findall(report):
        raise MeasurementError(
            "not redirects or answers of the origin alone came back: " + "; ".join(map(str.strip, faults))
        )
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", report)
    if total is None or total[1] == "0":
        raise MeasurementError(f"nothing came back:\n{report}")
    return Seen(int(total[1]), _ms(total[2], total[3]) / 1e3, _percentile(report, 50), _percentile(report, 99))


def _percentile(report: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)$", report, re.MULTILINE)
    if found is None:
        raise MeasurementError(f"the report of wrk has no {percent}%:\n{report}")
    return _ms(found[1], found[2])


def _ms(value: str, unit: str) -> float:
    return float(value) * _MS[unit]
