"""The access log: one JSON object per request, on one line.

The rule: every key is always there, in the order of the table below; a line is at most 4,096 bytes;
and it is valid JSON whatever the client sent: bytes are latin-1 text, all but ASCII is escaped. Lines
are gathered and written in batches, whole lines only, so that those of several workers never tear: a
file opened for appending takes a batch in one write, a pipe takes at most 4,096 bytes at a time
(PIPE_BUF). A line that cannot be written is lost, the request is not.

    time            RFC 3339, UTC, milliseconds         path            raw, or null
    level           info; warning for 4xx; error        query           raw, without ?
    pool_requested  the header's value or null          client_ip
    pool            that decided, or null               user_agent      or null
    origin          that was picked, or null            referer         or null
    location        as sent, or null                    request_id      the client's, or generated
    status                                              duration_us     from the request read to the answer sent
    method          or null                             instance        host name
    host            as asked, or null                   worker          process id
                                                        config          hash of the configuration

What repeats is quoted once: an origin's part of a line is kept, and what a head says is quoted by
`quote`, whose result serves every request with that head.
"""

import asyncio
import json
import logging
import os
import re
import secrets
import socket
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _text
from time import monotonic_ns, time_ns
from typing import Any

from redirect.decision import Decision
from redirect.request import Head

LONGEST_LINE = 4096

# A batch is written when it has so many records or is so old (seconds); to a file in so many bytes at once.
BATCH = 100
LONGEST_WAIT = 0.1
LONGEST_WRITE = 64 * 1024

# What a client, a TOML or another server can make long; everything else is short by its nature.
_CUT = "pool_requested origin location method host path query client_ip user_agent referer".split()

_STDOUT = 1
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_logger = logging.getLogger("gunicorn.error")


# What a method and a head add to a line, as JSON: the pool that is asked for; method and host; client, agent
# and referer; the request's id, None where one is to be generated. Plain tuples: they are taken apart, here
# and below, for every line, and those with names take three times as long.
Quoted = tuple[str, str, str, str | None]

# What a decision adds: the level; what is before the target in Location; what is behind it; whether it is there.
_Part = tuple[str, str, str, bool]

# What is kept of a request until its line is written: see `AccessLog.write`; the fifth is when it ended.
_Record = tuple[Decision, Quoted, str, int, int, str]


