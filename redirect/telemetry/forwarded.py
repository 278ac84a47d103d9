"""What the error log says of X-Forwarded fields that do not count.

The rule: each head that has some is counted. A line names the peer and the remedy: one for each peer, and one a minute
at most, as anybody on the net may send such fields.
"""

import logging
from math import inf
from time import monotonic

from redirect.core.forwarded import Problems
from redirect.telemetry.scoreboard import Numbers

LINE_SECONDS = 60.0

# Peers that lines are written about, by a process.
MAX_PEERS = 1024

_logger = logging.getLogger("gunicorn.error")


class ForwardedProblems(Problems):
    """Counts in `numbers`."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self.shows_values = True  # they may have addresses of clients
        self._named: set[tuple[str, str | None]] = set()
        self._next_line = -inf  # `monotonic` seconds

    def untrusted(self, peer: str | None) -> None:
        self._numbers.forwarded_untrusted += 1
        if self._is_due("", peer):
            message = "X-Forwarded fields of %s are ignored: it is not in FORWARDED_ALLOW_IPS, the list of your proxies"
            _logger.warning(message, _named(peer))

    def malformed(self, peer: str | None, field: str, value: str) -> None:
        self._numbers.forwarded_malformed += 1
        if self._is_due(field, peer):
            shown = f": {value!r:.200}" if self.shows_values else ""
            _logger.warning("%s of %s is not valid, and does not count%s", field, _named(peer), shown)

    def _is_due(self, field: str, peer: str | None) -> bool:
        """Whether a line is to be written, which the caller does then."""
        now, about = monotonic(), (field, peer)
        if now < self._next_line or about in self._named or len(self._named) >= MAX_PEERS:
            return False
        self._named.add(about)
        self._next_line = now + LINE_SECONDS
        return True


def _named(peer: str | None) -> str:
    return peer or "a peer without an address"
