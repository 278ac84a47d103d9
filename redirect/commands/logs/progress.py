"""The progress bar: one line on standard error, at a terminal, after the first second."""

import sys
from time import monotonic

SILENCE_SECONDS = 1.0
_INTERVAL_SECONDS = 0.1
_WIDTH = 30


class Progress:
    """Counts up to `total`. Prints nothing if that is 0, as for a pipe, or if standard error is no terminal."""

    def __init__(self, total: int) -> None:
        self._total = total if sys.stderr.isatty() else 0
        self._done = 0
        self._next = monotonic() + SILENCE_SECONDS
        self._is_shown = False

    def advance(self, amount: int) -> None:
        self.reach(self._done + amount)

    def reach(self, done: int) -> None:
        self._done = done
        if self._total and monotonic() >= self._next:
            part = min(done / self._total, 1)
            sys.stderr.write(f"\r[{'#' * round(part * _WIDTH):<{_WIDTH}}] {part:4.0%}")
            sys.stderr.flush()
            self._next = monotonic() + _INTERVAL_SECONDS
            self._is_shown = True

    def clear(self) -> None:
        """Removes the line, so that others can be printed; the next step prints it again."""
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._is_shown = False
