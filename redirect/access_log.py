"""The access log: one JSON object per request, on one line.

The rule: every key is always there, in the order of the table below; a line is at most 4,096 bytes,
so that lines of several workers on one pipe never tear (writes up to PIPE_BUF are atomic); and it is
valid JSON whatever the client sent: bytes become latin-1 text, all but ASCII is escaped. A line that
cannot be written is lost, the request is not.

    time            RFC 3339, UTC, milliseconds         path            raw, or null
    level           info; warning for 4xx; error        query           raw, without ?
    pool_requested  the header's value or null          client_ip
    pool            that decided, or null               user_agent      or null
    origin          that was picked, or null            referer         or null
    location        as sent, or null                    request_id      the client's, or generated
    status                                              duration_us     front asked to answer sent
    method          or null                             instance        host name
    host            as asked, or null                   worker          process id
                                                        config          hash of the configuration
"""

import json
import logging
import os
import re
import socket
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from redirect.decision import Decision
from redirect.request import Asked

LONGEST_LINE = 4096

# What a client, a TOML or another server can make long; everything else is short by its nature.
_CUT = "pool_requested origin location method host path query client_ip user_agent referer".split()

_STDOUT = 1
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_logger = logging.getLogger("gunicorn.error")


class AccessLog:
    """Writes records to `target`: `-` is standard output, a path is appended to, `off` is nowhere.

    Raises OSError where the file cannot be opened.
    """

    def __init__(self, target: str) -> None:
        self._file = _open(target)
        self._instance = socket.gethostname()
        self._worker = os.getpid()
        self._failing = False

    def write(
        self,
        decision: Decision,
        asked: Asked,
        *,
        method: str,
        headers: dict[bytes, str],
        pool_requested: str | None,
        client_ip: str | None,
        duration_us: int,
        config: str,
    ) -> None:
        """Writes the record of one request. `headers` are its fields by lower-case name."""
        if self._file is None:
            return
        path, _, query = asked.target.partition("?")
        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": _level(decision.status),
            "pool_requested": pool_requested,
            "pool": decision.pool,
            "origin": decision.origin,
            "location": decision.location,
            "status": decision.status,
            "method": method or None,
            "host": asked.host,
            "path": path or None,
            "query": query,
            "client_ip": client_ip,
            "user_agent": headers.get(b"user-agent"),
            "referer": headers.get(b"referer"),
            "request_id": _request_id(headers.get(b"x-request-id")),
            "duration_us": duration_us,
            "instance": self._instance,
            "worker": self._worker,
            "config": config,
        }
        self._append(self._file, line(record))

    def close(self) -> None:
        if self._file not in (None, _STDOUT):
            os.close(self._file)

    def _append(self, file: int, encoded: bytes) -> None:
        try:
            os.write(file, encoded)
            self._failing = False
        except OSError as error:
            if not self._failing:  # say it once, not at every request
                _logger.error("access log: lines are lost: %s", error)
            self._failing = True


def line(record: dict[str, Any]) -> bytes:
    """The record as a line of at most LONGEST_LINE bytes: long values are cut, and it says so."""
    encoded = _encode(record)
    longest = LONGEST_LINE
    while len(encoded) > LONGEST_LINE:
        longest //= 2
        cut = {key: record[key][:longest] for key in _CUT if record[key]}  # at 0 the rest fits, so this ends
        encoded = _encode({**record, **cut, "truncated": True})
    return encoded


def _encode(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"


def _open(target: str) -> int | None:
    if target == "off":
        return None
    if target == "-":
        return _STDOUT
    return os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _level(status: int) -> str:
    return "info" if status < 400 else "warning" if status < 500 else "error"


def _request_id(sent: str | None) -> str:
    return sent if sent and _REQUEST_ID.fullmatch(sent) else uuid4().hex
