"""What is wrong with an instance, for the strip under the page's header and for its title.

Looking costs a few microseconds for each origin whose state can change, so readers share what was found.
"""

from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from redirect.control.instance import Instance, OriginState
from redirect.core.discovery import Trouble
from redirect.core.pools import Pool
from redirect.telemetry.snapshot import Loading, Snapshot

# How gravely a pool fails, the gravest is lowest: whether an origin can be picked, and minus the share that is down.
Gravity = tuple[bool, float]
FAILS_NOT: Gravity = (True, 1.0)


class Troubles(NamedTuple):
    """The last reload, if it failed; why the file cannot be read, if it cannot; pools of which no origin can be picked;
    origins that are down, by pool, and the configured share that is theirs; providers of origins that cannot be asked;
    and workers that should have the configuration by now and have not."""

    failed: Loading | None
    unread: Trouble | None
    empty: Sequence[str]
    down: Mapping[str, Mapping[str, OriginState]]
    shares_down: Mapping[str, float]
    unasked: Mapping[str, str]  # by pool, what to say
    is_late: bool

    def downs(self) -> list[tuple[str, str, OriginState]]:
        """Pool, origin and state of each origin that is down, of the pools that fail most gravely first."""
        pools = sorted(self.down, key=self.failing().__getitem__)
        return [(pool, origin, state) for pool in pools for origin, state in self.down[pool].items()]

    def failing(self) -> dict[str, Gravity]:
        """The pools that have one of them, and how gravely they fail."""
        empty = {*self.empty}
        names = {**dict.fromkeys(self.empty), **self.down, **self.unasked}
        return {name: (name not in empty, -self.shares_down.get(name, 0.0)) for name in names}

    def summary(self) -> list[str]:
        """A few words for each kind, for the title."""
        downs = len(self.downs())
        return [
            *(["reload failed"] if self.failed else []),
            *(["file not read"] if self.unread else []),
            *([f"{_counted(len(self.empty), 'pool')} without origin"] if self.empty else []),
            *([f"{downs:,} down"] if downs else []),
            *([f"origins of {_counted(len(self.unasked), 'pool')} unknown"] if self.unasked else []),
            *(["workers late"] if self.is_late else []),
        ]


def look(instance: Instance, snapshot: Snapshot) -> Troubles:
    empty, down, shares_down, unasked = [], {}, {}, {}
    for pool in instance.config.pools.values():
        if not pool.has_health:  # what has a weight is up
            if not any(origin.weight for origin in pool.origins):
                empty.append(pool.name)
            continue
        states = {origin.name: instance.state(pool, origin) for origin in pool.origins}
        if downs := {name: state for name, state in states.items() if state.name == "down"}:
            down[pool.name], shares_down[pool.name] = downs, _share(pool, downs)
        if not _can_pick(pool, states):
            empty.append(pool.name)
        if pool.discover and (trouble := instance.discovery.trouble(pool.name)):
            unasked[pool.name] = f"{pool.discover.source} cannot be asked: {trouble.reason}"
    unread, loading = instance.publisher.trouble, snapshot.loading
    failed = None if unread or loading.error is None else loading
    return Troubles(failed, unread, empty, down, shares_down, unasked, instance.is_late(snapshot))


def _share(pool: Pool, origins: Container[str]) -> float:
    """Their configured shares together."""
    return sum(share for origin, share in pool.shares() if origin.name in origins)


def _can_pick(pool: Pool, states: Mapping[str, OriginState]) -> bool:
    """As `effective_weights` has it."""
    picked = ("up", "down") if pool.when_all_down == "ignore" else ("up",)
    return any(origin.weight and states[origin.name].name in picked for origin in pool.origins)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
