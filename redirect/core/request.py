"""What a request asks for, as values."""

from typing import NamedTuple

from redirect.core.authority import Endpoint
from redirect.core.decision import Decision


class Head(NamedTuple):
    """What a head says beside its method and target: who asks, for whom, and which pool."""

    pool_requested: str | None
    scheme: str  # "http" or "https"
    endpoint: Endpoint | None  # what was asked for; None for HTTP/1.0 without Host
    host: str | None  # the same as the client wrote it
    client_ip: str | None
    user_agent: str | None
    referer: str | None
    request_id: str | None  # X-Request-ID as it came


class Request(NamedTuple):
    """A request as it was read. `answer` is there where it needs no pool: a refusal, or 204 to `OPTIONS *`."""

    method: str
    target: str  # raw path and query; as it came, where the request is refused
    head: Head
    answer: Decision | None = None
