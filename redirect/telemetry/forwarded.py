"""What the error log says of X-Forwarded fields that do not count.

The rule: each head that has some is counted. A line names the peer and the remedy: one for each peer, and one a minute
at most, as anybody on the net may send such fields. Peers that are not trusted and fields that are not valid have a
minute each: none of the one hides the other.
"""

import logging
from collections.abc import Hashable
from math import inf
from time import monotonic

from redirect.core.forwarded import Problems
from redirect.telemetry.scoreboard import Numbers

LINE_SECONDS = 60.0

# Peers that lines of a kind are written about, by a process.
MAX_PEERS = 1024

_logger = logging.getLogger("gunicorn.error")


class ForwardedProblems(Problems):
    """Counts in `numbers`."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self.shows_values = True  # they may have addresses of clients
        self._of_untrusted, self._of_malformed = _Lines(), _Lines()

    def untrusted(self, peer: str | None) -> None:
        self._numbers.forwarded_untrusted += 1
        if self._of_untrusted.is_due(peer):
            message = "X-Forwarded fields of %s are ignored: it is not in FORWARDED_ALLOW_IPS, the list of your proxies"
            _logger.warning(message, _named(peer))

    def malformed(self, peer: str | None, field: str, value: str) -> None:
        self._numbers.forwarded_malformed += 1
        if self._of_malformed.is_due((field, peer)):
            shown = f": {value!r:.200}" if self.shows_values else ""
            _logger.warning("%s of %s is not valid, and does not count%s", field, _named(peer), shown)


class _Lines:
    """Which lines of a kind are written."""

    def __init__(self) -> None:
        self._named: set[Hashable] = set()
        self._next = -inf  # `monotonic` seconds

    def is_due(self, about: Hashable) -> bool:
        """Whether a line is to be written, which the caller does then."""
        now = monotonic()
        if now < self._next or about in self._named or len(self._named) >= MAX_PEERS:
            return False
        self._named.add(about)
        self._next = now + LINE_SECONDS
        return True


def _named(peer: str | None) -> str:
    return peer or "a peer without an address"
