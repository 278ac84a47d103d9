"""The sums of an instance: all that is counted and never goes back, by kind and labels.

The rule: a sum is what was kept of runs before this one, and what this run counted. The two stay apart: what was kept
is put into a slot of its own, once; it is whole when its `since_ms` is set. So nothing counts twice, whenever a process
ends.

Rows are the sums as they are kept: a key, which is the kind and the labels as JSON, and the numbers.
"""

import json
from collections.abc import Iterator, Sequence
from ctypes import addressof, memset, sizeof
from typing import Any
from zlib import crc32

from redirect.telemetry.scoreboard import GAUGES, KINDS, DurationNumbers, Labels, Numbers, Scoreboard, Slot
from redirect.telemetry.snapshot import BOUNDS_US, Totals

# The kinds of series that are kept: not what is due under the configuration in force, nor what the controller is told.
KEPT = [kind for kind in KINDS if kind not in (*GAUGES, "due", "outcomes")]

# Numbers of Common that are kept. Of slots all of Totals are, and these durations.
PROCESSES = ("workers_died", "workers_hung", "controllers_died", "controllers_hung", "probes_hung", "files_hung")
DURATIONS = ("answers", "forwards")

# Changes whenever numbers get another meaning by their place. The names of Totals and PROCESSES are in the rows, so
# those that came later have no part in it.
_PARTS = ([(kind, KINDS[kind].numbers) for kind in KEPT], PROCESSES[:5], Totals._fields[:8], DURATIONS, BOUNDS_US)
LAYOUT = crc32(repr(_PARTS).encode())

MAX_NUMBER = 2**63

Rows = dict[str, list[int]]


def counting(scoreboard: Scoreboard) -> list[Slot]:
    """The slots in which something is counted: those of workers, and what was kept."""
    return [*scoreboard.slots(), scoreboard.kept]


def sums(slots: Sequence[Slot], kind: str) -> dict[Any, list[int]]:
    """The numbers of a kind of series, by its labels, added up; of a time it is the last one."""
    found: dict[Labels, list[int]] = {}
    names = KINDS[kind].numbers
    for slot in slots:
        for labels, index in slot.series(kind):
            numbers = slot.counts[index : index + len(names)].tolist()
            before = found.get(labels)
            found[labels] = numbers if before is None else _plus(names, before, numbers)
    return found


def totals(slots: Sequence[Numbers]) -> Totals:
    return Totals(*(sum(getattr(numbers, name) for numbers in slots) for name in Totals._fields))


def _plus(names: Sequence[str], one: list[int], other: list[int]) -> list[int]:
    return [max(a, b) if name == "last_ms" else a + b for name, a, b in zip(names, one, other, strict=True)]


def ejections(scoreboard: Scoreboard) -> dict[tuple[str, str], int]:
    """By pool and origin, how often it was ejected."""
    found = {labels: total for labels, (total,) in sums([scoreboard.kept], "ejections").items()}
    for pool, origins in json.loads(scoreboard.ejections.read() or b"{}").items():
        for origin, total in origins.items():
            found[pool, origin] = found.get((pool, origin), 0) + total
    return found


def processes(scoreboard: Scoreboard) -> dict[str, int]:
    """By the name of the number in Common: how often processes died and hung."""
    kept = {name: total for (name,), (total,) in sums([scoreboard.kept], "processes").items()}
    return {name: kept.get(name, 0) + getattr(scoreboard.common, name) for name in PROCESSES}


def rows(scoreboard: Scoreboard) -> Rows:
    """The sums as they are now; those that are 0 are left out."""
    return {json.dumps([kind, *labels]): numbers for kind, labels, numbers in _sums(scoreboard) if any(numbers)}


def _sums(scoreboard: Scoreboard) -> Iterator[tuple[str, Labels, list[int]]]:
    slots = counting(scoreboard)
    for kind in KEPT:
        if kind not in ("requests", "ejections", "processes"):
            for labels, numbers in sums(slots, kind).items():
                yield kind, labels, numbers
    for labels, (total, _, last_ms, _) in sums(slots, "requests").items():
        yield "requests", labels, [total, total, last_ms, 0]  # after a restart all of it was before the configuration
    for origin, total in ejections(scoreboard).items():
        yield "ejections", origin, [total]
    for name, total in processes(scoreboard).items():
        yield "processes", (name,), [total]
    for name, total in totals([slot.numbers for slot in slots])._asdict().items():
        yield "numbers", (name,), [total]
    for name in DURATIONS:
        of_slots = [_durations(getattr(slot.numbers, name)) for slot in slots]
        yield "durations", (name,), [sum(column) for column in zip(*of_slots, strict=True)]


def _durations(numbers: DurationNumbers) -> list[int]:
    return [numbers.sum_ns, *numbers.buckets]


def clear(kept: Slot) -> None:
    """Takes away what a controller that was killed meanwhile had put there."""
    kept.numbers.series_bytes = 0
    memset(addressof(kept.numbers), 0, sizeof(kept.numbers))


def put(kept: Slot, found: Rows) -> None:
    """Puts rows into the slot, which is empty. Raises ValueError or TypeError where one is none of this layout; nothing
    is put there then."""
    for kind, labels, numbers in [_row(key, numbers) for key, numbers in found.items()]:
        if kind == "numbers":
            (number,) = numbers
            setattr(kept.numbers, labels[0], number)
        elif kind == "durations":
            durations = getattr(kept.numbers, labels[0])
            durations.sum_ns, durations.buckets[:] = numbers[0], numbers[1:]
        else:
            index = kept.add_series(kind, labels)
            for at, number in enumerate(numbers, index):
                kept.counts[at] = number


def _row(key: str, numbers: Any) -> tuple[str, Labels, list[int]]:
    kind, *labels = json.loads(key)
    if kind == "numbers":
        is_known, count = labels in [[name] for name in Totals._fields], 1
    elif kind == "durations":
        is_known, count = labels in [[name] for name in DURATIONS], 2 + len(BOUNDS_US)
    else:
        names, counted = KINDS[kind] if kind in KEPT else ((), ())
        is_known = len(labels) == len(names) > 0 and all(map(_is_label, names, labels))
        count = len(counted)
    if (
        not is_known
        or len(numbers) != count
        or not all(type(each) is int and 0 <= each < MAX_NUMBER for each in numbers)
    ):
        raise ValueError(f"{key} is no sum")
    return kind, tuple(labels), numbers


def _is_label(name: str, label: object) -> bool:
    return type(label) is int if name == "status" else label is None or type(label) is str
