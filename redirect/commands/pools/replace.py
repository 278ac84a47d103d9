"""A file, read and replaced as a whole.

The rule: whoever reads the file finds the old content or the new, never a part; and nobody's change is lost. The
new content is written beside the file, with its mode, owner and attributes, and renamed over it once it is on the
disk. Where that fails the file is as it was, and nothing is left beside it.

Processes that replace the same file by this module go one after the other: each locks the file, and looks whether
it is still the one at that path. Others know no such lock, so the file is looked at once more before the rename; of
a change in the instant between the two nothing is known. Who may not write the file may not replace it. A link
stays, and leads to the new file; a second name of the same file (a hard link) keeps the old one.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

# Seconds that another process may hold the file: milliseconds are usual, with a hundred thousand pools it takes eight.
PATIENCE = 30.0


class BusyError(Exception):
    """Somebody else changes the file at this time; the message says so and what to do."""


class Held:
    """A file that this process alone replaces, with its content."""

    def __init__(self, path: Path, file: int) -> None:
        self._path = path
        self._file = file
        self.content = self._read()

    def replace(self, content: bytes) -> None:
        """Puts `content` in place of the file's. Raises OSError, and BusyError if the file has changed."""
        target = Path(os.path.realpath(self._path))
        file, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with open(file, "wb") as new:
                self._pass_on(name)
                new.write(content)  # behind _pass_on, so that the time of the change is that of now
                new.flush()
                os.fsync(file)
            self._look()
            os.replace(name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        _sync(target.parent)

    def _pass_on(self, name: str) -> None:
        """Gives the file called `name` what ours has: owner and group as far as we may, mode, attributes."""
        status = os.fstat(self._file)
        for owner, group in ((-1, status.st_gid), (status.st_uid, -1)):
            with contextlib.suppress(PermissionError):  # only root gives files away
                os.chown(name, owner, group)
        shutil.copystat(self._path, name)

    def _read(self) -> bytes:
        with open(os.dup(self._file), "rb") as file:
            file.seek(0)
            return file.read()

    def _look(self) -> None:
        if not _is_at(self._file, self._path) or self._read() != self.content:
            raise BusyError(f"{self._path} was changed meanwhile and is left as it is now; try again")


@contextlib.contextmanager
def held(path: Path) -> Iterator[Held]:
    """The file at `path`, held against other processes. Raises OSError, and BusyError if another holds it for long."""
    deadline = monotonic() + PATIENCE
    while True:
        file = _open(path)
        try:
            _lock(file, path, deadline)
            if _is_at(file, path):  # not replaced while we waited
                yield Held(path, file)
                return
        finally:
            os.close(file)


def _open(path: Path) -> int:
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(0, "Not a regular file")
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _lock(file: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() > deadline:
                raise BusyError(f"{path} is held by another process for {PATIENCE:g} seconds; try again") from None
            sleep(0.01)
        except OSError:  # a file system without locks: the look before the rename is all there is
            return
        else:
            return


def _is_at(file: int, path: Path) -> bool:
    return os.path.samestat(os.fstat(file), path.stat())


def _sync(folder: Path) -> None:
    """Has the rename itself on the disk. It is done by now: what fails here is no reason to say that it failed."""
    with contextlib.suppress(OSError):
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
