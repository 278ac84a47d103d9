"""Traffic: the generator as a process beside us, and what it saw."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
POOLS = ROOT / "redirect_pools_config.toml"

PEAK_SECONDS = 2.0


class Target(NamedTuple):
    """Where requests go."""

    host: str
    port: int
    mix: str = "redirects"


class Failure(NamedTuple):
    at: float  # as time.monotonic() tells it, to all processes of a machine alike
    port: int  # the client's end of the connection; 0 where there was none
    fault: str


class Seen(NamedTuple):
    requests: int
    seconds: float
    failed: int
    faults: list[Failure]
    p50_ms: float
    p99_ms: float
    worst_ms: float
    worst_at_s: float  # when that request was due, from the beginning
    lag_ms: float
    connections: int


class Traffic:
    """Requests that are being made."""

    def __init__(self, process: subprocess.Popen[str], rate: float, at_least: int) -> None:
        self._process = process
        self._enough_at = time.monotonic() + at_least / rate if rate else 0.0

    def is_enough(self) -> bool:
        """Whether as many were made as are to be made at least."""
        return time.monotonic() >= self._enough_at

    def end(self, timeout: float = 120) -> Seen:
        output, _ = self._process.communicate(timeout=timeout)
        if self._process.returncode:
            raise RuntimeError(f"the generator ended with exit code {self._process.returncode}")
        seen = Seen(**json.loads(output))
        return seen._replace(faults=[Failure(*each) for each in seen.faults])


@contextlib.contextmanager
def traffic(target: Target, rate: float = 0.0, at_least: int = 0, pools: Path = POOLS) -> Iterator[Traffic]:
    """Requests at `rate` a second, or as fast as they are answered, from now on."""
    command = [sys.executable, str(HERE / "generator.py"), target.host, str(target.port), str(pools)]
    process = subprocess.Popen(  # noqa: S603  our own words
        [*command, "--rate", str(rate), "--at-least", str(at_least), "--mix", target.mix],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is ours to hear
    )
    try:
        assert process.stdout
        if process.stdout.readline() != "begun\n":
            raise RuntimeError("the generator does not begin")
        yield Traffic(process, rate, at_least)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()


def peak(target: Target) -> float:
    """Requests per second at most, from two seconds without a fault: on a machine that others use too it is now this,
    now that, so it is measured anew before each fault."""
    with traffic(target) as asked:
        time.sleep(PEAK_SECONDS)
        seen = asked.end()
    if seen.failed:
        raise RuntimeError(f"{seen.failed} requests failed before there was any fault: {seen.faults[:3]}")
    return seen.requests / seen.seconds
