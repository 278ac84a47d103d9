"""ConnectionLimit: how many connections a worker takes, so that it keeps descriptors for what it does itself.

The rule: whoever comes when there is no room is let go at once, and everybody else notices nothing. Were clients
given the last descriptor, the loop would close what comes next on any listener, health probes included (libuv's
`uv__emfile_trick`); and where another thread took the one that it keeps for that, uvloop would close the listener.
"""

import logging
import resource
from math import inf
from time import monotonic

# Descriptors that are not for clients, beside two for each worker, whose slot of the scoreboard is read, and that of
# the one in its place: the loop's, the listeners, the scoreboard, the log and its next file, and the connections of
# the admin listener. Where the limit is low, at least half of it is for clients.
RESERVE = 64

# Seconds between two times that it is said that clients were let go.
SAYING = 60.0

_logger = logging.getLogger("gunicorn.error")


class ConnectionLimit:
    """The room of one process. The limit is asked for each time, as it may be changed from outside (`prlimit`)."""

    def __init__(self) -> None:
        self.reserve = RESERVE
        self._refused = 0  # since it was said last
        self._said = -inf

    def is_left(self, connections: int) -> bool:
        """Whether there is room for the last one that makes it so many `connections`."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit == resource.RLIM_INFINITY or connections <= (most := limit - min(self.reserve, limit // 2)):
            return True
        self._refused += 1
        if monotonic() - self._said >= SAYING:
            _logger.warning(
                "no room for more than %d connections (ulimit -n is %d); closed at once since this was said last: %d",
                most,
                limit,
                self._refused,
            )
            self._refused, self._said = 0, monotonic()
        return False


# All connections of the process share it.
CONNECTION_LIMIT = ConnectionLimit()
