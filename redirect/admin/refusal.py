"""Refusals of the admin listener: `application/problem+json` (RFC 9457), as on the public one."""

import json
from collections.abc import Mapping

from starlette.responses import Response

from redirect.core.decision import Decision


def refusal(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that refuses a request, with `headers` beside its own."""
    body = json.dumps(Decision(status, detail=detail).problem())
    return Response(body, status, headers, media_type="application/problem+json")
