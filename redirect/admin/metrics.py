"""The metrics of an instance, all of its workers together, as Prometheus text or as OpenMetrics.

A new metric is one row among those of its kind. Names and labels do not change: dashboards and alerts depend on them.
"""

import gzip
import os
import platform
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from time import time
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily as Counter
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import HistogramMetricFamily as Histogram
from prometheus_client.core import Metric
from prometheus_client.core import SummaryMetricFamily as Summary
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.process_collector import ProcessCollector
from starlette.datastructures import Headers
from starlette.responses import Response

from redirect.control.instance import Instance
from redirect.core.pools import Config, Origin, Pool
from redirect.telemetry.scoreboard import now_ms
from redirect.telemetry.snapshot import BOUNDS_US, Buckets, Counted, Forwards, Snapshot

OPEN_METRICS = "application/openmetrics-text"

# Origins that are in no pool any more, and whose numbers are shown: those that had a request last.
MAX_GONE = 1_000

# Bounds of the buckets that are shown, in microseconds; of an origin fewer, as thousands may have a histogram.
OF_ANSWERS = [bound for bound in BOUNDS_US if bound <= 1_000_000]
OF_FORWARDS = [bound for bound in BOUNDS_US if bound >= 100]
OF_ORIGINS = [digit * 10**power for power in (3, 4, 5, 6) for digit in (1, 2, 5)] + [10_000_000, 20_000_000, 60_000_000]

_Pairs = Sequence[tuple[Pool, Origin]]
_Places = Container[tuple[str | None, str | None]]
_Samples = Iterable[tuple[float, *tuple[str, ...]]]  # the value, and those of the labels


def respond(instance: Instance, headers: Headers) -> Response:
    """The metrics in the format and the encoding that the request's header fields accept."""
    # `choose_encoder` does not get the field itself, as it raises TypeError for `version=x`.
    encode, content_type = choose_encoder(OPEN_METRICS if OPEN_METRICS in headers.get("accept", "") else "")
    body, fields = encode(_Collector(instance)), {"content-type": content_type, "vary": "accept, accept-encoding"}
    if gzip_accepted(headers.get("accept-encoding", "")):
        body, fields["content-encoding"] = gzip.compress(body, compresslevel=6), "gzip"
    return Response(body, headers=fields)


class _Collector(NamedTuple):
    instance: Instance

    def collect(self) -> Iterator[Metric]:
        instance, snapshot = self.instance, self.instance.snapshot()
        pairs = [(pool, origin) for pool in instance.config.pools.values() for origin in pool.origins]
        forgotten = _forgotten(snapshot, {(pool.name, origin.name) for pool, origin in pairs})
        yield from _of_requests(snapshot, instance.config, pairs, forgotten)
        yield from _of_forwards(snapshot.forwards, instance.config, forgotten)
        yield from _of_instance(instance, snapshot)
        yield from _of_pools(instance, pairs)
        yield from _of_probes(instance)
        yield from _of_discovery(instance)
        yield from _of_processes([worker.pid for worker in snapshot.workers])


def _of_requests(snapshot: Snapshot, config: Config, pairs: _Pairs, forgotten: _Places) -> Iterator[Metric]:
    # Without a sample of 0 Prometheus would not see the first request to an origin as an increase.
    only_forwarded = config.only_forwarded()
    totals: dict[Counted, int] = {
        (pool.name, origin.name, 200 if pool.name in only_forwarded else pool.status): 0 for pool, origin in pairs
    }
    totals |= {key: count.total for key, count in snapshot.requests.items() if key[:2] not in forgotten}
    yield _family(
        "redirect_requests_total",
        "Requests answered.",
        "pool origin code",
        [(total, pool or "", origin or "", str(code)) for (pool, origin, code), total in totals.items()],
    )
    yield _family(
        "redirect_route_requests_total",
        "Requests that a route took.",
        "route code",
        [(total, route, str(code)) for (route, code), total in snapshot.routes.items()],
    )
    yield Histogram(
        "redirect_request_duration_seconds",
        "From request read to response sent, of what was not forwarded.",
        _buckets(snapshot.answers.buckets, OF_ANSWERS),
        snapshot.answers.sum,
    )
    yield _single("redirect_loops_total", "Requests refused as loops.", snapshot.loops)
    yield _single("redirect_unknown_pool_total", "Requests that named an unknown pool.", snapshot.unknown_pool)
    yield _family(
        "redirect_forwarded_ignored_total",
        "Heads with X-Forwarded fields that did not count.",
        "reason",
        [(count, reason) for reason, count in snapshot.ignored_forwarded.items()],
    )
    yield _single("redirect_stale_answers_total", "Old answers used, as no origin answered.", snapshot.stale)
    yield _single("redirect_access_log_lines_total", "Lines written to the access log.", snapshot.lines)
    yield _single("redirect_access_log_dropped_total", "Lines lost because nothing read them.", snapshot.dropped)


