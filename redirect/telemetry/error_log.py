"""The error log, on standard error.

The rule: no process blocks on it. A blocked master would replace no worker and handle no signal, and a blocked worker
would answer no request. What cannot be written at once is lost, and reported before the next message.
"""

import io
import os
import stat

from redirect.telemetry.log_writer import without_blocking, write_now


class ErrorLog(io.TextIOBase):
    """A stream that replaces `sys.stderr` and writes each message to the descriptor at once, or not at all."""

    def __init__(self, descriptor: int) -> None:
        self._file = without_blocking(descriptor)
        self._is_socket = stat.S_ISSOCK(os.fstat(self._file).st_mode)
        self._lost = 0  # messages since the last one that was written whole
        self._is_torn = False  # the last line has no end

    def write(self, text: str) -> int:
        lost = f"{self._lost} messages were lost here, as standard error was not read\n" if self._lost else ""
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
