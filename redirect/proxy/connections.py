"""The connections of a worker to one origin: made as requests need them, and kept for the next ones.

The rule: the connection that rested last is taken first, so that few stay warm, and none rests for as long as servers
keep theirs open. A name is resolved for each connection, and of several addresses the first that answers is used
(Happy Eyeballs, RFC 8305).
"""

import asyncio
import errno
import functools
import os
import socket
import ssl
from collections import deque
from ipaddress import ip_address
from time import monotonic
from typing import NamedTuple

import aiohappyeyeballs

from redirect.proxy.descriptors import DESCRIPTORS
from redirect.proxy.names import Name
from redirect.proxy.upstream import Upstream

# Connections of one origin that rest in one worker.
MAX_IDLE = 64

# Node and uvicorn close connections that rested for 5 s: where both ends act at once, a request is lost.
MAX_IDLE_SECONDS = 4.0

NEXT_ADDRESS_SECONDS = 0.25

_tls = functools.cache(ssl.create_default_context)


class Place(NamedTuple):
    """Where an origin is reached, and of which name its certificate has to be. Both are normalised, an IPv6 address in
    brackets."""

    scheme: str
    host: str
    port: int
    called: str


class ConnectError(Exception):
    """Why there is no connection: `error` is the name of RFC 9209, section 2.3."""

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(detail)
        self.error = error


class NoDescriptorError(Exception):
    """Why there is no connection, and no origin is to blame."""


class Connections:
    def __init__(self, place: Place) -> None:
        self._place = place
        self.name = f"{place.host}:{place.port}"
        self._host = place.host.strip("[]")
        self._name = None if _is_address(self._host) else Name(self._host, place.port)
        self._idle: deque[Upstream] = deque()
        self._is_closed = False

    def take(self) -> Upstream | None:
        while self._idle:
            upstream = self._idle.pop()
            if not upstream.transport.is_closing():
                return upstream
        return None

    def give(self, upstream: Upstream) -> None:
        if self._is_closed or len(self._idle) >= MAX_IDLE:
            upstream.transport.close()
            return
        upstream.idle_since = monotonic()
        self._idle.append(upstream)

    def lost(self, upstream: Upstream) -> None:
        if upstream in self._idle:
            self._idle.remove(upstream)

    @property
    def idle(self) -> int:
        return len(self._idle)

    def close_idle(self, since: float) -> None:
        """Closes those that rest since before that time, by `monotonic`."""
        while self._idle and self._idle[0].idle_since <= since:
            self._idle.popleft().transport.close()

    def close(self) -> None:
        """Closes those that rest now, and the others after their answers."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().transport.close()

    async def connect(self, seconds: float) -> Upstream:
        """Raises ConnectError and NoDescriptorError."""
        DESCRIPTORS.origins += 1
        try:
            if not DESCRIPTORS.allow_origin():
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            async with asyncio.timeout(seconds):
                return await self._connect()
        except TimeoutError:
            raise ConnectError("connection_timeout", f"no connection within {seconds:g} s") from None
        except socket.gaierror as error:
            raise ConnectError("dns_error", f"its name is not resolved: {error.strerror}") from None
        except ssl.SSLError as error:
            is_certificate = isinstance(error, ssl.SSLCertVerificationError)
            name = "tls_certificate_error" if is_certificate else "tls_protocol_error"
            raise ConnectError(name, f"TLS failed: {getattr(error, 'verify_message', None) or error.reason}") from None
        except ConnectionRefusedError:
            raise ConnectError("connection_refused", "it refused the connection") from None
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise NoDescriptorError(f"{os.strerror(error.errno).lower()} here") from None
            raise ConnectError("destination_ip_unroutable", f"no connection: {error.strerror or error}") from None
        finally:
            DESCRIPTORS.origins -= 1  # one that was made counts for itself

    def _make(self) -> Upstream:
        return Upstream(self.give, self.lost)

    async def _connect(self) -> Upstream:
        loop, (scheme, _, port, called) = asyncio.get_running_loop(), self._place
        tls, name = (_tls(), called.strip("[]")) if scheme == "https" else (None, None)
        if self._name is None:
            _, upstream = await loop.create_connection(self._make, self._host, port, ssl=tls, server_hostname=name)
            return upstream
        found = await self._name.addresses()
        connected = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _, upstream = await loop.create_connection(self._make, sock=connected, ssl=tls, server_hostname=name)
        return upstream


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