def _of_forwards(forwards: Forwards, config: Config, forgotten: _Places) -> Iterator[Metric]:
    """What became of requests that were forwarded, of origins that one was forwarded to."""
    yield Histogram(
        "redirect_forward_duration_seconds",
        "From request read to the last byte of the answer, of what was forwarded.",
        _buckets(forwards.durations.buckets, OF_FORWARDS),
        forwards.durations.sum,
    )
    origins = [
        ((pool, origin or ""), numbers)
        for (pool, origin), numbers in forwards.origins.items()
        if (pool, origin) not in forgotten
    ]
    responses = Histogram(
        "redirect_origin_response_seconds",
        "From request sent to an origin to the head of its answer.",
        labels=("pool", "origin"),
    )
    for labels, numbers in origins:
        if any(numbers.responses):
            responses.add_metric(labels, _buckets(numbers.responses, OF_ORIGINS), numbers.response_sum)
    yield responses
    yield _family(
        "redirect_forwards_in_flight",
        "Requests that are forwarded at this moment.",
        "pool origin",
        [(numbers.in_flight, *labels) for labels, numbers in origins],
    )
    yield _family(
        "redirect_forward_retries_total",
        "Requests for which another origin was tried in place of this one.",
        "pool origin",
        [(numbers.retries, *labels) for labels, numbers in origins],
    )
    yield _family(
        "redirect_forward_failures_total",
        "Failures of origins.",
        "pool origin error",
        [(count, *labels, error) for labels, numbers in origins for error, count in numbers.failures.items()],
    )
    yield _family(
        "redirect_origin_connections", "Open connections to origins.", "origin state", _connections(forwards, config)
    )
    yield _family(
        "redirect_forward_bytes_total",
        "Bytes of bodies that were forwarded: in of requests, out of answers.",
        "direction",
        [(forwards.bytes_in, "in"), (forwards.bytes_out, "out")],
    )
    yield _single("redirect_tunnels", "Open tunnels between clients and origins.", forwards.tunnels)


def _connections(forwards: Forwards, config: Config) -> _Samples:
    """Those of origins to which requests are forwarded now, and others that are still open."""
    pools = [config.pools[name] for name in config.forwarded()]
    places = {origin.authority.endpoint(pool.scheme or "http") for pool in pools for origin in pool.origins}
    known = {f"{host}:{port}" for host, port in places}
    for place, counted in forwards.connections.items():
        if any(counted) or place in known:
            yield from ((count, place, state) for state, count in counted._asdict().items())


def _of_instance(instance: Instance, snapshot: Snapshot) -> Iterator[Metric]:
    """Its processes, and the configuration in force."""
    loading, common, now, ended = snapshot.loading, instance.common, now_ms(), instance.processes()
    yield _single("redirect_connections", "Open connections.", sum(each.connections for each in snapshot.workers))
    yield _single("redirect_workers", "Worker processes.", len(snapshot.workers))
    yield _single("redirect_start_time_seconds", "When the instance was started.", instance.started_at)
    yield _single(
        "redirect_config_last_reload_successful",
        "Whether the last reload succeeded.",
        loading.error is None and not instance.is_late(snapshot),
    )
    yield _single(
        "redirect_config_last_reload_success_timestamp_seconds",
        "When the configuration in force was loaded.",
        loading.loaded_at,
    )
    yield _single(
        "redirect_config_changes_total",
        "Configurations that took the place of another: by reloads, origins that came and went, and steps of ramps.",
        instance.config.change,
    )
    yield _single(
        "redirect_master_last_seen_seconds",
        "Seconds since the last heartbeat of the master.",
        (now - common.master_heartbeat_ms) / 1000,
    )
    yield _single(
        "redirect_controller_last_seen_seconds",
        "Seconds since the last heartbeat of the controller.",
        (now - common.controller_heartbeat_ms) / 1000,
    )
    yield _family(
        "redirect_worker_last_seen_seconds",
        "Seconds since the last heartbeat of a worker.",
        "worker",
        [(worker.last_seen, str(worker.pid)) for worker in snapshot.workers],
    )
    yield _family(
        "redirect_processes_died_total",
        "Processes that ended out of order.",
        "process",
        [(ended[f"{name}s_died"], name) for name in ("worker", "controller")],
    )
    yield _family(
        "redirect_processes_hung_total",
        "Processes that showed no heartbeat, and health checks that did not end.",
        "process",
        [(ended[f"{name}s_hung"], name) for name in ("worker", "controller", "probe")],
    )
    build = (1, instance.version, platform.python_version())
    yield _family("redirect_build_info", "What is running; the value is 1.", "version python", [build])


