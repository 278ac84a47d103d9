"""Prints records as they are written, and follows the name of a file, as `tail -F` does.

The rule: a line is printed once, when it is whole. When another file takes the name (logs are rotated), that one is
read from its beginning, and the one before it is still followed: workers change to the new file one after the
other. A file that gets shorter is read from its beginning again.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from time import sleep
from typing import NoReturn

from redirect.commands.loading import leave
from redirect.commands.logs import files
from redirect.commands.logs.filters import Filters
from redirect.commands.logs.records import Reader, Record
from redirect.commands.logs.show import Printer

SHOWN_BEFORE = 10  # records that are there already
POLL_SECONDS = 0.2


def follow(paths: Sequence[str], filters: Filters, as_json: bool) -> NoReturn:
    """Prints the last selected records of the files, and then those that come."""
    printer, reader = Printer(as_json), Reader(filters)
    before: list[Record] = []
    with ExitStack() as stack:
        tails = []
        for path in paths:
            if not files.is_plain(path):
                files.size(path)  # a missing file has its own message
                leave(2, f"{path} cannot be followed: it is no plain file")
            position, records = _last_records(path, filters)
            before += records
            tails.append(stack.enter_context(closing(Tail(path, position))))
        printer.print(before[-SHOWN_BEFORE:])
        while True:
            for tail in tails:
                printer.print(reader.read(tail.read()))
            sleep(POLL_SECONDS)


class Tail:
    """What is written to the file of a name from `position` on."""

    def __init__(self, path: str, position: int) -> None:
        self._path = path
        self._files = [_OpenFile(path, position)]

    def read(self) -> bytes:
        """The whole lines that were written since the last call."""
        written = b"".join(file.read() for file in self._files)
        if not self._files[-1].has_name():
            *older, last = self._files
            for file in older:
                file.close()
            self._files = [last, _OpenFile(self._path, 0)]
        return written

    def close(self) -> None:
        for file in self._files:
            file.close()


class _OpenFile:
    """An open file, which may have lost its name."""

    def __init__(self, path: str, position: int) -> None:
        self._path = path
        self._file = files.opened(path)
        self._position = position

    def read(self) -> bytes:
        """The whole lines since the last call. A torn one is read again: the log writer may take it back."""
        if os.fstat(self._file.fileno()).st_size < self._position:
            self._position = 0
        self._file.seek(self._position)
        content = self._file.read()
        cut = content.rfind(b"\n") + 1
        self._position += cut
        return content[:cut]

    def has_name(self) -> bool:
        """Whether no other file has taken the name. A missing one is yet to come."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno()))
        return True

    def close(self) -> None:
        self._file.close()


def _last_records(path: str, filters: Filters) -> tuple[int, list[Record]]:
    """The position at which the whole lines of the file end, and the last selected records before it."""
    reader = Reader(filters)
    records: list[Record] = []
    with files.opened(path) as file:
        end = position = file.seek(0, os.SEEK_END)
        for block in files.blocks_backwards(file, end):
            cut = block.rfind(b"\n") + 1
            position -= len(block) - cut  # only the last line of the file can be torn
            records = [*(each for each in reader.read(block[:cut]) if isinstance(each, Record)), *records]
            if len(records) >= SHOWN_BEFORE:
                break
    return position, records
