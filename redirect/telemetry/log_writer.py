"""The log writer: writes lines to a file, a pipe, standard output or error without ever blocking.

The rule: what cannot be written at once is kept, up to a limit, and tried again; what is over the limit is lost,
counted, and reported by a line of its own as soon as writing works again, in the place of the lost lines.

Only whole lines are written, so that those of several processes never tear: to a file opened for appending in one
write of up to 64 KiB, to a pipe or terminal in chunks of at most 4,096 bytes (PIPE_BUF). Where a full disk tears a
line, its first part is removed again.
"""

import asyncio
import errno
import fcntl
import json
import logging
import os
import select
import socket
import stat
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from time import monotonic, time

MAX_LINE_BYTES = 4096
MAX_WRITE_BYTES = 64 * 1024

# Per process: a quarter of a second of all that a worker can log.
MAX_WAITING_BYTES = 8 * 1024 * 1024

# After an error; where a write would block, the event loop reports when it is possible.
RETRY_SECONDS = 0.5

# For a reader to take what waits when the log writer closes.
CLOSE_TIMEOUT_SECONDS = 1.0

_STDOUT = 1
_NOT_OPEN = -1
_logger = logging.getLogger("gunicorn.error")


class LogWriter:
    """Writes lines to `target`: `-` is the `standard` descriptor, a path is appended to. One that cannot be opened is
    tried again like one that cannot be written. Messages call it `name`."""

    def __init__(self, target: str, name: str = "access log", standard: int = _STDOUT) -> None:
        self.lost = 0  # lines
        self._target = target
        self._name = name
        self._standard = standard
        self._given = 0  # lines, with those that report lost ones
        self._reported = 0  # lines of the lost ones that another line reports
        self._waiting: deque[bytes] = deque()  # whole lines, as many as may be written at once
        self._waiting_bytes = 0
        self._stop_waiting: Callable[[], object] = lambda: None
        self._file = _NOT_OPEN
        self._is_file = self._is_socket = False
        self._blocks = False  # the last write would have blocked
        self._is_failing = False  # or it failed, and that is in the error log
        self._write_waiting()

    @property
    def written(self) -> int:
        """How many lines were written."""
        return self._given - self.lost - self._count_waiting()

    def write(self, lines: bytes, count: int = 1) -> None:
        """Writes, keeps or loses `count` lines, each with its line end, of at most MAX_LINE_BYTES. Called in an event
        loop."""
        was_empty = not self._waiting
        self._given += count
        for chunk in _chunks(lines, MAX_WRITE_BYTES if self._is_file else MAX_LINE_BYTES):
            if self._waiting_bytes + len(chunk) > MAX_WAITING_BYTES:
                self.lost += chunk.count(b"\n")
                continue
            if self.lost > self._reported:
                self._report_loss()
            self._keep(chunk)
        if was_empty:
            self._flush()

    def reopen(self) -> None:
        """Opens the path again, after the file was renamed. A standard descriptor stays."""
        if self._target == "-":
            return
        self._write_waiting()
        old = self._file
        try:
            self._open()
        except OSError as error:
            _logger.error("%s: %s cannot be opened again, the old file stays: %s", self._name, self._target, error)
            return
        self._flush()
        if old != _NOT_OPEN:
            os.close(old)

    def close(self, seconds: float = CLOSE_TIMEOUT_SECONDS) -> None:
        """Writes what waits, as far as the reader takes it in time; a standard descriptor stays open."""
        deadline = monotonic() + seconds
        while not self._write_waiting() and (left := deadline - monotonic()) > 0 and self._blocks:
            poll = select.poll()
            poll.register(self._file, select.POLLOUT)
            poll.poll(left * 1000)
        self._stop_waiting()
        self.lost += self._count_waiting()
        self._waiting.clear()
        if self.lost > self._reported:
            _logger.error("%s: %d lines were lost at the end", self._name, self.lost - self._reported)
        if self._file not in (self._standard, _NOT_OPEN):
            os.close(self._file)

    def _open(self) -> None:
        self._file = _opened(self._target, self._standard)
        mode = os.fstat(self._file).st_mode
        self._is_file, self._is_socket = stat.S_ISREG(mode), stat.S_ISSOCK(mode)
        self._blocks = self._is_failing = False

    def _keep(self, chunk: bytes) -> None:
        self._waiting.append(chunk)
        self._waiting_bytes += len(chunk)

    def _count_waiting(self) -> int:
        return sum(chunk.count(b"\n") for chunk in self._waiting)

    def _report_loss(self) -> None:
        """Adds the line that stands in the place of lost ones."""
        lost, self._reported = self.lost - self._reported, self.lost
        origin = {"instance": socket.gethostname(), "worker": os.getpid()}
        message = f"lines of the {self._name} were lost"
        line = {"time": rfc3339(time()), "level": "error", "message": message, "lost": lost, **origin}
        self._keep(json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n")
        self._given += 1

    def _flush(self) -> None:
        """Writes what waits, and has itself called again for what is left."""
        self._stop_waiting()
        self._stop_waiting = lambda: None
        if self._write_waiting() and self.lost > self._reported:
            self._report_loss()
            self._write_waiting()
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        if self._blocks:
            is_blocking = os.get_blocking(self._file)
            loop.add_writer(self._file, self._flush)
            os.set_blocking(self._file, is_blocking)  # libuv changes it, also for others that share a socket
            self._stop_waiting = partial(loop.remove_writer, self._file)
        else:
            self._stop_waiting = loop.call_later(RETRY_SECONDS, self._flush).cancel

    def _write_waiting(self) -> bool:
        """Writes until nothing waits, which it returns, or nothing can be written."""
        try:
            if self._file == _NOT_OPEN:
                self._open()
            while self._waiting:
                self._write_chunk()
            self._blocks = self._is_failing = False
        except BlockingIOError:
            self._blocks = True
        except OSError as error:
            if not self._is_failing:  # logged once, not at every try
                message = "%s: lines wait, and more than %d bytes are lost: %s"
                _logger.error(message, self._name, MAX_WAITING_BYTES, error)
            self._blocks, self._is_failing = False, True
        return not self._waiting

    def _write_chunk(self) -> None:
        chunk = self._waiting[0]
        sent = write_now(self._file, chunk, self._is_socket)
        is_full = self._is_file and sent < len(chunk)
        if is_full:
            sent = self._remove_torn_line(chunk, sent)
        self._waiting_bytes -= sent
        self._waiting.popleft()
        if sent < len(chunk):
            self._waiting.appendleft(chunk[sent:])
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _remove_torn_line(self, chunk: bytes, count: int) -> int:
        """Truncates the file by a line of which a full disk took a part; returns how much of `chunk` it has then."""
        whole = chunk.rfind(b"\n", 0, count) + 1
        end = os.lseek(self._file, 0, os.SEEK_CUR)
        if end != os.fstat(self._file).st_size:  # another process wrote behind it
            return count
        os.ftruncate(self._file, end - (count - whole))
        os.lseek(self._file, end - (count - whole), os.SEEK_SET)
        return whole


def _chunks(content: bytes, size: int) -> Iterator[bytes]:
    """The lines of `content` in chunks of at most `size`."""
    begin = 0
    while begin < len(content):
        end = content.rfind(b"\n", begin, begin + size) + 1
        yield content[begin:end]
        begin = end


def rfc3339(seconds: float, digits: str = "milliseconds") -> str:
    """A Unix time, as all logs and documents have it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=digits).replace("+00:00", "Z")


def try_target(target: str) -> None:
    """Raises OSError if `target` cannot be opened. A named pipe is not tried: it would end for its reader."""
    with suppress(FileNotFoundError):
        if stat.S_ISFIFO(os.stat(target).st_mode) and os.access(target, os.W_OK):
            return
    file = _opened(target)
    if file != _STDOUT:
        os.close(file)


def _opened(target: str, standard: int = _STDOUT) -> int:
    if target == "-":
        return without_blocking(standard)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK  # a named pipe may block
    return os.open(target, flags, 0o644)


def without_blocking(descriptor: int) -> int:
    """A descriptor for the same standard output or error that never blocks. The parent process and its other children
    share the original and may rely on its blocking, so a pipe or terminal is opened once more."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):  # a shell's `>`: where it is truncated, as by logrotate, writing goes on at its begin
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        return descriptor
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # another user's pipe, or no /proc
        os.set_blocking(descriptor, False)
        return descriptor


def write_now(file: int, content: bytes, is_socket: bool) -> int:
    """Writes what can be written at once to a descriptor of `without_blocking`; returns how many bytes."""
    if not is_socket:
        return os.write(file, content)
    connection = socket.socket(fileno=file)  # a service manager may give one for standard output or error
    try:
        return connection.send(content, socket.MSG_DONTWAIT)
    finally:
        connection.detach()
