"""The error log, on standard error.

The rule: no process blocks on it. A blocked master would replace no worker and handle no signal, and a blocked worker
would answer no request. What cannot be written at once is lost, and reported before the next message.

As JSON, each message is one object on one line, also what is not logged: a warning at the start, a traceback.
"""

import io
import json
import logging
import os
import socket
import stat
from time import time
from typing import Any

from redirect.telemetry.log_writer import rfc3339, without_blocking, write_now


class ErrorLog(io.TextIOBase):
    """A stream that replaces `sys.stderr` and writes each message to the descriptor at once, or not at all."""

    def __init__(self, descriptor: int, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self._file = without_blocking(descriptor)
        self._is_socket = stat.S_ISSOCK(os.fstat(self._file).st_mode)
        self._lost = 0  # messages since the last one that was written whole
        self._is_torn = False  # the last line has no end

    def write(self, text: str) -> int:
        lost = f"{self._lost} messages were lost here, as standard error was not read\n" if self._lost else ""
        if self._as_json:
            text, lost = (part if part.startswith("{") else _as_line(part) for part in (text, lost))
        whole = ("\n" * self._is_torn + lost + text).encode(errors="backslashreplace")
        try:
            sent = write_now(self._file, whole, self._is_socket)
        except OSError:  # not read, or the disk is full
            sent = 0
        if sent == len(whole):
            self._lost, self._is_torn = 0, False
        else:
            self._lost += 1
            self._is_torn = self._is_torn or sent > 0
        return len(text)


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        exception = self.formatException(record.exc_info) if record.exc_info else None
        return _line(record.created, record.levelname.lower(), record.getMessage(), exception)


# For `logging.config`: what any logger of any process has to say, where nothing else is set. gunicorn adds to it.
AS_JSON: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": JsonFormatter}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"level": "WARNING", "handlers": ["stderr"]},
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["stderr"], "propagate": False}},
}


def _as_line(text: str) -> str:
    """A message that was not logged, or a part of one."""
    level = "warning" if text.startswith("warning: ") else "error"
    message = text.removeprefix("warning: ").rstrip()
    return f"{_line(time(), level, message, None)}\n" if message else ""


def _line(created: float, level: str, message: str, exception: str | None) -> str:
    keys = {"time": rfc3339(created), "level": level, "message": message, "exception": exception}
    return json.dumps({**keys, "instance": socket.gethostname(), "pid": os.getpid()})
