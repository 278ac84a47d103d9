"""The TOML as a source of configurations.

The rule: what counts is content, so that it does not matter how a file came to differ: written in place, replaced by a
rename, or behind a link that points elsewhere now. A file that changes while it is read is left for the next look,
since it may be half written.
"""

import os
from pathlib import Path

from redirect.config.loader import ConfigError, Loader, content_hash, read_config
from redirect.core.pools import Config, Fault

# Seconds for which a file may change without its status showing it, after the status began to look as it does: the
# time of modification is as coarse as a clock's tick. Whose clock that is does not matter: the wall clock may be set,
# and a file system across the network has another one.
DOUBTFUL_SECONDS = 3.0


class FileProvider:
    """Reads the file at `path`, which `loader` has loaded before if there is a hash of what it held."""

    def __init__(self, path: str | Path, config_hash: str | None, loader: Loader) -> None:
        self._path = Path(path)
        self._loader = loader
        # Hash of what was there last, or why it could not be read; None if the last outcome was not reported.
        self._known = config_hash
        self._signature: tuple[int, ...] | None = ()
        self._since = 0.0  # when the signature was first seen
        self.asked_at: float | None = None  # when the file system was asked that has not answered yet

    def look(self, now: float, *, force: bool = False) -> Config | None:
        """Returns the configuration if the file changed; None if nothing changed since the last look, or is changing
        now. Raises ConfigError where the file cannot be used, once for each reason in a row.

        `now` is in seconds of the monotonic clock. With `force` the result is never None.
        """
        self.asked_at = now
        try:
            content = self._read(now, force=force)
        finally:
            self.asked_at = None
        if content is None:
            return None
        is_new, self._known = content_hash(content) != self._known, content_hash(content)
        return self._loader.parse(content) if is_new or force else None

    def _read(self, now: float, *, force: bool) -> bytes | None:
        """What the file holds; None if it did not change, or is changing, or cannot be read for the same reason."""
        before = self._stat()
        if before != self._signature:
            self._since = now
        elif not force and now - self._since >= DOUBTFUL_SECONDS:
            return None
        self._signature = ()  # until it is read: what makes it readable need not show there
        try:
            content = read_config(self._path, waits=False)
        except ConfigError as error:
            is_new, self._known = self._known != str(error), str(error)
            if is_new or force:
                raise
            return None
        if before != self._stat():
            if not force:
                return None
            self._known = None
            raise ConfigError((Fault(str(self._path), 1, 1, "", "changed while it was read; try again"),))
        self._signature = before
        return content

    def _stat(self) -> tuple[int, ...] | None:
        """What differs where the file does, mostly; None where there is none."""
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        # Permissions that change show in the time of the status alone.
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev
