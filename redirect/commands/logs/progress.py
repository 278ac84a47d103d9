"""How far we are: one line on standard error, at a terminal, once it takes longer than a second."""

import sys
from time import monotonic

LONGEST_SILENCE = 1.0
_PAUSE = 0.1
_WIDTH = 30


class Progress:
    """Counts up to `total`; at 0 there is nothing to say, and nothing is said where standard error is no terminal."""

    def __init__(self, total: int) -> None:
        self._total = total if sys.stderr.isatty() else 0
        self._done = 0
        self._next = monotonic() + LONGEST_SILENCE
        self._is_shown = False

    def advance(self, amount: int) -> None:
        """So much more is done."""
        self.reach(self._done + amount)

    def reach(self, done: int) -> None:
        """So much is done."""
        self._done = done
        if self._total and monotonic() >= self._next:
            part = min(done / self._total, 1)
            sys.stderr.write(f"\r[{'#' * round(part * _WIDTH):<{_WIDTH}}] {part:4.0%}")
            sys.stderr.flush()
            self._next = monotonic() + _PAUSE
            self._is_shown = True

    def clear(self) -> None:
        """Takes the line away, so that others can be written; the next step brings it back."""
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._is_shown = False
