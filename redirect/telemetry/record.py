"""The record of a request, from its response until it is counted and its line is written.

The rule: what can be done later is not done while a client waits. `quote` encodes the fields of a head once, for every
request with that head.

Plain tuples: each request makes one and unpacks it, and named tuples take three times as long.
"""

import re
import secrets
from itertools import count
from json.encoder import encode_basestring_ascii

from redirect.core.decision import Decision, Outcome
from redirect.core.request import Head

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Later versions may add parts, but two fields, joined by a comma, are none.
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-+\--~]*)?"
)

# The part of a line that comes from a method and a head, as JSON: the requested pool; method and host; client, agent,
# referer and trace; and the request's id as it is, None if one is to be generated.
Quoted = tuple[str, str, str, str | None]

# The decision; the head; the target; when the request was read and when the response was written, by `monotonic_ns`;
# the hash of the configuration that decided; and the outcome of a request that was forwarded.
Record = tuple[Decision, Quoted, str, int, int, str, Outcome | None]


class RequestIds:
    """Generates ids of 32 digits, half of them of this object alone."""

    def __init__(self) -> None:
        self._begin = secrets.token_hex(8)
        self._next = count(10**15)

    def new(self) -> str:
        return f"{self._begin}{next(self._next)}"


def quote(method: str, head: Head) -> Quoted:
    pool_requested, _, _, host, client_ip, user_agent, referer, request_id, traceparent = head
    asked, logged = (json(method or None), json(host)), (json(user_agent), json(referer))
    return join(pool_requested, *asked, client_ip, *logged, traceparent, valid_id(request_id))


def join(
    pool_requested: str | None, method: str, host: str, client_ip: str | None, user_agent: str, referer: str,
    traceparent: str | None, request_id: str | None,
) -> Quoted:  # fmt: skip
    """The same of values that are JSON already: method, host, agent and referer. The id is valid."""
    trace = "null" if traceparent is None else _trace_id(traceparent)
    client = json(client_ip)
    return (
        json(pool_requested),
        f'"method":{method},"host":{host},',
        f'"client_ip":{client},"user_agent":{user_agent},"referer":{referer},"trace_id":{trace},"request_id":',
        request_id,
    )


def json(value: str | None) -> str:
    return "null" if value is None else encode_basestring_ascii(value)


def valid_id(request_id: str | None) -> str | None:
    return None if request_id is None or _REQUEST_ID.fullmatch(request_id) is None else request_id


def _trace_id(traceparent: str) -> str:
    """The id of the trace to which a request belongs, as JSON; null if the field is not valid (W3C Trace Context,
    section 3.2)."""
    match = _TRACEPARENT.fullmatch(traceparent)
    return "null" if match is None or (match[1] == "00" and match[3]) else f'"{match[2]}"'
