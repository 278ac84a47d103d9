"""Ejections: decides, by what workers report, which origins are down for failures of forwards, and for how long.

The rule: an origin is down once a worker saw so many failures in a row, for `for` seconds. Then it is on trial: the
first failure ejects it again, for longer, and the first answer makes it up again. What was decided is published with
the health, and outlives the controller.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from operator import sub
from time import monotonic, time
from typing import NamedTuple

from redirect.core.ejections import may_eject, seconds, words_of
from redirect.core.health import Health, HealthStatus, decode
from redirect.core.pools import Config, Pool
from redirect.telemetry.scoreboard import KINDS, Scoreboard, Slot

_logger = logging.getLogger("gunicorn.error")


class Seen(NamedTuple):
    """What a worker saw of an origin since the last look; see KINDS of the scoreboard."""

    failed_in_a_row: int
    failed_on_trial: int
    passed_on_trial: int
    failure: int


_NOTHING = Seen(0, 0, 0, 0)


class Ejections:
    """Of the origins of `config` in pools with `eject`."""

    def __init__(self, scoreboard: Scoreboard, config: Config) -> None:
        self._scoreboard = scoreboard
        # By pool and origin, how often it was ejected.
        self._totals: dict[str, dict[str, int]] = json.loads(scoreboard.ejections.read() or b"{}")
        # A failure on trial that the controller before this one did not see any more is not reported again.
        self._found = {
            pool: {
                origin: status._replace(since_monotonic=monotonic()) if status.is_on_trial else status
                for origin, status in statuses.items()
                if status.ejections is not None
            }
            for pool, statuses in decode(scoreboard.health.read()).items()
        }
        # What is looked at, and was seen there: by slot, pool and origin, with the place of the numbers in the slot.
        # However many origins came and went, they are those that there are. And how many series of a slot were read.
        self._seen: dict[tuple[int, str, str], tuple[int, Seen]] = {}
        self._read: dict[int, int] = {}
        self._pools: dict[str, Pool] = {}
        self.use(config)

    def use(self, config: Config) -> None:
        """One at another address is another origin, and one that is spelled otherwise is not."""
        had = {(name, each.name): each.authority for name, pool in self._pools.items() for each in pool.origins}
        spelled = {(pool, authority): origin for (pool, origin), authority in had.items()}
        self._pools = {pool.name: pool for pool in config.pools.values() if pool.eject is not None}
        self._found = {
            name: {
                each.name: statuses[known]
                for each in pool.origins
                for known in [spelled.get((name, each.authority), each.name)]
                if each.weight and known in statuses and had.get((name, known), each.authority) == each.authority
            }
            for name, pool in self._pools.items()
            for statuses in [self._found.get(name, {})]
        }
        known, self._seen, self._read = self._seen, {}, {}
        for key, index, now in self._new():
            # What was reported of it when it was none of these origins, or to another controller, is not new.
            self._seen[key] = known.get(key, (index, _NOTHING if key[1:] in had else now))

    def look(self, probed: Health) -> Health:
        """The statuses by now; `probed` are those that probes found."""
        for name, origin, outcomes in self._outcomes():
            pool = self._pools[name]
            if any(each.name == origin and each.weight for each in pool.origins):
                self._judge(pool, origin, outcomes, probed.get(name, {}))
        now = monotonic()
        for name, statuses in self._found.items():
            for origin, status in statuses.items():
                if not status.is_up and now >= status.since_monotonic + self._seconds(name, status):
                    self._put_on_trial(name, origin, status)
        return {pool: statuses for pool, statuses in self._found.items() if statuses}

    def _outcomes(self) -> Iterator[tuple[str, str, Seen]]:
        """What is new."""
        for key, index, _ in self._new():
            self._seen[key] = index, _NOTHING
        slots = self._scoreboard.slots()
        for (number, pool, origin), (index, before) in self._seen.items():
            now = _seen(slots[number], index)
            if now != before:
                self._seen[number, pool, origin] = index, now
                in_a_row, failed, passed, _ = map(sub, now, before)
                yield pool, origin, Seen(in_a_row, failed, passed, now.failure)

    def _new(self) -> Iterator[tuple[tuple[int, str, str], int, Seen]]:
        """What slots have of the origins beyond what was read of them."""
        places = {(name, each.name) for name, pool in self._pools.items() for each in pool.origins}
        for number, slot in enumerate(self._scoreboard.slots()):
            read = self._read.get(number, 0)
            series = slot.series("outcomes")[read:]  # at once: other threads read more of them
            self._read[number] = read + len(series)
            for (pool, origin), index in series:
                if (pool, origin) in places:
                    yield (number, pool, origin), index, _seen(slot, index)

    def _judge(self, pool: Pool, origin: str, seen: Seen, probed: Mapping[str, HealthStatus]) -> None:
        """Of an origin that is ejected already nothing counts: it was sent before the workers knew."""
        status = self._found[pool.name].get(origin)
        if status is None or status.ejections == 0:
            if seen.failed_in_a_row:
                assert pool.eject is not None
                row = f"{pool.eject.fails} failures in a row, the last" if pool.eject.fails > 1 else "a failure"
                self._eject(pool, origin, 1, f"{row}: {words_of(seen.failure)}", probed)
        elif status.is_on_trial and seen.failed_on_trial:
            times = (status.ejections or 0) + 1
            if not self._eject(pool, origin, times, f"a failure on trial: {words_of(seen.failure)}", probed):
                self._set(pool.name, origin, is_up=True, reason=status.reason, ejections=times - 1)  # another trial
        elif status.is_on_trial and seen.passed_on_trial:
            self._set(pool.name, origin, is_up=True, reason="answered on trial", ejections=0)
            _logger.info("%s is up again in %s: answered on trial", origin, pool.name)

    def _eject(self, pool: Pool, origin: str, times: int, cause: str, probed: Mapping[str, HealthStatus]) -> bool:
        """Returns whether it may be."""
        down = {name for name, status in probed.items() if not status.is_up}
        ejected = frozenset([name for name, status in self._found[pool.name].items() if status.ejections])
        if origin in down or not may_eject(pool, origin, down, ejected):
            return False
        self._set(pool.name, origin, is_up=False, reason=f"ejected: {cause}", ejections=times)
        counts = self._totals.setdefault(pool.name, {})
        counts[origin] = counts.get(origin, 0) + 1
        self._scoreboard.ejections.publish(json.dumps(self._totals).encode())
        _logger.warning("%s is down in %s: ejected: %s", origin, pool.name, cause)
        return True

    def _put_on_trial(self, pool: str, origin: str, status: HealthStatus) -> None:
        cause = f"was ejected for {self._seconds(pool, status):g} s"
        self._set(pool, origin, is_up=True, reason=f"on trial: {cause}", ejections=status.ejections or 0)
        _logger.info("%s is on trial in %s: %s", origin, pool, cause)

    def _set(self, pool: str, origin: str, *, is_up: bool, reason: str, ejections: int) -> None:
        self._found[pool][origin] = HealthStatus(is_up, time(), monotonic(), reason, ejections)

    def _seconds(self, pool: str, status: HealthStatus) -> float:
        ejection = self._pools[pool].eject
        assert ejection is not None
        return seconds(ejection, status.ejections or 0)


def _seen(slot: Slot, index: int) -> Seen:
    return Seen(*slot.counts[index : index + len(KINDS["outcomes"].numbers)])
