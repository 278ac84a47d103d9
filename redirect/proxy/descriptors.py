"""How many connections a worker has, so that it keeps descriptors for its own work.

The rule: those of clients and those to origins count alike. A client over the limit is closed at once, and where
requests are forwarded each client has room for a second connection. A request for which there is no connection left is
refused; no other is affected. If connections had the last descriptor, the event loop would close the next connection of
any listener, those of health probes included (libuv's `uv__emfile_trick`); and if another thread took the descriptor
that libuv keeps for that, uvloop would close the listener.
"""

import logging
import resource
from math import inf
from time import monotonic

from redirect.core.limits import MAX_LIMITS

# Not for connections: the loop's, the listener, the scoreboard, the log and its next file; and the tokens of the limits
# of routes. Where the limit is low, at least half of it is for connections.
RESERVED_DESCRIPTORS = 64 + MAX_LIMITS
LEAST_DESCRIPTORS = 2 * RESERVED_DESCRIPTORS

# Of a body that passes within the kernel: both ends, and its pipe's.
_OF_SPLICE = 4

WARNING_INTERVAL_SECONDS = 60.0

_logger = logging.getLogger("gunicorn.error")


class Descriptors:
    """Those of one process. Their limit is read each time, as `prlimit` may change it."""

    def __init__(self) -> None:
        self.clients = 0  # connections of clients
        self.origins = 0  # connections to origins, and those that are being made
        self.splices = 0  # bodies that pass within the kernel
        self.forwards = False  # whether a client may need another one, to an origin
        self._refused = 0  # since the last warning
        self._warned_at = -inf

    def allow_client(self) -> bool:
        """Whether the client that was counted last may stay; warns where it may not."""
        return self._suffice_for(self.clients + max(self.origins, self.clients if self.forwards else 0))

    def allow_origin(self) -> bool:
        """The same of the connection to an origin that is being made."""
        return self._suffice_for(self.clients + self.origins)

    def allow_splice(self) -> bool:
        """Whether the body that was counted last may have its own: connections come first, so that half of theirs stay
        free."""
        _, most = _limits()
        return 2 * (self.clients + max(self.origins, self.clients) + self.splices * _OF_SPLICE) <= most

    def _suffice_for(self, connections: int) -> bool:
        limit, most = _limits()
        if connections + self.splices * _OF_SPLICE <= most:
            return True
        self._refused += 1
        if monotonic() - self._warned_at >= WARNING_INTERVAL_SECONDS:
            message = "at most %d connections, to origins, too (ulimit -n is %d); refused since the last warning: %d"
            _logger.warning(message, most, limit, self._refused)
            self._refused, self._warned_at = 0, monotonic()
        return False


def _limits() -> tuple[int, float]:
    """The system's, and how many of these are for connections."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limit, inf if limit == resource.RLIM_INFINITY else limit - min(RESERVED_DESCRIPTORS, limit // 2)


# All connections of the process share them.
DESCRIPTORS = Descriptors()
