"""The keeper: has the sums of the instance outlive it, where REDIRECT_STATE_DIR names a directory.

The rule: what fails there is reported, with what to do, and tried again; nothing else depends on it. What the file
holds is put beside the sums of this run once, and then the file is written; so a crash loses one interval at most.
"""

import asyncio
import contextlib
import logging
import threading
from pathlib import Path
from time import monotonic, time

from redirect.core.overrides import unpack
from redirect.telemetry.scoreboard import Scoreboard
from redirect.telemetry.state_file import Kept, StateError, StateFile
from redirect.telemetry.sums import clear, put, rows

# Seconds between two writes; more where one takes long, so that they take a tenth of the time.
INTERVAL_SECONDS = 5.0
MAX_BUSY_SHARE = 0.1

# Seconds after which a step hangs. Of 100,000 pools it takes eight.
HUNG_SECONDS = 30.0

# Seconds that a start and an end wait for it: a disk may hang.
MAX_WAIT_SECONDS = 1.5

_logger = logging.getLogger("gunicorn.error")


class Keeper:
    """Of a controller whose sums are to be kept in `directory`."""

    def __init__(self, scoreboard: Scoreboard, directory: Path) -> None:
        self._scoreboard = scoreboard
        self.directory = directory
        self._file = StateFile(directory)
        self._lock = threading.Lock()  # one step at a time: an end does not wait for a disk that hangs
        self._began: float | None = None  # the step that is under way
        self.saved_at: float | None = None  # when sums were kept last (Unix time)
        self.error: str | None = None  # what is in the way now
        if not scoreboard.kept.numbers.since_ms:
            clear(scoreboard.kept)

    async def run(self) -> None:
        took = 0.0
        while True:
            await asyncio.sleep(max(INTERVAL_SECONDS, took / MAX_BUSY_SHARE))
            began = monotonic()
            await asyncio.to_thread(self.step)
            took = monotonic() - began

    async def keep(self) -> None:
        """Keeps them now, unless this takes too long: before numbers are shown, and at the end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(self.step), MAX_WAIT_SECONDS)

    def step(self) -> None:
        """Takes over what the file holds, if this was not done, and writes what counts now."""
        if not self._lock.acquire(timeout=MAX_WAIT_SECONDS):
            return
        self._began = monotonic()
        try:
            self._file.lock()
            self._take_over()
            self._save()
        except StateError as error:
            self._report(str(error))
        except Exception:  # a fault of this program, and no reason to end
            _logger.exception("the numbers are not kept")
        finally:
            self._began = None
            self._lock.release()

    def note_hang(self) -> None:
        """Reports a step that hangs, as where the directory is of a network mount that stalls."""
        began = self._began
        if began is not None and monotonic() - began > HUNG_SECONDS:
            self._report(f"its file system has not answered for {HUNG_SECONDS:g} s")

    def _take_over(self) -> None:
        common, kept = self._scoreboard.common, self._scoreboard.kept
        if kept.numbers.since_ms:
            return
        found = self._file.read()
        if found is None:
            kept.numbers.since_ms = common.started_ms
            return
        try:
            unpack(found.overrides)
            put(kept, found.rows)  # last: it is not undone
        except (ValueError, TypeError) as error:
            raise self._file.damaged(error) from None
        kept.numbers.since_ms = found.since_ms
        if self._scoreboard.overrides.number <= 1:  # but for those of the start none was asked for
            self._scoreboard.overrides.publish(found.overrides.encode())
        common.kept_run = found.run
        _logger.info("the numbers go on from %s", self.directory)

    def _save(self) -> None:
        common, since_ms = self._scoreboard.common, self._scoreboard.kept.numbers.since_ms
        overrides = self._scoreboard.overrides.read().decode() or "[]"
        self._file.write(Kept(common.run, since_ms, rows(self._scoreboard), overrides), common.kept_run)
        self.saved_at = time()
        if self.error is not None:
            self.error = None
            _logger.info("the numbers are kept in %s again", self.directory)

    def _report(self, error: str) -> None:
        if error != self.error:
            self.error = error
            _logger.error(
                "REDIRECT_STATE_DIR: the numbers are not kept in %s: %s. It is tried again every %g s.",
                self.directory, error, INTERVAL_SECONDS,
            )  # fmt: skip
