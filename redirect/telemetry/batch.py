"""What a batch of records adds up to.

The rule: a request pays for its part of one pass over the batch, and nothing here knows where it is counted. Where the
package was installed with a C compiler the pass is made by `_batch.c`, and else here; they find the same.
"""

from collections import Counter
from collections.abc import Callable
from operator import itemgetter

from redirect.core.compiled import is_in_use
from redirect.core.decision import Decision
from redirect.telemetry.record import Record
from redirect.telemetry.snapshot import BOUNDS_US, in_buckets

IS_COMPILED = is_in_use("redirect.telemetry._batch")
if IS_COMPILED:
    from redirect.telemetry import _batch

# How long requests took: nanoseconds in all, and how many are in each bucket that has some.
DurationSums = tuple[int, list[tuple[int, int]]]

# The decisions that are left to count, each object once, with the number of its records; the pools that were
# requested; the durations of answers and of forwards; and the records of forwards.
Sums = tuple[list[tuple[Decision, int]], set[str | None], DurationSums, DurationSums, list[Record]]

# Takes the records, BOUNDS_NS, the numbers of the slot, the configuration in use as `counted_at` has it, and the time,
# in milliseconds. The compiled one counts decisions itself, where it is known where and nothing else is to be done.
AddUp = Callable[[list[Record], tuple[int, ...], memoryview, object, int], Sums]

BOUNDS_NS = tuple([1000 * bound for bound in BOUNDS_US])
_decision = itemgetter(0)


def _add_up(records: list[Record], *_: object) -> Sums:
    decisions = [*map(_decision, records)]
    by_id, counts = {id(each): each for each in decisions}, Counter(map(id, decisions))
    pools = {head[0] for _, head, *_ in records}
    forwards = [record for record in records if record[-1] is not None]
    answers = [record for record in records if record[-1] is None] if forwards else records
    groups = [(by_id[each], count) for each, count in counts.items()]
    return groups, pools, _durations(answers), _durations(forwards), forwards


def _durations(records: list[Record]) -> DurationSums:
    durations = [ended - started for _, _, _, _, started, ended, _, _ in records]
    return sum(durations), in_buckets(durations, BOUNDS_NS)


add_up: AddUp = _batch.add_up if IS_COMPILED else _add_up
