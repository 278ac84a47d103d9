"""A configuration as frozen values: pools, their origins and weights, and what is wrong with a file."""

from collections.abc import Mapping
from dataclasses import dataclass

from redirect.core.authority import Authority


@dataclass(frozen=True, slots=True)
class Origin:
    """A host that clients are sent to. `name` is its key in the TOML, to the letter."""

    name: str
    authority: Authority
    weight: int


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How the origins of a pool are probed: what is asked for, how often, and what the answers mean.

    `host` and `port` are None where they are the origin's own. `interval` (while an origin is up), `down_interval`
    (while it is down) and `timeout` are seconds. `passes` and `fails` are how many probes in a row turn the state.
    """

    path: str
    scheme: str
    host: str | None
    port: int | None
    interval: float
    down_interval: float
    timeout: float
    passes: int
    fails: int
    expect: int


@dataclass(frozen=True, slots=True)
class Pool:
    """A named set of origins with one redirect status.

    With a `health_check` they are probed, and those that are down are not picked. One that comes back gets its share
    over `slow_start` seconds; where all are down, all are used if `ignores_all_down`, else none.
    """

    name: str
    origins: tuple[Origin, ...]
    status: int
    health_check: HealthCheck | None = None
    slow_start: float = 0
    ignores_all_down: bool = False

    def shares(self) -> list[tuple[Origin, float]]:
        """Each origin with the part of the pool's redirects, from 0 to 1, that goes to it."""
        total = sum(origin.weight for origin in self.origins)
        return [(origin, origin.weight / total) for origin in self.origins]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where: `line` and `column` count from 1, `key` is the path in the TOML."""

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (f"{self.file}:{self.line}:{self.column}", self.key, self.message) if part)


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that is free of faults. `hash` tells one file's content from another's."""

    pools: Mapping[str, Pool]
    default: Pool
    hash: str
    warnings: tuple[Fault, ...] = ()
