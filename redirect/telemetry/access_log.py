"""The access log: one JSON object per request, on one line.

The rule: every key is always there, in the order of KEYS; a line is at most 4,096 bytes;
and it is valid JSON whatever the client sent: bytes are latin-1 text, all but ASCII is escaped.

What repeats is encoded once: the part of a line that an origin determines is cached, and that of a head comes encoded.
"""

import json
import os
import secrets
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _text
from math import inf
from time import monotonic_ns, time_ns
from typing import Any, Literal, NamedTuple

from redirect.core.decision import Decision, Outcome
from redirect.core.due import Due
from redirect.telemetry.log_writer import MAX_LINE_BYTES
from redirect.telemetry.record import Record


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
    Key("location", "VARCHAR", "as sent, or null"),
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

# The part of a line that a decision determines: the level; what is before the target in Location; what is behind it;
# whether the target is in it; what is behind the configuration, of a forward with places for its outcome; and what was
# due when this part was made.
_Part = tuple[str, str, str, bool, str, Due | None]

_NULLS = ("null",) * len(Outcome._fields)

_DUE: Literal[5] = 5  # its place in a part


class LineFormatter:
    def __init__(self) -> None:
        self._parts: dict[Decision, _Part] = {}
        # A generated id has 32 digits, half of them of this process alone.
        self._ids = secrets.token_hex(8)
        self._last_id = 10**15
        self._tail = f',"instance":{_text(socket.gethostname())},"worker":{os.getpid()},"config":"'

    def format(self, records: Sequence[Record]) -> list[str]:
        """The lines of a batch, in one loop: code and tables stay in the processor's caches."""
        number, ids, tail, parts = self._last_id, self._ids, self._tail, self._parts
        self._last_id += len(records)
        to_wall = time_ns() - monotonic_ns()  # for each batch, since the wall clock may be set
        lines: list[str] = []
        now, time = inf, ""  # a millisecond, and its text; none yet
        for decision, (pool_requested, asked, client, request_id), target, started, ended, config, outcome in records:
            if not 0 <= ended - now < 1_000_000:
                milliseconds = (ended + to_wall) // 1_000_000
                now, time = milliseconds * 1_000_000 - to_wall, _rfc3339(milliseconds)
            part = parts.get(decision)
            if part is None or part[_DUE] is not decision.due:
                part = self._part(decision)
            level, opening, closing, has_target, end, _ = part
            if outcome is not None:
                end = _filled(end, outcome)
            number += 1
            escaped = _text(target)[1:-1]
            path, _, query = escaped.partition("?")
            line = (
                f'{{"time":"{time}","level":"{level}","pool_requested":{pool_requested}'
                f'{opening}{escaped if has_target else ""}{closing}{asked}"path":"{path}","query":"{query}",{client}'
                f'"{request_id or ids + str(number)}","duration_us":{(ended - started) // 1000}{tail}{config}"{end}'
            )
            if not target:  # refused before its target was read
                line = line.replace('"path":""', '"path":null')  # in a value the quotes would be escaped
            lines.append(line if len(line) <= MAX_LINE_BYTES else fit(json.loads(line)))
        return lines

    def forget(self) -> None:
        """Another configuration, or what was discovered since, has other decisions."""
        self._parts.clear()

    def _part(self, decision: Decision) -> _Part:
        level = "info" if decision.status < 400 else "warning" if decision.status < 500 else "error"
        where = f',"pool":{_or_null(decision.pool)},"origin":{_or_null(decision.origin)},"location":'
        status = f',"status":{decision.status},'
        end = _end(decision)
        if decision.prefix is None:
            part = level, where + "null", status, False, end, decision.due
        else:
            part = level, where + _text(decision.prefix)[:-1], '"' + status, True, end, decision.due
        if decision.is_one_of_few:
            self._parts[decision] = part
        return part


def _end(decision: Decision) -> str:
    route, served_from, detail, fallback_for = (
        _or_null(value).replace("%", "%%")
        for value in (decision.route, decision.served_from, decision.detail, decision.fallback_for)
    )
    numbers = "".join([f'"{name}":%s,' for name in Outcome._fields])
    share, weights = ("null", "null") if decision.due is None else _due(decision.due)
    last = f'"served_from":{served_from},"due":{share},"weights":{weights},'
    last += f'"detail":{detail},"fallback_for":{fallback_for}}}\n'
    end = f',"route":{route},"action":"{decision.action}",{numbers}{last}'
    return end if decision.is_forward else end % _NULLS


def _due(due: Due) -> tuple[str, str]:
    return f"{due.share:.6g}", f'"{due.weights.id}"' if due.weights.decide else "null"


def _filled(end: str, outcome: Outcome) -> str:
    return end % (outcome if None not in outcome else tuple(["null" if value is None else value for value in outcome]))


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


def _or_null(value: str | None) -> str:
    return "null" if value is None else _text(value)


def _rfc3339(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_second(seconds)}.{rest:03}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
