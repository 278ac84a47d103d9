"""The error log: what the service says of itself, on standard error.

The rule: nobody waits for its reader. A master that did would replace no worker and hear no signal, and a worker
would answer nobody. What is not taken at once is lost, and told as such in front of what is taken next.
"""

import io
import os
import socket
import stat

from redirect.telemetry.log_writer import unblocked


class ErrorLog(io.TextIOBase):
    """A stream in place of `sys.stderr`, which writes to this descriptor. What it is given at once goes at once, or
    not at all."""

    def __init__(self, descriptor: int) -> None:
        self._file = unblocked(descriptor)
        self._is_ours = self._file != descriptor
        is_socket = stat.S_ISSOCK(os.fstat(self._file).st_mode)
        self._socket = socket.socket(fileno=os.dup(self._file)) if is_socket else None
        self._lost = 0  # messages since the last one that was taken
        self._is_torn = False  # a part of one was taken, and not its end

    def write(self, text: str) -> int:
        """Takes a message; its length."""
        lost = f"{self._lost} messages were lost here, as nobody read them\n" if self._lost else ""
        whole = ("\n" * self._is_torn + lost + text).encode(errors="backslashreplace")
        sent = self._send(whole)
        if sent == len(whole):
            self._lost, self._is_torn = 0, False
        else:
            self._lost += 1
            self._is_torn = self._is_torn or sent > 0
        return len(text)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._is_ours and not self.closed:
            os.close(self._file)
        super().close()

    def _send(self, whole: bytes) -> int:
        """How many of the bytes were taken."""
        try:
            if self._socket is not None:
                return self._socket.send(whole, socket.MSG_DONTWAIT)
            return os.write(self._file, whole)
        except OSError:  # nobody reads, or the disk is full
            return 0
