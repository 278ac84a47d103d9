"""The log writer: writes lines to a file, a pipe or standard output without ever blocking.

The rule: what cannot be written at once is kept, up to a limit, and tried again; what is over the limit is lost,
counted, and reported by a line of its own as soon as writing works again, in the place of the lost lines.

Only whole lines are written, so that those of several processes never tear: to a file opened for appending in one
write of up to 64 KiB, to a pipe or terminal in chunks of at most 4,096 bytes (PIPE_BUF). Where a full disk tears a
line, its first part is removed again.
"""

import asyncio
import errno
import json
import logging
import os
import select
import socket
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from time import monotonic

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
    """Writes lines to `target`: `-` is standard output, a path is appended to. One that cannot be opened is tried again
    like one that cannot be written. `written` and `lost` count lines."""

    def __init__(self, target: str) -> None:
        self.written = 0
        self.lost = 0
        self._target = target
        self._unreported = 0  # lines lost since the last line that reported some
        self._waiting: deque[tuple[bytes, int]] = deque()  # chunks, and how many lines each has
        self._waiting_bytes = 0
        self._watched: int | None = None  # the descriptor that the event loop watches
        self._timer: asyncio.TimerHandle | None = None
        self._file = _NOT_OPEN
        self._is_file = False
        self._max_write_bytes = MAX_LINE_BYTES
        self._socket: socket.socket | None = None
        self._blocks = False  # the last write would have blocked
        self._is_failing = False  # or it failed, and that is in the error log
        self._try_to_open()

    def write(self, lines: Sequence[str]) -> None:
        """Writes, keeps or loses `lines`, each ASCII with its line end. Called in an event loop."""
        was_empty = not self._waiting
        for chunk, count in _chunks(lines, self._max_write_bytes):
            self._add(chunk.encode("ascii"), count)
        if was_empty:
            self._flush()

    def reopen(self) -> None:
        """Opens the path again, after the file was renamed. Standard output stays."""
        if self._target == "-":
            return
        self._write_waiting()
        old = self._file
        try:
            self._open()
        except OSError as error:
            _logger.error("access log: %s cannot be opened again, the old file stays: %s", self._target, error)
            return
        self._flush()
        if old != _NOT_OPEN:
            os.close(old)

    def close(self) -> None:
        """Writes what waits, as far as the reader takes it in time; standard output stays open."""
        deadline = monotonic() + CLOSE_TIMEOUT_SECONDS
        while not self._write_waiting() and (left := deadline - monotonic()) > 0 and self._blocks:
            poll = select.poll()
            poll.register(self._file, select.POLLOUT)
            poll.poll(left * 1000)
        self._stop_waiting()
        self._lose(sum(count for _, count in self._waiting))
        if self._unreported:
            _logger.error("access log: %d lines were lost at the end", self._unreported)
        if self._socket is not None:
            self._socket.close()
        if self._file not in (_STDOUT, _NOT_OPEN):
            os.close(self._file)

    def _try_to_open(self) -> None:
        try:
            self._open()
        except OSError as error:
            self._fail(error)

    def _open(self) -> None:
        self._file = _opened(self._target)
        mode = os.fstat(self._file).st_mode
        self._is_file = stat.S_ISREG(mode)
        self._max_write_bytes = MAX_WRITE_BYTES if self._is_file else MAX_LINE_BYTES
        # A service manager may give a socket for standard output.
        self._socket = socket.socket(fileno=os.dup(self._file)) if stat.S_ISSOCK(mode) else None
        self._blocks = self._is_failing = False

    def _send(self, chunk: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(chunk, socket.MSG_DONTWAIT)
        return os.write(self._file, chunk)

    def _add(self, chunk: bytes, count: int) -> None:
        if self._waiting_bytes + len(chunk) > MAX_WAITING_BYTES:
            self._lose(count)
            return
        if self._unreported:
            self._report_loss()
        self._keep(chunk, count)

    def _keep(self, chunk: bytes, count: int) -> None:
        self._waiting.append((chunk, count))
        self._waiting_bytes += len(chunk)

    def _lose(self, count: int) -> None:
        self.lost += count
        self._unreported += count

    def _report_loss(self) -> None:
        """Adds the line that stands in the place of lost ones."""
        lost, self._unreported = self._unreported, 0
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        origin = {"instance": socket.gethostname(), "worker": os.getpid()}
        line = {"time": now, "level": "error", "message": "lines of the access log were lost", "lost": lost, **origin}
        self._keep(json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n", 1)

    def _flush(self) -> None:
        """Writes what waits, and has itself called again for what is left."""
        self._stop_waiting()
        if self._write_waiting() and self._unreported:
            self._report_loss()
            self._write_waiting()
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        if self._blocks:
            self._watched = self._file
            loop.add_writer(self._file, self._flush)
        else:
            self._timer = loop.call_later(RETRY_SECONDS, self._flush)

    def _stop_waiting(self) -> None:
        if self._watched is not None:
            asyncio.get_running_loop().remove_writer(self._watched)
            self._watched = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write_waiting(self) -> bool:
        """Writes until nothing waits, which it returns, or nothing can be written."""
        if self._file == _NOT_OPEN:
            self._try_to_open()
        if self._file == _NOT_OPEN:
            return False
        waiting = self._waiting
        while waiting:
            chunk, count = waiting[0]
            try:
                sent = self._send(chunk)
            except BlockingIOError:
                self._blocks = True
                return False
            except OSError as error:
                self._fail(error)
                return False
            if sent == len(chunk):
                self._waiting_bytes -= sent
                self.written += count
                waiting.popleft()
                continue
            if self._is_file:
                sent = self._remove_torn_line(chunk, sent)
            whole = chunk.count(b"\n", 0, sent)
            self._waiting_bytes -= sent
            self.written += whole
            waiting[0] = chunk[sent:], count - whole
            if self._is_file:
                self._fail(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
                return False
        self._blocks = self._is_failing = False
        return True

    def _fail(self, error: OSError) -> None:
        if not self._is_failing:  # logged once, not at every try
            _logger.error("access log: lines wait, and more than %d bytes are lost: %s", MAX_WAITING_BYTES, error)
        self._blocks, self._is_failing = False, True

    def _remove_torn_line(self, chunk: bytes, count: int) -> int:
        """Truncates the file by a line of which a full disk took a part; returns how much of `chunk` it has then."""
        whole = chunk.rfind(b"\n", 0, count) + 1
        end = os.lseek(self._file, 0, os.SEEK_CUR)
        if end != os.fstat(self._file).st_size:  # another process wrote behind it
            return count
        os.ftruncate(self._file, end - (count - whole))
        os.lseek(self._file, end - (count - whole), os.SEEK_SET)
        return whole


def _chunks(lines: Sequence[str], size: int) -> Iterator[tuple[str, int]]:
    """The lines, joined to chunks of at most `size`, and how many lines each has."""
    whole = "".join(lines)
    if len(whole) <= size:
        yield whole, len(lines)
        return
    begin = end = count = 0
    for line in lines:
        if end + len(line) - begin > size:
            yield whole[begin:end], count
            begin, count = end, 0
        end += len(line)
        count += 1
    yield whole[begin:], count


def try_target(target: str) -> None:
    """Raises OSError if `target` cannot be opened."""
    file = _opened(target)
    if file != _STDOUT:
        os.close(file)


def _opened(target: str) -> int:
    if target == "-":
        return without_blocking(_STDOUT)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK  # a named pipe may block
    return os.open(target, flags, 0o644)


def without_blocking(descriptor: int) -> int:
    """A descriptor for the same standard output or error that never blocks. The parent process and its other children
    share the original and may rely on its blocking, so a pipe or terminal is opened once more."""
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        return descriptor
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # another user's pipe, or no /proc
        os.set_blocking(descriptor, False)
        return descriptor
