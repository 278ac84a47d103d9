"""A connection to one of the fronts by itself, without a network."""

import asyncio
import math
from random import Random
from typing import Any

from uvicorn.server import ServerState

from redirect.config.loader import parse_config
from redirect.core.forwarded import TrustedProxies
from redirect.core.service import Service
from redirect.edge.asgi import create_app
from redirect.edge.connection import HttpConnection
from redirect.edge.fast_path import FastPath
from support.wire import POOLS, KeptTransport, new_recorder, served


class Broken(Service):
    """A service that fails at every request."""

    def decide(self, *_: Any) -> Any:
        raise RuntimeError("a secret")


class Connection:
    """A connection to the fast front or another, without a network; `loop` stands in for the event loop."""

    def __init__(
        self,
        protocol: type[HttpConnection] = FastPath,
        *,
        loop: Any = None,
        log: str = "off",
        toml: bytes = POOLS,
        **options: Any,
    ) -> None:
        pools = parse_config(toml, "p")
        self.recorder = new_recorder(pools, log)
        app = create_app(pools, "X-Redirect-Pool-ID", TrustedProxies(""), self.recorder, Random(1))
        self.state = ServerState()
        self.transport = KeptTransport("192.0.2.7", math.inf)
        self.protocol: Any = protocol(served(app, **options), self.state, {}, loop or asyncio.get_running_loop())
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)

    def send(self, data: bytes) -> bytes:
        """What was answered at once."""
        before = len(self.transport.sent)
        self.protocol.data_received(data)
        return self.transport.sent[before:]

    async def rest(self) -> bytes:
        """What was answered after that."""
        before = len(self.transport.sent)
        while self.state.tasks:
            await asyncio.sleep(0)
        return self.transport.sent[before:]
