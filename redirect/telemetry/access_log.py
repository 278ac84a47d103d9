"""The access log: one JSON object per request, on one line.

The rule: every key is always there, in the order of KEYS; a line is at most 4,096 bytes;
and it is valid JSON whatever the client sent: bytes are latin-1 text, all but ASCII is escaped.

What repeats is encoded once: the part of a line that an origin determines. Where the package was installed with a C
compiler, usual lines are formatted by `_lines.c`, and the others here; they are the same, byte for byte.
"""

import json
import os
import socket
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _text
from time import monotonic_ns, time_ns
from typing import Any, NamedTuple

from redirect.core.compiled import is_in_use
from redirect.core.decision import Decision, Outcome
from redirect.core.due import Due
from redirect.telemetry.log_writer import MAX_LINE_BYTES, rfc3339
from redirect.telemetry.record import Record, trace_id

IS_COMPILED = is_in_use("redirect.telemetry._lines")
if IS_COMPILED:
    from redirect.telemetry import _lines


class Key(NamedTuple):
    """A key of a record: the type of its column in SQL, and its meaning."""

    name: str
    sql_type: str
    meaning: str


# In the order of a line. A line that was cut has `"truncated": true` behind them.
KEYS = (
    Key("time", "TIMESTAMP", "RFC 3339, UTC, milliseconds"),
    Key("level", "VARCHAR", "info; warning for 4xx; error for 5xx"),
    Key("pool_requested", "VARCHAR", "the value of the pool header, or null"),
    Key("pool", "VARCHAR", "the pool that decided, or null"),
    Key("origin", "VARCHAR", "the origin that was picked, or null"),
    Key("location", "VARCHAR", "of a redirect to an origin, as sent, or null"),
    Key("status", "INTEGER", "that was answered"),
    Key("method", "VARCHAR", "or null"),
    Key("host", "VARCHAR", "as asked for, or null"),
    Key("path", "VARCHAR", "raw, or null"),
    Key("query", "VARCHAR", "raw, without ?"),
    Key("client_ip", "VARCHAR", "of the client, or null"),
    Key("user_agent", "VARCHAR", "or null"),
    Key("referer", "VARCHAR", "or null"),
    Key("trace_id", "VARCHAR", "of the trace that a valid W3C traceparent names, or null"),
    Key("request_id", "VARCHAR", "the client's X-Request-ID, or generated"),
    Key("duration_us", "BIGINT", "microseconds from the request read to the response sent"),
    Key("instance", "VARCHAR", "host name"),
    Key("worker", "BIGINT", "process id"),
    Key("config", "VARCHAR", "hash of the configuration"),
    Key("route", "VARCHAR", "the route that matched, or null"),
    Key("action", "VARCHAR", "redirect, forward, respond, show or refuse"),
    Key("origin_status", "INTEGER", "of the origin's answer, or null; these and the next of forwards only"),
    Key("origin_us", "BIGINT", "microseconds from the request sent to the origin to the head of its answer, or null"),
    Key("tries", "INTEGER", "how many origins were tried, or null"),
    Key("bytes_in", "BIGINT", "of the request's body, or null"),
    Key("bytes_out", "BIGINT", "of the answer's body that were passed on, or null"),
    Key("served_from", "VARCHAR", "cache for an old answer in place of the origin's, or null"),
    Key("due", "DOUBLE", "the share, 0 to 1, that was due to the origin when it was picked, or null"),
    Key(
        "weights",
        "VARCHAR",
        "hash of the weights of the origins that said so; null where they alone do not decide, or without a pick",
    ),
    Key("detail", "VARCHAR", "why it was refused or failed, or null"),
    Key("fallback_for", "VARCHAR", "the pool that was asked, where pool is its fallback, or null"),
)

# The values that can be long; a line over the limit is made to fit by cutting these.
_CUT = "pool_requested origin location method host path query client_ip user_agent referer route detail".split()

# The part of a line that a decision determines: the level; what is before the target in Location; whether the target is
# in it; what is behind it, up to the method; what is behind the configuration, cut where the numbers of an outcome go;
# and, last, what was due when this part was made.
_Part = tuple[str, str, bool, str, tuple[str, ...], Due | None]


