"""Files of the log: plain, compressed (gzip, zstd), pipes, or standard input (`-`).

The rule: a reader gets blocks of whole lines, but for the last one of a file, whose end may be missing. A compressed
file that is torn ends where it is torn. A run of NULs is read as one, and as the end of a line: where a writer without
O_APPEND goes on after the file was truncated (logrotate's copytruncate), the file begins with a hole as long as the old
log, and what stands behind it is a record. What a container engine put around lines is taken off.
"""

import os
import re
import sys
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click

from redirect.commands.loading import leave
from redirect.commands.logs.packed import BY_SUFFIX, begin_of, check_text, packed_with, unpacked
from redirect.commands.logs.progress import Progress
from redirect.commands.logs.wrapped import Unwrapper, is_wrapped

BLOCK_BYTES = 256 * 1024

_HOLE = re.compile(rb"\0+")
_AT_HOLE = re.compile(rb"\0(?=[^\n])")


def opened(path: str) -> IO[bytes]:
    try:
        return open(path, "rb")
    except OSError as error:
        leave(2, f"{path} cannot be read: {error.strerror}")


def is_plain(path: str) -> bool:
    """Whether the file can be read from any position, and is not called as one that is packed."""
    if path == "-" or Path(path).suffix.lower() in BY_SUFFIX or not Path(path).is_file():
        return False
    with opened(path) as file:
        return packed_with(begin_of(file)) is None


def is_clean(path: str) -> bool:
    """Whether another reader can take the file as it is: it is plain, of lines as the service wrote them, without
    holes, and ends with a line."""
    if not is_plain(path) or not size(path):
        return False
    with opened(path) as file:
        begin = begin_of(file)
        end = file.seek(-1, os.SEEK_END) + 1
        return not is_wrapped(begin) and file.read(1) == b"\n" and os.lseek(file.fileno(), 0, os.SEEK_HOLE) >= end


def is_clean_inside(path: str) -> bool:
    """The same of a compressed file, for DuckDB: it knows the suffixes in small letters, and neither a byte order mark
    nor where a file is torn, nor NULs behind one of gzip. What is damaged is left to `blocks`, which says so."""
    program = BY_SUFFIX.get(Path(path).suffix)
    if program is None or not Path(path).is_file():
        return False
    with opened(path) as file:
        if packed_with(begin_of(file)) != program:
            return False
        content, fault = unpacked(file, path)
        unpacked_bytes = 0
        try:
            begin = block = content.read(BLOCK_BYTES)
            while block and b"\0" not in block:
                unpacked_bytes += len(block)
                block = content.read(BLOCK_BYTES)
        except (OSError, EOFError, fault):
            return False
        is_whole = program != "gzip" or _ends_with_size(file, unpacked_bytes)
        return bool(begin) and not block and not is_wrapped(begin) and is_whole


def _ends_with_size(file: IO[bytes], unpacked_bytes: int) -> bool:
    """Whether a file of gzip has one part, and nothing behind it: at its end is how long it was (RFC 1952)."""
    file.seek(-4, os.SEEK_END)
    return int.from_bytes(file.read(), "little") == unpacked_bytes & 0xFFFF_FFFF


def size(path: str) -> int:
    """Bytes on disk; 0 where that is not known."""
    try:
        return 0 if path == "-" else os.stat(path).st_size  # to open a named pipe would end its writer
    except OSError as error:
        leave(2, f"{path} cannot be read: {error.strerror}")


def blocks(path: str, progress: Progress) -> Iterator[bytes]:
    """All of the file; the progress advances by its bytes on disk."""
    if path == "-":
        yield from _blocks_of(sys.stdin.buffer, "standard input", Progress(0))
        return
    with opened(path) as file:
        yield from _blocks_of(file, path, progress)


def _blocks_of(file: IO[bytes], name: str, progress: Progress) -> Iterator[bytes]:
    unwrap = Unwrapper().unwrap
    before = 0
    fault: type[Exception] = OSError
    try:
        content, fault = unpacked(file, name)
        for block in map(unwrap, _whole_lines(content, name)):
            yield block
            if file.seekable():
                progress.advance(file.tell() - before)
                before = file.tell()
    except (OSError, fault) as error:
        leave(2, f"{name} cannot be read: {error}")


def blocks_backwards(file: IO[bytes], end: int) -> Iterator[bytes]:
    """A plain file as far as `end`, the last block first."""
    rest = b""
    while end:
        begin = max(0, end - BLOCK_BYTES)
        file.seek(begin)
        block = _squeezed(file.read(end - begin) + rest)
        if begin:  # the first line may begin in the block before
            head, newline, block = block.partition(b"\n")
            rest = head + newline
        else:
            block = block.removeprefix(BOM_UTF8)
        yield _split_at_holes(block)
        end = begin


def with_holes_as_lines(block: bytes) -> bytes:
    return _split_at_holes(_squeezed(block))


def _whole_lines(file: Any, name: str) -> Iterator[bytes]:
    rest, is_first = b"", True
    try:
        while chunk := file.read1(BLOCK_BYTES):
            if is_first:
                check_text(chunk, name)
                chunk, is_first = chunk.removeprefix(BOM_UTF8), False
            lines, newline, rest = _squeezed(rest + chunk).rpartition(b"\n")
            if newline:
                yield _split_at_holes(lines + newline)
    except EOFError:
        click.echo(f"warning: {name} is torn: what is behind its last whole block is missing", err=True)
    if rest:
        yield _split_at_holes(rest)


def _squeezed(chunk: bytes) -> bytes:
    return _HOLE.sub(b"\0", chunk) if b"\0" in chunk else chunk  # to look for one first is 100 times as fast


def _split_at_holes(block: bytes) -> bytes:
    return _AT_HOLE.sub(b"\0\n", block) if b"\0" in block else block
