"""The fast front: answers where the parser hands over the head, without a task or a scope.

The rule: what it sends and logs is what the Starlette front would, byte for byte, in the order of the
requests; only the way is shorter. What it cannot answer at once, because an earlier request of the
connection waits or the client does not read, it leaves to uvicorn and the app, as it does with what
is neither redirect nor refusal.

The shortest way is for a client that repeats itself. Browsers, proxies and load generators send the
same few heads again and again on a connection, and what the parser said of these bytes a moment ago
it would say again: a GET that differs from an earlier one in its target alone is answered with what is
known of its head.
"""

import asyncio
from collections.abc import Sequence
from time import monotonic_ns

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from redirect.core.authority import Endpoint
from redirect.core.decision import Decision
from redirect.core.request import Request
from redirect.edge.connection import PIECE, HttpConnection
from redirect.edge.response import CLOSE, Field, fields_and_body
from redirect.telemetry.record import Quoted, quote

_END = b"\r\ncontent-length: 0\r\n\r\n"
_HEAD_END = b"\r\n\r\n"
_GET = b"GET /"
_VERSION = b" HTTP/1.1\r\n"

# Heads that a connection remembers: a page, its images, its scripts, and one more.
_HEADS = 4


class FastPath(HttpConnection):
    """The guard with the fast front behind it, and the app behind that.

    Relies, beside what the guard does, on these of uvicorn's protocol: `server_state.default_headers`, a
    new list whenever a field changes; `server_state.total_requests`; `limit_concurrency`;
    `flow.write_paused`; and on `pause_writing` being called as soon as too much waits to be sent.
    """

    __slots__ = ("_answered", "_at_rest", "_cut", "_end", "_heads", "_known")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # The last request was answered here, whole, and the client reads: the parser is where it was before it.
        self._at_rest = False
        self._answered: _Known | None = None  # the head of the request that was answered last
        self._heads: dict[bytes, _Known] = {}  # what is known of requests that end so, from the version on
        # Of these the one that came last: how it ends, where that begins, counted from the end, what is known.
        self._end: bytes | tuple[()] = ()  # () ends nothing
        self._cut = 0
        self._known: _Known

    def data_received(self, data: bytes) -> None:
        if (
            self._at_rest
            and data.startswith(_GET)
            and len(data) <= PIECE
            and (data.endswith(self._end) or self._recalls(data))
        ):
            target = data[len(_GET) - 1 : self._cut]
            text = target.decode("latin-1")
            if text.isascii() and text.isprintable() and " " not in text:
                started = monotonic_ns()
                pool_requested, scheme, endpoint, quoted = self._known
                decision = self.handler.decide(pool_requested, scheme, endpoint)
                self._answer(decision, quoted, "GET", text, target, started, False)
                return
        is_first = not self._in_message and not self._unfed
        self._at_rest, self._answered = False, None
        super().data_received(data)
        if self._answered and not self._in_message and not self._unfed:
            self._at_rest = True
            if is_first:
                self._remember(self._answered, data)

    def pause_writing(self) -> None:
        self._at_rest, self._answered = False, None
        super().pause_writing()

    def shutdown(self) -> None:
        self._at_rest, self._answered = False, None
        super().shutdown()

    def silence(self) -> None:
        self._at_rest, self._answered = False, None
        super().silence()

    def hand_over(self, request: Request, *, close: bool) -> None:
        """Answers the request at once, or leaves it to the app."""
        answer = request.answer
        if (
            self._is_answering()
            or self.flow.write_paused
            or self.limit_concurrency is not None
            or (answer is not None and answer.status < 300)
        ):
            self._answered = None
            super().hand_over(request, close=close)
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
        if self._stuck is not None:
            self._written += len(answer)
        self.transport.write(answer)
        state.total_requests += 1
        handler.recorder.write(decision, quoted, text, started, handler.service.config.hash)
        self._since = started
        if close:
            self._at_rest, self._answered = False, None
            self._hang_up()

    def _recalls(self, data: bytes) -> bool:
        """Whether a request that ended like `data` was answered before."""
        begin = data.find(_VERSION)
        known = self._heads.get(data[begin:])
        if known is None:
            return False
        self._end, self._cut, self._known = data[begin:], begin - len(data), known
        return True

    def _remember(self, known: "_Known", data: bytes) -> None:
        """Takes down how `data` ended, whose last request was answered as `known`: if it is one request and
        no more. It begins one and ends one, since the parser is where it was before it."""
        if data.startswith(_GET) and len(data) <= PIECE and data.find(_HEAD_END) == len(data) - len(_HEAD_END):
            if len(self._heads) == _HEADS:
                self._heads.clear()
            self._heads[data[data.index(_VERSION) :]] = known


# What a head asks the service for, and all of it as the access log has it.
_Known = tuple[str | None, str, Endpoint | None, Quoted]


class _Openings(dict[Decision, bytes]):
    """How the answers of redirects begin, up to the target, as long as the `default` fields stay the same:
    a second, since the date is one of them."""

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
    """An answer that is rare enough to be put together anew."""
    fields, body = fields_and_body(decision, target)
    if close and CLOSE not in fields:
        fields.append(CLOSE)
    return _head(decision, [*default, *fields]) + b"\r\n" + (b"" if method == "HEAD" else body)


def _head(decision: Decision, fields: Sequence[Field]) -> bytes:
    return STATUS_LINE[decision.status] + b"".join(b"%b: %b\r\n" % field for field in fields)
