"""What a server costs, as the kernel accounts for it: the processes of a group, their CPU time, their memory.

CPU time is that of every thread, in nanoseconds from `schedstat`; a kernel without it gives ticks of 10 ms.
Memory is PSS: pages that processes share are counted once, in equal parts.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

PROC = Path("/proc")
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def cpu_us(group: int) -> float:
    """Microseconds of CPU time that the group's threads have had."""
    return sum(map(_thread_ns, _in_each(group, "task/*"))) / 1e3


def pss_kib(group: int) -> int:
    return sum(_pss(path.read_text()) for path in _in_each(group, "smaps_rollup"))


def _in_each(group: int, pattern: str) -> Iterable[Path]:
    """The paths of `pattern` below each process of the group."""
    return [path for process in _processes(group) for path in process.glob(pattern)]


def _processes(group: int) -> Iterator[Path]:
    for process in PROC.glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended while we looked
            if int(_stat(process)[2]) == group:
                yield process


def _thread_ns(thread: Path) -> int:
    try:
        return int((thread / "schedstat").read_text().split()[0])
    except FileNotFoundError:
        return sum(map(int, _stat(thread)[11:13])) * TICK_NS


def _stat(process: Path) -> list[str]:
    """The fields of proc(5)'s stat from the third (state) on; the second, a name, may hold anything."""
    return (process / "stat").read_text().rpartition(")")[2].split()


def _pss(rollup: str) -> int:
    found = re.search(r"^Pss:\s+(\d+) kB$", rollup, re.MULTILINE)
    return int(found[1]) if found else 0
