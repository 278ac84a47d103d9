"""Reload: whether the file is another one than the configuration in force was made of, and its way into the workers.

The rule: what counts is content, so that it does not matter how a file came to be another one: written in
place, replaced by a rename, or behind a link that points elsewhere now. A file that changes while it
is read is left for the next look, since it may be half written.

The master alone reads the file. What it has checked it puts up on the board (`handover`), and each worker makes
its service of that aside and swaps it in with one assignment: so all of them have the same, and none a bad one.
"""

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import perf_counter, sleep
from typing import TypeVar

from redirect.config import Config, ConfigError, Fault, content_hash, no_collections, parse_config, read_config
from redirect.front import Front
from redirect.handover import unpack
from redirect.instance import Changes, Instance
from redirect.service import Service

# Seconds for which a file may change without looking it, after it began to look as it does: its time of modification
# is as coarse as a clock's tick. Whose clock that is does not matter: the wall clock may be set, and a file system
# across the network has another one.
DOUBTFUL = 3.0

# Seconds for which the thread that does what takes a while keeps the loop waiting at most; Python's own 5 ms are more
# than a request takes.
SWITCHING = 0.0001

# Seconds for which that thread works at a time, and rests then. Where it did not rest, the loop came three times as
# late as when it idles.
STEP = REST = 0.0003

# Old objects that are looked at, at most, for garbage among them: it takes a millisecond or two, in which the loop
# waits. There are more where thousands of pools were asked for since the last time.
COLLECTED = 10_000

_logger = logging.getLogger("gunicorn.error")

T = TypeVar("T")


class Watch:
    """Watches the file at `path`, which was loaded as `config`."""

    def __init__(self, path: str | Path, config: Config) -> None:
        self._path = Path(path)
        self._config = config  # the last good one
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
                self._config = parse_config(content, str(self._path), self._config)
        except ConfigError as error:
            return error
        return self._config

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


async def keep_up(front: Front, instance: Instance, is_told: asyncio.Event) -> None:
    """Has a worker take what the master has put up, whenever it is told to."""
    while True:
        await is_told.wait()
        is_told.clear()
        try:
            await _take(front, instance)
        except Exception:  # ours: what is in force stays so, and the next one may do
            _logger.exception("the configuration that was put up is not in force here")


async def _take(front: Front, instance: Instance) -> None:
    made = await _aside(lambda: _made(front.service, instance))
    if made is None:
        return
    service, changes = made
    replaced = [(front.service, instance.changes)]
    front.adopt(service)
    instance.adopt(service.config, changes)
    await _aside(lambda: _let_go(replaced))


def _made(before: Service, instance: Instance) -> tuple[Service, Changes] | None:
    """What takes the place of `before` and of its changes; None if nothing does, for now."""
    content, loading = instance.put_up()
    if loading.config == before.config.hash:
        return None  # we were born with it
    _collect()
    with no_collections():
        pause = _Pause()
        config = unpack(content, before.config, pause)
        if config.hash != loading.config:
            return None  # another one is being put up, and we are told
        changes = instance.changes.after(before.config, config, loading.loaded_at, pause)
        service = Service(config, Random(), before, pause)
        gc.freeze()  # as at the start: it need not be looked at, not even once
    return service, changes


def _collect() -> None:
    """Collects garbage, which would be frozen, too, and stay: all that came since the last time, unless that is so
    much that it would hold the loop."""
    gc.collect(2 if len(gc.get_objects(2)) <= COLLECTED else 1)


def _let_go(replaced: list[tuple[Service, Changes]]) -> None:
    """Lets go of it part by part, as Python does nothing else while it frees what there was of a large one."""
    service, changes = replaced.pop()
    parts = [*service.parts(), *changes.since]
    del service, changes
    pause = _Pause()
    while parts:
        parts.pop()
        pause()


class _Pause:
    """Has a thread rest after each STEP, so that the loop need not even ask for its turn, mostly."""

    def __init__(self) -> None:
        self._until = perf_counter() + STEP

    def __call__(self) -> None:
        if perf_counter() > self._until:
            sleep(REST)
            self._until = perf_counter() + STEP


async def _aside(work: Callable[[], T]) -> T:
    """What `work` returns, done by a thread that lets the loop do its own."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCHING)
    try:
        return await asyncio.to_thread(work)
    finally:
        sys.setswitchinterval(usual)
