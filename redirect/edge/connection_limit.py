"""How many connections a worker accepts, so that it keeps descriptors for its own work.

The rule: a connection over the limit is closed at once, and no other is affected. If clients had the last descriptor,
the event loop would close the next connection of any listener, those of health probes included (libuv's
`uv__emfile_trick`); and if another thread took the descriptor that libuv keeps for that, uvloop would close the
listener.
"""

import logging
import resource
from math import inf
from time import monotonic

from redirect.core.limits import MAX_LIMITS

# Not for clients: the loop's, the listener, the scoreboard, the log and its next file; and the tokens of the limits of
# routes. Where the limit is low, at least half of it is for clients.
RESERVED_DESCRIPTORS = 64 + MAX_LIMITS

WARNING_INTERVAL_SECONDS = 60.0

_logger = logging.getLogger("gunicorn.error")


class ConnectionLimit:
    """The limit of one process. It is read each time, as `prlimit` may change it."""

    def __init__(self) -> None:
        self._closed = 0  # since the last warning
        self._warned_at = -inf

    def allows(self, connections: int) -> bool:
        """Whether the process may have so many `connections`; warns where it may not."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit == resource.RLIM_INFINITY or connections <= (most := limit - min(RESERVED_DESCRIPTORS, limit // 2)):
            return True
        self._closed += 1
        if monotonic() - self._warned_at >= WARNING_INTERVAL_SECONDS:
            message = "at most %d connections (ulimit -n is %d); closed at once since the last warning: %d"
            _logger.warning(message, most, limit, self._closed)
            self._closed, self._warned_at = 0, monotonic()
        return False


# All connections of the process share it.
CONNECTION_LIMIT = ConnectionLimit()
