"""The TOML as a source of configurations: whether the file changed since it was loaded.

The rule: what counts is content, so that it does not matter how a file came to be another one: written in
place, replaced by a rename, or behind a link that points elsewhere now. A file that changes while it
is read is left for the next look, since it may be half written.
"""

import os
from pathlib import Path

from redirect.config.loader import ConfigError, Loader, content_hash, no_collections, read_config
from redirect.core.pools import Config, Fault

# Seconds for which a file may change without looking it, after it began to look as it does: its time of modification
# is as coarse as a clock's tick. Whose clock that is does not matter: the wall clock may be set, and a file system
# across the network has another one.
DOUBTFUL = 3.0


class Watch:
    """Watches the file at `path`, which was loaded as `config`."""

    def __init__(self, path: str | Path, config: Config) -> None:
        self._path = Path(path)
        self._loader = Loader(str(path))
        self._known: str | None = config.hash  # of what was there last, or why it could not be read; None if untold
        self._signature: tuple[int, ...] | None = ()
        self._since = 0.0  # it was first seen

    def look(self, now: float, *, anyway: bool = False) -> Config | ConfigError | None:
        """The configuration, if the file is another one; why it cannot be used; None if all is as it was at the last
        look, or is just changing.

        `now` is in seconds, by a clock that never goes back. With `anyway` it is never None.
        """
        before = self._stat()
        if before != self._signature:
            self._since = now
        elif not anyway and now - self._since >= DOUBTFUL:
            return None
        try:
            content = read_config(self._path, waits=False)  # the master must not
        except ConfigError as error:
            is_new, self._known = self._known != str(error), str(error)
            self._signature = ()  # what makes it readable need not show there
            return error if is_new or anyway else None
        if before != self._stat():
            self._signature = ()
            if not anyway:
                return None
            self._known = None  # told that it cannot be used: whatever comes of it is told, too
            return self._changing()
        self._signature = before
        is_new, self._known = content_hash(content) != self._known, content_hash(content)
        if not is_new and not anyway:
            return None
        try:
            with no_collections():
                return self._loader.parse(content)
        except ConfigError as error:
            return error

    def _stat(self) -> tuple[int, ...] | None:
        """What differs where the file does, mostly; None where there is none."""
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        # Rights that change show in the time of the status alone.
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev

    def _changing(self) -> ConfigError:
        return ConfigError((Fault(str(self._path), 1, 1, "", "changed while it was read; try again"),))
