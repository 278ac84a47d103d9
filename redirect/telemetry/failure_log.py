"""The error log of a route: a line of JSON for each request that the remote side failed, with why and after how long.

The rule: every key is always there, in the order of KEYS; a line is ASCII, and at most 4,096 bytes long. What the
client or this service did is no failure: neither a 4xx, nor a client that left, nor a worker that ended, nor the end of
a tunnel. A request that another origin answered has not failed.

No request waits: each path has a log writer in each worker.
"""

import os
import socket
from collections.abc import Iterable
from time import monotonic, monotonic_ns, time
from typing import NamedTuple

from redirect.core.decision import Decision, Outcome
from redirect.core.routes import Route
from redirect.telemetry.access_log import Key, fit
from redirect.telemetry.log_writer import CLOSE_TIMEOUT_SECONDS, LogWriter, rfc3339

# In the order of a line. A line that was cut has `"truncated": true` behind them.
KEYS = (
    Key("time", "TIMESTAMP", "RFC 3339, UTC, milliseconds"),
    Key("request_id", "VARCHAR", "as in the access log, and as the origin got it"),
    Key("route", "VARCHAR", "the route that matched"),
    Key("pool", "VARCHAR", "the pool whose origins answer"),
    Key("origin", "VARCHAR", "the last one that was tried, or null"),
    Key("method", "VARCHAR", "as asked for"),
    Key("path", "VARCHAR", "as asked for, raw, without the query"),
    Key("what", "VARCHAR", "what happened, by the table below"),
    Key("status", "INTEGER", "that was answered"),
    Key("origin_status", "INTEGER", "of the origin's answer, or null"),
    Key("after_us", "BIGINT", "microseconds from the request read to its failure"),
    Key("detail", "VARCHAR", "why, in words, or null"),
    Key("tries", "INTEGER", "how many origins were tried"),
    Key("instance", "VARCHAR", "host name"),
    Key("worker", "BIGINT", "process id"),
)


class What(NamedTuple):
    """What happened. `errors` are those of RFC 9209 that are named so."""

    name: str
    errors: tuple[str, ...]
    meaning: str


_STATUS = What("status", (), "the origin answered with 5xx, which was passed on")
WHATS = (
    _STATUS,
    What("late", ("http_response_timeout",), "the head, the next piece or the end of the answer did not come in time"),
    What("refused", ("connection_refused",), "the origin refused the connection"),
    What("cut", ("http_response_incomplete", "connection_terminated"), "the origin closed before its answer was whole"),
    What(
        "unreachable",
        ("connection_timeout", "dns_error", "destination_ip_unroutable", "tls_certificate_error", "tls_protocol_error"),
        "there was no connection for another reason: name, network, TLS, or not in time",
    ),
    What("broken", ("http_protocol_error", "http_response_header_section_size"), "what came is no HTTP, or too large"),
    What("down", ("destination_unavailable",), "no origin of the pool is up"),
)

_OF_ERROR = {error: what.name for what in WHATS for error in what.errors}
_TUNNEL = 101  # ends when nothing comes, from whichever side
_STDERR = 2


def what_failed(status: int, origin_status: int | None, error: str | None) -> str | None:
    """What the remote side failed to do, None if it did not fail. `error` is the name of RFC 9209, section 2.3."""
    if error is not None:
        return _OF_ERROR.get(error) if status != _TUNNEL else None
    return _STATUS.name if origin_status == status >= 500 else None


class FailureLogs:
    """The error logs of a worker, by path; `-` is standard error."""

    def __init__(self) -> None:
        self._writers: dict[str, LogWriter] = {}

    def use(self, routes: Iterable[Route]) -> None:
        """Opens the logs that the routes name, and closes the others."""
        named = {route.error_log for route in routes if route.error_log is not None}
        for target in self._writers.keys() - named:
            self._writers.pop(target).close(seconds=0)
        for target in named:
            self._writer(target)

    def write(
        self, log: str, decision: Decision, outcome: Outcome, error: str | None, method: str, target: str,
        request_id: str | None, started: int,
    ) -> None:  # fmt: skip
        """Writes the line of a request that ends now, if the remote side failed; `started` is by `monotonic_ns`."""
        what = what_failed(decision.status, outcome[0], error)
        if what is not None:
            after_us = (monotonic_ns() - started) // 1000
            self._writer(log).write(_line(what, decision, outcome, method, target, request_id, after_us))

    def _writer(self, target: str) -> LogWriter:
        """Opens it also for a request that began before its log was closed; the next configuration closes it again."""
        writer = self._writers.get(target)
        if writer is None:
            writer = self._writers[target] = LogWriter(target, f"error log {target}", _STDERR)
        return writer

    def reopen(self) -> None:
        for writer in self._writers.values():
            writer.reopen()

    def close(self) -> None:
        deadline = monotonic() + CLOSE_TIMEOUT_SECONDS
        for writer in self._writers.values():
            writer.close(max(0, deadline - monotonic()))
        self._writers.clear()


def _line(
    what: str, decision: Decision, outcome: Outcome, method: str, target: str, request_id: str | None, after_us: int
) -> bytes:
    origin_status, _, tries, _, _ = outcome
    values = (
        rfc3339(time()),
        request_id,
        decision.route,
        decision.pool,
        decision.origin,
        method,
        target.partition("?")[0],
        what,
        decision.status,
        origin_status,
        after_us,
        decision.detail,
        tries,
        socket.gethostname(),
        os.getpid(),
    )
    return fit({key.name: value for key, value in zip(KEYS, values, strict=True)}).encode("ascii")
