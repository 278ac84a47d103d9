"""The log_writer: where lines go, and what becomes of those that cannot go there.

The rule: nobody waits for a reader or a disk. What cannot be written at once is kept, up to a limit,
and tried again; what is over the limit is lost, counted, and told by a line of its own as soon as
writing works again, in the place where the lost ones would be.

Only whole lines are written, so that those of several processes never tear: to a file opened for
appending in one write of up to 64 KiB, to a pipe or terminal in pieces of at most 4,096 bytes
(PIPE_BUF). Where a full disk tears a line, the torn part is taken back.
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

LONGEST_LINE = 4096
LONGEST_WRITE = 64 * 1024

# Bytes, per process, that wait for a reader or a disk: a quarter of a second of all that a worker can log.
MOST_WAITING = 8 * 1024 * 1024

# Seconds until writing is tried again where nothing tells when it is worth it.
RETRY = 0.5

# Seconds that a reader has at the end to take what waits.
PATIENCE = 1.0

_STDOUT = 1
_NONE = -1
_logger = logging.getLogger("gunicorn.error")


class LogWriter:
    """Takes lines for `target`: `-` is standard output, a path is appended to. Where that cannot be opened, it is as
    where it cannot be written. `written` and `lost` count lines.
    """

    def __init__(self, target: str) -> None:
        self.written = 0
        self.lost = 0
        self._target = target
        self._untold = 0  # lines lost since the last line that told of some
        self._waiting: deque[tuple[bytes, int]] = deque()  # pieces, and how many lines each has
        self._waiting_bytes = 0
        self._watched: int | None = None  # the descriptor that the loop tells of
        self._timer: asyncio.TimerHandle | None = None
        self._file = _NONE
        self._is_file = False
        self._longest_write = LONGEST_LINE
        self._socket: socket.socket | None = None
        self._blocks = False  # the last write would have had to wait
        self._failing = False  # or it failed, which was said
        self._is_open()

    def write(self, lines: Sequence[str]) -> None:
        """Writes `lines`, each ASCII with its line end, or keeps them, or loses them. Called in an event loop."""
        is_free = not self._waiting
        for piece, count in _pieces(lines, self._longest_write):
            self._add(piece.encode("ascii"), count)
        if is_free:
            self._go_on()

    def reopen(self) -> None:
        """Goes on in a new file at the same path, where the old one was renamed. Standard output stays."""
        if self._target == "-":
            return
        self._write_waiting()
        old = self._file
        try:
            self._open()
        except OSError as error:
            _logger.error("access log: %s cannot be opened again, the old file stays: %s", self._target, error)
            return
        self._go_on()
        if old != _NONE:
            os.close(old)

    def close(self) -> None:
        """Writes what waits, as far as the reader takes it within PATIENCE; standard output stays open."""
        deadline = monotonic() + PATIENCE
        while not self._write_waiting() and (left := deadline - monotonic()) > 0 and self._blocks:
            poll = select.poll()
            poll.register(self._file, select.POLLOUT)
            poll.poll(left * 1000)
        self._rest()
        self._lose(sum(count for _, count in self._waiting))
        if self._untold:
            _logger.error("access log: %d lines were lost at the end", self._untold)
        if self._socket is not None:
            self._socket.close()
        if self._file not in (_STDOUT, _NONE):
            os.close(self._file)

    def _is_open(self) -> bool:
        """Whether there is a file to write to, now at the latest."""
        if self._file == _NONE:
            try:
                self._open()
            except OSError as error:
                self._fail(error)
        return self._file != _NONE

    def _open(self) -> None:
        self._file = _opened(self._target)
        mode = os.fstat(self._file).st_mode
        self._is_file = stat.S_ISREG(mode)
        self._longest_write = LONGEST_WRITE if self._is_file else LONGEST_LINE
        # A service manager may give a socket for standard output.
        self._socket = socket.socket(fileno=os.dup(self._file)) if stat.S_ISSOCK(mode) else None
        self._blocks = self._failing = False

    def _send(self, piece: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(piece, socket.MSG_DONTWAIT)
        return os.write(self._file, piece)

    def _add(self, piece: bytes, count: int) -> None:
        if self._waiting_bytes + len(piece) > MOST_WAITING:
            self._lose(count)
            return
        if self._untold:  # the place of the lost lines is here
            self._keep(self._telling(), 1)
        self._keep(piece, count)

    def _keep(self, piece: bytes, count: int) -> None:
        self._waiting.append((piece, count))
        self._waiting_bytes += len(piece)

    def _lose(self, count: int) -> None:
        self.lost += count
        self._untold += count

    def _telling(self) -> bytes:
        """The line that tells of lost ones."""
        lost, self._untold = self._untold, 0
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        whose = {"instance": socket.gethostname(), "worker": os.getpid()}
        line = {"time": now, "level": "error", "message": "lines of the access log were lost", "lost": lost, **whose}
        return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"

    def _go_on(self) -> None:
        """Writes what waits; where that does not work, comes back when it may."""
        self._rest()
        if self._write_waiting() and self._untold:
            self._keep(self._telling(), 1)
            self._write_waiting()
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        if self._blocks:
            self._watched = self._file
            loop.add_writer(self._file, self._go_on)
        else:
            self._timer = loop.call_later(RETRY, self._go_on)

    def _rest(self) -> None:
        """Stops waiting for anything."""
        if self._watched is not None:
            asyncio.get_running_loop().remove_writer(self._watched)
            self._watched = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write_waiting(self) -> bool:
        """Whether all that waited is written."""
        if not self._is_open():
            return False
        waiting = self._waiting
        while waiting:
            piece, count = waiting[0]
            try:
                sent = self._send(piece)
            except BlockingIOError:
                self._blocks = True
                return False
            except OSError as error:
                self._fail(error)
                return False
            if sent == len(piece):
                self._waiting_bytes -= sent
                self.written += count
                waiting.popleft()
                continue
            if self._is_file:
                sent = self._take_back(piece, sent)
            whole = piece.count(b"\n", 0, sent)
            self._waiting_bytes -= sent
            self.written += whole
            waiting[0] = piece[sent:], count - whole
            if self._is_file:
                self._fail(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
                return False
        self._blocks = self._failing = False
        return True

    def _fail(self, error: OSError) -> None:
        if not self._failing:  # said once, not at every try
            _logger.error("access log: lines wait, and more than %d bytes are lost: %s", MOST_WAITING, error)
        self._blocks, self._failing = False, True

    def _take_back(self, piece: bytes, count: int) -> int:
        """Cuts a line off the file of which a full disk took a part; how much of `piece` is written then."""
        whole = piece.rfind(b"\n", 0, count) + 1
        end = os.lseek(self._file, 0, os.SEEK_CUR)
        if end != os.fstat(self._file).st_size:  # somebody wrote behind it
            return count
        os.ftruncate(self._file, end - (count - whole))
        os.lseek(self._file, end - (count - whole), os.SEEK_SET)
        return whole


def _pieces(lines: Sequence[str], longest: int) -> Iterator[tuple[str, int]]:
    """The lines, joined as far as they are `longest` together, and how many that are."""
    whole = "".join(lines)
    if len(whole) <= longest:
        yield whole, len(lines)
        return
    begin = end = count = 0
    for line in lines:
        if end + len(line) - begin > longest:
            yield whole[begin:end], count
            begin, count = end, 0
        end += len(line)
        count += 1
    yield whole[begin:], count


def try_target(target: str) -> None:
    """Raises OSError where lines for `target` have nowhere to go."""
    file = _opened(target)
    if file != _STDOUT:
        os.close(file)


def _opened(target: str) -> int:
    if target == "-":
        return unblocked(_STDOUT)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe with a name may stall, too
    return os.open(target, flags, 0o644)


def unblocked(descriptor: int) -> int:
    """Standard output, or standard error, so that a write never waits. Others have it too, our parent and its other
    children, and may rely on waiting: so a pipe or terminal is opened once more, for us alone."""
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        return descriptor
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # a pipe of somebody else, or no /proc
        os.set_blocking(descriptor, False)
        return descriptor
