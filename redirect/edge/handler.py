"""What both fronts share. They differ in how they receive a request and send the response, and in nothing else."""

import logging
from dataclasses import dataclass

from redirect.core.authority import Endpoint
from redirect.core.decision import FAULT, Decision
from redirect.core.service import Service
from redirect.edge.reader import Reader
from redirect.telemetry.recorder import Recorder

_logger = logging.getLogger("uvicorn.error")


@dataclass(slots=True)
class RequestHandler:
    service: Service
    reader: Reader
    recorder: Recorder

    def use(self, service: Service) -> None:
        self.recorder.use(service.config)
        self.service = service

    def decide(self, pool_requested: str | None, scheme: str, endpoint: Endpoint | None) -> Decision:
        """The service's decision, or a 500 whose cause is logged."""
        try:
            return self.service.decide(pool_requested, scheme, endpoint)
        except Exception:
            _logger.exception("no decision for %r, %s, %r", pool_requested, scheme, endpoint)
            return FAULT
