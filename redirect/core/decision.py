"""The decision: what a request is answered with."""

from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, NamedTuple

from redirect.core.authority import Endpoint
from redirect.core.due import Certain, Due

# Phrases of RFC 9110 that http.HTTPStatus has in an older form before Python 3.13.
NEW_TITLES = {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}

TITLES = {status.value: status.phrase for status in HTTPStatus} | NEW_TITLES


class Outcome(NamedTuple):
    """What happened between the service and origins, for one request that was forwarded."""

    origin_status: int | None  # of the last origin's answer
    origin_us: int | None  # from when the request was sent there to the head of that answer
    tries: int  # origins that were tried
    bytes_in: int  # of the request's body, from the client
    bytes_out: int  # of the answer's body, from the origin


# The status of refused loops; other answers may have it, too.
LOOP = 422

# Where the worker counts it: what says for how long that is so, the index of the request's numbers, that of its
# route's, if it has one, and whether nothing else is counted.
CountedAt = tuple[object, int, int | None, bool]


@dataclass(slots=True, unsafe_hash=True)
class Decision:
    """An answer, before it is bytes on a connection or a line in the access log.

    A redirect has a `prefix`, to which the response appends the target: the decision is the same for every request
    that is sent to that origin. A refusal has a `detail` for the client, a constant response a `body`. `pool` and
    `origin` are None where the decision did not get that far: a loop names both, a malformed request neither. Of a
    request that was forwarded it stands in the record only, with its outcome; and so does that of one that the
    controller answered.

    No request changes what is compared. It is one object, since each one more is cold memory where many pools are asked
    for in turn.
    """

    status: int
    pool: str | None = None
    origin: str | None = None
    prefix: str | None = None
    detail: str | None = None
    close: bool = False  # close the connection after this answer
    route: str | None = None  # its name
    fields: tuple[tuple[str, str], ...] = ()  # of the header, in addition to those of each response
    body: str | None = None
    is_forward: bool = False
    is_show: bool = False
    served_from: str | None = None  # "cache" in place of an origin that does not answer
    fallback_for: str | None = None  # the pool that was asked, where another one serves in its place
    leads_to: Endpoint | None = field(default=None, compare=False)  # for requests to it the redirect would be a loop
    due: Due | None = field(default=None, compare=False)  # when its origin was picked

    # What was made of it for its first request: the begin of the response, where it is counted, the part of a line of
    # the log, and the same decision on a route. Another one makes its own.
    opening: bytes | None = field(default=None, init=False, compare=False)
    counted_at: CountedAt | None = field(default=None, init=False, compare=False)
    line_part: tuple[Any, ...] | None = field(default=None, init=False, compare=False)
    routed: "Decision | None" = field(default=None, init=False, compare=False)

    def without_pick(self) -> "Decision":
        """The same for a request that was shown what the next pick will be: nothing else was due to it."""
        if self.pool is None or self.origin is None:
            return self
        return replace(self, due=Due(Certain(self.pool, self.origin), 1.0))

    @property
    def action(self) -> str:
        """What became of the request, as the access log has it."""
        if self.is_forward:
            return "forward"
        if self.is_show:
            return "show"
        if self.prefix is not None:
            return "redirect"
        return "respond" if self.detail is None else "refuse"

    @property
    def is_loop(self) -> bool:
        """Whether the request was refused because its origin is the host that it asked for."""
        return self.status == LOOP and self.origin is not None and not self.is_forward

    @property
    def is_one_of_few(self) -> bool:
        """Whether the same decision is made again and again, so that what follows from it may be kept."""
        return self.origin is not None and not (self.is_forward and self.detail)

    def problem(self) -> dict[str, object]:
        """The members of a refusal's problem document (RFC 9457)."""
        title = TITLES.get(self.status) or TITLES[self.status // 100 * 100]  # what RFC 9110 has unknown ones mean
        return {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}

    def location(self, target: str) -> str | None:
        """The Location for `target`; None if the request is refused."""
        return None if self.prefix is None else self.prefix + target


FAULT = Decision(500, detail="the request met a fault of this service; its log tells more", close=True)
