"""The Starlette front: from an ASGI request to a decision, and from a decision to an ASGI response.

The rule: nothing is decided here. The service is asked, the answer is sent, the record is written.
Every path and method ends here: the public listener owns no path.

Complete by itself: any ASGI server can run it. Our own protocol (`guard.Guard`) has read the
request already and hands it over in the ASGI extension "redirect", with the target as it came (ASGI
cannot tell `/` from `/?`). From another server the same is read from the scope.
"""

from random import Random
from time import monotonic_ns

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from redirect.answer import fields_and_body
from redirect.config import Config
from redirect.decision import Decision
from redirect.forwarded import TrustedProxies
from redirect.front import Front
from redirect.journal import Journal
from redirect.record import quote
from redirect.request import EXTENSION, Reader, Request
from redirect.service import Service


def create_app(
    config: Config, pool_id_header: str, trusted: TrustedProxies, journal: Journal, random: Random
) -> Starlette:
    """The public application of one worker process. `random` draws where its turns begin.

    What it shares with a protocol in front of it is `app.state.front`.
    """
    app = Starlette()
    app.state.front = front = Front(Service(config, random), Reader(pool_id_header, trusted), journal)
    # No route: a route owns a path, knows methods, and sends the client to its own Host for a slash.
    app.router.default = _Answering(front)
    return app


class _Answering:
    """The ASGI application behind Starlette's."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = monotonic_ns()
        front = self._front
        config = front.service.config.hash
        request = (scope.get("extensions") or {}).get(EXTENSION) or _read(front.reader, scope)
        head = request.head
        decision = request.answer or front.decide(head.pool_requested, head.scheme, head.endpoint)

        await response(decision, request.target)(scope, receive, send)
        front.journal.write(decision, quote(request.method, head), request.target, started, config)


def response(decision: Decision, target: str) -> Response:
    """The answer to a request for `target` as Starlette has it."""
    fields, body = fields_and_body(decision, target)
    answer = Response(body, decision.status)
    answer.raw_headers = fields
    return answer


def _read(reader: Reader, scope: Scope) -> Request:
    """The nearest to the request as it came that ASGI allows."""
    query = scope["query_string"]
    target = (scope.get("raw_path") or scope["path"].encode()) + (b"?" + query if query else b"")
    peer = scope["client"][0] if scope["client"] else None
    fields = reader.fields(scope["headers"])
    return reader.read(scope["method"], target, fields, scope["http_version"], peer, scope["scheme"])
