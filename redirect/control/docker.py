"""The containers of pools that discover by labels, as Docker has them: its API is asked, and its events are followed.

The rule: subscribe first, list then, and list again after each event that matters, a second later, and each 30 s
without one. So nothing that happens in between is lost for longer. Whatever fails ends the subscription, and begins all
over; what was found stays meanwhile.
"""

import asyncio
import contextlib
import json
import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from random import uniform
from time import monotonic, time
from typing import NamedTuple, NoReturn

from redirect.control.containers import Container, View, doubts, label_filter, read
from redirect.control.docker_api import Api, DockerError
from redirect.core.discovery import Discover, Found, Trouble

# Seconds after an event for which others are awaited, before it is listed what came of all.
GATHER_SECONDS = 0.05

# Seconds after which it is listed once more: 0.2 s after it told that a container died, an engine still lists it as one
# that runs, and no other event need follow.
SETTLE_SECONDS = 1.0

# Seconds without an event that matters, after which it is listed all the same.
POLL_SECONDS = 30.0

# Seconds until Docker is asked again, the first time; each further time takes twice as long.
FIRST_RETRY_SECONDS = 0.25
LAST_RETRY_SECONDS = 10.0
JITTER = 0.25

# Seconds for which a container that was told to stop gets nothing. By then it has ended, as most are given 10 s; or it
# did not stop, as it has no handler for the signal. The list does not say how long it was given.
STOPPING_SECONDS = 120.0

# Actions that change what a list says. `exec_…` are three events for each health check.
ACTIONS = frozenset(
    "create start die stop kill pause unpause rename destroy update connect disconnect health_status".split()
)

# Signals with which containers are stopped: INT, QUIT (nginx), KILL, TERM, WINCH (httpd) and RTMIN+3 (systemd). With
# HUP, USR1 and USR2 they are told to read their files again. HAProxy is stopped with USR1, and nginx rotates its logs
# with it: a container that goes on must not lose its requests, so USR1 is none of these.
STOP_SIGNALS = frozenset("2 3 9 15 28 37".split())

