"""Docker's API: the three questions that are asked of it.

The rule: Docker is believed nothing, not to answer, to end, to be short, or to make sense. So each answer has a limit
in time and in bytes, and whatever is wrong with it is a `DockerError` with the reason, and what to do.
"""

import asyncio
import contextlib
import json
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from redirect.control.containers import LIST, Container

# Seconds within which Docker answers that it is there, begins its events, and has sent a whole list.
PING_SECONDS = EVENTS_SECONDS = 5.0
LIST_SECONDS = 15.0

# Bytes of a list (10,000 containers have about 15 MiB), of an event, and of another answer.
MAX_LIST_BYTES = 64 * 1024 * 1024
MAX_EVENT_BYTES = 1024 * 1024
MAX_ANSWER_BYTES = 4096

# Through a TCP connection whose other end is gone no event comes any more, and no error: so the kernel probes it.
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]


class DockerError(Exception):
    """Docker cannot be asked: why, and what to do."""


def base_url(host: str) -> tuple[str, str | None]:
    """The URL of Docker's API, and the path of its socket; raises DockerError if `host` is neither of the kinds."""
    with contextlib.suppress(ValueError):  # of a port that is none
        url = urlsplit(host)
        if url.scheme == "unix" and url.path.startswith("/") and not url.netloc:
            return "http://docker", url.path
        is_plain = url.path in {"", "/"} and not url.query and url.username is None and url.port != 0
        if url.scheme in {"tcp", "http"} and url.hostname and is_plain:
            return f"http://{url.netloc}", None
    raise DockerError(f"docker's host must be unix:///PATH or tcp://HOST:PORT, and not {host!r}")


class Api:
    """Docker's API, in the version that the daemon speaks. Each call raises DockerError if nothing came of it."""

    def __init__(self, host: str, client: httpx.AsyncClient) -> None:
        self._host = host
        self._client = client
        self._version = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, host: str) -> "AsyncIterator[Api]":
        """The API of the daemon at `host`, until the block ends."""
        url, path = base_url(host)
        transport = httpx.AsyncHTTPTransport(
            uds=path,
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # never used: spares the certificates of the default
            trust_env=False,
            socket_options=None if path else _KEEPALIVE,
        )
        fields = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with httpx.AsyncClient(
            base_url=url, transport=transport, trust_env=False, timeout=httpx.Timeout(None), headers=fields
        ) as client:
            api = cls(host, client)
            answer, _ = await api._get("/_ping", {}, PING_SECONDS, MAX_ANSWER_BYTES)
            api._version = answer.get("api-version", "")
            if not re.fullmatch(r"1\.[0-9]{1,4}", api._version):
                raise DockerError(f"what answers at {host} is not docker: it names no version of its API")
            yield api

    async def containers(self, **filters: Sequence[str]) -> Sequence[Container]:
        query = {"all": "1", "filters": json.dumps(filters)}
        _, body = await self._get(f"/v{self._version}/containers/json", query, LIST_SECONDS, MAX_LIST_BYTES)
        try:
            return LIST.validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            raise DockerError(f"its list of containers makes no sense: {place}: {first['msg']}"[:300]) from None

    @contextlib.asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """The events from now on, each a line. They begin with an answer, and then there may be none for days."""
        path = f"/v{self._version}/events"
        query = {"filters": json.dumps({"type": ["container", "network"]})}
        async with contextlib.AsyncExitStack() as stack:
            async with self._asking(path, EVENTS_SECONDS):
                response = await stack.enter_async_context(self._client.stream("GET", path, params=query))
                await _check(path, response)
            yield self._lines(response)

    async def _lines(self, response: httpx.Response) -> AsyncIterator[bytes]:
        rest = bytearray()
        async with self._asking("its events", None):
            async for piece in response.aiter_raw():
                rest += piece
                if b"\n" in piece:
                    *lines, rest = rest.split(b"\n")
                    for line in lines:
                        if line.strip():
                            yield bytes(line)
                if len(rest) > MAX_EVENT_BYTES:
                    raise DockerError(f"it sent an event of more than {MAX_EVENT_BYTES} bytes")

    async def _get(
        self, path: str, query: Mapping[str, str], seconds: float, max_bytes: int
    ) -> tuple[httpx.Headers, bytes]:
        async with self._asking(path, seconds), self._client.stream("GET", path, params=query) as response:
            await _check(path, response)
            return response.headers, await _body(path, response, max_bytes)

    @contextlib.asynccontextmanager
    async def _asking(self, what: str, seconds: float | None) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise DockerError(f"{self._host} sent no whole answer to {what} within {seconds:g} s") from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise DockerError(f"{self._host}: {_reason(error)}") from error


async def _check(path: str, response: httpx.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    said = await _body(path, response, MAX_ANSWER_BYTES)
    if status in {502, 503, 504}:
        hint = ": may what answers there open docker's socket, and does docker run?"
    elif status == 403:
        hint = ": it must let through /_ping, /v1.NN/containers/json and /v1.NN/events"
    else:
        hint = f": {said.decode(errors='replace').strip()[:200]!r}" if said else ""
    raise DockerError(f"{path} was answered {status}{hint}")


async def _body(path: str, response: httpx.Response, max_bytes: int) -> bytes:
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > max_bytes:
            raise DockerError(f"the answer to {path} has more than {max_bytes} bytes")
    return bytes(body)


def _reason(error: BaseException) -> str:
    """What the system said of it, beneath the layers of the client."""
    first = error
    while (cause := first.__cause__ or first.__context__) is not None:
        first = cause
    if isinstance(first, PermissionError):
        return "permission denied: the user of this process must be in the group of docker's socket"
    if isinstance(first, FileNotFoundError | ConnectionRefusedError):
        return f"{os.strerror(first.errno or 0)}: does docker run, and is REDIRECT_DOCKER_HOST where it is?"
    if isinstance(first, OSError) and first.errno and first.errno > 0:
        return os.strerror(first.errno)
    return str(first) or type(first).__name__
