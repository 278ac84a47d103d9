"""Statistics and status of an instance, in JSON, for people and scripts.

Observed and due shares count the picks under the configuration in force; `picks` counts earlier ones too. A status of
one pool or origin has the form of the whole: the other pools and origins are left out.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from time import time
from typing import Any

from redirect.admin import discovered
from redirect.admin.view import origin_views
from redirect.control.instance import Instance
from redirect.core.overrides import PARTS, Override
from redirect.core.pools import Pool
from redirect.core.wording import instead
from redirect.telemetry.log_writer import rfc3339
from redirect.telemetry.snapshot import Buckets, Count, OriginNumbers, Snapshot, added, quantile


class UnknownNameError(LookupError):
    """There is no such pool or origin. The message has the nearest name."""


def stats(instance: Instance) -> dict[str, Any]:
    """Requests, durations, and the picks of each origin."""
    snapshot = instance.snapshot()
    answers, forwards = snapshot.answers, snapshot.forwards.durations
    picks, forwarded = snapshot.picks(), instance.config.forwarded()
    return {
        "counted_since": rfc3339(instance.counted_since),
        "requests_count": {"success": snapshot.answered(100, 399), "error": snapshot.answered(400, 599)},
        "latency_ms": _latency(added([answers.buckets, forwards.buckets]), answers.sum + forwards.sum, 0.95, 0.99),
        "forwards": {
            "requests": forwards.requests,
            "latency_ms": _latency(forwards.buckets, forwards.sum, 0.95, 0.99),
            **failures(snapshot.forwards.origins.values()),
        },
        "pools": {
            pool.name: {
                **_picks(snapshot, pool, picks.get(pool.name, {}), is_forwarded=pool.name in forwarded),
                "overrides": shown_overrides(instance.overrides(pool)),
            }
            for pool in instance.config.pools.values()
        },
    }


def status(instance: Instance, pool: str = "", origin: str = "") -> dict[str, Any]:
    """The configuration in force, the workers, the limits of routes, and the state of each origin, or of those with
    that name. Raises UnknownNameError."""
    config = instance.config
    pools = _named(instance, pool, origin)
    snapshot = instance.snapshot()
    loading, forwarded, only_forwarded = snapshot.loading, config.forwarded(), config.only_forwarded()
    return {
        "instance": instance.name,
        "version": instance.version,
        "started_at": rfc3339(instance.started_at),
        "counted_since": rfc3339(instance.counted_since),
        "kept": _kept(instance),
        "configuration": {
            "path": instance.publisher.path,
            "hash": config.hash,
            "change": config.change,
            "loaded_at": rfc3339(loading.loaded_at),
            "last_error": loading.error,
            "last_error_at": None if loading.error_at is None else rfc3339(loading.error_at),
            "warnings": [str(warning) for warning in config.warnings],
            "changes": [*loading.changes],
        },
        "verdicts": instance.scoreboard.health.number,
        "workers": [
            {**worker._asdict(), "since": rfc3339(worker.since)}
            for worker in sorted(snapshot.workers, key=lambda worker: worker.since)
        ],
        "pools": {
            each.name: {
                "status": None if each.name in only_forwarded else each.status,
                "is_default": each is config.default,
                "is_forwarded": each.name in forwarded,
                "origins": _origins(instance, snapshot, each, names),
                "overrides": shown_overrides(instance.overrides(each)),
                **discovered.of_pool(instance, each, origin),
            }
            for each, names in pools
        },
        "limits": {name: state._asdict() for name, state in instance.publisher.limits.states().items()},
    }


def shown_overrides(overrides: Sequence[Override]) -> list[dict[str, Any]]:
    """In percent of the pool's traffic; `share` is the one in force."""
    now = time()
    return [
        {
            "pool": each.pool,
            "origin": each.origin,
            "from": each.first * 100 / PARTS,
            "to": each.last * 100 / PARTS,
            "share": each.parts(now) * 100 / PARTS,
            "began": rfc3339(each.began),
            "reached": rfc3339(each.reached_at),
            "ends": rfc3339(each.ends_at),
        }
        for each in overrides
    ]