def _of_pools(instance: Instance, pairs: _Pairs) -> Iterator[Metric]:
    pools, ejected = instance.config.pools.values(), instance.ejections()
    yield _family(
        "redirect_pool_info",
        "How a pool picks; the value is 1.",
        "pool pick on_loop",
        [(1, pool.name, pool.pick, pool.on_loop) for pool in pools],
    )
    yield _of_each_origin("redirect_origin_weight", "Weight of an origin.", pools, lambda pool: pool.configured_weights)
    yield _family(
        "redirect_override_share",
        "Share that an override gives an origin now.",
        "pool origin",
        [(each.share(time()), each.pool, each.origin) for each in instance.publisher.overrides],
    )
    yield _of_each_origin("redirect_origin_due_share", "Share that is due to an origin now.", pools, instance.due)
    yield _family(
        "redirect_ejections_total",
        "How often an origin was ejected.",
        "pool origin",
        [
            (ejected.get((pool.name, origin.name), 0), pool.name, origin.name)
            for pool, origin in pairs
            if pool.eject is not None
        ],
    )
    yield _family(
        "redirect_origin_up",
        "Whether an origin is not down.",
        "pool origin",
        [(instance.state(pool, origin).name != "down", pool.name, origin.name) for pool, origin in pairs],
    )


def _of_each_origin(
    name: str, meaning: str, pools: Iterable[Pool], values: Callable[[Pool], Iterable[float]]
) -> Metric:
    """What `values` has of the origins of a pool, in their order."""
    samples = [
        (value, pool.name, origin.name)
        for pool in pools
        for origin, value in zip(pool.origins, values(pool), strict=True)
    ]
    return _family(name, meaning, "pool origin", samples)


def _of_probes(instance: Instance) -> Iterator[Metric]:
    probed = instance.probes()
    durations = Summary(
        "redirect_probe_duration_seconds",
        "Health checks, until the status came or why not.",
        labels=("pool", "origin"),
    )
    for place, probes in probed.items():
        durations.add_metric(place, probes.total, probes.seconds)
    yield durations
    yield _family(
        "redirect_probe_failures_total",
        "Health checks that failed.",
        "pool origin",
        [(probes.failures, *place) for place, probes in probed.items()],
    )


def _of_discovery(instance: Instance) -> Iterator[Metric]:
    pools = [pool for pool in instance.config.pools.values() if pool.discover]
    yield _family(
        "redirect_discovery_up",
        "Whether Docker or DNS can be asked for origins.",
        "pool",
        [(instance.discovery.trouble(pool.name) is None, pool.name) for pool in pools],
    )
    yield _family(
        "redirect_discovered_origins",
        "Origins that were found.",
        "pool",
        [(len(pool.origins), pool.name) for pool in pools],
    )


def _of_processes(workers: Iterable[int]) -> Iterable[Metric]:
    """What the system says of each process, by the usual names; nothing where there is no /proc."""
    names = {os.getppid(): "master", os.getpid(): "controller"} | dict.fromkeys(workers, "worker")
    families: dict[str, Metric] = {}
    for pid, name in names.items():
        for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            for sample in metric.samples:
                family.add_sample(sample.name, {"process": name, "pid": str(pid)}, sample.value)
    families.pop("process_virtual_memory_bytes", None)  # the scoreboard is mapped sparsely, so it says nothing
    return families.values()


def _forgotten(snapshot: Snapshot, present: set[tuple[str, str]]) -> set[tuple[str | None, str | None]]:
    """Pools and origins that are gone, and others went later: so that those that come and go do not add up for ever."""
    gone: dict[tuple[str | None, str | None], int] = {}
    for (pool, origin, _), count in snapshot.requests.items():
        if pool is not None and origin is not None and (pool, origin) not in present:
            gone[pool, origin] = max(count.last_ms, gone.get((pool, origin), 0))
    for place in snapshot.forwards.origins:  # some only ever failed
        if place[1] is not None and place not in present:
            gone.setdefault(place, 0)
    return set(sorted(gone, key=lambda place: gone[place])[:-MAX_GONE])


def _buckets(buckets: Buckets, shown_us: Sequence[int]) -> Sequence[tuple[str, float]]:
    *totals, total = accumulate(buckets)
    below = dict(zip(BOUNDS_US, totals, strict=True))
    return [(f"{bound / 1e6:g}", below[bound]) for bound in shown_us] + [("+Inf", total)]


def _family(name: str, meaning: str, labels: str, samples: _Samples) -> Metric:
    family = _kind(name)(name, meaning, labels=labels.split())
    for value, *values in samples:
        family.add_metric(values, value)
    return family


def _single(name: str, meaning: str, value: float) -> Metric:
    return _kind(name)(name, meaning, value)


def _kind(name: str) -> type[Counter | Gauge]:
    return Counter if name.endswith("_total") else Gauge
