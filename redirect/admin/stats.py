"""Statistics and status: an instance's numbers and its state, for people and scripts, in JSON.

The rule: shares are held against each other as they are under the configuration in force: what was
picked under another one counts among the picks, and not in the observed share.
"""

from datetime import UTC, datetime
from typing import Any

from redirect.control.instance import Instance
from redirect.core.pools import Pool
from redirect.telemetry.snapshot import Count, Snapshot, quantile

_NONE = Count(0, 0, 0)


def stats(instance: Instance) -> dict[str, Any]:
    """What was answered, how fast, and who was picked how often."""
    seen = instance.snapshot()
    total = sum(seen.durations)
    picks = seen.picks()
    return {
        "requests_count": {"success": seen.answered(100, 399), "error": seen.answered(400, 599)},
        "latency_ms": {
            "average": seen.duration_sum * 1000 / total if total else None,
            "p95": _milliseconds(quantile(seen.durations, 0.95)),
            "p99": _milliseconds(quantile(seen.durations, 0.99)),
        },
        "pools": {pool.name: _picked(pool, picks.get(pool.name, {})) for pool in instance.config.pools.values()},
    }


def status(instance: Instance) -> dict[str, Any]:
    """What is in force, since when, and who serves it."""
    seen = instance.snapshot()
    return {
        "instance": instance.name,
        "version": instance.version,
        "started_at": _rfc3339(instance.started_at),
        "configuration": _configuration(instance, seen),
        "verdicts": instance.health_number(),
        "workers": [
            {**worker._asdict(), "since": _rfc3339(worker.since)}
            for worker in sorted(seen.workers, key=lambda worker: worker.since)
        ],
        "pools": {pool.name: _described(instance, pool) for pool in instance.config.pools.values()},
    }


def _picked(pool: Pool, picks: dict[str, Count]) -> dict[str, Any]:
    recent = sum(count.since_load for count in picks.values())
    return {
        "picks": sum(count.total for count in picks.values()),
        "origins": {
            origin.name: {
                "picks": picks.get(origin.name, _NONE).total,
                "configured_share": share,
                "observed_share": picks.get(origin.name, _NONE).since_load / recent if recent else None,
            }
            for origin, share in pool.shares()
        },
    }


def _configuration(instance: Instance, seen: Snapshot) -> dict[str, Any]:
    loading = seen.loading
    return {
        "path": instance.pools_config_path,
        "hash": instance.config.hash,
        "loaded_at": _rfc3339(loading.loaded_at),
        "last_error": loading.error,
        "last_error_at": None if loading.error_at is None else _rfc3339(loading.error_at),
        "warnings": [str(warning) for warning in instance.config.warnings],
    }


def _described(instance: Instance, pool: Pool) -> dict[str, Any]:
    origins = {}
    for origin, share in pool.shares():
        state = instance.state(pool, origin)
        origins[origin.name] = {
            "weight": origin.weight,
            "share": share,
            "state": state.name,
            "since": _rfc3339(state.since),
            "reason": state.reason,
        }
    return {"status": pool.status, "is_default": pool is instance.config.default, "origins": origins}


def _milliseconds(microseconds: float | None) -> float | None:
    return None if microseconds is None else microseconds / 1000


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