class LineFormatter:
    """Attributes and `line` are known to `_lines.c`, which leaves to `line` what it does not know itself."""

    def __init__(self, *, is_compiled: bool = IS_COMPILED) -> None:
        self.parts: dict[Decision, _Part] = {}
        self.tail = f',"instance":{_text(socket.gethostname())},"worker":{os.getpid()},"config":"'
        self._make = _lines.make if is_compiled else _made

    def format(self, records: list[Record]) -> bytes:
        """The lines of a batch."""
        to_wall = time_ns() - monotonic_ns()  # for each batch, since the wall clock may be set
        return self._make(self, records, to_wall, MAX_LINE_BYTES)

    def line(self, record: Record, to_wall: int) -> bytes:
        """The line of a record. `to_wall` is what the wall clock is ahead of the monotonic one, in nanoseconds."""
        decision, head, request_id, target, started, ended, config, outcome = record
        pool_requested, method, host, client_ip, user_agent, referer, traceparent = head
        level, opening, has_target, closing, ends, _ = self._part(decision)
        path, _, query = target.partition("?")
        line = (
            f'{{"time":"{_time((ended + to_wall) // 1_000_000)}","level":"{level}"'
            f',"pool_requested":{_json(pool_requested)}{opening}{_text(target)[1:-1] if has_target else ""}{closing}'
            f'"method":{_json(method)},"host":{_json(host)}'
            f',"path":{_json(path if target else None)},"query":{_text(query)}'  # refused before its target was read
            f',"client_ip":{_json(client_ip)},"user_agent":{_json(user_agent)},"referer":{_json(referer)}'
            f',"trace_id":{_json(trace_id(traceparent))},"request_id":"{request_id}"'
            f',"duration_us":{(ended - started) // 1000}{self.tail}{config}"{_ending(ends, outcome)}'
        )
        return (line if len(line) <= MAX_LINE_BYTES else fit(json.loads(line))).encode("ascii")

    def forget(self) -> None:
        """Another configuration, or what was discovered since, has other decisions."""
        self.parts.clear()

    def _part(self, decision: Decision) -> _Part:
        part = decision.line_part
        if part is not None:
            return part
        part = self.parts.get(decision)
        if part is not None and part[-1] is decision.due:
            return part
        level = "info" if decision.status < 400 else "warning" if decision.status < 500 else "error"
        where = f',"pool":{_json(decision.pool)},"origin":{_json(decision.origin)},"location":'
        ends = _ends(decision)
        if decision.prefix is None:
            part = level, where + "null", False, _closing("", decision.status), ends, decision.due
        else:
            part = level, where + _text(decision.prefix)[:-1], True, _closing('"', decision.status), ends, decision.due
        decision.line_part = part
        if decision.is_one_of_few:
            self.parts[decision] = part
        return part


def _made(formatter: LineFormatter, records: list[Record], to_wall: int, _: int) -> bytes:
    return b"".join([formatter.line(record, to_wall) for record in records])


@lru_cache(maxsize=1024)
def _closing(mark: str, status: int) -> str:
    return f'{mark},"status":{status},'


def _ends(decision: Decision) -> tuple[str, ...]:
    route, served_from, detail, fallback_for = map(
        _json, (decision.route, decision.served_from, decision.detail, decision.fallback_for)
    )
    share, weights = ("null", "null") if decision.due is None else _due(decision.due)
    first, *others = [f'"{name}":' for name in Outcome._fields]
    ends = (
        f',"route":{route},"action":"{decision.action}",{first}',
        *[f",{name}" for name in others],
        f',"served_from":{served_from},"due":{share},"weights":{weights},"detail":{detail},"fallback_for":{fallback_for}}}\n',
    )
    return ends if decision.is_forward else ("null".join(ends),)


def _ending(ends: tuple[str, ...], outcome: Outcome | None) -> str:
    if outcome is None:
        return "null".join(ends)
    numbers = ["null" if value is None else str(value) for value in outcome]
    return "".join([end + number for end, number in zip(ends, [*numbers, ""], strict=True)])


def _due(due: Due) -> tuple[str, str]:
    return f"{due.share:.6g}", f'"{due.weights.id}"' if due.weights.decide else "null"


def fit(record: dict[str, Any]) -> str:
    """The record as a line of at most MAX_LINE_BYTES; one with cut values has the key `truncated`."""
    line = _encode(record)
    longest = MAX_LINE_BYTES
    while len(line) > MAX_LINE_BYTES:
        longest //= 2
        cut = {key: record[key][:longest] for key in _CUT if record.get(key)}  # at 0 the rest fits, so this ends
        line = _encode({**record, **cut, "truncated": True})
    return line


def _encode(record: dict[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":")) + "\n"


def _json(value: str | None) -> str:
    return "null" if value is None else _text(value)


@lru_cache(maxsize=2)
def _time(milliseconds: int) -> str:
    return f"{rfc3339(milliseconds // 1000, 'seconds')[:-1]}.{milliseconds % 1000:03}Z"  # a float may be less
