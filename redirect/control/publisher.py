"""The publisher: loads configurations and publishes those without faults, with the origins that were found for them.

The rule: a file with faults changes nothing but what is reported of it. What was published outlives the controller,
and the next one goes on from there. Each publication has a number, so that a worker knows to which one a difference is.

A look at the file takes as long as its file system does not answer. So it holds up the next look, and nothing else.
"""

import asyncio
import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from time import monotonic, time

from redirect.config.loader import ConfigError, Loader, parse_config
from redirect.control.discovery import carried, with_found
from redirect.control.file_provider import FileProvider
from redirect.control.limits import Limits
from redirect.control.transfer import Since, pack, pack_difference, unpack, unpack_config
from redirect.core.difference import Change, changes, listed
from redirect.core.discovery import Trouble
from redirect.core.limits import numbered
from redirect.core.overrides import Override, config_of_file, left, named, read, with_overrides
from redirect.core.overrides import pack as pack_overrides
from redirect.core.overrides import unpack as unpack_overrides
from redirect.core.pools import Config, Pool
from redirect.core.wording import some
from redirect.telemetry.log_writer import rfc3339
from redirect.telemetry.scoreboard import Scoreboard, now_ms
from redirect.telemetry.snapshot import Loading

# Characters of a message that the admin listener shows; the error log has it whole.
MAX_ERROR_CHARACTERS = 1_000

# Seconds without an answer of the file system after which a look at the file hangs.
HUNG_SECONDS = 5.0

# Origins that the error log names, of those that came or left together.
MAX_LISTED_ORIGINS = 10

_logger = logging.getLogger("gunicorn.error")


def published(scoreboard: Scoreboard, first: Config) -> tuple[Config, Since]:
    """The configuration in use, which is the `first` one until another is published."""
    content = scoreboard.configuration.read()
    return unpack_config(content) if content else (first, {})


def loading(scoreboard: Scoreboard) -> Loading:
    """When the configuration in use was loaded, and why a later one was not."""
    return Loading(*json.loads(scoreboard.loading.read()))


def go_on(scoreboard: Scoreboard, config: Config, kept: str) -> Config:
    """Has the instance begin with the overrides that were `kept` of the run before, which goes on for a while if
    another master takes its place; returns the configuration with them. Is called by the master, before there is a
    worker."""
    try:
        now = time()
        found = [each for each, why in left(config, unpack_overrides(kept), now).items() if not why]
        began = with_overrides(config, found, now)
    except (ValueError, TypeError):  # the keeper says so
        return config
    scoreboard.overrides.publish(pack_overrides(found).encode())
    return began


def publish_loading(scoreboard: Scoreboard, state: Loading) -> None:
    """Is called by the master once, before there is a controller."""
    scoreboard.loading.publish(json.dumps(state).encode())


