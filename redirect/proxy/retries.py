"""Which failures are tried again, after RFC 9110, section 9.2.2.

The rule: what may have had an effect is never sent twice. A request has reached no origin as long as there was no
connection; a method that is idempotent may be sent again; all others may not.
"""

from enum import Enum

IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))

# Retries under way in a pool of requests that an origin had got, at least this many or this part of its requests under
# way. A connection that was refused is no load: where one of three origins is down, a third of all is tried again.
MIN_BUDGET = 3
BUDGET = 0.2


class Failure(Enum):
    UNREACHED = "there was no connection"
    STALE = "a connection that had been used before was closed without a byte of an answer"
    CUT = "a new connection was closed before the head of an answer was whole"
    STATUS = "the answer has a status that is to be tried again"
    BROKEN = "what came is no answer"


def may_repeat(failure: Failure, *, is_idempotent: bool) -> bool:
    """Whether a request may be sent again, at another origin: or at the same one after a STALE connection, which is
    neither a retry nor a failure of the origin."""
    return failure is Failure.UNREACHED or (is_idempotent and failure is not Failure.BROKEN)


def is_within_budget(retries: int, requests: int) -> bool:
    """Whether another of the `requests` under way may be retried, while so many `retries` are."""
    return retries < max(MIN_BUDGET, BUDGET * requests)