def _kept(instance: Instance) -> dict[str, Any] | None:
    """Where the numbers are kept, when they last were, and what is in the way; None if they are not to be kept."""
    keeper = instance.keeper
    if keeper is None:
        return None
    saved_at = None if keeper.saved_at is None else rfc3339(keeper.saved_at)
    return {"directory": str(keeper.directory), "saved_at": saved_at, "error": keeper.error}


def _named(instance: Instance, name: str, origin: str) -> list[tuple[Pool, set[str]]]:
    """The pools with the names of their origins; where a name is given, of that pool and of that origin only."""
    config = instance.config
    if name and name not in config.pools:
        raise UnknownNameError(f'there is no pool "{name}"{instead(name, config.pools)}')
    pools = [config.pools[name]] if name else [*config.pools.values()]
    if not origin:
        return [(pool, {each.name for each in pool.origins}) for pool in pools]
    found = [(pool, named) for pool in pools if (named := discovered.named(instance, pool, origin))]
    if not found:
        names = {each: None for pool in pools for each in discovered.names(instance, pool)}
        where = f"{name} has no" if name else "no pool has the"
        raise UnknownNameError(f'{where} origin "{origin}"{instead(origin, names)}')
    return found


def _picks(snapshot: Snapshot, pool: Pool, picks: dict[str, Count], *, is_forwarded: bool) -> dict[str, Any]:
    origins: dict[str, dict[str, Any]] = {}
    views = origin_views(pool.shares(), picks, snapshot.dues.get(pool.name, {}))
    for origin, configured, due, observed, counted in views:
        shares = {"configured_share": configured, "due_share": due, "observed_share": observed}
        origins[origin.name] = {"picks": counted.total, **shares}
        if is_forwarded:
            origins[origin.name]["forwards"] = _forwards(snapshot.forwards.of(pool.name, origin.name), counted.errors)
    return {"picks": sum(count.total for count in picks.values()), "origins": origins}


def _forwards(numbers: OriginNumbers, errors: int) -> dict[str, Any]:
    times = _latency(numbers.responses, numbers.response_sum, 0.95)
    return {"response_ms": times, "errors": errors, **failures([numbers])}


def failures(origins: Collection[OriginNumbers]) -> dict[str, Any]:
    """Of several origins together."""
    causes: Counter[str] = Counter()
    for numbers in origins:
        causes.update(numbers.failures)
    sums = {name: sum(getattr(numbers, name) for numbers in origins) for name in ("retries", "in_flight")}
    return {"failures": dict(causes), **sums}


def _origins(instance: Instance, snapshot: Snapshot, pool: Pool, names: set[str]) -> dict[str, Any]:
    found, values = discovered.of_origins(instance, pool), {}
    every = zip(pool.shares(), pool.configured_weights, instance.due(pool), strict=True)
    for (origin, share), weight, due in every:
        if origin.name in names:
            state = instance.state(pool, origin)
            values[origin.name] = {
                "weight": weight,
                "share": share,
                "due_share": due,
                "state": state.name,
                "since": rfc3339(state.since),
                "reason": state.reason,
                "in_flight": snapshot.forwards.of(pool.name, origin.name).in_flight,
                **found.get(origin.name, {}),
            }
    return values


def _latency(buckets: Buckets, seconds: float, *parts: float) -> dict[str, float | None]:
    """The average and quantiles of durations of which `seconds` is the sum, in milliseconds."""
    count = sum(buckets)
    average = {"average": seconds * 1000 / count if count else None}
    quantiles = {f"p{part * 100:g}": quantile(buckets, part) for part in parts}
    return average | {name: None if value is None else value / 1000 for name, value in quantiles.items()}
