"""The Starlette front: from an ASGI request to a decision, and from a decision to an ASGI response.

The rule: nothing is decided here. The service is asked, the answer is sent, the record is written.
Every path and method ends here: the public listener owns no path.

Complete by itself: any ASGI server can run it. Our own protocol (`protocol.Guard`) has read the
request already and hands over what it found in the ASGI extension "redirect", with the target as it
came (ASGI cannot tell `/` from `/?`). From another server the same is read from the scope.
"""

import json
import logging
from random import Random
from time import perf_counter_ns

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from redirect.access_log import AccessLog
from redirect.config import Config
from redirect.decision import FAULT, Decision
from redirect.forwarded import TrustedProxies
from redirect.request import ALLOW, EXTENSION, Asked, Received, read
from redirect.service import RETRY_AFTER, Service

_logger = logging.getLogger("uvicorn.error")


def create_app(
    config: Config, pool_id_header: str, trusted: TrustedProxies, access_log: AccessLog, random: Random
) -> Starlette:
    """The public application of one worker process. `random` draws where its turns begin."""
    app = Starlette()
    # No route: a route owns a path, knows methods, and sends the client to its own Host for a slash.
    app.router.default = Front(Service(config, random), pool_id_header, trusted, access_log)
    return app


class Front:
    """Answers requests with the decisions of `service`; assigning another service swaps it for all."""

    def __init__(self, service: Service, pool_id_header: str, trusted: TrustedProxies, access_log: AccessLog) -> None:
        self.service = service
        self._pool_id_header = pool_id_header.lower().encode("ascii")
        self._trusted = trusted
        self._log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter_ns()
        service = self.service
        received = (scope.get("extensions") or {}).get(EXTENSION) or _received(scope)
        headers, asked = received.headers, received.asked
        pool_requested = headers.get(self._pool_id_header)
        peer = scope["client"][0] if scope["client"] else None
        scheme, client_ip = self._trusted.resolve(
            peer, scope["scheme"], headers.get(b"x-forwarded-proto"), headers.get(b"x-forwarded-for")
        )
        decision = asked if isinstance(asked, Decision) else _decide(service, pool_requested, scheme, asked)

        await response(decision)(scope, receive, send)
        self._log.write(
            decision,
            asked if isinstance(asked, Asked) else Asked(headers.get(b"host"), None, received.target),
            method=scope["method"],
            headers=headers,
            pool_requested=pool_requested,
            client_ip=client_ip,
            duration_us=(perf_counter_ns() - started) // 1000,
            config=service.config.hash,
        )


def response(decision: Decision) -> Response:
    """The decision as an HTTP response."""
    headers = {"connection": "close"} if decision.close else {}
    if decision.location is not None:
        return Response(status_code=decision.status, headers={"location": decision.location, **headers})
    if decision.status == 204:
        return Response(status_code=204, headers={"allow": ALLOW, **headers})
    if decision.status == 503:
        headers["retry-after"] = str(RETRY_AFTER)
    problem = {"type": "about:blank", "title": decision.title, "status": decision.status, "detail": decision.detail}
    return Response(json.dumps(problem), decision.status, headers, media_type="application/problem+json")


def _decide(service: Service, pool_requested: str | None, scheme: str, asked: Asked) -> Decision:
    try:
        return service.decide(pool_requested, scheme, asked.authority, asked.target)
    except Exception:
        _logger.exception("no decision on %r", asked.target)
        return FAULT


def _received(scope: Scope) -> Received:
    """The nearest to the request as it came that ASGI allows."""
    query = scope["query_string"]
    target = (scope.get("raw_path") or scope["path"].encode()) + (b"?" + query if query else b"")
    return read(scope["method"], target, scope["headers"], scope["http_version"])