class Publisher:
    """Publishes what the file at `path` holds. When the instance was started it held `first`, which `loader` loaded."""

    def __init__(self, scoreboard: Scoreboard, path: str, first: Config, loader: Loader) -> None:
        self._scoreboard = scoreboard
        self.config, self.since = published(scoreboard, first)
        self._complete()
        # A file that was bad when the controller before this one ended may be good by now.
        known = self.config.hash if loading(scoreboard).error is None else None
        self._provider = FileProvider(path, known, loader)
        self.limits = Limits(scoreboard, self.config.routes)
        self.path = path
        self._lock, self._looks = asyncio.Lock(), asyncio.Lock()  # one publication, and one look, at a time
        self.trouble: Trouble | None = None  # why the file cannot be read now
        self.overrides = unpack_overrides(scoreboard.overrides.read())
        self._stepped_at = time()  # when overrides were looked at last
        self.published_ms = now_ms()  # when the configuration in use was published

    def _complete(self) -> None:
        """The controller before this one may have ended between the two parts of a publication."""
        content = self._scoreboard.configuration.read()
        change = self._scoreboard.change.read()
        if content and not (change and unpack(change)[0].version == self.config.version):
            self._scoreboard.change.publish(content)

    @property
    def is_busy(self) -> bool:
        """Whether another configuration may be on its way."""
        return self._lock.locked()

    async def look(self, *, force: bool = False) -> bool:
        """Looks at the file, and publishes what it holds if it changed; with `force` loads it in any case. Returns
        whether it took its content into use."""
        async with self._looks:
            try:
                config = await self._load(force=force)
                if config is not None:
                    await self._use(config)
                return config is not None
            except ConfigError as error:
                _logger.error("the configuration stays as it was:\n%s", error)
                self._report_error(str(error))
            except Exception:  # a fault of this program, and no reason to end
                _logger.exception("the configuration stays as it was")
                self._report_error("loading the file met a fault of this service; its log tells more")
            finally:
                self.limits.use(self.config.routes)
        return False

    async def _load(self, *, force: bool) -> Config | None:
        began = monotonic()
        try:
            return await asyncio.to_thread(self._provider.look, began, force=force)
        finally:
            if self.trouble is not None:
                _logger.info("the look at %s ended after %.1f s", self.path, monotonic() - began)
            self.trouble = None

    async def _use(self, config: Config) -> None:
        async with self._lock:
            routes = numbered(config.routes, self.config.routes, self.limits.held())
            self.limits.use(routes)  # before workers have them
            config = replace(carried(config, config_of_file(self.config)), routes=routes)
            await asyncio.to_thread(self._publish_file, config)

    def note_hang(self) -> bool:
        """Whether the look at the file that is under way hangs, once for each."""
        asked_at = self._provider.asked_at
        if self.trouble is not None or asked_at is None or monotonic() - asked_at <= HUNG_SECONDS:
            return False
        reason = f"{self.path}: not read, as its file system has not answered for {HUNG_SECONDS:g} s"
        self.trouble = Trouble(time() - (monotonic() - asked_at), reason)
        _logger.error("the configuration stays as it was:\n%s", self.trouble.reason)
        return True

    async def use_found(self, found: Iterable[Pool]) -> None:
        """Publishes what was found for pools that discover, if it is news."""
        async with self._lock:
            before = config_of_file(self.config)
            config = with_found(before, found)
            if config is not before:
                _log(before, config)
                await asyncio.to_thread(self._publish, config, time())

    async def override(self, wanted: object) -> Override:
        """Has an origin another share than the file says, from now on. Raises ValueError."""
        async with self._lock:
            made = await asyncio.to_thread(read, wanted, config_of_file(self.config), self.overrides, time())
            others = [each for each in self.overrides if (each.pool, each.origin) != (made.pool, made.origin)]
            await asyncio.to_thread(self._override, [*others, made])
            _logger.info("override of %s, until the file counts again at %s", made, rfc3339(made.ends_at, "seconds"))
            return made

    async def end_override(self, pool: str, origin: str) -> bool:
        """Has the file count again; returns whether it did not."""
        async with self._lock:
            origin = named(self.config.pools.get(pool), origin)
            ended = [each for each in self.overrides if (each.pool, each.origin) == (pool, origin)]
            if ended:
                await asyncio.to_thread(self._override, [each for each in self.overrides if each not in ended])
                _logger.info("the override of %s ends: it was asked for, and the file counts", ended[0])
            return bool(ended)

    async def step(self) -> None:
        """Goes on with ramps, and ends overrides whose time is over."""
        async with self._lock:
            now, before = time(), self._stepped_at
            self._stepped_at = now
            had = self.overrides
            self.overrides = unpack_overrides(self._scoreboard.overrides.read())  # the keeper may have found others
            for each in self.overrides:
                if each.over and before < each.reached_at <= now:
                    words = "the override of %s has its last share, and ends at %s: write it into the file before"
                    _logger.info(words, each, rfc3339(each.ends_at, "seconds"))
                if before < each.warns_at <= now:
                    words = "the override of %s ends at %s, and then the file counts: write its share there before"
                    _logger.warning(words, each, rfc3339(each.ends_at, "seconds"))
            ends = left(self.config, self.overrides, now)
            for each, why in ends.items():
                if why:
                    _logger.warning("the override of %s ends: %s, and the file counts", each, why)
            if had or self.overrides:
                await asyncio.to_thread(self._override, [each for each, why in ends.items() if not why])

    def _override(self, wanted: list[Override]) -> None:
        if wanted != self.overrides:
            self._scoreboard.overrides.publish(pack_overrides(wanted).encode())
            self.overrides = wanted
        before = config_of_file(self.config)
        if with_overrides(before, wanted, time()).pools != self.config.pools:
            self._publish(before, time())

    def compare(self, content: bytes) -> list[Change]:
        """What a file with this content would change. Raises ValueError with its faults."""
        before = config_of_file(self.config)
        try:
            after = carried(parse_config(content, "the file that was sent", is_served=True), before)
            return changes(before, after, self.overrides)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    def _publish_file(self, config: Config) -> None:
        now = time()
        for warning in config.warnings:
            _logger.warning("%s", warning)
        state = Loading(now, None, None, config.hash, now_ms())
        if config.hash != self.config.hash:
            self._publish(config, now, state._replace(changes=self._log_changes(config)))
        else:
            publish_loading(self._scoreboard, state._replace(changes=loading(self._scoreboard).changes))
        _logger.info("loaded the configuration %s", config.hash)

    def _log_changes(self, after: Config) -> list[str]:
        """What `after` does to traffic, in lines."""
        found = changes(config_of_file(self.config), after, self.overrides)
        lines = listed(found)
        level = logging.WARNING if any(change.is_warning for change in found) else logging.INFO
        _logger.log(level, "the configuration %s changes: %s", after.hash, "\n  ".join(lines or ["nothing"]))
        return lines

    def _publish(self, config: Config, now: float, state: Loading | None = None) -> None:
        """Publishes a configuration with the overrides, the difference last: workers look at its number."""
        config = replace(with_overrides(config, self.overrides, now), change=self.config.change + 1)
        since = changed_since(self.since, self.config, config, now)
        difference = pack_difference(config, self.config)
        self._scoreboard.configuration.publish(pack(config, since))
        if state is not None:
            publish_loading(self._scoreboard, state)
        self._scoreboard.change.publish(difference)
        self.config, self.since, self.published_ms = config, since, now_ms()

    def _report_error(self, error: str) -> None:
        state = loading(self._scoreboard)
        publish_loading(self._scoreboard, state._replace(error=_shortened(error), error_at=time()))


