"""The answer: a decision in HTTP's terms, the same bytes whichever front sends them.

The rule: a redirect has no body, a refusal is `application/problem+json` (RFC 9457), and an answer
that ends the connection says so.
"""

import json

from redirect.decision import Decision
from redirect.request import ALLOW
from redirect.service import RETRY_AFTER

Field = tuple[bytes, bytes]

_EMPTY: Field = (b"content-length", b"0")
CLOSE: Field = (b"connection", b"close")


def fields_and_body(decision: Decision, target: str) -> tuple[list[Field], bytes]:
    """The header fields and the body with which a request for `target` is answered."""
    location = decision.location(target)
    if location is not None:
        fields, body = [(b"location", location.encode("latin-1")), _EMPTY], b""
    elif decision.status == 204:
        fields, body = [(b"allow", ALLOW.encode())], b""
    else:
        body = _problem(decision)
        fields = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/problem+json")]
        if decision.status == 503:
            fields.append((b"retry-after", str(RETRY_AFTER).encode()))
    return [*fields, CLOSE] if decision.close else fields, body


def _problem(decision: Decision) -> bytes:
    problem = {"type": "about:blank", "title": decision.title, "status": decision.status, "detail": decision.detail}
    return json.dumps(problem).encode("ascii")
