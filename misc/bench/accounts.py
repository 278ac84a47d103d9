"""What a server costs, as the kernel accounts for it: the processes of a group, their CPU time, their memory.

CPU time is that of every thread, in nanoseconds from `schedstat`; a kernel without it gives ticks of 10 ms.
Memory is PSS: pages that processes share are counted once, in equal parts. A process or thread that ends while it is
looked at counts as one that ended before.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

# What /proc raises of a process or thread that has ended, before a file is opened and while it is read.
ENDED = (FileNotFoundError, ProcessLookupError)


def cpu_us(group: int) -> float:
    """Microseconds of CPU time that the group's threads have had."""
    return sum(_thread_ns(thread) for process in _processes(group) for thread in _threads(process)) / 1e3


def pss_kib(group: int) -> int:
    return sum(_pss(_text(process / "smaps_rollup")) for process in _processes(group))


def _processes(group: int) -> Iterator[Path]:
    return (process for process in PROC.glob("[0-9]*") if _stat(process)[2:3] == [str(group)])


def _threads(process: Path) -> list[Path]:
    try:
        return [*(process / "task").iterdir()]
    except ENDED:
        return []


def _thread_ns(thread: Path) -> int:
    if times := _text(thread / "schedstat").split():
        return int(times[0])
    return sum(map(int, _stat(thread)[11:13])) * TICK_NS


def _stat(process: Path) -> list[str]:
    """The fields of proc(5)'s stat from the third (state) on; the second, a name, may hold anything."""
    return _text(process / "stat").rpartition(")")[2].split()


def _text(path: Path) -> str:
    """Empty if there is no such file, or no such process any more."""
    try:
        return path.read_text()
    except ENDED:
        return ""


def _pss(rollup: str) -> int:
    found = re.search(r"^Pss:\s+(\d+) kB$", rollup, re.MULTILINE)
    return int(found[1]) if found else 0
