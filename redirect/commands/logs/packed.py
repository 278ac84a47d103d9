"""Files that are packed: what with, by their first bytes, as standard input has no suffix, and a file may have none.

The rule: gzip and zstd are unpacked, and a file with the suffix of one of them is packed. Of others, and of text in
UTF-16, a message names the remedy.
"""

import gzip
import os
import sys
import zlib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path
from typing import IO, Any

from redirect.commands.loading import leave

BEGIN_BYTES = 16

BY_SUFFIX = {".gz": "gzip", ".zst": "zstd"}  # as DuckDB has it
_PROGRAMS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}


def begin_of(file: Any) -> bytes:
    """The next bytes, which are read again; of a pipe those that are there."""
    if not file.seekable():
        return bytes(file.peek(BEGIN_BYTES)[:BEGIN_BYTES])
    begin: bytes = file.read(BEGIN_BYTES)
    file.seek(-len(begin), os.SEEK_CUR)
    return begin


def packed_with(begin: bytes) -> str | None:
    """The program that packed a file which begins so; a torn one may have some of the bytes that tell."""
    found = (each for magic, each in _PROGRAMS.items() if begin.startswith(magic) or magic.startswith(begin))
    return next(found, None) if begin else None


def unpacked(file: IO[bytes], name: str) -> tuple[Any, type[Exception]]:
    """The content of the file, and what is raised where that is damaged."""
    begin = begin_of(file)
    program = packed_with(begin) or (BY_SUFFIX.get(Path(name).suffix.lower()) if begin else None)
    if program is None:
        return file, OSError
    if program == "gzip":
        return gzip.GzipFile(fileobj=file), zlib.error
    if program != "zstd":
        leave(2, f"{name} is packed with {program}, which is not read: {program} -dc FILE | redirect logs -")
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        leave(2, f"{name} cannot be read: zstd is not installed, pip install 'redirect[logs]' brings it")
    return zstd.open(file), zstd.ZstdError


def check_text(begin: bytes, name: str) -> None:
    """Leaves where no lines can be read in a text that begins so, packed or not."""
    if begin.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        leave(2, f"{name} is UTF-16, as PowerShell writes it: iconv -f UTF-16 -t UTF-8 FILE | redirect logs -")
    if b"\n" not in begin and b"}\r{" in begin:
        leave(2, f"{name} has CR for line ends, and LF ends a line: tr '\\r' '\\n' < FILE | redirect logs -")
