"""The record of a request, from its response until it is counted and its line is written.

The rule: what can be done later is not done while a client waits.

Plain tuples: each request makes one and unpacks it, and named tuples take three times as long.
"""

import re
import secrets
from collections.abc import Iterator
from itertools import count

from redirect.core.decision import Decision, Outcome
from redirect.core.request import Head

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Later versions may add parts, but two fields, joined by a comma, are none.
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-+\--~]*)?"
)

# What is logged of a head, in the order of a line, None where it has none: requested pool, method, host, the client's
# address, agent, referer and traceparent, unchanged.
_Value = str | None
LoggedHead = tuple[_Value, _Value, _Value, _Value, _Value, _Value, _Value]

# The decision; the head; the id of the request; the target; when the request was read and when the response was
# written, by `monotonic_ns`; the hash of the configuration that decided; and the outcome of a request that was
# forwarded.
Record = tuple[Decision, LoggedHead, str, str, int, int, str, Outcome | None]


def request_ids(begin: str | None = None) -> Iterator[str]:
    """Ids of 32 digits, which begin with 16 of this process alone. They take less than half the time of a number that
    is formatted for each."""
    begin = begin or secrets.token_hex(8)
    ends = [f"{end:03}" for end in range(1000)]
    for block in count(10**12):
        same = f"{begin}{block}"
        for end in ends:
            yield same + end


def logged_head(method: str, head: Head) -> LoggedHead:
    pool_requested, _, _, host, client_ip, user_agent, referer, _, traceparent = head
    return pool_requested, method or None, host, client_ip, user_agent, referer, traceparent


def valid_id(request_id: str | None) -> str | None:
    return None if request_id is None or _REQUEST_ID.fullmatch(request_id) is None else request_id


def trace_id(traceparent: str | None) -> str | None:
    """The id of the trace that the field names; None if it is not valid (W3C Trace Context, section 3.2)."""
    match = None if traceparent is None else _TRACEPARENT.fullmatch(traceparent)
    return None if match is None or (match[1] == "00" and match[3]) else match[2]
