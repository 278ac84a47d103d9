"""The Starlette front: from an ASGI request to a decision, and from a decision to an ASGI response.

The rule: nothing is decided here. The app asks the service, sends the response and writes the record. It takes every
path and method: the public listener owns no path.

Complete by itself: any ASGI server can run it. Our own protocol (`connection.HttpConnection`) has read the request
already and passes it in the ASGI extension "redirect", with the target as it came (ASGI cannot tell `/` from `/?`).
From another server the same is read from the scope.
"""

from dataclasses import replace
from random import Random
from time import monotonic_ns

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from redirect.core.decision import Decision
from redirect.core.forward import Forward
from redirect.core.forwarded import TrustedProxies
from redirect.core.pools import Config
from redirect.core.request import Request
from redirect.core.routes import Route
from redirect.core.service import new_service
from redirect.edge.asgi_forwarding import NO_SWITCH, AsgiClient
from redirect.edge.documents import Controller, Documents
from redirect.edge.handler import RequestHandler
from redirect.edge.reader import EXTENSION, Reader, peer_of
from redirect.edge.response import fields_and_body
from redirect.proxy.forwarder import Forwarder
from redirect.proxy.limits import Limits
from redirect.telemetry.record import logged_head
from redirect.telemetry.recorder import Recorder


def create_app(
    config: Config,
    pool_id_header: str,
    trusted: TrustedProxies,
    recorder: Recorder,
    random: Random,
    controller: Controller | None = None,
    limits: Limits | None = None,
) -> Starlette:
    """The public application of one worker process. `random` draws where its cycles begin. Without `limits` those of
    its routes are for this process alone.

    A protocol in front of it uses its `app.state.handler`.
    """
    trusted.problems = recorder.forwarded
    app = Starlette()
    app.state.handler = handler = RequestHandler(
        new_service(config, random, pool_id_header=pool_id_header),
        Reader(pool_id_header, trusted),
        recorder,
        Forwarder(recorder, config, limits or Limits()),
        Documents(controller),
    )

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        started = monotonic_ns()
        config_hash = handler.service.config.hash
        request = (scope.get("extensions") or {}).get(EXTENSION) or _read(handler.reader, scope)
        decision: Decision | Forward | Route = handler.answer(request, scope["headers"])
        if isinstance(decision, Forward):
            refusal = await _forward(handler, decision, request, scope, receive, send, started)
            if refusal is None:
                return
            decision = refusal
        logged = logged_head(request.method, request.head)
        request_id = handler.id_of(request.head)
        if isinstance(decision, Route):
            decision = await _show(handler.documents, decision, request, scope, send, request_id)
        else:
            fields, body = fields_and_body(decision, request.target, request_id, scope["headers"])
            await send({"type": "http.response.start", "status": decision.status, "headers": fields})
            await send({"type": "http.response.body", "body": body})
        handler.recorder.write(decision, logged, request_id, request.target, started, config_hash)

    # No route: a route owns a path, knows methods, and sends the client to its own Host for a slash.
    app.router.default = answer
    return app


async def _forward(
    handler: RequestHandler,
    forward: Forward,
    request: Request,
    scope: Scope,
    receive: Receive,
    send: Send,
    started: int,
) -> Decision | None:
    """Forwards the request; returns the refusal if it must not be."""
    peer = peer_of(scope["client"])
    client = AsgiClient()
    exchange = handler.exchange(client, forward, request, scope["headers"], scope["http_version"], peer, started)
    if isinstance(exchange, Decision):
        return exchange
    if exchange.traits.upgrade:
        return replace(NO_SWITCH, route=forward.name)
    client.exchange = exchange
    await client.run(receive, send)
    return None


async def _show(
    documents: Documents, route: Route, request: Request, scope: Scope, send: Send, request_id: str
) -> Decision:
    """Answers as the controller does; returns what is recorded."""
    async with documents.answer(route, request.target, request_id, scope["headers"]) as answer:
        await send({"type": "http.response.start", "status": answer.decision.status, "headers": answer.fields})
        for piece, more in answer.pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": more})
    return answer.decision


def _read(reader: Reader, scope: Scope) -> Request:
    """The request as nearly as it came as ASGI allows."""
    query = scope["query_string"]
    target = (scope.get("raw_path") or scope["path"].encode()) + (b"?" + query if query else b"")
    peer = peer_of(scope["client"])
    fields = reader.fields(scope["headers"])
    return reader.read(scope["method"], target, fields, scope["http_version"], peer, scope["scheme"])
