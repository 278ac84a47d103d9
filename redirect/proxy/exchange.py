"""One request that is forwarded: from the origin that is picked to the record of what became of it.

The rule: nothing is gathered but what may have to be sent again, at most KEPT_BYTES of a request. Either side that does
not take what comes stops the other. An answer that was cut is cut for the client, and a client that leaves ends the
origin's work.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import IntEnum
from time import monotonic_ns
from typing import Any, Protocol

from redirect.core.decision import FAULT, Decision
from redirect.core.destination import Destination
from redirect.core.due import Due
from redirect.core.forward import Forward
from redirect.proxy.cache import Copy
from redirect.proxy.connections import ConnectError, Connections, NoDescriptorError
from redirect.proxy.ejections import Attempt
from redirect.proxy.fields import NO_BODY, Field, Traits, date_now
from redirect.proxy.forwarder import Forwarder
from redirect.proxy.retries import IDEMPOTENT, Failure, may_repeat
from redirect.proxy.untaken import untaken
from redirect.proxy.upstream import Upstream
from redirect.telemetry.record import LoggedHead

# Bytes of a request's body that are kept, to be sent again.
KEPT_BYTES = 64 * 1024

# Seconds after which a client may try again where as many requests are under way as its route allows.
FULL_RETRY_AFTER = 1

# The status in the log for a client that left.
LEFT = 499

_logger = logging.getLogger("gunicorn.error")


class State(IntEnum):
    """In their order; an exchange may leave out any but the last."""

    WAITING = 0  # for the requests before it on its connection
    ASKING = 1  # its route for room, or an origin
    ANSWERING = 2  # the head of the answer was passed on
    TUNNEL = 3  # both sides send what they like
    OVER = 4


WAITING, ASKING, ANSWERING, TUNNEL, OVER = State


# By what ended a connection to an origin, before the head of an answer was whole.
_FAILURES = {"connection_terminated": Failure.STALE, "http_response_incomplete": Failure.CUT}


class Client(Protocol):
    """The client's side of an exchange. `takes_plain` says whether it can have `plain` called in place of `head` and
    `data`, and `end` if all of the answer is there, `adds_date` whether it writes Date itself."""

    takes_plain: bool
    adds_date: bool

    def interim(self, status: int, reason: bytes, fields: list[Field]) -> None:
        """A response before the final one (1xx)."""

    def head(self, status: int, reason: bytes, fields: list[Field], length: int | None) -> None:
        """The head of the answer. `length` is that of the body, 0 if none is to be sent, None if it is not known."""

    def plain(self, head: bytes, body: bytes, *, is_whole: bool) -> None:
        """A head, without its last line end, that states the length of the body, and what came of that."""

    def data(self, data: bytes) -> None: ...

    def sink(self) -> int | None:
        """The descriptor of its socket, where a body of known length may be written there from now on."""

    def flush(self) -> None:
        """No more will come at this moment."""

    def end(self, data: bytes, trailers: Sequence[Field]) -> None:
        """The last part of the answer, or of a tunnel."""

    def switch(self, reason: bytes, fields: list[Field], protocol: bytes) -> None:
        """From here on both sides send what they like."""

    def take_back(self) -> bool:
        """Whether the head of the answer has not gone out yet, which it then does not."""

    def cut(self) -> None:
        """The answer ends before its end."""

    def refuse(self, decision: Decision) -> None:
        """A response of ours, in place of the origin's."""

    def pause(self) -> None:
        """No more of the request is taken."""

    def resume(self) -> None: ...

    def has_left(self) -> bool:
        """Whether the client has reset its connection while it is not read or sends no more: nothing else tells."""

    def untaken(self) -> int:
        """Bytes of the answer that the client has not taken yet, as far as that is known."""