class AccessLog:
    """Writes records to `target`: `-` is standard output, a path is appended to, `off` is nowhere.

    Raises OSError where the file cannot be opened. Lines are written by the running event loop, or by `flush`.
    """

    def __init__(self, target: str) -> None:
        self._file = _open(target)
        is_file = self._file is not None and stat.S_ISREG(os.fstat(self._file).st_mode)
        self._longest_write = LONGEST_WRITE if is_file else LONGEST_LINE
        self._failing = False
        self._records: list[_Record] = []
        self._timer: asyncio.TimerHandle | None = None
        self._parts: dict[Decision, _Part] = {}
        # A generated id has 32 digits, half of them of this process alone.
        self._ids = secrets.token_hex(8)
        self._last_id = 10**15
        self._tail = f',"instance":{_text(socket.gethostname())},"worker":{os.getpid()},"config":"'

    def write(self, decision: Decision, quoted: Quoted, target: str, started: int, config: str) -> None:
        """Adds the record of a request for `target` that was `started` at that time of `monotonic_ns`.

        `config` is the hash of the configuration that decided.
        """
        if self._file is None:
            return
        records = self._records
        if not records:
            self._timer = asyncio.get_running_loop().call_later(LONGEST_WAIT, self.flush)
        records.append((decision, quoted, target, started, monotonic_ns(), config))
        if len(records) == BATCH:
            self.flush()

    def flush(self) -> None:
        """Writes what was gathered."""
        records, self._records = self._records, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._file is None or not records:
            return
        try:
            for piece in _pieces(self._lines(records), self._longest_write):
                os.write(self._file, piece.encode("ascii"))
            self._failing = False
        except OSError as error:
            if not self._failing:  # say it once, not at every batch
                _logger.error("access log: lines are lost: %s", error)
            self._failing = True

    def close(self) -> None:
        """Writes what was gathered and closes the file; standard output stays open."""
        self.flush()
        if self._file not in (None, _STDOUT):
            os.close(self._file)
        self._file = None

    def _lines(self, records: "list[_Record]") -> list[str]:
        """The lines of a batch, made one behind the other, while code and tables are in the processor's caches."""
        number, ids, tail, parts = self._last_id, self._ids, self._tail, self._parts
        self._last_id += len(records)
        to_wall = time_ns() - monotonic_ns()  # anew for each batch, since the wall clock may be set
        lines: list[str] = []
        now, time = 0, ""  # a millisecond, and what it is called
        for decision, (pool_requested, asked, client, request_id), target, started, ended, config in records:
            if not 0 <= ended - now < 1_000_000:
                milliseconds = (ended + to_wall) // 1_000_000
                now, time = milliseconds * 1_000_000 - to_wall, _rfc3339(milliseconds)
            level, opening, closing, has_target = parts.get(decision) or self._part(decision)
            number += 1
            escaped = _text(target)[1:-1]
            path, _, query = escaped.partition("?")
            line = (
                f'{{"time":"{time}","level":"{level}","pool_requested":{pool_requested}'
                f'{opening}{escaped if has_target else ""}{closing}{asked}"path":"{path}","query":"{query}",{client}'
                f'"{request_id or ids + str(number)}","duration_us":{(ended - started) // 1000}{tail}{config}"}}\n'
            )
            if not target:  # of a request that was refused before it had one
                line = line.replace('"path":""', '"path":null')  # in a value the quotes would be escaped
            lines.append(line if len(line) <= LONGEST_LINE else fit(json.loads(line)))
        return lines

    def _part(self, decision: Decision) -> _Part:
        level = "info" if decision.status < 400 else "warning" if decision.status < 500 else "error"
        where = f',"pool":{_or_null(decision.pool)},"origin":{_or_null(decision.origin)},"location":'
        status = f',"status":{decision.status},'
        if decision.prefix is None:
            return level, where + "null", status, False
        part = self._parts[decision] = level, where + _text(decision.prefix)[:-1], '"' + status, True
        return part


def quote(method: str, head: Head) -> Quoted:
    """What `method` and `head` add to the line of every request that has them."""
    pool_requested, _, _, host, client_ip, user_agent, referer, request_id = head
    if request_id is not None and not _REQUEST_ID.fullmatch(request_id):
        request_id = None
    return (
        "null" if pool_requested is None else _text(pool_requested),
        f'"method":{_text(method) if method else "null"},"host":{"null" if host is None else _text(host)},',
        f'"client_ip":{"null" if client_ip is None else _text(client_ip)},'
        f'"user_agent":{"null" if user_agent is None else _text(user_agent)},'
        f'"referer":{"null" if referer is None else _text(referer)},"request_id":',
        request_id,
    )


def fit(record: dict[str, Any]) -> str:
    """The record as a line of at most LONGEST_LINE bytes: if need be long values are cut, and it says so."""
    line = _encode(record)
    longest = LONGEST_LINE
    while len(line) > LONGEST_LINE:
        longest //= 2
        cut = {key: record[key][:longest] for key in _CUT if record[key]}  # at 0 the rest fits, so this ends
        line = _encode({**record, **cut, "truncated": True})
    return line


def _encode(record: dict[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":")) + "\n"


def _or_null(value: str | None) -> str:
    return "null" if value is None else _text(value)


def _pieces(lines: list[str], longest: int) -> Iterator[str]:
    """The lines, joined as far as they are `longest` together."""
    whole = "".join(lines)
    if len(whole) <= longest:
        yield whole
        return
    begin = end = 0
    for line in lines:
        if end + len(line) - begin > longest:
            yield whole[begin:end]
            begin = end
        end += len(line)
    yield whole[begin:]


def _rfc3339(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_second(seconds)}.{rest:03}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _open(target: str) -> int | None:
    if target == "off":
        return None
    if target == "-":
        return _STDOUT
    return os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
