"""The metrics: an instance's numbers in Prometheus' text format, version 0.0.4.

The rule: whichever worker answers, they are those of the whole instance; names and labels stay.
"""

import platform
from collections.abc import Iterable, Iterator
from itertools import accumulate

from redirect.control.instance import Instance
from redirect.telemetry.scoreboard import now_ms
from redirect.telemetry.snapshot import BOUNDS_US, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# A sample's labels, written out, and its value.
_Samples = Iterable[tuple[str, float]]

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def exposition(instance: Instance) -> str:
    """All metrics of the instance."""
    return "".join(_lines(instance, instance.snapshot()))


def _lines(instance: Instance, seen: Snapshot) -> Iterator[str]:
    loading = seen.loading
    build = _labels(version=instance.version, python=platform.python_version())
    yield from _family("redirect_requests_total", "counter", "Requests answered.", _requests(instance, seen))
    yield from _durations(seen)
    loops = sum(count.total for (_, _, status), count in seen.requests.items() if status == 422)
    for name, kind, help_text, value in (
        ("redirect_loops_total", "counter", "Requests refused as loops.", loops),
        ("redirect_unknown_pool_total", "counter", "Requests that named a pool that is none.", seen.unknown_pool),
        ("redirect_access_log_lines_total", "counter", "Lines written to the access log.", seen.lines),
        ("redirect_access_log_dropped_total", "counter", "Lines lost, as nobody took them.", seen.dropped),
        ("redirect_connections", "gauge", "Open connections.", sum(each.connections for each in seen.workers)),
        ("redirect_workers", "gauge", "Worker processes.", len(seen.workers)),
        ("redirect_start_time_seconds", "gauge", "When the instance was started.", instance.started_at),
        (
            "redirect_config_last_reload_successful",
            "gauge",
            "Whether the last configuration that was loaded is in force.",
            int(loading.error is None and not instance.is_late(seen)),
        ),
        (
            "redirect_config_last_reload_success_timestamp_seconds",
            "gauge",
            "When the configuration in force was loaded.",
            loading.loaded_at,
        ),
    ):
        yield from _family(name, kind, help_text, [("", value)])
    common, now = instance.common, now_ms()
    for name, seen_ms in (("master", common.master_heartbeat_ms), ("controller", common.controller_heartbeat_ms)):
        help_text = f"Seconds since the last heartbeat of the {name}."
        yield from _family(f"redirect_{name}_last_seen_seconds", "gauge", help_text, [("", (now - seen_ms) / 1000)])
    help_text = "Seconds since the last heartbeat of a worker."
    ages: _Samples = [(_labels(worker=str(each.pid)), each.last_seen) for each in seen.workers]
    yield from _family("redirect_worker_last_seen_seconds", "gauge", help_text, ages)
    for name, help_text, counts in (
        (
            "died",
            "Processes that ended out of order.",
            {"worker": common.workers_died, "controller": common.controllers_died},
        ),
        (
            "hung",
            "Processes that showed no heartbeat, and health checks that did not end.",
            {"worker": common.workers_hung, "controller": common.controllers_hung, "probe": common.probes_hung},
        ),
    ):
        samples: _Samples = [(_labels(process=process), count) for process, count in counts.items()]
        yield from _family(f"redirect_processes_{name}_total", "counter", help_text, samples)
    yield from _family("redirect_build_info", "gauge", "What is running; the value is 1.", [(build, 1)])
    yield from _family("redirect_origin_weight", "gauge", "Weight of an origin.", _origins(instance, "weight"))
    yield from _family("redirect_origin_up", "gauge", "Whether an origin is not down.", _origins(instance, "up"))


def _requests(instance: Instance, seen: Snapshot) -> _Samples:
    """What was counted; of an origin that was never picked 0 redirects, so that its first one is an increase."""
    for (pool, origin, status), count in seen.requests.items():
        yield _labels(pool=pool or "", origin=origin or "", code=str(status)), count.total
    for each in instance.config.pools.values():
        for its in each.origins:
            if (each.name, its.name, each.status) not in seen.requests:
                yield _labels(pool=each.name, origin=its.name, code=str(each.status)), 0


def _durations(seen: Snapshot) -> Iterator[str]:
    name = "redirect_request_duration_seconds"
    bounds = [*[f"{bound / 1e6:g}" for bound in BOUNDS_US], "+Inf"]
    yield f"# HELP {name} From the request read to the answer sent.\n# TYPE {name} histogram\n"
    for bound, below in zip(bounds, accumulate(seen.durations), strict=True):
        yield f'{name}_bucket{{le="{bound}"}} {below}\n'
    yield f"{name}_sum {seen.duration_sum!r}\n{name}_count {sum(seen.durations)}\n"


def _origins(instance: Instance, what: str) -> _Samples:
    for pool in instance.config.pools.values():
        for origin in pool.origins:
            value = origin.weight if what == "weight" else int(instance.state(pool, origin).name != "down")
            yield _labels(pool=pool.name, origin=origin.name), value


def _family(name: str, kind: str, help_text: str, samples: _Samples) -> Iterator[str]:
    yield f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n"
    for labels, value in samples:
        yield f"{name}{labels} {value!r}\n"


def _labels(**labels: str) -> str:
    return "{" + ",".join([f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items()]) + "}"
