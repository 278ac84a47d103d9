"""What a worker reports of origins that may be ejected: failures in a row, and what came of those on trial.

The rule: an origin fails where there is no connection, no head of an answer in time or no whole answer, or where that
is 502, 503 or 504. The head of another answer ends the row. A connection that had rested too long is no failure, nor is
a client that leaves, nor an answer in which nothing comes for a while, as in a stream. What was sent before a trial
tells nothing of it.

Until the controller has decided, the worker holds an origin back itself, at most half of those of a pool: at 3,000
requests per second 400 more failed otherwise.
"""

import asyncio
import logging
from collections import Counter

from redirect.core.destination import Destination
from redirect.core.ejections import FAILURES, code_of
from redirect.core.pools import Ejection
from redirect.telemetry.scoreboard import KINDS, Slot

_IN_A_ROW, _FAILED, _PASSED, _FAILURE = range(len(KINDS["outcomes"].numbers))

# The controller's decision is there within half a second, if it is to eject the origin, and if there is a controller.
HOLD_SECONDS = 1.0

_logger = logging.getLogger("gunicorn.error")


class Outcomes:
    """In the slot of the worker; the controller decides."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._held: Counter[str] = Counter()  # by pool

    def hold(self, destination: Destination) -> None:
        pool = destination.pool
        if not destination.is_held and self._held[pool.name] < sum(origin.weight > 0 for origin in pool.origins) // 2:
            destination.is_held = True
            self._held[pool.name] += 1
            asyncio.get_running_loop().call_later(HOLD_SECONDS, self._free, destination)

    def _free(self, destination: Destination) -> None:
        destination.is_held = False
        self._held[destination.pool.name] -= 1

    def report(self, pool: str, origin: str, what: int, failure: int | None = None) -> bool:
        """Returns whether there is space for it."""
        try:
            index = self._slot.index("outcomes", pool, origin)
        except ValueError as error:
            _logger.error("what became of %s in %s is not reported: %s", origin, pool, error)
            return False
        if failure is not None:
            self._slot.counts[index + _FAILURE] = failure
        self._slot.counts[index + what] += 1
        return True


class Attempt:
    """A request at an origin of a pool with `eject`."""

    __slots__ = ("_before", "_destination", "_ejection", "_is_over", "_outcomes", "_trial")

    def __init__(self, outcomes: Outcomes, destination: Destination, ejection: Ejection) -> None:
        self._outcomes = outcomes
        self._destination = destination
        self._ejection = ejection
        self._trial = destination.trial
        self._before = 0  # failures in a row before the head of an answer
        self._is_over = False

    def answered(self, status: int) -> None:
        """The head of the answer came."""
        destination = self._destination
        if status in FAILURES:
            self.failed(str(status))
        elif destination.trial != self._trial:
            pass
        elif destination.trial:
            self._report(_PASSED)
        else:
            self._before, destination.failures = destination.failures, 0

    def failed(self, error: str) -> None:
        """`error` is the name of RFC 9209, section 2.3, or a status. Only the first one of an attempt counts."""
        destination = self._destination
        if self._is_over or destination.trial != self._trial:
            return
        self._is_over = True
        if destination.trial:
            destination.failures = int(self._report(_FAILED, code_of(error)))
            return
        # An answer that is cut does not end the row, which its head seemed to do.
        destination.failures = max(destination.failures, self._before) + 1
        if destination.failures >= self._ejection.fails:
            destination.failures = 0
            self._report(_IN_A_ROW, code_of(error))
            self._outcomes.hold(destination)

    def _report(self, what: int, failure: int | None = None) -> bool:
        return self._outcomes.report(self._destination.pool.name, self._destination.origin.name, what, failure)
