"""Pools for the service, as many and as large as asked for, always the same for the same numbers."""

from collections.abc import Callable, Mapping
from random import Random

Weights = Mapping[str, int]

# How the origins of a large pool are weighted. The last has cycles too long for anything to be prepared.
WEIGHTS: dict[str, Callable[[Random], int]] = {
    "equal": lambda random: 1,
    "1 to 100": lambda random: random.randint(1, 100),
    "1 to 1,000,000": lambda random: random.randint(1, 1_000_000),
}


def toml(pools: Mapping[str, Weights]) -> str:
    """The TOML of `pools`; the first is the default."""
    default = next(iter(pools))
    return "\n".join(_pool(name, weights, name == default) for name, weights in pools.items())


def many(count: int) -> dict[str, Weights]:
    """`count` pools of three origins: pool-0, pool-1, ..."""
    return {
        f"pool-{pool}": {f"origin-{pool}-{origin}.example.com": 3 - origin for origin in range(3)}
        for pool in range(count)
    }


def large(count: int, kind: str) -> Weights:
    """One pool of `count` origins with the weights of a row of WEIGHTS."""
    random = Random(count)
    return {f"origin-{origin}.example.com": WEIGHTS[kind](random) for origin in range(count)}


def _pool(name: str, weights: Weights, is_default: bool) -> str:
    origins = ", ".join(f'"{host}" = {weight}' for host, weight in weights.items())
    return f"[{name}]\nweighted_hosts = {{ {origins} }}\n" + "is_default = true\n" * is_default
