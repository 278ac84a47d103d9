"""The response to a decision, the same bytes whichever front sends them.

The rule: a redirect has no body, a refusal is `application/problem+json` (RFC 9457), or a page with the same words
where the client prefers that, and a response that ends the connection says so. Each has the id by which the access log
has the request, unless the file gives it one.
"""

import json
import re
from collections.abc import Sequence
from html import escape

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from redirect.core.decision import NEW_TITLES, Decision
from redirect.core.service import RETRY_AFTER
from redirect.edge.reader import ALLOW
from redirect.proxy.fields import Field, Fields, values

# uvicorn's, by which both fronts begin a response, with the phrases of our problem documents.
STATUS_LINE.update({status: f"HTTP/1.1 {status} {phrase}\r\n".encode() for status, phrase in NEW_TITLES.items()})

ID = b"x-request-id"
_EMPTY: Field = (b"content-length", b"0")
CLOSE: Field = (b"connection", b"close")

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<h1>{title}</h1>
<p>{detail}</p>
"""
# A member of Accept: a range of media types, and its weight. Searched for where one begins only: anywhere, 31 kB of one
# letter would take seconds.
_ACCEPTED = re.compile(rb"(?:^|,)\s*([^\s,;/]+/[^\s,;]+)([^,]*)")
_WEIGHT = re.compile(rb";\s*[qQ]=([01](?:\.[0-9]{0,3})?)\s*(?:;|$)")


def fields_and_body(decision: Decision, target: str, request_id: str, asked: Fields = b"") -> tuple[list[Field], bytes]:
    """The header fields and the body of the response to a request for `target` with the `asked` fields."""
    fields, body = _fields_and_body(decision, target, asked)
    if not _has_id(decision):
        fields.insert(0, (ID, request_id.encode()))
    return [*fields, CLOSE] if decision.close else fields, body


def _fields_and_body(decision: Decision, target: str, asked: Fields) -> tuple[list[Field], bytes]:
    location = decision.location(target)
    if location is not None:
        return [*encoded(decision), (b"location", location.encode("latin-1")), _EMPTY], b""
    if decision.body is not None:
        body = decision.body.encode()
        fields = [] if decision.status in (204, 304) else [(b"content-length", str(len(body)).encode())]
    elif decision.status == 204:
        fields, body = [(b"allow", ALLOW.encode())], b""
    else:
        problem, kind = decision.problem(), b"application/problem+json"
        body = json.dumps(problem).encode("ascii")
        if prefers_html(b",".join(values(b"accept", asked))):
            title, kind = f"{problem['status']} {problem['title']}", b"text/html; charset=utf-8"
            body = _PAGE.format(title=title, detail=escape(decision.detail or "")).encode()
        fields = [(b"content-length", str(len(body)).encode()), (b"content-type", kind), (b"vary", b"accept")]
        if decision.status == 503 and all(name != "retry-after" for name, _ in decision.fields):
            fields.append((b"retry-after", str(RETRY_AFTER).encode()))
    return fields + encoded(decision), body


def _has_id(decision: Decision) -> bool:
    return any(name.lower() == "x-request-id" for name, _ in decision.fields)


def prefers_html(accept: bytes) -> bool:
    """Whether a client that says this would rather have a page than a problem (RFC 9110, section 12.5.1)."""
    weights = {kind.lower(): _weight(parameters) for kind, parameters in _ACCEPTED.findall(accept)}
    kinds = (b"application/problem+json", b"application/*", b"*/*")
    return weights.get(b"text/html", 0) > next((weights[kind] for kind in kinds if kind in weights), 0)


def _weight(parameters: bytes) -> float:
    found = _WEIGHT.search(parameters)
    return float(found[1]) if found else 1.0


def encoded(decision: Decision) -> list[Field]:
    """The decision's own fields. Those of a redirect come first, before the target."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in decision.fields]


def whole(
    default: Sequence[Field], decision: Decision, method: str, target: str, request_id: str, asked: Fields,
    *, close: bool,
) -> bytes:  # fmt: skip
    """The bytes of a response that is rare enough to be built for each request. The `default` fields come first."""
    fields, body = fields_and_body(decision, target, request_id, asked)
    if close and CLOSE not in fields:
        fields.append(CLOSE)
    return head(decision.status, [*default, *fields]) + b"\r\n" + (b"" if method == "HEAD" else body)


def opening(decision: Decision) -> bytes | None:
    """What is behind the id of a redirect's response, up to the target, kept with the decision; None if it is no
    redirect, or has an id of the file."""
    if decision.prefix is None or _has_id(decision):
        return None
    fields = b"".join([b"%b: %b\r\n" % field for field in encoded(decision)])
    decision.opening = made = b"\r\n" + fields + b"location: " + decision.prefix.encode("latin-1")
    return made


def head(status: int, fields: Sequence[Field]) -> bytes:
    return STATUS_LINE[status] + b"".join([b"%b: %b\r\n" % field for field in fields])
