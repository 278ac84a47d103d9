"""What both fronts share. They differ in how they receive a request and send the response, and in nothing else."""

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from redirect.core.authority import Endpoint
from redirect.core.decision import FAULT, Decision
from redirect.core.forward import Forward
from redirect.core.request import Head, Request
from redirect.core.routes import Route
from redirect.core.service import MissingKeyError, Service
from redirect.edge.documents import Documents
from redirect.edge.keys import key_of
from redirect.edge.reader import ALLOW, Reader
from redirect.proxy.descriptors import DESCRIPTORS
from redirect.proxy.exchange import Client, Exchange
from redirect.proxy.fields import Field, FieldError, Fields, Forwarded, counted_down, request_fields
from redirect.proxy.forwarder import Forwarder
from redirect.telemetry.record import logged_head, request_ids, valid_id
from redirect.telemetry.recorder import Recorder

_logger = logging.getLogger("uvicorn.error")


@dataclass(slots=True)
class RequestHandler:
    service: Service
    reader: Reader
    recorder: Recorder
    forwarder: Forwarder
    documents: Documents = field(default_factory=Documents)
    connections: Collection[Any] = ()  # those of this process, with heads that they keep
    request_ids: Iterator[str] = field(default_factory=request_ids, init=False)

    def __post_init__(self) -> None:
        self.reader.read_origins(is_needed=self.service.reads_origin)
        DESCRIPTORS.forwards = bool(self.service.config.forwarded())

    def use(self, service: Service) -> None:
        if service.reads_origin != self.service.reads_origin:
            self.reader.read_origins(is_needed=service.reads_origin)
            for connection in self.connections:
                connection.forget_head()
        self.recorder.use(service.config)
        self.forwarder.use(service.config)
        self.service = service
        DESCRIPTORS.forwards = bool(service.config.forwarded())

    def decide(
        self, method: str, target: str, pool_requested: str | None, scheme: str, endpoint: Endpoint | None,
        client_ip: str | None, fields: Fields,
    ) -> Decision | Forward | Route:  # fmt: skip
        """The service's decision, or a 500 whose cause is logged."""
        service, key = self.service, None
        while True:
            try:
                if service.routes is None:
                    return service.decide(pool_requested, scheme, endpoint, method, key)
                return service.decide_by_route(method, target, pool_requested, scheme, endpoint, key)
            except MissingKeyError as needed:
                key = key_of(needed.hash_on, target, client_ip, fields)
            except Exception:
                _logger.exception("no decision for %r, %s, %r", pool_requested, scheme, endpoint)
                return FAULT

    def answer(self, request: Request, fields: Fields) -> Decision | Forward | Route:
        """What becomes of a request that was read field by field."""
        method, target, head, answer, cross_origin = request
        about = head.pool_requested, head.scheme, head.endpoint, head.client_ip, fields
        if answer is not None:
            return answer
        service = self.service
        if cross_origin is None or not service.has_cors:
            return self.decide(method, target, *about)
        if cross_origin.method is not None and method == "OPTIONS":
            preflight = service.preflight(target, head.pool_requested, head.endpoint, cross_origin)
            if preflight is not None:
                return preflight
        decision = self.decide(method, target, *about)
        return service.allowing(decision, cross_origin) if isinstance(decision, Decision) else decision

    def exchange(
        self, client: Client, forward: Forward, request: Request, headers: list[Field], version: str, peer: str | None,
        started: int,
    ) -> Exchange | Decision:  # fmt: skip
        """The exchange of a request that is to be forwarded; its refusal if it must not be."""
        method, target, head, _, _ = request
        if method in ("OPTIONS", "TRACE"):
            counted = counted_down(headers)
            if counted is None:
                return _last_hop(forward, method)
            headers = counted
        about = self.about(head.host, head.scheme, peer)
        try:
            lines, traits = request_fields(headers, about, is_http11=version == "1.1")
        except FieldError as error:
            return refusal(forward, error)
        exchange = Exchange(
            self.forwarder, client, forward, method, target, logged_head(method, head), self.id_of(head), lines, traits,
            about.host, started,
        )  # fmt: skip
        if forward.is_by_key:
            exchange.key_of = partial(key_of, target=target, client_ip=head.client_ip, fields=headers)
        if forward.route.cache is not None:
            exchange.copy = self.forwarder.cache.copy(forward.route, request, headers)
        return exchange

    def id_of(self, head: Head) -> str:
        """The id that the client gave the request, if it is valid, or a new one."""
        return valid_id(head.request_id) or next(self.request_ids)

    def about(self, host: str | None, scheme: str, peer: str | None) -> Forwarded:
        """What an origin is told of the request's way."""
        host_bytes = None if host is None else host.encode("latin-1")
        return Forwarded(host_bytes, (peer or "unknown").encode(), scheme.encode(), self.reader.trusts(peer))


def _last_hop(forward: Forward, method: str) -> Decision:
    """The answer to a request whose Max-Forwards lets it come as far as this service."""
    if method == "OPTIONS":
        return Decision(204, route=forward.name)
    allow = ALLOW.removesuffix(", TRACE")
    detail = "Max-Forwards ends the TRACE at this service, which does not show what it got"
    return Decision(405, detail=detail, route=forward.name, fields=(("allow", allow),))


def refusal(forward: Forward, error: FieldError) -> Decision:
    fields = (("proxy-status", f"redirect; error={error.error}"),) if error.error else ()
    return Decision(error.status, detail=str(error), close=True, route=forward.name, fields=fields)
