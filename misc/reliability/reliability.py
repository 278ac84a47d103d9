"""What the service promises, measured: `python misc/reliability/reliability.py`, ten minutes; `--short` for one.

Four parts: `requests`, that nothing is lost, doubled or kept in memory; `idle`, what an idle connection costs; `disk`,
that a full disk costs no line; and `origins`, what clients get of broken ones (`broken`). The exit code is 1 where one
does not hold.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))  # what these have is used as it is
sys.path.append(str(Path(__file__).resolve().parents[1] / "faults"))

import broken
import idle
from fault import until
from processes import Service, service
from scale import FULL, QUICK
from table import Table
from traffic import traffic

REQUESTS = 2_000_000
REQUESTS_SHORT = 50_000

# Requests before memory is measured first: workers have made all that they make once.
WARM = 20_000

# What a worker may grow from the first half of the requests to the second.
MOST_GROWN_KIB = 1024

_NUMBER = re.compile(rb'"query": ?"x=%20&n=(\d+)"')

MOST_IDLE_KIB = 7

FULL_KIB = 64
REQUESTS_OF_DISK = 1_000

NOTHING = Table("", (), [])  # where another process has printed it


class ReliabilityError(Exception):
    """What does not hold, with the figures."""


def requests(short: bool) -> Table:
    """Requests in blocks, with the memory of each process between them; each is in the log once."""
    count = REQUESTS_SHORT if short else REQUESTS
    with service() as running:
        made = [_ask(running, WARM)]
        pids = {"master": running.process.pid, "controller": running.controller()}
        pids |= {f"worker {number}": pid for number, pid in enumerate(sorted(running.workers()), 1)}
        memory = [_rss(pids)]
        for _ in range(2):
            made.append(_ask(running, count // 2))
            memory.append(_rss(pids))
        _check_log(running.pools.path.with_name("access.log"), made)
    grown = {name: memory[2][name] - memory[1][name] for name in pids if name.startswith("worker")}
    if max(grown.values()) > MOST_GROWN_KIB:
        raise ReliabilityError(f"workers grew by {grown} KiB in the second half")
    rows = [(name, *(f"{each[name]:,}" for each in memory)) for name in pids]
    note = f"{sum(made):,} requests, each answered once and in the log once."
    return Table("Memory over many requests, KiB", ("process", "begin", "half", "end"), rows, note)


def _ask(running: Service, count: int) -> int:
    """How many requests were made; each generator begins to number them at 0."""
    with traffic(running.target, at_least=count) as asked:
        seen = asked.end(timeout=3600)
    if seen.failed:
        raise ReliabilityError(f"{seen.failed:,} requests failed: {seen.faults[:3]}")
    return seen.requests


def _rss(pids: dict[str, int]) -> dict[str, int]:
    """KiB of memory, at rest."""
    time.sleep(1)
    return {
        name: int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0])
        for name, pid in pids.items()
    }


def _check_log(log: Path, made: list[int]) -> None:
    """Each number is there as often as generators have used it."""
    time.sleep(1)  # lines are written within a tenth of a second
    times = array("B", bytes(max(made)))
    with log.open("rb") as lines:
        for line in lines:
            found = _NUMBER.search(line)
            if found is None or not line.endswith(b"}\n"):
                raise ReliabilityError(f"a line of another request, or a torn one: {line!r}")
            times[int(found[1])] += 1
    due = [sum(number < each for each in made) for number in range(max(made))]
    if times.tolist() != due:
        wrong = sum(found != each for found, each in zip(times, due, strict=True))
        raise ReliabilityError(f"{wrong:,} requests are not once in the log")


def idle_connections(short: bool) -> Table:
    measured = idle.measure(QUICK if short else FULL)
    if measured.kib > MOST_IDLE_KIB:
        raise ReliabilityError(f"an idle connection takes {measured.kib:.2f} KiB")
    return idle.table(measured)


def disk(short: bool) -> Table:
    """A file system of its own is filled, and has room again; none but this process and its children see it."""
    if os.environ.get("RELIABILITY_DISK") is None:
        command = ["unshare", "--mount", "--map-root-user", sys.executable, __file__, "disk", *["--short"] * short]
        if subprocess.run(command, env={**os.environ, "RELIABILITY_DISK": "1"}, check=False).returncode:  # noqa: S603
            sys.exit(1)
        return NOTHING
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={FULL_KIB}k", "log", folder], check=True)  # noqa: S603, S607
        try:
            return _fill(Path(folder) / "access.log")
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S603, S607


def _fill(log: Path) -> Table:
    with service(access_log=log) as running:
        made = _ask(running, REQUESTS_OF_DISK)
        full = log.stat().st_size
        lines = log.read_bytes().count(b"\n")
        subprocess.run(["mount", "-o", "remount,size=64m", str(log.parent)], check=True)  # noqa: S603, S607
        until(lambda: log.read_bytes().count(b"\n"), made.__eq__, "all lines are there")
        _check_log(log, [made])
    rows = [(f"{made:,}", f"{full // 1024:,}", f"{lines:,}", f"{made:,}")]
    columns = ("requests", "KiB on the full disk", "lines then", "lines with room again")
    return Table("A full disk", columns, rows, "Each request is in the log once, in a whole line.")


def origins(short: bool) -> Table:
    return broken.table()


PARTS: dict[str, Callable[[bool], Table]] = {
    "requests": requests,
    "idle": idle_connections,
    "disk": disk,
    "origins": origins,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all if none is named")
    parser.add_argument("--short", action="store_true", help="few requests: does it all work?")
    options = parser.parse_args()
    if unknown := set(options.parts).difference(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    try:
        for part in options.parts or PARTS:
            made = PARTS[part](options.short)
            if made.rows:
                print(made.markdown(), flush=True)
    except (ReliabilityError, RuntimeError, OSError) as failure:
        sys.exit(f"failed: {failure}")


if __name__ == "__main__":
    main()
