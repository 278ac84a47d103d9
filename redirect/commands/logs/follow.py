"""Prints records as they are written, and follows the name of a file, as `tail -F` does.

The rule: a line is printed once, when it is whole. When another file takes the name (logs are rotated), that one is
read from its beginning, and the one before it is still followed: workers change to the new file one after the
other. A file that gets shorter is read from its beginning again, and one that is not there yet is waited for.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from time import sleep
from typing import IO, NoReturn

import click

from redirect.commands.loading import leave
from redirect.commands.logs import files
from redirect.commands.logs.filters import Filters
from redirect.commands.logs.records import Reader, Record
from redirect.commands.logs.show import Printer
from redirect.commands.logs.wrapped import Unwrapper

SHOWN_BEFORE = 10  # records that are there already
POLL_SECONDS = 0.2


def follow(paths: Sequence[str], filters: Filters, as_json: bool) -> NoReturn:
    """Prints the last selected records of the files, and then those that come."""
    printer, reader = Printer(as_json), Reader(filters)
    before: list[Record] = []
    tails: list[Iterator[bytes]] = []
    for path in paths:
        if path != "-" and not os.path.lexists(path):
            click.echo(f"{path} is not there yet", err=True)
            tails.append(tail_of(path))
            continue
        if not files.is_plain(path):
            leave(2, f"{path} cannot be followed: it is no plain file")
        file = files.opened(path)
        before += _last_records(file, filters)
        tails.append(tail(file))
    printer.print(before[-SHOWN_BEFORE:])
    while True:
        for written in map(next, tails):
            printer.print(reader.read(written))
        sleep(POLL_SECONDS)


def tail(file: IO[bytes]) -> Generator[bytes, None, None]:
    """Yields the whole lines that were written since the last time, from where `file` stands on."""
    followed = [file]
    unwrap = Unwrapper().unwrap
    try:
        while True:
            written = unwrap(files.with_holes_as_lines(b"".join(map(_read, followed))))
            *older, last = followed
            if not _has_name(last) and (new := _opened(last.name)):
                for each in older:
                    each.close()
                followed = [last, new]
            yield written
    finally:
        for each in followed:
            each.close()


def tail_of(path: str) -> Iterator[bytes]:
    """That of a file which is yet to come."""
    while (file := _opened(path)) is None:
        yield b""
    yield from tail(file)


def _opened(path: str) -> IO[bytes] | None:
    """None as long as it cannot be read: who rotates logs may have yet to give it to its group."""
    with suppress(OSError):
        return open(path, "rb")
    return None


def _read(file: IO[bytes]) -> bytes:
    """The whole lines since the last call. A torn one is read again: the log writer may take it back."""
    position = file.tell()
    if os.fstat(file.fileno()).st_size < position:
        position = file.seek(0)
    content = file.read()
    cut = content.rfind(b"\n") + 1
    file.seek(position + cut)
    return content[:cut]


def _has_name(file: IO[bytes]) -> bool:
    """Whether no other file has taken the name. A missing one is yet to come."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(file.name), os.fstat(file.fileno()))
    return True


def _last_records(file: IO[bytes], filters: Filters) -> list[Record]:
    """Returns the last selected records; leaves the file at the end of its whole lines, where `tail` goes on."""
    reader = Reader(filters)
    records: list[Record] = []
    end = position = file.seek(0, os.SEEK_END)
    for block in files.blocks_backwards(file, end):
        cut = block.rfind(b"\n") + 1
        position -= len(block) - cut  # only the last line of the file can be torn
        found = reader.read(Unwrapper().unwrap(block[:cut]))
        records = [*(each for each in found if isinstance(each, Record)), *records]
        if len(records) >= SHOWN_BEFORE:
            break
    file.seek(position)
    return records
