"""The record: what is kept of a request from its answer until it is counted and its line is written.

The rule: nothing is worked out while a client waits that can be worked out later. What a head says
is quoted once, by `quote`, and serves every request with that head.

Plain tuples: they are made and taken apart for every request, and those with names take three times as long.
"""

import re
from json.encoder import encode_basestring_ascii as _text

from redirect.core.decision import Decision
from redirect.core.request import Head

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

# What a method and a head add to a line, as JSON: the pool that is asked for; method and host; client, agent
# and referer; the request's id, None where one is to be generated.
Quoted = tuple[str, str, str, str | None]

# The answer; to what head; for what target; when the request was read and when the answer was given to the
# transport, by `monotonic_ns`; and the hash of the configuration that decided.
Record = tuple[Decision, Quoted, str, int, int, str]


def quote(method: str, head: Head) -> Quoted:
    """What `method` and `head` add to the line of every request that has them."""
    pool_requested, _, _, host, client_ip, user_agent, referer, request_id = head
    if request_id is not None and not _REQUEST_ID.fullmatch(request_id):
        request_id = None
    return (
        "null" if pool_requested is None else _text(pool_requested),
        f'"method":{_text(method) if method else "null"},"host":{"null" if host is None else _text(host)},',
        f'"client_ip":{"null" if client_ip is None else _text(client_ip)},'
        f'"user_agent":{"null" if user_agent is None else _text(user_agent)},'
        f'"referer":{"null" if referer is None else _text(referer)},"request_id":',
        request_id,
    )
