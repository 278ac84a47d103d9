"""What a request asks for, as values."""

from typing import NamedTuple

from redirect.core.authority import Endpoint
from redirect.core.cors import CrossOrigin
from redirect.core.decision import Decision


class Head(NamedTuple):
    pool_requested: str | None
    scheme: str  # "http" or "https"
    endpoint: Endpoint | None  # what the client asked for; None for HTTP/1.0 without Host
    host: str | None  # the same in the client's spelling
    client_ip: str | None
    user_agent: str | None
    referer: str | None
    request_id: str | None  # X-Request-ID, unchanged
    traceparent: str | None = None  # unchanged


class Request(NamedTuple):
    """A request as it was read. `answer` is given if it needs no pool: a refusal, or 204 to `OPTIONS *`."""

    method: str
    target: str  # raw path and query; unchecked if the request is refused
    head: Head
    answer: Decision | None = None
    cross_origin: CrossOrigin | None = None  # of a page that says so