class Exchange:
    __slots__ = (
        "_answer_us", "_asks_first", "_attempt", "_bytes_in", "_bytes_out", "_client", "_complete_at", "_config",
        "_connecting", "_due", "_forward", "_forwarder", "_has_moved", "_host", "_id_line", "_is_retry", "_kept",
        "_key", "_logged", "_origin_status", "_refusal", "_sent_at", "_started", "_still_since", "_tried", "_untaken",
        "_upstream", "connections", "copy", "destination", "is_complete", "is_full", "key_of", "lines", "method",
        "request_id", "state", "takes_plain", "target", "traits",
    )  # fmt: skip

    def __init__(
        self, forwarder: Forwarder, client: Client, forward: Forward, method: str, target: str, logged: LoggedHead,
        request_id: str, lines: bytes, traits: Traits, host: bytes | None, started: int,
    ) -> None:  # fmt: skip
        # Request
        self.state = WAITING
        self._forwarder = forwarder
        self._client = client
        self._forward = forward
        self.method = method
        self.target = target
        self._logged = logged
        self.request_id = request_id  # by which the logs here and at the origin have it
        self._id_line = b"x-request-id: %b\r\n" % request_id.encode()
        self.lines = lines
        self.traits = traits
        self._host = host
        self._started = self._still_since = self._complete_at = started
        self._config = forwarder.config_hash
        self.is_complete = traits.framing in NO_BODY  # the request was read to its end
        self._asks_first = traits.expects_continue  # the client waits for a 100 before it sends the body
        self._kept: list[bytes] | None = []  # its body as it is sent, as long as it may have to be sent again
        self._refusal: Decision | None = None  # what it gets when the requests before it are answered
        self.key_of: Callable[[str], bytes] | None = None  # what a pool tells clients by, where one may pick by a key

        # Tries
        self._key = b""
        self._tried: tuple[str, ...] = ()  # names of origins
        self._is_retry = False  # it has a place in the budget of its pool
        self.destination: Destination | None = None
        self.connections: Connections | None = None  # to it
        self._due: Due | None = None  # to the origin, when it was picked
        self._attempt: Attempt | None = None  # where the origin may be ejected
        self._connecting: asyncio.Task[None] | None = None
        self._upstream: Upstream | None = None
        self._sent_at = started

        # Answer
        self.takes_plain = client.takes_plain and not forward.route.retry_on and forward.route.cache is None
        self._origin_status: int | None = None
        self._answer_us: int | None = None
        self._bytes_in = self._bytes_out = 0
        self._has_moved = False  # a part of the body came, since the last check
        self._untaken = 0  # bytes, at the last check, by the side that is full
        self.copy: Copy | None = None  # of the answer, where the route has a cache
        self.is_full = False  # the origin takes no more of the request for now

    @property
    def is_connected(self) -> bool:
        return self._upstream is not None

    @property
    def is_tunnel(self) -> bool:
        return self.state is TUNNEL

    def begin(self) -> None:
        self._still_since = self._complete_at = self._sent_at = monotonic_ns()
        self.state = ASKING
        self._forwarder.began(self, self._forward.pool.name)
        if self._refusal is not None:
            self.refuse_request(self._refusal)
            return
        limit = self._forward.route.limit
        if limit is None or self._forwarder.limits.enter(self, limit):
            self.go_on()

    def go_on(self) -> None:
        """Is under way from now on, as far as its route has a limit."""
        if self._forward.route.limit is not None:
            self._sent_at = monotonic_ns()  # it may have waited
        balancer = self._forward.balancer
        if not balancer.has_eligible:
            if not self._fall_back():
                return
            balancer = self._forward.balancer
        if balancer.is_by_key and self.key_of is not None:
            self._key = self.key_of(balancer.pool.hash_on)
        picked = balancer.pick_for(self.method, self._key)
        self._try(balancer.one_at_a_time(picked, self._key) if picked.trial or picked.is_held else picked)

    def _fall_back(self) -> bool:
        """Goes on as that of the first fallback that has an eligible origin, or refuses the request."""
        forward, reasons = self._forward, [self._forward.balancer.why_none()]
        while (fallback := forward.fallback) is not None:
            forward = fallback
            if forward.balancer.has_eligible:
                self._forwarder.moved(self._forward.pool.name, forward.pool.name)
                self._forward = forward
                return True
            reasons.append(forward.balancer.why_none())
        self._refuse(503, "; ".join(reasons), "destination_unavailable")
        return False

    def refuse_full(self, status: int = 503) -> None:
        """As many others are under way as its route allows."""
        route = self._forward.route
        assert route.limit is not None
        detail = f"{route.name} has {route.limit.in_flight} requests under way, its limit"
        self._refuse(status, detail, "connection_limit_reached", (("retry-after", str(FULL_RETRY_AFTER)),))

    # The request, from the client

    def request_data(self, data: bytes) -> None:
        if self.state is OVER:
            return
        self._bytes_in += len(data)
        self._has_moved, self._asks_first = True, False
        is_chunked = self.traits.is_chunked and self.state is not TUNNEL
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if is_chunked else data)

    def request_end(self) -> None:
        if self.is_complete or self.state is OVER:
            return
        self.is_complete = True
        self._complete_at = self._sent_at = monotonic_ns()
        if self.traits.is_chunked:
            self._send(b"0\r\n\r\n")

    def _send(self, piece: bytes) -> None:
        if self._kept is not None:
            self._kept.append(piece)
            if self._bytes_in > KEPT_BYTES:
                if self._upstream is None:
                    self.pause_request()
                else:
                    self._kept = None
        if self._upstream is not None:
            self._upstream.transport.write(piece)

    def refuse_request(self, refusal: Decision) -> None:
        """The rest of the request is not passed on."""
        if self.state is WAITING:
            self._refusal = refusal
        elif self.state is ASKING:
            self._refuse(refusal.status, refusal.detail or "", None)
        elif self.state is not OVER:
            self._cut(f"the answer was cut: {refusal.detail}", None)

    def client_lost(self) -> None:
        """The client has gone: whatever its origin does is in vain."""
        if self.state is not OVER:
            self._finish(101 if self.state is TUNNEL else LEFT, "the client left")

    def stop(self) -> None:
        """The worker ends."""
        if self.state is not OVER:
            status = self._origin_status if self.state >= ANSWERING else None
            self._finish(status or 503, "the worker ended")

    def pause_answer(self) -> None:
        if self._upstream is not None:
            self._upstream.pause()

    def resume_answer(self) -> None:
        if self._upstream is not None:
            self._upstream.resume()

    # Tries

    def _try(self, destination: Destination) -> None:
        self.destination = destination
        self._due = destination.due
        ejection = destination.pool.eject
        self._attempt = None if ejection is None else Attempt(self._forwarder.outcomes, destination, ejection)
        destination.requests += 1
        self._tried += (destination.origin.name,)
        self.connections = connections = self._forwarder.connections(destination)
        upstream = connections.take()
        if upstream is not None:
            self._attach(upstream, destination)
        else:
            self._connect(connections, destination)

    def _connect(self, connections: Connections, destination: Destination) -> None:
        self._upstream = None
        self._connecting = asyncio.get_running_loop().create_task(self._use_new(connections, destination))

    async def _use_new(self, connections: Connections, destination: Destination) -> None:
        pool = self._forward.pool.name
        try:
            upstream = await connections.connect(self._forward.route.timeouts.connect)
        except ConnectError as error:
            self._failed(Failure.UNREACHED, error.error, str(error))
        except NoDescriptorError as error:
            self._refuse(503, f"no connection to an origin of {pool}: {error}", "proxy_internal_error")
        except Exception:  # a fault of this program: without an answer the client would wait for good
            _logger.exception("no connection to an origin of %s", pool)
            self._refuse(500, FAULT.detail or "", "proxy_internal_error")
        else:
            self._attach(upstream, destination)

    def _attach(self, upstream: Upstream, destination: Destination) -> None:
        self._upstream = upstream
        self._sent_at = monotonic_ns()
        head = self._request_head(destination)
        if self.is_full:
            self.resume_request()  # before the origin may say that it takes no more
        upstream.ask(self, head + b"".join(self._kept) if self._kept else head, is_head=self.method == "HEAD")
        if self._bytes_in > KEPT_BYTES:
            self._kept = None

    def _request_head(self, destination: Destination) -> bytes:
        forward, host = self._forward, self._host
        if host is None or not forward.passes_host:
            host = str(destination.pool.called(destination.origin)).encode("ascii")
        target, prefix = forward.route.target_of(self.target)
        line = f"{self.method} {destination.origin.path_prefix}{target} HTTP/1.1\r\n".encode("latin-1")
        stripped = b"x-forwarded-prefix: %b\r\n" % prefix.encode("latin-1") if prefix else b""
        return b"".join((line, b"host: ", host, b"\r\n", self.lines, stripped, self._id_line, b"\r\n"))

    def _failed(self, failure: Failure, error: str, detail: str) -> None:
        """Tries again where that is safe, else answers in the origin's place."""
        failed = self.destination
        if self._attempt is not None and failure is not Failure.STALE:
            self._attempt.failed(error)
        if not self._retry(failure):
            name = self._forward.pool.name
            status = 503 if failure is Failure.UNREACHED else 502
            self._refuse(status, f"no answer from {name}: its origin failed: {detail}", error)
        elif failure is not Failure.STALE:
            self._count_failure(failed, error)

    def _retry(self, failure: Failure) -> bool:
        """Sends the request again, where it may be; returns whether it does."""
        forward, destination, connections = self._forward, self.destination, self.connections
        assert destination is not None
        assert connections is not None
        is_idempotent = self.method in IDEMPOTENT or self.traits.is_repeatable
        if not forward.route.retries or self._kept is None or not may_repeat(failure, is_idempotent=is_idempotent):
            return False
        if failure is Failure.STALE:  # once: a new connection has not rested
            self._connect(connections, destination)
            return True
        if len(self._tried) > forward.route.retries:
            return False
        other = forward.balancer.pick_other(self._tried, self._key)
        if other is None or not self._has_budget(failure):
            return False
        destination.requests -= 1
        self._forwarder.recorder.forwards.retried(forward.pool.name, destination.origin.name, self._answer_us)
        self._origin_status = self._answer_us = None  # the record is of the other one
        self._try(other)
        return True

    def _has_budget(self, failure: Failure) -> bool:
        """Takes a place in the budget, which is there for what origins have got: no connection is no load."""
        if failure is not Failure.UNREACHED and not self._is_retry:
            self._is_retry = self._forwarder.begin_retry(self._forward.pool.name)
        return failure is Failure.UNREACHED or self._is_retry

    # The answer, from the connection to the origin

    def on_interim(self, status: int, reason: bytes, fields: list[Field]) -> None:
        self._has_moved = self._has_moved or not self.is_complete  # else its answer is waited for, which this is not
        self._asks_first = self._asks_first and status != 100
        if status != 100 or self.traits.expects_continue:
            self._client.interim(status, reason, fields)

    def on_head(self, status: int, reason: bytes, fields: list[Field], length: int | None) -> bool:
        """Returns whether this is the answer; if not, another origin is asked already."""
        self._note_head(status)
        is_final = status not in self._forward.route.retry_on or (status == 503 and _has(fields, b"retry-after"))
        if not is_final and self._retry(Failure.STATUS):
            return False
        self.state = ANSWERING
        self._kept = None
        if not self._client.adds_date and not _has(fields, b"date"):
            fields.append((b"date", date_now()))
        if self.copy is not None and self._upstream is not None:
            self.copy.begin(status, reason, fields, length, has_end=self._upstream.has_end)
        self._client.head(status, reason, [*fields, self._id_field()], length)
        return True

    def on_plain(self, status: int, head: bytes, body: bytes, left: int) -> None:
        """The head of the answer, without its last line end, and what came of its body; `left` bytes are to come."""
        head += self._id_line
        self._note_head(status)
        self._bytes_out = len(body)
        if left:
            self.state, self._has_moved = ANSWERING, True
            self._kept = None
            self._client.plain(head, body, is_whole=False)
        else:
            self._upstream = None
            self._finish(status)
            self._client.plain(head, body, is_whole=True)

    def on_switch(self, reason: bytes, fields: list[Field], protocol: bytes) -> None:
        self._note_head(101)
        self.state = TUNNEL
        self._kept = None
        self._client.switch(reason, [*fields, self._id_field()], protocol)

    def _note_head(self, status: int) -> None:
        self._origin_status = status
        self._answer_us = (monotonic_ns() - self._sent_at) // 1000
        if self._attempt is not None:
            self._attempt.answered(status)

    def on_data(self, data: bytes) -> None:
        self._has_moved = True
        self._bytes_out += len(data)
        if self.copy is not None:
            self.copy.add(data)
        self._client.data(data)

    def sink(self) -> int | None:
        return None if self.copy is not None else self._client.sink()

    def on_passed(self, size: int) -> None:
        self._has_moved = True
        self._bytes_out += size

    def on_left(self) -> None:
        self.client_lost()
        self._client.cut()

    def flush(self) -> None:
        self._client.flush()

    def on_end(self, data: bytes, trailers: Sequence[Field]) -> None:
        self._upstream = None
        self._bytes_out += len(data)
        if self.copy is not None:
            self.copy.keep(data)
        status = self._origin_status
        assert status is not None
        self._finish(status)
        self._client.end(data, trailers if self.traits.takes_trailers else ())

    def on_lost(self, error: str, detail: str) -> None:
        self._upstream = None
        if self.state is TUNNEL:
            self._finish(101)
            self._client.end(b"", ())
        elif self.state is ANSWERING and not self._client.take_back():
            if self._attempt is not None:
                self._attempt.failed(error)
            self._cut(f"the answer was cut: {detail}", error)
        else:
            self._failed(_FAILURES.get(error, Failure.BROKEN), error, detail)

    def pause_request(self) -> None:
        self.is_full = True
        self._client.pause()

    def resume_request(self) -> None:
        if self.is_full:
            self.is_full = False
            self._client.resume()

    # Deadlines

    def look(self) -> None:
        """Ends the exchange if its client has left."""
        if self.state is not OVER and self._client.has_left():
            self.on_left()

    def check(self, now: int) -> None:
        """Ends the exchange if its client has left, or a deadline has passed; `now` is by `monotonic_ns`."""
        self.look()
        if self.state is OVER:
            return
        if self._has_moved or self._is_taken():
            self._has_moved, self._still_since = False, now
        timeouts = self._forward.route.timeouts
        is_idle = now - self._still_since > timeouts.idle * 1e9
        if self.is_complete and timeouts.total is not None and now - self._complete_at > timeouts.total * 1e9:
            if self.destination is None:
                self.refuse_full(504)  # it waited for as long: no origin has a part in it
            else:
                had_time = now - self._sent_at > timeouts.total * 5e8  # half of it, else others took more
                self._expire(f"no end of the answer within {timeouts.total:g} s", is_failure=had_time)
        elif self.state >= ANSWERING:
            if is_idle:
                is_full = self._is_held_up or (self.state is TUNNEL and self.is_full)
                what = "nothing was taken" if is_full else "nothing came"
                self._expire(f"{what} for {timeouts.idle:g} s")
        elif not self.is_complete and not self._asks_first:
            if self.is_full and self.destination is None:
                self._still_since = now  # it waits for a limit
            elif is_idle and self.is_full:
                self._expire(f"the origin took nothing of the request for {timeouts.idle:g} s")
            elif is_idle:
                self._refuse(408, f"the request's body did not go on for {timeouts.idle:g} seconds", None)
        elif self._upstream is not None:
            since = max(self._sent_at, self._complete_at, self._still_since)
            if now - since > timeouts.answer * 1e9:
                self._expire(f"no head of an answer within {timeouts.answer:g} s")

    def _is_taken(self) -> bool:
        """Whether the side that is full has taken something since the last look."""
        before, upstream = self._untaken, self._upstream
        if upstream is None or not (self.is_full or upstream.is_held_up):
            return False
        self._untaken = self._client.untaken() if upstream.is_held_up else untaken(upstream.transport)
        return self._untaken < before

    def _expire(self, detail: str, *, is_failure: bool = True) -> None:
        """`is_failure` says whether an origin without an answer may be ejected for it."""
        error = "http_response_timeout"
        if self.state >= ANSWERING:
            is_late = self.state is ANSWERING and not self._is_held_up
            self._cut(f"the answer was cut: {detail}", error if is_late else None)
        else:
            if is_failure and self._attempt is not None:
                self._attempt.failed(error)
            self._refuse(504, f"no answer from {self._forward.pool.name}: {detail}", error)

    @property
    def _is_held_up(self) -> bool:
        """Whether the client takes no more of the answer."""
        return self._upstream is not None and self._upstream.is_held_up

    # Ends

    def _refuse(self, status: int, detail: str, error: str | None, more: tuple[tuple[str, str], ...] = ()) -> None:
        stale = self.copy.stale(error) if self.copy is not None and error and status in (502, 503, 504) else None
        if stale is not None:
            self._answer_with(*stale, detail, error)
            return
        fields = (("proxy-status", f"redirect; error={error}"), *more) if error else more
        decision = self._finish(status, detail, error)
        self._client.refuse(replace(decision, fields=fields))

    def _answer_with(self, reason: bytes, fields: list[Field], body: bytes, detail: str, error: str | None) -> None:
        """An old answer in place of those that the origins do not give."""
        body = b"" if self.method == "HEAD" else body
        self._bytes_out = len(body)
        self._forwarder.recorder.numbers.stale += 1
        self._finish(200, detail, error, "cache")
        self._client.head(200, reason, [*fields, self._id_field()], len(body))
        self._client.end(body, ())

    def _cut(self, detail: str, error: str | None) -> None:
        """`error` is None where the origin has no part in it."""
        self._finish(self._origin_status or 502, detail, error)
        self._client.cut()

    def _id_field(self) -> Field:
        return b"x-request-id", self.request_id.encode()

    def _count_failure(self, destination: Destination | None, error: str) -> None:
        origin = None if destination is None else destination.origin.name
        self._forwarder.recorder.forwards.failed(self._forward.pool.name, origin, error)

    def _finish(
        self, status: int, detail: str | None = None, error: str | None = None, served_from: str | None = None
    ) -> Decision:
        """Ends the work of the origin if there still is some, and writes the record. `error` is the name of RFC 9209,
        section 2.3."""
        if error is not None:
            self._count_failure(self.destination, error)
        was_tunnel, self.state = self.state is TUNNEL, OVER
        if self._connecting is not None:
            self._connecting.cancel()
        if self._upstream is not None:
            (self._upstream.close if was_tunnel else self._upstream.abort)()
            self._upstream = None
        self._kept = None
        if self.copy is not None:
            self.copy.end()
        forward, destination = self._forward, self.destination
        origin = None
        if destination is not None:
            destination.requests -= 1
            origin = destination.origin.name
        self._forwarder.ended(self, forward.pool.name, is_retry=self._is_retry)
        if forward.route.limit is not None:
            self._forwarder.limits.leave(self, forward.route.limit)
        # A plain tuple in place of an Outcome, which takes three times as long.
        outcome: Any = (self._origin_status, self._answer_us, len(self._tried), self._bytes_in, self._bytes_out)
        if detail is None and origin is not None:
            decision = forward.answered(origin, status, self._due)
        else:
            decision = Decision(
                status, forward.pool.name, origin, detail=detail, route=forward.name, is_forward=True,
                served_from=served_from, fallback_for=forward.fallback_for, due=self._due,
            )  # fmt: skip
        if self.method == "HEAD" and forward.balancer.has_cycle and len(self._tried) == 1:
            decision = decision.without_pick()
        recorder = self._forwarder.recorder
        recorder.write(decision, self._logged, self.request_id, self.target, self._started, self._config, outcome)
        if forward.route.error_log is not None:
            about = self.method, self.target, self.request_id
            recorder.failures.write(forward.route.error_log, decision, outcome, error, *about, self._started)
        return decision


def _has(fields: list[Field], name: bytes) -> bool:
    return any(each.lower() == name for each, _ in fields)
