"""The fast front: answers as soon as the parser has read the head, without a task or an ASGI scope.

The rule: it sends and logs what the Starlette front would, byte for byte, in the order of the requests. It leaves to
the app what it cannot answer at once, because an earlier request of the connection waits or the client does not read,
and what is neither redirect nor refusal.

Clients, proxies and load generators send the same few heads again and again on a connection, and the parser would
read the same bytes in the same way. So a GET that differs from an earlier one in its target alone is answered with
what was read of its head, without the parser.
"""

import asyncio
from collections.abc import Sequence
from time import monotonic_ns

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from redirect.core.authority import Endpoint
from redirect.core.decision import Decision
from redirect.core.request import Request
from redirect.edge.connection import HttpConnection
from redirect.edge.deadlines import IDLE
from redirect.edge.limits import MAX_FED_BYTES
from redirect.edge.response import CLOSE, Field, fields_and_body
from redirect.telemetry.record import Quoted, quote

_END = b"\r\ncontent-length: 0\r\n\r\n"
_HEAD_END = b"\r\n\r\n"
_GET = b"GET /"
_VERSION = b" HTTP/1.1\r\n"

# Heads that a connection keeps: a page, its images, its scripts, and one more.
_MAX_HEADS = 4


class FastPath(HttpConnection):
    """The connection with the fast front behind it, and the app behind that.

    Relies, beside what its parent does, on these of uvicorn's protocol: `server_state.default_headers`, a
    new list whenever a field changes; `server_state.total_requests`; `transport`; `flow.write_paused`; and on
    `pause_writing` being called as soon as too much waits to be sent.
    """

    __slots__ = ("_answered", "_heads", "_known", "_last_end", "_target_end")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # The head of the last request, if it was answered here, the client reads, and the parser awaits the next one.
        self._answered: _Known | None = None
        self._heads: dict[bytes, _Known] = {}  # by how requests end, from the version on
        # The one that came last: how it ends, where that begins, counted from the end, and what is known of it.
        self._last_end: bytes | tuple[()] = ()  # () ends nothing
        self._target_end = 0
        self._known: _Known

    def data_received(self, data: bytes) -> None:
        if (
            self._answered
            and data.startswith(_GET)
            and len(data) <= MAX_FED_BYTES
            and (data.endswith(self._last_end) or self._recall(data))
        ):
            target = data[len(_GET) - 1 : self._target_end]
            text = target.decode("latin-1")
            if text.isascii() and text.isprintable() and " " not in text:
                started = monotonic_ns()
                pool_requested, scheme, endpoint, quoted = self._known
                decision = self.handler.decide(pool_requested, scheme, endpoint)
                self._answer(decision, quoted, "GET", text, target, started, False)
                return
        is_first = self._state is IDLE and not self._buffer
        self._answered = None
        super().data_received(data)
        if is_first and self._answered:
            self._remember(self._answered, data)

    def _feed(self) -> None:
        HttpConnection._feed(self)
        if self._buffer or self._state is not IDLE:
            self._answered = None

    def pause_writing(self) -> None:
        self._answered = None
        super().pause_writing()

    def shutdown(self) -> None:
        self._answered = None
        super().shutdown()

    def respond(self, request: Request, *, close: bool) -> None:
        """Answers the request at once, or leaves it to the app."""
        answer = request.answer
        if self._is_answering() or self.flow.write_paused or (answer is not None and answer.status < 300):
            self._answered = None
            super().respond(request, close=close)
            return
        started = monotonic_ns()
        method, text, head, _ = request
        quoted = quote(method, head)
        decision = answer or self.handler.decide(head.pool_requested, head.scheme, head.endpoint)
        self._answered = head.pool_requested, head.scheme, head.endpoint, quoted
        self._answer(decision, quoted, method, text, text.encode("latin-1"), started, close)

    def _answer(
        self, decision: Decision, quoted: Quoted, method: str, text: str, target: bytes, started: int, close: bool
    ) -> None:
        state, handler = self.server_state, self.handler
        default = state.default_headers
        if default is not _openings.default:
            _openings.renew(default)
        if decision.prefix is not None and not close:
            answer = _openings[decision] + target + _END
        else:
            close = close or decision.close
            answer = _whole(default, decision, method, text, close)
        if self._read_progress is not None:
            self._written += len(answer)
        self.transport.write(answer)
        state.total_requests += 1
        handler.recorder.write(decision, quoted, text, started, handler.service.config.hash)
        self._since = started
        if close:
            self._answered = None
            self.close()

    def _recall(self, data: bytes) -> bool:
        """Whether a request that ended like `data` was answered here before."""
        begin = data.find(_VERSION)
        known = self._heads.get(data[begin:])
        if known is None:
            return False
        self._last_end, self._target_end, self._known = data[begin:], begin - len(data), known
        return True

    def _remember(self, known: "_Known", data: bytes) -> None:
        """Keeps how `data` ended, whose last request was answered from `known`, if `data` is exactly one request:
        the parser was between two requests before it, and is again."""
        if data.startswith(_GET) and len(data) <= MAX_FED_BYTES and data.find(_HEAD_END) == len(data) - len(_HEAD_END):
            if len(self._heads) == _MAX_HEADS:
                self._heads.clear()
            self._heads[data[data.index(_VERSION) :]] = known


# The arguments of the service, and the head's part of the access record.
_Known = tuple[str | None, str, Endpoint | None, Quoted]


class _Openings(dict[Decision, bytes]):
    """The begin of each redirect's response, up to the target, while the `default` fields stay the same: for a second,
    since the date is one of them."""

    default: Sequence[Field] = ()

    def renew(self, default: Sequence[Field]) -> None:
        self.clear()
        self.default = default

    def __missing__(self, decision: Decision) -> bytes:
        location = b"location: " + (decision.prefix or "").encode("latin-1")
        self[decision] = opening = _head(decision, self.default) + location
        return opening


# All connections of the process share them.
_openings = _Openings()


def _whole(default: Sequence[Field], decision: Decision, method: str, target: str, close: bool) -> bytes:
    """A response that is rare enough to be built for each request."""
    fields, body = fields_and_body(decision, target)
    if close and CLOSE not in fields:
        fields.append(CLOSE)
    return _head(decision, [*default, *fields]) + b"\r\n" + (b"" if method == "HEAD" else body)


def _head(decision: Decision, fields: Sequence[Field]) -> bytes:
    return STATUS_LINE[decision.status] + b"".join(b"%b: %b\r\n" % field for field in fields)
