"""An origin that answers each request as soon as it is read, strictly, and keeps all that came."""

import asyncio
from dataclasses import dataclass, field

import h11

from conformance.strict import End, Message, read

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_NO_BODY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


@dataclass
class Recorded:
    """What came on one connection since the last case."""

    transport: asyncio.Transport
    received: bytes = b""
    answered: int = 0


class RecordingOrigin(asyncio.Protocol):
    """One for each connection, which is among the `connections` then."""

    def __init__(self, connections: list[Recorded]) -> None:
        self._connections = connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._recorded = Recorded(transport)
        self._connections.append(self._recorded)

    def data_received(self, data: bytes) -> None:
        recorded = self._recorded
        recorded.received += data
        messages = read(recorded.received).messages
        for message in messages[recorded.answered :]:
            recorded.transport.write(_NO_BODY if message.method == b"HEAD" else _ANSWER)
        recorded.answered = len(messages)


def forget(connections: list[Recorded]) -> None:
    """Makes room for the next case."""
    connections[:] = [each for each in connections if not each.transport.is_closing()]
    for recorded in connections:
        recorded.received, recorded.answered = b"", 0


@dataclass
class Asked:
    """What the origin was asked, and in how many ways it could be read."""

    messages: list[Message] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def asked(connections: list[Recorded]) -> Asked:
    found = Asked()
    for recorded in connections:
        reading = read(recorded.received)
        found.messages += reading.messages
        if reading.end is End.INVALID:
            found.faults.append(f"the origin got what is no request: {recorded.received[-200:]!r}")
        if _by_h11(recorded.received) != [(each.method, each.target, each.body) for each in reading.messages]:
            found.faults.append(f"h11 reads other requests at the origin: {recorded.received!r:.500}")
    return found


def _by_h11(received: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The whole requests, as h11 reads them."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    server.receive_data(received)
    found: list[tuple[bytes, bytes, bytes]] = []
    request, body = None, b""
    while (event := server.next_event()) is not h11.NEED_DATA and not isinstance(event, h11.ConnectionClosed):
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert request
            found.append((request.method, request.target, body))
            server.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            server.send(h11.EndOfMessage())
            if server.our_state is not h11.DONE:
                break
            server.start_next_cycle()
    return found
