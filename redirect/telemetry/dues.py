"""What a worker counts of the picks that are due to origins while their shares are not as configured, in its slot of
the scoreboard.

The rule: what is due of picks by the configured weights needs no counting. Of the others the number of picks by each
weights is shared out among the origins with each batch, or with the heartbeat where they are many, so a request pays
for one addition.
"""

from collections import Counter
from collections.abc import Iterator

from redirect.core.due import Certain, Weights
from redirect.telemetry.scoreboard import Slot
from redirect.telemetry.snapshot import MICRO

# Origins among which the picks of a batch are shared out at once.
FEW = 16


class DueCounters:
    """Counts under the configuration in use: as observed shares are of that alone, due ones are."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._picks: Counter[Weights | Certain] = Counter()

    def use_other_configuration(self) -> None:
        self._picks.clear()

    def count(self, weights: Weights | Certain, picks: int) -> None:
        if weights.is_configured:
            return
        if isinstance(weights, Certain) or len(weights.values) <= FEW:
            self._share(weights, picks)
        else:
            self._picks[weights] += picks

    def share_out(self) -> Iterator[None]:
        """The picks that were counted, those by the same weights in one step."""
        for weights in [*self._picks]:
            self._share(weights, self._picks.pop(weights, 0))
            yield

    def _share(self, weights: Weights | Certain, picks: int) -> None:
        self._add(weights.name, None, picks)
        for origin, share in weights.by_name():
            self._add(weights.name, origin, picks * share)

    def _add(self, pool: str, origin: str | None, picks: float) -> None:
        index, counts, configs = self._slot.index("due", pool, origin), self._slot.counts, self._slot.numbers.configs
        if counts[index + 1] != configs:
            counts[index] = 0
            counts[index + 1] = configs
        counts[index] += round(picks * MICRO)