def changed_since(since: Since, old: Config, new: Config, now: float) -> Since:
    """Since when origins are in their state, once `new` takes the place of `old`."""
    found: dict[tuple[str, str], float] = {}
    for name, pool in new.pools.items():
        before = old.pools.get(name)
        drained = {origin.name: not origin.weight for origin in before.origins} if before else {}
        for origin in pool.origins:
            place = name, origin.name
            if drained.get(origin.name) != (not origin.weight):
                found[place] = now
            elif place in since:
                found[place] = since[place]
    return found


def _log(before: Config, after: Config) -> None:
    """Logs which origins came and went."""
    for name, pool in after.pools.items():
        old = before.pools[name]
        if old is not pool:
            had, has = set(old.origins), set(pool.origins)
            came = [f"{each.name} ({each.authority})" for each in pool.origins if each not in had]
            went = [f"{each.name} ({each.authority})" for each in old.origins if each not in has]
            moves = {"came": came, "left": went}
            news = [f"; {some(each, MAX_LISTED_ORIGINS)} {word}" for word, each in moves.items() if each]
            count = f"none: {pool.none_found}" if not pool.origins else f"{len(pool.origins)}"
            _logger.info("origins of %s: %s%s", name, count, "".join(news))


def _shortened(error: str) -> str:
    """As many of its lines as the admin listener shows."""
    if len(error) <= MAX_ERROR_CHARACTERS:
        return error
    *lines, last = error[:MAX_ERROR_CHARACTERS].split("\n")
    kept = lines or [f"{last}…"]
    more = error.count("\n") + 1 - len(kept)
    return "\n".join(kept + [f"and {more} more, see the error log"] * (more > 0))
