"""A file, locked, read and replaced as a whole.

A reader of the file finds the old content or the new, never a part, and no change is lost. The new content is written
beside the file, with its mode, owner and extended attributes, and renamed over it once it is on the disk. If that
fails the file is as it was, and nothing is left beside it.

Processes that use this module lock the file, and check that it is still the one at its path. Other programs know no
such lock, so the content is compared before the rename; a change in the instant between the two is not noticed. A
file that must not be written is not replaced. A symbolic link stays and leads to the new file; another hard link
keeps the old one.
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
from typing import IO

# Another process holds the lock for milliseconds; with a hundred thousand pools, for eight seconds.
LOCK_TIMEOUT_SECONDS = 30.0
POLL_INTERVAL_SECONDS = 0.01


class BusyError(Exception):
    """Another process changes the file; the message says so and what to do."""


class LockedFile:
    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self.content = file.read()

    def replace(self, content: bytes) -> None:
        """Raises OSError, and BusyError if the file has changed since it was read."""
        target = Path(os.path.realpath(self._path))
        file, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with open(file, "wb") as new:
                self._copy_status(file)
                new.write(content)  # after _copy_status, which sets the time of the last change
                new.flush()
                os.fsync(file)
                written = os.fstat(file)
            self._file.seek(0)
            if not _is_at(self._file, self._path) or self._file.read() != self.content:
                raise BusyError(f"{self._path} was changed meanwhile and is left as it is now; try again")
            if not os.path.samestat(os.lstat(name), written):
                raise BusyError(f"{name} was changed meanwhile; {self._path} is left as it is, see who may write there")
            os.replace(name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        _sync(target.parent)

    def _copy_status(self, file: int) -> None:
        """Copies mode, extended attributes and, as far as permitted, owner and group to the open file: who may write in
        its folder could have put a link in the place of its name."""
        status = os.fstat(self._file.fileno())
        for owner, group in ((-1, status.st_gid), (status.st_uid, -1)):
            with contextlib.suppress(PermissionError):  # only root gives files away
                os.fchown(file, owner, group)
        shutil.copystat(self._path, f"/proc/self/fd/{file}")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[LockedFile]:
    """Raises OSError, and BusyError if another process keeps the lock."""
    deadline = monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(0, "Not a regular file")
        with open(path, "r+b", buffering=0) as file:
            _lock(file, path, deadline)
            if _is_at(file, path):  # not replaced during the wait
                yield LockedFile(path, file)
                return


def _lock(file: IO[bytes], path: Path, deadline: float) -> None:
    with contextlib.suppress(OSError):  # from a file system without locks
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if monotonic() > deadline:
                    seconds = f"{LOCK_TIMEOUT_SECONDS:g} seconds"
                    raise BusyError(f"{path} is held by another process for {seconds}; try again") from None
                sleep(POLL_INTERVAL_SECONDS)


def _is_at(file: IO[bytes], path: Path) -> bool:
    return os.path.samestat(os.fstat(file.fileno()), path.stat())


def _sync(folder: Path) -> None:
    """Writes the rename itself to the disk. The file is replaced by now, so a failure is not reported."""
    with contextlib.suppress(OSError):
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
