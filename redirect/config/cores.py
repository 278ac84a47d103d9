"""How many cores this process may use: those that it may run on, and no more than its control group's quota pays for.

The rule: a quota counts wherever it stands above the process, in either version of control groups; half a core is one.
`docker run --cpus` and a Kubernetes limit set quotas, of which Python knows nothing.
"""

import os
from collections.abc import Iterator
from math import ceil, inf
from pathlib import Path, PurePosixPath


def usable_cores(root: Path = Path("/")) -> int:
    """`root` is that of the file system with `proc` and `sys`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ceil(min(cores, *_quotas(root), inf))


def _quotas(root: Path) -> Iterator[float]:
    """The quotas of the process' control group and of those above it, in cores."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        is_second = number == "0" and not controllers
        if not is_second and "cpu" not in controllers.split(","):
            continue
        mounts = ["", "unified"] if is_second else [controllers, "cpu"]
        files = ["cpu.max"] if is_second else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        inner = PurePosixPath(group.lstrip("/"))
        for folder in {root / "sys/fs/cgroup" / mount / each for mount in mounts for each in (inner, *inner.parents)}:
            yield _cores([_text(folder / file) for file in files])


def _cores(texts: list[str]) -> float:
    """Version 2 has quota and period on one line, or `max`; version 1 each in a file, and -1 for no quota."""
    try:
        quota, period = " ".join(texts).split()
        return int(quota) / int(period) if int(quota) > 0 else inf
    except (ValueError, ZeroDivisionError):
        return inf


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
