"""What both fronts share: how a request is read, answered and logged.

The rule: fronts differ in how they come by a request and how they send the answer, and in nothing else.
"""

import logging

from redirect.core.authority import Endpoint
from redirect.core.decision import FAULT, Decision
from redirect.core.service import Service
from redirect.edge.reader import Reader
from redirect.telemetry.recorder import Recorder

_logger = logging.getLogger("uvicorn.error")


class RequestHandler:
    """Asks `service`."""

    def __init__(self, service: Service, reader: Reader, recorder: Recorder) -> None:
        self.service = service
        self.reader = reader
        self.recorder = recorder

    def use(self, service: Service) -> None:
        """Asks this service from now on."""
        self.recorder.use(service.config)
        self.service = service

    def decide(self, pool_requested: str | None, scheme: str, endpoint: Endpoint | None) -> Decision:
        """The service's decision; what goes wrong in it is our fault, is logged, and has an answer."""
        try:
            return self.service.decide(pool_requested, scheme, endpoint)
        except Exception:
            _logger.exception("no decision for %r, %s, %r", pool_requested, scheme, endpoint)
            return FAULT
