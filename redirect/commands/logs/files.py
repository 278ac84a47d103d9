"""Files of the log, cut into pieces of whole lines, which can be read one apart from the other.

The rule: a piece ends with a line, but for the last of a file. Pieces of a plain file are places in it, and
whoever works on one reads it; what is compressed (`.gz`, `.zst`), or comes from standard input (`-`), has to be
read from its beginning, so those pieces are bytes. A compressed file that is torn ends where it is torn.
"""

import contextlib
import gzip
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

# Bytes of a piece, about, if nobody says, and of what is read of it at once: as much as stays close to the processor.
PIECE = 2 * 1024 * 1024
BLOCK = 256 * 1024


class UnreadableError(Exception):
    """A file cannot be read; the message names it."""


class Place(NamedTuple):
    """Bytes of a plain file: `inode` tells it from another that takes its name, as happens when logs are rotated."""

    path: str
    inode: int
    begin: int
    end: int

    def blocks(self) -> Iterator[bytes]:
        """The lines, some at a time. Raises UnreadableError."""
        with opened(self.path) as file:
            if os.fstat(file.fileno()).st_ino != self.inode:
                raise UnreadableError(f"{self.path} was rotated while it was read; ask again")
            file.seek(self.begin)
            left = self.end - self.begin
            while left > 0 and (block := file.read(min(BLOCK, left))):
                if len(block) < left:
                    block += file.readline()
                left -= len(block)
                yield block


class Piece(NamedTuple):
    """Some lines: where they are or what they are, and how many bytes on disk that is."""

    content: Place | bytes
    size: int

    def blocks(self) -> Iterator[bytes]:
        """The lines, some at a time. Raises UnreadableError."""
        return iter([self.content]) if isinstance(self.content, bytes) else self.content.blocks()


def opened(path: str) -> IO[bytes]:
    """The file, open for reading. Raises UnreadableError."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}") from None


def is_plain(path: str) -> bool:
    """Whether the file can be read from anywhere."""
    return path != "-" and Path(path).suffix not in _COMPRESSED and Path(path).is_file()


def size(path: str) -> int:
    """Bytes on disk, 0 where that is not known. Raises UnreadableError."""
    if path == "-":
        return 0
    with opened(path) as file:
        return os.fstat(file.fileno()).st_size


def pieces(path: str, size: int = PIECE) -> Iterator[Piece]:
    """All that the file holds, in pieces of `size` where it is plain. Raises UnreadableError."""
    if path == "-":
        return _cut(sys.stdin.buffer)
    if is_plain(path):
        return (Piece(place, place.end - place.begin) for place in places(path, size))
    return _unpacked(path)


def places(path: str, size: int = PIECE) -> Iterator[Place]:
    """All of a plain file. Raises UnreadableError."""
    with opened(path) as file:
        status = os.fstat(file.fileno())
        begin = 0
        while begin < status.st_size:
            file.seek(begin + size)
            file.readline()
            end = min(file.tell(), status.st_size)
            yield Place(path, status.st_ino, begin, end)
            begin = end


def _unpacked(path: str) -> Iterator[Piece]:
    with opened(path) as file:
        unpack = _COMPRESSED.get(Path(path).suffix)
        if unpack is None:  # a pipe, such as /dev/stdin or <(ssh host cat access.jsonl)
            yield from _cut(file)
            return
        content, fault = unpack(file)
        try:
            yield from _cut(content, file.tell, PIECE)
        except (OSError, fault) as error:
            raise UnreadableError(f"{path} cannot be read: {error}") from None


def _gzip(file: IO[bytes]) -> tuple[Any, type[Exception]]:
    return gzip.GzipFile(fileobj=file), zlib.error


def _zstd(file: IO[bytes]) -> tuple[Any, type[Exception]]:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        hint = "pip install 'redirect[query]'"
        raise UnreadableError(f"{file.name} cannot be read: zstd is not installed, {hint} brings it") from None
    return zstd.open(file), zstd.ZstdError


_COMPRESSED: dict[str, Callable[[IO[bytes]], tuple[Any, type[Exception]]]] = {".gz": _gzip, ".zst": _zstd}


def _cut(file: Any, position: Callable[[], int] = lambda: 0, least: int = 1) -> Iterator[Piece]:
    """What can be read from `file` now, in pieces of at least so many bytes; `position` is the place on disk."""
    gathered, length, begin = [], 0, position()
    for chunk in _chunks(file):
        gathered.append(chunk)
        length += len(chunk)
        if length >= least and b"\n" in chunk:
            content, end = b"".join(gathered), position()
            cut = content.rfind(b"\n") + 1
            yield Piece(content[:cut], end - begin)
            gathered, length, begin = [content[cut:]], len(content) - cut, end
    yield Piece(b"".join(gathered), position() - begin)


def _chunks(file: Any) -> Iterator[bytes]:
    with contextlib.suppress(EOFError):  # what a compressed file says that ends too early
        while chunk := file.read1(PIECE):
            yield chunk
