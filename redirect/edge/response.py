"""The response to a decision, the same bytes whichever front sends them.

The rule: a redirect has no body, a refusal is `application/problem+json` (RFC 9457), and a response that ends the
connection says so.
"""

import json
from collections.abc import Sequence

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from redirect.core.decision import NEW_TITLES, Decision
from redirect.core.service import RETRY_AFTER
from redirect.edge.reader import ALLOW

# uvicorn's, by which both fronts begin a response, with the phrases of our problem documents.
STATUS_LINE.update({status: f"HTTP/1.1 {status} {phrase}\r\n".encode() for status, phrase in NEW_TITLES.items()})

Field = tuple[bytes, bytes]

_EMPTY: Field = (b"content-length", b"0")
CLOSE: Field = (b"connection", b"close")


def fields_and_body(decision: Decision, target: str) -> tuple[list[Field], bytes]:
    """The header fields and the body of the response to a request for `target`."""
    location = decision.location(target)
    if location is not None:
        fields, body = [*encoded(decision), (b"location", location.encode("latin-1")), _EMPTY], b""
        return [*fields, CLOSE] if decision.close else fields, body
    if decision.body is not None:
        body = decision.body.encode()
        fields = [] if decision.status == 204 else [(b"content-length", str(len(body)).encode())]
    elif decision.status == 204:
        fields, body = [(b"allow", ALLOW.encode())], b""
    else:
        body = json.dumps(decision.problem()).encode("ascii")
        fields = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/problem+json")]
        if decision.status == 503 and all(name != "retry-after" for name, _ in decision.fields):
            fields.append((b"retry-after", str(RETRY_AFTER).encode()))
    fields += encoded(decision)
    return [*fields, CLOSE] if decision.close else fields, body


def encoded(decision: Decision) -> list[Field]:
    """The decision's own fields. Those of a redirect come first, before the target."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in decision.fields]


def whole(default: Sequence[Field], decision: Decision, method: str, target: str, *, close: bool) -> bytes:
    """The bytes of a response that is rare enough to be built for each request. The `default` fields come first."""
    fields, body = fields_and_body(decision, target)
    if close and CLOSE not in fields:
        fields.append(CLOSE)
    return head(decision.status, [*default, *fields]) + b"\r\n" + (b"" if method == "HEAD" else body)


def head(status: int, fields: Sequence[Field]) -> bytes:
    return STATUS_LINE[status] + b"".join([b"%b: %b\r\n" % field for field in fields])