_OWN_FILES = {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"}  # docker mounts them from a folder named after the id

_logger = logging.getLogger("gunicorn.error")

_Filter = tuple[str, ...]  # labels, sorted


class _Stop(NamedTuple):
    """A container that was told to stop."""

    until: float  # by the monotonic clock
    endpoints: frozenset[str]  # it had then; it has others once it was started again


def own_container_id() -> str | None:
    """The id of the container that this process runs in, None if it runs in none."""
    mounts = ""
    with contextlib.suppress(OSError):
        mounts = Path("/proc/self/mountinfo").read_text()
    return container_id(mounts, os.uname().nodename)


def container_id(mounts: str, host_name: str) -> str | None:
    """What `/proc/self/mountinfo` and the host's name, which is by default the first part of the id, say of it."""
    for line in mounts.splitlines():
        root, point = line.split(" ")[3:5]
        if point in _OWN_FILES and (match := re.search("/(?:overlay-)?containers/([0-9a-f]{64})/", root)):
            return match[1]
    return host_name if re.fullmatch("[0-9a-f]{12}", host_name) else None


class DockerProvider:
    """Follows what Docker has of the pools in `use`; `changed` is called whenever `found` or `trouble` did."""

    def __init__(self, host: str, own_id: str | None, changed: Callable[[], None]) -> None:
        self._host = host
        self._changed = changed
        self.found: Mapping[str, Found] = {}  # by pool, of those of which Docker was asked
        self.trouble: Trouble | None = None
        self._wanted: Mapping[str, Discover] = {}
        self._listed: dict[_Filter | None, Sequence[Container]] = {}
        self._view = View(own_id)
        self._running: Mapping[str, frozenset[str]] = {}  # ids of endpoints, by id of container
        self._stops: dict[str, _Stop] = {}  # by id
        self._told: set[tuple[str, str]] = set()  # warnings, by id
        self._news = asyncio.Event()
        self._failures = 0  # in a row

    def use(self, wanted: Mapping[str, Discover]) -> None:
        """Follows these pools from now on. What is known counts for them, too; the rest is asked for at once."""
        self._wanted = dict(wanted)
        if not wanted:
            self._listed = {}  # of no time that is known, once it is not followed
        self._news.set()
        self._publish()

    def trouble_of(self, pool: str) -> Trouble | None:
        return self.trouble  # of all pools

    async def run(self) -> NoReturn:
        while True:
            try:
                await self._until_wanted()
                await self._follow()
            except DockerError as error:
                await self._retry(str(error))
            except Exception as error:  # a fault of this program
                _logger.exception("what docker said was not understood")
                await self._retry(f"{type(error).__name__}: {error}")

    async def _until_wanted(self) -> None:
        while not self._wanted:
            self._listed, self.trouble = {}, None
            self._news.clear()
            await self._news.wait()

    async def _retry(self, reason: str) -> None:
        before = self.trouble
        if before is None or before.reason != reason:
            _logger.warning("docker cannot be asked: %s; origins stay as they are", reason)
            self.trouble = before._replace(reason=reason) if before else Trouble(time(), reason, monotonic())
            self._changed()
        wait = min(FIRST_RETRY_SECONDS * 2 ** min(self._failures, 16), LAST_RETRY_SECONDS)
        self._failures += 1
        await asyncio.sleep(wait * uniform(1 - JITTER, 1 + JITTER))

    async def _follow(self) -> None:
        """One subscription, until something fails or no pool wants it any more."""
        async with Api.connected(self._host) as api, api.events() as lines:
            await self._find_own(api)
            hearing = asyncio.create_task(self._hear(lines))
            hearing.add_done_callback(lambda _: self._news.set())
            began, pause = monotonic(), SETTLE_SECONDS
            try:
                while self._wanted:
                    self._news.clear()
                    if hearing.done():
                        hearing.result()
                    await self._list(api)
                    self._warn_of_left_out()
                    if monotonic() - began > LAST_RETRY_SECONDS:  # not one that is cut again and again
                        self._failures = 0
                    pause = SETTLE_SECONDS if await self._is_news(pause) else POLL_SECONDS
                    await asyncio.sleep(GATHER_SECONDS)
                    self._publish()  # those that stop, before the list is there
            finally:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)

    async def ask(self) -> None:
        """Asks once; raises DockerError."""
        async with Api.connected(self._host) as api:
            await self._find_own(api)
            await self._list(api)

    async def _find_own(self, api: Api) -> None:
        own = await api.containers(id=[self._view.own_id]) if self._view.own_id else []
        self._view = self._view._replace(own=own[0] if own else None)

    async def _is_news(self, seconds: float) -> bool:
        """Waits for news; returns whether there were any before it is time to list without."""
        now = monotonic()
        ends = min((stop.until for stop in self._stops.values()), default=now + seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(seconds, ends - now))):
                await self._news.wait()
        return self._news.is_set()

    async def _hear(self, lines: AsyncIterator[bytes]) -> NoReturn:
        async for line in lines:
            self._note(line)
        raise DockerError("its events ended")

    def _note(self, line: bytes) -> None:
        """Takes an event. `status`, `id` and `from` of older versions are not read: newer ones have none."""
        try:
            event = json.loads(line)
            action, actor = str(event["Action"]).partition(":")[0], event["Actor"]
            subject, attributes = str(actor["ID"]), actor.get("Attributes") or {}
            signal = str(attributes.get("signal", "15"))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise DockerError(f"it sent an event that makes no sense: {line[:80]!r}") from error
        if action not in ACTIONS:
            return
        if action == "start":
            self._stops.pop(subject, None)
        elif action in {"die", "stop"} or (action == "kill" and signal in STOP_SIGNALS):
            self._stops[subject] = _Stop(monotonic() + STOPPING_SECONDS, self._running.get(subject, frozenset()))
        self._news.set()

    async def _list(self, api: Api) -> None:
        """Lists what is wanted, stopped containers included, as they are shown."""
        filters = {label_filter(each, self._view) for each in self._wanted.values()}
        listed = {labels: () if labels is None else await api.containers(label=labels) for labels in filters}
        containers = [*chain.from_iterable(listed.values())]
        sharing = {each.shares_with for each in containers if each.shares_with}
        shared = await api.containers(id=sorted(sharing)) if sharing else ()
        self._listed, self._view = listed, self._view._replace(shared={each.full_id: each for each in shared})
        running = [each for each in containers if each.state in {"running", "paused"}]
        self._running = {each.full_id: frozenset(one.id for one in each.endpoints.values()) for each in running}
        self._stops = {each: stop for each, stop in self._stops.items() if self._is_stopping(each, stop)}
        trouble, self.trouble = self.trouble, None
        if trouble is not None:
            _logger.info("docker can be asked again, after %.1f s", monotonic() - trouble.since_monotonic)
            self._changed()
        self._publish()
        ids = {each.full_id for each in containers}
        self._told = {(container, text) for container, text in self._told if container in ids}
        self._warn_of_doubts()

    def _is_stopping(self, container: str, stop: _Stop) -> bool:
        """Whether it runs, as the one that was told to stop, and may not have stopped yet."""
        endpoints = self._running.get(container)
        if endpoints is None or stop.until <= monotonic():
            return False
        return not stop.endpoints or not endpoints or not stop.endpoints.isdisjoint(endpoints)

    def _publish(self) -> None:
        """Works out what is found, of all that is known."""
        view = self._view._replace(stopping=self._stops.keys())
        found = {}
        for pool, discover in self._wanted.items():
            labels = label_filter(discover, view)
            if labels in self._listed:
                found[pool] = read(None if labels is None else self._listed[labels], discover, view)
        if found == self.found:
            return
        for pool in found.keys() & self.found.keys():
            _log_states(pool, self.found[pool], found[pool])
        self.found = found
        self._changed()

    def _warn_of_doubts(self) -> None:
        for pool, discover in self._wanted.items():
            for container in self._listed.get(label_filter(discover, self._view), ()):
                for doubt in doubts(container, discover):
                    self._warn(container.full_id, f"the container {container.name} in {pool}: {doubt}")

    def _warn_of_left_out(self) -> None:
        for pool, found in self.found.items():
            for each in found.left_out:
                if each.state == "running":
                    self._warn(each.id, f"the container {each.name} is left out of {pool}: {each.reason}")

    def _warn(self, container: str, text: str) -> None:
        """Once for each container, while there is one."""
        if (container, text) not in self._told:
            self._told.add((container, text))
            _logger.warning("%s", text)


def _log_states(pool: str, before: Found, now: Found) -> None:
    """Who comes and leaves is logged where it is published."""
    known = {member.name: member.state for member in before.members}
    for member in now.members:
        if known.get(member.name, member.state) != member.state:
            level = logging.WARNING if member.state == "down" else logging.INFO
            state = "up again" if member.state == "up" else member.state
            reason = f": {member.reason}" if member.reason else ""
            _logger.log(level, "%s is %s in %s%s", member.name, state, pool, reason)


async def ask_once(host: str, own_id: str | None, wanted: Mapping[str, Discover]) -> Mapping[str, Found]:
    """What Docker has of these pools, by pool; raises DockerError if it cannot be asked."""
    provider = DockerProvider(host, own_id, lambda: None)
    provider.use(wanted)
    await provider.ask()
    return provider.found
