"""Discovery: what providers found, as the origins of pools and as health.

The rule: a pool has the origins that its provider found last, for what its `discover` asks for now. Until there is an
answer it has those that were published before, so that a reload and the next controller go on from there.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from time import monotonic, time
from typing import Protocol

from redirect.core.discovery import Discover, Found, Trouble
from redirect.core.health import NO_HEALTH, Health, HealthStatus
from redirect.core.pools import Config, Origin, Pool
from redirect.telemetry.log_writer import rfc3339

# Seconds for which an instance that starts waits for the first answers before it says that it is ready.
FIRST_ANSWER_SECONDS = 2.0


class Provider(Protocol):
    """A source of origins. `found` has what is known, by pool; it stays while there is no answer. A provider says that
    it or its trouble changed by a function that it was given, and logs what is wrong."""

    @property
    def found(self) -> Mapping[str, Found]: ...

    def use(self, wanted: Mapping[str, Discover]) -> None:
        """Finds the origins of these pools from now on, and forgets what was found for others."""

    def trouble_of(self, pool: str) -> Trouble | None:
        """Since when and why there is no answer, if there is none."""

    async def run(self) -> None:
        """Never ends."""


class Discovery:
    """What was found for the pools of `config`. `start` begins the provider for a word that `Discover.source` has, when
    it is first needed. `health` is what was published before; an instance that starts `waits` for the first answers."""

    def __init__(
        self, start: Callable[[str], Provider], config: Config, health: Health = NO_HEALTH, *, waits: bool = False
    ) -> None:
        self._start = start
        self._providers: dict[str, Provider] = {}
        self._waits_until = monotonic() + FIRST_ANSWER_SECONDS if waits else 0.0
        self._pools: dict[str, tuple[Pool, Discover]] = {}
        self._wanted: dict[str, dict[str, Discover]] = {}
        self.health: dict[str, dict[str, HealthStatus]] = {
            pool: {origin: status for origin, status in statuses.items() if status.member}
            for pool, statuses in health.items()
        }
        self.use(config)

    def use(self, config: Config) -> None:
        """Finds the origins of this configuration from now on."""
        pools = config.pools.values()
        self._pools = {pool.name: (pool, pool.discover) for pool in pools if pool.discover is not None}
        for source in self._providers.keys() | {discover.source for _, discover in self._pools.values()}:
            wanted = {name: discover for name, (_, discover) in self._pools.items() if discover.source == source}
            if wanted != self._wanted.get(source, {}):
                self._wanted[source] = wanted
                if source not in self._providers:
                    self._providers[source] = self._start(source)
                self._providers[source].use(wanted)
        self.health = {pool: statuses for pool, statuses in self.health.items() if pool in self._pools}

    @property
    def waits(self) -> bool:
        """Whether a provider has not had the time to answer yet."""
        is_asked = (name in self._provider(name).found or self.trouble(name) for name in self._pools)
        return monotonic() < self._waits_until and not all(is_asked)

    def found(self, pool: str) -> Found | None:
        return self._provider(pool).found.get(pool) if pool in self._pools else None

    def trouble(self, pool: str) -> Trouble | None:
        return self._provider(pool).trouble_of(pool) if pool in self._pools else None

    def look(self) -> Collection[Pool]:
        """The pools with the origins that they have by now, where that is known; brings `health` up to date."""
        now: dict[str, Pool] = {}
        for name, (pool, discover) in self._pools.items():
            found, trouble = self.found(name), self.trouble(name)
            if found is not None:
                origins = tuple([Origin(each.name, each.authority, each.weight) for each in found.members])
                now[name] = replace(pool, origins=origins, none_found=found.none_reason)
                self.health[name] = _statuses(pool, found, self.health.get(name, {}), discover)
            if trouble is not None and not (found.members if found else pool.origins):
                since = rfc3339(trouble.since, "seconds")
                now[name] = replace(pool, origins=(), none_found=f"{discover.source} cannot be asked since {since}")
        return now.values()

    def _provider(self, pool: str) -> Provider:
        return self._providers[self._pools[pool][1].source]


def with_found(config: Config, found: Iterable[Pool]) -> Config:
    """The configuration with the origins that were found for those of its pools that still ask for them in the same
    way; itself if it has them already."""
    pools = [(config.pools.get(each.name), each) for each in found]
    now = [_as_found(pool, each) for pool, each in pools if pool is not None and pool.discover == each.discover]
    return config.with_pools([pool for pool in now if pool != config.pools[pool.name]])


def carried(config: Config, before: Config) -> Config:
    """The configuration with what was found for pools of the one `before` that have the same `discover`. A pool that
    asks in another way now, or for the first time, has the origins that it had until there is an answer."""
    known = {pool.discover: pool for pool in before.pools.values()}
    now: list[Pool] = []
    for pool in config.pools.values():
        if pool.discover is not None and pool.discover in known:
            now.append(_as_found(pool, known[pool.discover]))
        elif pool.discover is not None and pool.name in before.pools:
            now.append(replace(pool, origins=before.pools[pool.name].origins))
    return config.with_pools(now)


def _as_found(pool: Pool, found: Pool) -> Pool:
    return replace(pool, origins=found.origins, none_found=found.none_found)


def _statuses(
    pool: Pool, found: Found, before: Mapping[str, HealthStatus], discover: Discover
) -> dict[str, HealthStatus]:
    """A member that is up has a status if it was down before, or is new beside others and has to start slowly."""
    known = {origin.name: origin.authority for origin in pool.origins}
    statuses: dict[str, HealthStatus] = {}
    for member in found.members:
        is_new = bool(known) and known.get(member.name) != member.authority
        status = before.get(member.name)
        if status is not None and (status.member, status.reason) == (member.state, member.reason or status.reason):
            statuses[member.name] = status
        elif member.state != "up" or status is not None or (is_new and pool.slow_start):
            reason = member.reason or f"found by {discover.source}"
            is_up = member.state == "up"
            statuses[member.name] = HealthStatus(is_up, time(), monotonic(), reason, member=member.state)
    return statuses
