"""Refusals of the admin listener: `application/problem+json` (RFC 9457), as on the public one.

The rule: a request with a wrong token is counted. A line in the error log names the peer, once a minute at most, as
somebody may try many.
"""

import json
import logging
from collections.abc import Mapping
from math import inf
from time import monotonic

from starlette.responses import Response

from redirect.core.decision import Decision
from redirect.telemetry.scoreboard import Common

LINE_SECONDS = 60.0

_logger = logging.getLogger("gunicorn.error")


def refusal(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that refuses a request, with `headers` beside its own."""
    body = json.dumps(Decision(status, detail=detail).problem())
    return Response(body, status, headers, media_type="application/problem+json")


class WrongTokens:
    """Counts in `common`."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._next_line = -inf  # `monotonic` seconds

    def note(self, peer: str | None) -> None:
        self._common.wrong_tokens += 1
        if (now := monotonic()) >= self._next_line:
            self._next_line = now + LINE_SECONDS
            message = "the admin listener refused %s, which sent a wrong token; %s such requests came since the start"
            _logger.warning(message, peer or "a peer without an address", self._common.wrong_tokens)
