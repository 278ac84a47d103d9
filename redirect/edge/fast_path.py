"""The fast front: answers as soon as the parser has read the head, without a task or an ASGI scope.

The rule: it sends and logs what the Starlette front would, byte for byte, in the order of the requests. It leaves to
the app what it cannot answer at once, because an earlier request of the connection waits or the client does not read,
and what is neither redirect nor refusal. A plain request that is forwarded begins here, too.

Most requests are plain (`plain_head`), and are answered without the connection's parser. A client often sends the same
head again and again, so a GET that differs from the last one on its connection in its target alone is not read at all.
On a connection where heads do not repeat they are rarely kept.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from time import monotonic_ns

from redirect.core.authority import Endpoint
from redirect.core.decision import Decision
from redirect.core.forward import Forward
from redirect.core.request import Request
from redirect.core.routes import Route
from redirect.edge.connection import HttpConnection
from redirect.edge.deadlines import IDLE
from redirect.edge.forwarding import ForwardingClient
from redirect.edge.keys import key_of
from redirect.edge.limits import MAX_FED_BYTES
from redirect.edge.response import ID, head, opening, whole
from redirect.proxy.exchange import Exchange
from redirect.proxy.fields import Field, FieldError, Fields, Forwarded, Traits
from redirect.proxy.plain_fields import plain_request_fields
from redirect.telemetry.record import LoggedHead, logged_head

_END = b"\r\ncontent-length: 0\r\n\r\n"
_GET = b"GET /"

# A head is kept at a cost. Where so many in a row did not repeat, as on a proxy's connection, one of more is kept.
_MAX_VAIN = 4
_RARELY = 64


class FastPath(HttpConnection):
    """The connection with the fast front behind it, and the app behind that.

    Relies, beside what its parent does, on these of uvicorn's protocol: `server_state.default_headers`, a
    new list whenever a field changes; `server_state.total_requests`; `transport`; `flow.write_paused`; and on
    `pause_writing` being called as soon as too much waits to be sent.
    """

    __slots__ = ("_about", "_is_at_rest", "_known", "_last_end", "_peer", "_target_end", "_vain")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else None
        # Whether all requests were answered here, the client reads, and the next byte begins a request.
        self._is_at_rest = True
        # The last plain request, if it is kept: how it ended, where that begins, counted from the end, and what is
        # known of it.
        self._last_end = b""
        self._target_end = 0
        self._known: _Known
        self._vain = 0  # how many heads were read since one that repeated
        # What origins are told of the way of requests for this host by this scheme.
        self._about: tuple[str | None, str, Forwarded] | None = None

    def data_received(self, data: bytes) -> None:
        if self._is_at_rest and self._answer_plain(data):
            return
        self._is_at_rest = False
        super().data_received(data)

    def _answer_plain(self, data: bytes) -> bool:
        """Answers a plain request without the connection's parser; returns whether `data` is one."""
        started = monotonic_ns()
        if self._last_end and data.endswith(self._last_end) and data.startswith(_GET) and len(data) <= MAX_FED_BYTES:
            target = data[len(_GET) - 1 : self._target_end]
            text = target.decode("latin-1")
            if text.isascii() and text.isprintable() and " " not in text:
                self._vain = 0
                pool_requested, scheme, endpoint, client_ip, logged, given, passed = self._known
                decision = self.handler.decide("GET", text, pool_requested, scheme, endpoint, client_ip, data)
                if isinstance(decision, Decision):
                    request_id = given or next(self.handler.request_ids)
                    self._answer(decision, logged, request_id, "GET", text, target, data, started, False)
                    return True
                if passed is not None:
                    return self._forward_plain(decision, "GET", text, client_ip, data, logged, given, passed, started)
        found = self.handler.reader.plain(data, self._peer, self.scheme or "http")
        if found is None:
            return False
        method, target, text, pool_requested, scheme, endpoint, host, client_ip, logged, given = found
        decision = self.handler.decide(method, text, pool_requested, scheme, endpoint, client_ip, data)
        passed = None if isinstance(decision, Decision) else self._passed(data, host, scheme)
        if method == "GET":
            self._vain += 1
            if self._vain <= _MAX_VAIN or not self._vain % _RARELY:
                self._known = pool_requested, scheme, endpoint, client_ip, logged, given, passed
                self._target_end = len(_GET) - 1 + len(target) - len(data)
                self._last_end = data[self._target_end :]
            else:
                self._last_end = b""
        if isinstance(decision, Decision):
            request_id = given or next(self.handler.request_ids)
            self._answer(decision, logged, request_id, method, text, target, data, started, False)
            return True
        return self._forward_plain(decision, method, text, client_ip, data, logged, given, passed, started)

    def _passed(self, data: bytes, host: str | None, scheme: str) -> "_Passed | None":
        """The host and the fields for an origin; None if the connection is to read them."""
        if self._about is None or self._about[:2] != (host, scheme):
            about = self.handler.about(host, scheme, self._peer)
            self._about = host, scheme, about
        else:
            about = self._about[2]
        try:
            lines = plain_request_fields(data, data.find(b"\n") + 1, about)
        except FieldError:
            return None
        return None if lines is None else (about.host, lines)

    def _forward_plain(
        self, forward: Forward | Route, method: str, text: str, client_ip: str | None, data: bytes, logged: LoggedHead,
        given: str | None, passed: "_Passed | None", started: int,
    ) -> bool:  # fmt: skip
        """Forwards a plain request; returns whether it could. The connection tells caches what they want to know."""
        if passed is None or isinstance(forward, Route) or forward.route.cache is not None:
            return False
        self._is_at_rest = False
        handler, (host, lines) = self.handler, passed
        request_id = given or next(handler.request_ids)
        self._forwarding = client = ForwardingClient(self, is_http11=True, closes=False)
        client.exchange = exchange = Exchange(
            handler.forwarder, client, forward, method, text, logged, request_id, lines, _PLAIN, host, started
        )
        if forward.is_by_key:
            exchange.key_of = partial(key_of, target=text, client_ip=client_ip, fields=data)
        exchange.begin()
        return True

    def on_forwarded(self, *, closes: bool) -> None:
        super().on_forwarded(closes=closes)
        is_idle = self._state is IDLE and self._forwarding is None and not (self._buffer or self.pipeline)
        self._is_at_rest = is_idle and not (self._is_answering() or self.flow.write_paused or self._draining)

    def _feed(self) -> None:
        HttpConnection._feed(self)
        if self._buffer or self._state is not IDLE:
            self._is_at_rest = False

    def forget_head(self) -> None:
        self._last_end = b""

    def pause_writing(self) -> None:
        self._is_at_rest = False
        super().pause_writing()

    def shutdown(self) -> None:
        self._is_at_rest = False
        super().shutdown()

    def respond(self, request: Request, *, close: bool) -> None:
        """Answers the request at once, or leaves it to the app."""
        method, text, head, answer, _ = request
        if (
            self._is_answering()
            or self.flow.write_paused
            or (answer is not None and answer.status < 300 and answer.body is None)
        ):
            self._is_at_rest = False
            super().respond(request, close=close)
            return
        started = monotonic_ns()
        logged = logged_head(method, head)
        decision = self.handler.answer(request, self.headers)
        if not isinstance(decision, Decision):  # the controller answers
            self._is_at_rest = False
            super().respond(request, close=close)
            return
        self._is_at_rest = True
        request_id = self.handler.id_of(head)
        self._answer(decision, logged, request_id, method, text, text.encode("latin-1"), self.headers, started, close)

    def _answer(
        self, decision: Decision, logged: LoggedHead, request_id: str, method: str, text: str, target: bytes,
        fields: Fields, started: int, close: bool,
    ) -> None:  # fmt: skip
        state, handler = self.server_state, self.handler
        default = state.default_headers
        if default is not _begins.default:
            _begins.renew(default)
        begin = decision.opening or opening(decision)
        if begin is not None and not close:
            answer = b"".join((_begins[decision.status], request_id.encode(), begin, target, _END))
        else:
            close = close or decision.close
            answer = whole(default, decision, method, text, request_id, fields, close=close)
        if self._read_progress is not None:
            self._written += len(answer)
        self.transport.write(answer)
        state.total_requests += 1
        handler.recorder.write(decision, logged, request_id, text, started, handler.service.config.hash)
        self._since = started
        if close:
            self._is_at_rest = False
            self.close()


# The host and the fields for an origin, as lines.
_Passed = tuple[bytes | None, bytes]

_PLAIN = Traits()

# The arguments of the service, the head's part of the access record, the id that came with it, and what passes where it
# is forwarded.
_Known = tuple[str | None, str, Endpoint | None, str | None, LoggedHead, str | None, _Passed | None]


class _Begins(dict[int, bytes]):
    """The begin of a redirect's response by its status, up to the id, while the `default` fields stay the same: for a
    second, as the date is one of them."""

    default: Sequence[Field] = ()

    def renew(self, default: Sequence[Field]) -> None:
        self.clear()
        self.default = default

    def __missing__(self, status: int) -> bytes:
        self[status] = begin = head(status, self.default) + ID + b": "
        return begin


# All connections of the process share them.
_begins = _Begins()
