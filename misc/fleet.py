"""Simulates a fleet of workers, and prints how far the shares of a few requests are off the due ones: docs/scale.md.

The rule: the Balancer is the service's own, one for each worker; which worker a request reaches is chance. The figures
are root mean squares over many fleets, in percentage points of all requests, for the origin with a due share of 50 %.
"""

from collections.abc import Callable
from math import sqrt
from random import Random

from redirect.config.loader import parse_config
from redirect.core.balancer import Balancer
from redirect.core.cycles import Cycles

WORKERS = 1_000
FLEETS = 40
SEED = 20261126
ORIGIN, DUE = "a", 0.5
TOML = b'[pool]\nis_default = true\npick = "%b"\nweighted_hosts = { "a" = 5, "b" = 3, "c" = 2 }\n'


class First(Random):
    """Chooses the first place of a cycle for every worker."""

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return 0


def shares(pick: bytes, places: Callable[[int], Random], requests: int) -> list[float]:
    """What the origin got in each fleet, of 1."""
    pool = parse_config(TOML % pick, "pools.toml").pools["pool"]
    chance, found = Random(SEED), []
    for fleet in range(FLEETS):
        random, cycles = places(SEED + fleet), Cycles()
        workers = [Balancer(pool, cycles, random) for _ in range(WORKERS)]
        hits = 0
        for _ in range(requests):
            pick_next = chance.choice(workers).pick
            assert pick_next is not None
            hits += pick_next().origin.name == ORIGIN
        found.append(hits / requests)
    return found


def off(found: list[float]) -> str:
    return f"{100 * sqrt(sum((each - DUE) ** 2 for each in found) / len(found)):.2f}"


def main() -> None:
    print(f"{WORKERS:,} workers, {FLEETS} fleets, seed {SEED}\n")
    print('| requests | all from the first place | from random places | pick = "random" |\n|---:|---:|---:|---:|')
    for requests in (100, 1_000, 3_000, 10_000, 30_000):
        columns = ((b"round_robin", First), (b"round_robin", Random), (b"random", Random))
        figures = [off(shares(pick, places, requests)) for pick, places in columns]
        print(f"| {requests:,} | {' | '.join(figures)} |")


if __name__ == "__main__":
    main()
