"""What both fronts share: how a request is read, answered and logged.

The rule: fronts differ in how they come by a request and how they send the answer, and in nothing else.
"""

import logging

from redirect.authority import Endpoint
from redirect.decision import FAULT, Decision
from redirect.journal import Journal
from redirect.request import Reader
from redirect.service import Service

_logger = logging.getLogger("uvicorn.error")


class Front:
    """Asks `service`."""

    def __init__(self, service: Service, reader: Reader, journal: Journal) -> None:
        self.service = service
        self.reader = reader
        self.journal = journal

    def adopt(self, service: Service) -> None:
        """Asks this service from now on, for every request that is not decided."""
        self.journal.adopt(service.config)
        self.service = service

    def decide(self, pool_requested: str | None, scheme: str, endpoint: Endpoint | None) -> Decision:
        """The service's decision; what goes wrong in it is our fault, is logged, and has an answer."""
        try:
            return self.service.decide(pool_requested, scheme, endpoint)
        except Exception:
            _logger.exception("no decision for %r, %s, %r", pool_requested, scheme, endpoint)
            return FAULT
