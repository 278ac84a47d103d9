"""A long body on its way from an origin to a client within the kernel: splice(2), by way of a pipe.

The rule: of its bytes this program sees none, and takes none that belong to what follows. It is for TCP as it is, where
nothing is to be kept, in chunks or encrypted. Both ends are asked by descriptors of their own: the event loop allows
none of its transports' to be watched, and may close those while it still calls here, after which they are another
connection's.
"""

import asyncio
import errno
import fcntl
import os
import termios
from contextlib import suppress
from typing import Protocol

from redirect.proxy.descriptors import DESCRIPTORS

# Of a body still to come: with less, the descriptors take longer than the copies.
LEAST_BYTES = 128 * 1024

# On their way, of each body. The system lets a user have 64 MiB in pipes beyond their usual size (pipe(7)).
PIPE_BYTES = 256 * 1024

_NONE = -1

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK

# FIONREAD of a socket with nothing to read.
_NO_BYTES = bytes(4)


class Body(Protocol):
    """Whose body it is."""

    def on_spliced(self, size: int) -> None:
        """So many bytes came from the origin."""

    def on_splice_end(self, *, is_followed: bool) -> None:
        """The client has all of it, as far as the kernel is concerned. Whether bytes came behind it."""

    def on_splice_cut(self) -> None:
        """The origin sends no more."""

    def on_splice_left(self) -> None:
        """The client takes no more."""


class Splice:
    """Raises OSError, and no byte has moved, where the kernel cannot do it or too few descriptors or pipes are left."""

    __slots__ = ("_body", "_from_pipe", "_in_pipe", "_left", "_loop", "_sink", "_source", "_to_pipe", "_watched")

    def __init__(self, body: Body, source: int, sink: int, length: int) -> None:
        self._body = body
        self._left = length  # to come from the origin
        self._in_pipe = 0
        self._source = self._sink = self._from_pipe = self._to_pipe = self._watched = _NONE
        self._loop = asyncio.get_running_loop()
        DESCRIPTORS.splices += 1
        try:
            if not DESCRIPTORS.allow_splice():
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            self._from_pipe, self._to_pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.fcntl(self._to_pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            self._source, self._sink = os.dup(source), os.dup(sink)
            with suppress(BlockingIOError):  # else what is there is not for splice(2)
                self._fill()
        except OSError:
            self._close()
            raise
        self._loop.call_soon(self._drain)

    @property
    def is_blocked(self) -> bool:
        """Whether the client takes no more for now."""
        return self._watched == self._sink

    def stop(self) -> None:
        """Passes on nothing more. The body is not told."""
        if self._source != _NONE:
            self._watch(_NONE)
            self._close()

    def _watch(self, descriptor: int) -> None:
        if descriptor == self._watched:
            return
        if self._watched == self._source:
            self._loop.remove_reader(self._source)
        elif self._watched == self._sink:
            self._loop.remove_writer(self._sink)
        if descriptor == self._source:
            self._loop.add_reader(self._source, self._on_readable)
        elif descriptor == self._sink:
            self._loop.add_writer(self._sink, self._drain)
        self._watched = descriptor

    def _close(self) -> None:
        for descriptor in (self._source, self._sink, self._from_pipe, self._to_pipe):
            if descriptor != _NONE:
                os.close(descriptor)
        self._source = self._sink = self._from_pipe = self._to_pipe = _NONE
        DESCRIPTORS.splices -= 1

    def _fill(self) -> int:
        size = os.splice(self._source, self._to_pipe, min(self._left, PIPE_BYTES), flags=_FLAGS)
        self._left -= size
        self._in_pipe += size
        self._body.on_spliced(size)
        return size

    def _on_readable(self) -> None:
        try:
            size = self._fill()
        except BlockingIOError:
            return
        except OSError:  # it has reset the connection
            size = 0
        if size:
            self._drain()
        else:
            self.stop()
            self._body.on_splice_cut()

    def _drain(self) -> None:
        if self._source == _NONE:
            return
        try:
            while self._in_pipe:
                self._in_pipe -= os.splice(self._from_pipe, self._sink, self._in_pipe, flags=_FLAGS)
        except BlockingIOError:
            self._watch(self._sink)
        except OSError:
            self.stop()
            self._body.on_splice_left()
        else:
            if self._left:
                self._watch(self._source)
            else:
                is_followed = fcntl.ioctl(self._source, termios.FIONREAD, _NO_BYTES) != _NO_BYTES
                self.stop()
                self._body.on_splice_end(is_followed=is_followed)
