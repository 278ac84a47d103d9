"""Records as they are written, as `tail -F` shows lines: whatever becomes of the file, its name is followed.

The rule: a line is shown when it is whole, and each once. Where another file takes the name (logs are rotated),
that one is read from its beginning, and the one before it too as long as somebody writes there: workers change
to the new file one after the other. A file that gets shorter is read from its beginning again.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from time import sleep
from typing import Any, NoReturn

from redirect.commands.logs import files
from redirect.commands.logs.scan import Work
from redirect.commands.logs.show import Printer, Shown

# Records that are shown of what is there already, and seconds between two looks.
SHOWN_BEFORE = 10
PAUSE = 0.2


def follow(paths: Sequence[str], work: Work[Shown]) -> NoReturn:
    """Prints the last records of the files, and then those that come. Raises UnreadableError."""
    printer = Printer()
    before: list[Any] = []
    with ExitStack() as tails:
        followed = []
        for path in paths:
            if not files.is_plain(path):
                files.size(path)  # what is not there is said to be so
                raise files.UnreadableError(f"{path} cannot be followed: it is no plain file")
            position, records = _before(path, work)
            before += records
            followed.append(tails.enter_context(closing(Tail(path, position))))
        printer.print(Shown(before[-SHOWN_BEFORE:], [], 0))
        while True:
            for tail in followed:
                printer.print(work([tail.read()]))
            sleep(PAUSE)


class Tail:
    """What is written to a file from `position` on."""

    def __init__(self, path: str, position: int) -> None:
        self._path = path
        self._growing = [_Growing(path, position)]

    def read(self) -> bytes:
        """The whole lines that came since the last call. Raises UnreadableError."""
        written = b"".join(file.read() for file in self._growing)
        if not self._growing[-1].has_name():
            *older, last = self._growing
            for file in older:
                file.close()
            self._growing = [last, _Growing(self._path, 0)]
        return written

    def close(self) -> None:
        """Closes what is open."""
        for file in self._growing:
            file.close()


class _Growing:
    """An open file, whatever its name is by now."""

    def __init__(self, path: str, position: int) -> None:
        self._path = path
        self._file = files.opened(path)
        self._position = position

    def read(self) -> bytes:
        """The whole lines that came since the last call. What is torn is read again: it may be taken back."""
        if os.fstat(self._file.fileno()).st_size < self._position:
            self._position = 0
        self._file.seek(self._position)
        content = self._file.read()
        cut = content.rfind(b"\n") + 1
        self._position += cut
        return content[:cut]

    def has_name(self) -> bool:
        """Whether no other file has taken the name. Where there is none, another is yet to come."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno()))
        return True

    def close(self) -> None:
        self._file.close()


def _before(path: str, work: Work[Shown]) -> tuple[int, list[Any]]:
    """Where the whole lines of the file end, and the last records of them, read from the end."""
    position = 0
    records: list[Any] = []
    for place in reversed(list(files.places(path))):
        content = b"".join(place.blocks())
        cut = content.rfind(b"\n") + 1
        position = position or place.begin + cut
        records = [*work([content[:cut]]).records, *records]
        if len(records) >= SHOWN_BEFORE:
            break
    return position, records
