"""The file in which the sums of an instance outlive it: `numbers.sqlite3` in the directory of REDIRECT_STATE_DIR.

The rule: a file that is not ours is left as it is, and only the process that holds the lock beside it reads or writes.
The sums in the file are those of one run of the service, which is named there, with what that run took over; so they
are replaced as a whole, and nothing is added to them. SQLite makes each change whole, or none of it.
"""

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from redirect.telemetry.scoreboard import Descriptor
from redirect.telemetry.sums import LAYOUT, Rows

NAME = "numbers.sqlite3"

# In the head of the file, by which it is known as ours: "REDI".
APPLICATION_ID = 0x52454449

# SQLite has 31 bits for it.
VERSION = LAYOUT & 0x7FFFFFFF

# Seconds to wait for others that read the file.
BUSY_SECONDS = 1.0


class StateError(Exception):
    """The file cannot be used. The message says why, and what to do."""


class Kept(NamedTuple):
    """The sums as a run of the service left them, which count since then (Unix time, milliseconds)."""

    run: int
    since_ms: int
    rows: Rows
    overrides: str = "[]"  # in JSON


def kept_overrides(directory: Path) -> str:
    """In JSON. What is wrong with the file, or its lock, is not said here, and the file stays as it is."""
    try:
        uri = f"{(directory / NAME).absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as file:
            if _numbers(file) == (APPLICATION_ID, VERSION):
                return str(file.execute("SELECT content FROM overrides").fetchone()[0])
    except (sqlite3.Error, TypeError):
        pass
    return "[]"


class StateFile:
    """The file in this directory. All methods raise StateError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = directory / NAME
        self._lock: Descriptor | None = None
        self._written: Rows = {}  # by this object, into the file

    def lock(self) -> None:
        """Takes the lock, unless this object has it; it ends with the process."""
        if self._lock is not None:
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = Descriptor(os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(
                "another instance uses it; give each a directory of its own, or end the other one: this one goes on "
                "from its numbers then"
            ) from None
        except OSError as error:
            raise StateError(f"{error.strerror}; make it a directory that user {os.geteuid()} may write into") from None
        self._lock = lock

    def read(self) -> Kept | None:
        """What the file holds; None if there is none, or nothing in it."""
        with self._opened() as file:
            try:
                run: tuple[int, int] | None = file.execute("SELECT run, since_ms FROM run").fetchone()
                rows = {key: json.loads(numbers) for key, numbers in file.execute("SELECT key, numbers FROM sums")}
                if run is None:
                    return None
                if not all(type(each) is int and each > 0 for each in run):
                    raise ValueError(f"{run} is no run")
                found = file.execute("SELECT content FROM overrides").fetchone()
                return Kept(*run, rows, found[0] if found else "[]")
            except (ValueError, TypeError) as error:
                raise self.damaged(error) from None

    def write(self, now: Kept, taken: int) -> None:
        """Replaces what the file holds: nothing, sums of the same run, or those of the run `taken`, which are in these
        sums."""
        with self._opened() as file:
            found = file.execute("SELECT run FROM run").fetchone()
            if found not in (None, (now.run,), (taken,)):
                raise StateError(f"another instance wrote into {NAME} meanwhile; give each a directory of its own")
            written = self._written if found == (now.run,) else {}
            file.execute("DELETE FROM run")
            file.execute("INSERT INTO run VALUES (?, ?)", (now.run, now.since_ms))
            file.execute("DELETE FROM overrides")
            file.execute("INSERT INTO overrides VALUES (?)", (now.overrides,))
            changed = {key: numbers for key, numbers in now.rows.items() if written.get(key) != numbers}
            rows = [(key, json.dumps(numbers)) for key, numbers in changed.items()]
            file.executemany("INSERT OR REPLACE INTO sums VALUES (?, ?)", rows)
        self._written = now.rows

    def damaged(self, error: Exception) -> StateError:
        return StateError(f"{NAME} is damaged ({error}); move it away, and numbers are kept from then on")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The file in a transaction, which is made where there is none."""
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)) as file:
                file.execute("BEGIN IMMEDIATE")
                _check(file)
                yield file
                file.execute("COMMIT")
        except sqlite3.OperationalError as error:  # of the disk, of permissions, of readers
            raise StateError(f"{NAME}: {error}; see that user {os.geteuid()} may write it and there is space") from None
        except sqlite3.DatabaseError as error:
            raise self.damaged(error) from None


def _check(file: sqlite3.Connection) -> None:
    """Raises StateError if the file is another's; one in which nothing is becomes ours. One that an earlier version
    made has no overrides."""
    application, version = _numbers(file)
    if (application, version) == (0, 0) and not file.execute("SELECT 1 FROM sqlite_master").fetchone():
        file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        file.execute(f"PRAGMA user_version = {VERSION}")
        file.execute("CREATE TABLE run (run INTEGER NOT NULL, since_ms INTEGER NOT NULL)")
        file.execute("CREATE TABLE sums (key TEXT PRIMARY KEY, numbers TEXT NOT NULL) WITHOUT ROWID")
    elif application != APPLICATION_ID:
        raise StateError(f"{NAME} is the file of another program; name another directory, or move it away")
    elif version != VERSION:
        raise StateError(
            f"{NAME} is of another version of this service, whose numbers differ; move it away, and numbers are kept "
            "from then on"
        )
    file.execute("CREATE TABLE IF NOT EXISTS overrides (content TEXT NOT NULL)")


def _numbers(file: sqlite3.Connection) -> tuple[int, int]:
    """By which the program and the layout of the file are known."""
    return tuple(file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
