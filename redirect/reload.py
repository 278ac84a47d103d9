"""Reload: whether the file is another one than the configuration in force was made of.

The rule: what counts is content, so that it does not matter how a file came to be another one: written in
place, replaced by a rename, or behind a link that points elsewhere now. A file that changes while it
is read is left for the next look, since it may be half written.
"""

import os
from pathlib import Path
from typing import NamedTuple

from redirect.config import Config, ConfigError, Fault, content_hash, parse_config, read_config

# Seconds for which a file's time of modification tells nothing: it is as coarse as a clock's tick, and the clock of
# a file system across the network may be another one.
DOUBTFUL = 3.0


class Loaded(NamedTuple):
    """A configuration, and the bytes that it was made of."""

    config: Config
    content: bytes


class Watch:
    """Watches the file at `path`, which was loaded as the configuration whose hash is `known`."""

    def __init__(self, path: str | Path, known: str) -> None:
        self._path = Path(path)
        self._known: str | None = known  # None if it could not be read
        self._signature: tuple[int, ...] | None = ()

    def look(self, now: float, *, anyway: bool = False) -> Loaded | ConfigError | None:
        """The configuration, if the file is another one; why it cannot be used; None if all is as it was at the last
        look, or is just changing.

        `now` is the Unix time. With `anyway` it is never None.
        """
        before = self._stat()
        if not anyway and before == self._signature and not self._is_doubtful(now):
            return None
        try:
            content = read_config(self._path)
        except ConfigError as error:
            is_new, self._known, self._signature = self._known is not None, None, before
            return error if is_new or anyway else None
        if before != self._stat():
            self._signature = ()
            return self._changing() if anyway else None
        self._signature = before
        is_new, self._known = content_hash(content) != self._known, content_hash(content)
        if not is_new and not anyway:
            return None
        try:
            return Loaded(parse_config(content, str(self._path)), content)
        except ConfigError as error:
            return error

    def _stat(self) -> tuple[int, ...] | None:
        """What differs where the file does, mostly; None where there is none."""
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev

    def _is_doubtful(self, now: float) -> bool:
        return self._signature is not None and any(abs(now - ns / 1e9) < DOUBTFUL for ns in self._signature[:1])

    def _changing(self) -> ConfigError:
        return ConfigError((Fault(str(self._path), 1, 1, "", "changed while it was read; try again"),))
