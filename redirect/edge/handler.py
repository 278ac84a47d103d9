"""What both fronts share. They differ in how they receive a request and send the response, and in nothing else."""

import logging
from dataclasses import dataclass

from redirect.core.authority import Endpoint
from redirect.core.decision import FAULT, Decision
from redirect.core.forward import Forward
from redirect.core.request import Request
from redirect.core.service import Service
from redirect.edge.reader import Reader
from redirect.proxy.exchange import Client, Exchange
from redirect.proxy.fields import Field, FieldError, Forwarded, request_fields
from redirect.proxy.forwarder import Forwarder
from redirect.telemetry.record import is_request_id, new_request_id
from redirect.telemetry.recorder import Recorder

_logger = logging.getLogger("uvicorn.error")


@dataclass(slots=True)
class RequestHandler:
    service: Service
    reader: Reader
    recorder: Recorder
    forwarder: Forwarder

    def use(self, service: Service) -> None:
        self.recorder.use(service.config)
        self.forwarder.use(service.config)
        self.service = service

    def decide(
        self, method: str, target: str, pool_requested: str | None, scheme: str, endpoint: Endpoint | None
    ) -> Decision | Forward:
        """The service's decision, or a 500 whose cause is logged."""
        service = self.service
        try:
            if service.routes is None:
                return service.decide(pool_requested, scheme, endpoint)
            return service.decide_by_route(method, target, pool_requested, scheme, endpoint)
        except Exception:
            _logger.exception("no decision for %r, %s, %r", pool_requested, scheme, endpoint)
            return FAULT

    def exchange(
        self, client: Client, forward: Forward, request: Request, headers: list[Field], version: str, peer: str | None,
        started: int,
    ) -> Exchange | Decision:  # fmt: skip
        """The exchange of a request that is to be forwarded; its refusal if it must not be."""
        about = self._about(request, peer)
        try:
            fields = request_fields(headers, about, may_upgrade=version == "1.1")
        except FieldError as error:
            status = (("proxy-status", f"redirect; error={error.error}"),) if error.error else ()
            return Decision(error.status, detail=str(error), close=True, route=forward.route.name, fields=status)
        return Exchange(self.forwarder, client, forward, request, fields, about, started)

    def _about(self, request: Request, peer: str | None) -> Forwarded:
        """What an origin is told of the request's way."""
        head = request.head
        request_id = head.request_id if head.request_id and is_request_id(head.request_id) else new_request_id()
        return Forwarded(
            None if head.host is None else head.host.encode("latin-1"),
            (peer or "unknown").encode(),
            head.scheme.encode(),
            self.reader.trusts(peer),
            request_id.encode(),
        )
