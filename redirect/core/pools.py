"""A configuration as frozen values: pools, origins and weights, and the faults of a file."""

from collections.abc import Mapping
from dataclasses import dataclass

from redirect.core.authority import Authority


@dataclass(frozen=True, slots=True)
class Origin:
    """A host that clients are sent to. `name` is its key in the TOML, unchanged."""

    name: str
    authority: Authority
    weight: int


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How the origins of a pool are probed."""

    path: str
    scheme: str
    host: str | None  # None: the origin's own
    port: int | None
    interval: float  # seconds between two probes while an origin is up
    down_interval: float  # the same while it is down
    timeout: float  # seconds
    passes: int  # good probes in a row until an origin is up again
    fails: int  # failed ones until it is down
    expect: int  # the status of a good response


@dataclass(frozen=True, slots=True)
class Pool:
    """A named set of origins with one redirect status. `balancer` has the rule by which they are picked."""

    name: str
    origins: tuple[Origin, ...]
    status: int
    health_check: HealthCheck | None = None
    slow_start: float = 0  # seconds until an origin that comes back has its whole weight
    ignores_all_down: bool = False  # all origins are used while all are down

    def shares(self) -> list[tuple[Origin, float]]:
        """Each origin with its configured share, from 0 to 1."""
        total = sum(origin.weight for origin in self.origins)
        return [(origin, origin.weight / total) for origin in self.origins]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a file and its place: `line` and `column` count from 1, `key` is the path in the TOML."""

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (f"{self.file}:{self.line}:{self.column}", self.key, self.message) if part)


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration without faults. `hash` identifies the content of its file."""

    pools: Mapping[str, Pool]
    default: Pool
    hash: str
    warnings: tuple[Fault, ...] = ()
