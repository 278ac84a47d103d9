"""The instance, as the controller sees it: what the admin listener shows."""

import socket
from collections.abc import Mapping
from functools import partial
from importlib import metadata
from time import monotonic
from typing import NamedTuple

from redirect.control.discovery import Discovery
from redirect.control.keeper import Keeper
from redirect.control.prober import Prober
from redirect.control.publisher import Publisher, loading
from redirect.core.balancer import effective_weights
from redirect.core.due import Weights
from redirect.core.health import HealthStatus
from redirect.core.overrides import Override
from redirect.core.pools import Config, Origin, Pool
from redirect.telemetry.history import History
from redirect.telemetry.scoreboard import WORKER_LATE_MS, Scoreboard, now_ms
from redirect.telemetry.snapshot import Loading, Snapshot
from redirect.telemetry.statistics import lines, snapshot, workers

# Milliseconds after which a worker without the published configuration counts as one that could not apply it.
APPLY_MS = 5_000

READY = "ready"


class OriginState(NamedTuple):
    """Whether an origin is up, down or draining, since when (Unix time), and what a probe has to do with it."""

    name: str
    since: float
    reason: str | None = None


class Instance:
    """What the controller knows of its instance. May be asked by several threads."""

    version = metadata.version("redirect")

    def __init__(
        self,
        scoreboard: Scoreboard,
        publisher: Publisher,
        prober: Prober,
        discovery: Discovery,
        keeper: Keeper | None = None,
    ) -> None:
        self.name = socket.gethostname()
        self.scoreboard = scoreboard
        self.started_at = scoreboard.common.started_ms / 1000
        self.publisher = publisher
        self.prober = prober
        self.discovery = discovery
        self.keeper = keeper
        self.history = History()
        self.lines = partial(lines, scoreboard)
        self.workers = partial(workers, scoreboard)

    @property
    def config(self) -> Config:
        return self.publisher.config

    async def keep(self) -> None:
        """Has what must outlive a crash kept now, where anything is."""
        if self.keeper is not None:
            await self.keeper.keep()

    def loading(self) -> Loading:
        """When the configuration in use was loaded, and why a later one was not, or cannot be."""
        state, trouble = loading(self.scoreboard), self.publisher.trouble
        return state if trouble is None else state._replace(error=trouble.reason, error_at=trouble.since)

    def snapshot(self) -> Snapshot:
        return snapshot(self.scoreboard, self.loading())

    def note(self) -> None:
        """Notes the numbers in the history."""
        since = self.counted_since
        snapshot = self.snapshot()
        if since == self.counted_since:  # else the keeper has put numbers of before beside them meanwhile
            self.history.note(snapshot, monotonic(), since)

    @property
    def counted_since(self) -> float:
        """Since when the numbers count (Unix time): the start, or that of the first run whose numbers were kept."""
        since_ms: int = self.scoreboard.kept.numbers.since_ms
        return since_ms / 1000 or self.started_at

    def is_applied(self) -> bool:
        """Whether all workers have the configuration in use."""
        return all(worker.change >= self.config.change for worker in self.workers())

    def is_late(self, snapshot: Snapshot) -> bool:
        """Whether a worker has not applied the configuration in time."""
        state, change = snapshot.loading, self.config.change
        is_due = now_ms() - state.published_ms > APPLY_MS
        is_change_due = now_ms() - self.publisher.published_ms > APPLY_MS
        return any(
            (is_due and worker.config != state.config) or (is_change_due and worker.change < change)
            for worker in snapshot.workers
        )

    def note_readiness(self) -> None:
        """Notes when all workers have the configuration in use for the first time: from then on a change is in force a
        moment after it was found. The next controller goes on from there."""
        common = self.scoreboard.common
        if not (common.has_been_ready or self.discovery.waits or self.publisher.is_busy):
            common.has_been_ready = bool(self.workers()) and self.is_applied()

    def readiness(self) -> str:
        """READY while the instance takes requests, else what it does."""
        common = self.scoreboard.common
        if common.is_stopping:
            return "shutting down"
        if self.discovery.waits:
            return "finding origins"
        workers = self.workers()
        if not (common.has_begun and workers and common.has_been_ready):
            return "starting"
        return READY if any(each.last_seen * 1000 < WORKER_LATE_MS for each in workers) else "hanging"

    def due(self, pool: Pool) -> list[float]:
        """The shares that are due to the origins now, from 0 to 1."""
        weights, _ = effective_weights(pool, self._statuses(pool), monotonic())
        return Weights(pool, weights).shares()

    def _statuses(self, pool: Pool) -> Mapping[str, HealthStatus]:
        return self.prober.health.get(pool.name, {}) if pool.has_health else {}

    def overrides(self, pool: Pool) -> list[Override]:
        """Those that are in force."""
        return [each for each in self.publisher.overrides if each.pool == pool.name]

    def state(self, pool: Pool, origin: Origin) -> OriginState:
        since = self.publisher.since.get((pool.name, origin.name), self.started_at)
        if not origin.weight:
            return OriginState("draining", since)
        status = self._statuses(pool).get(origin.name)
        if status is None:
            return OriginState("up", since)
        return OriginState("up" if status.is_up else status.member or "down", max(since, status.since), status.reason)
