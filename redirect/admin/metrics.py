"""The metrics of an instance, all of its workers together, as Prometheus text or as OpenMetrics.

A new metric is one row among those of its kind. Names and labels do not change: dashboards and alerts depend on them.
"""

import gzip
import os
import platform
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from time import time
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily as Counter
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import HistogramMetricFamily as Histogram
from prometheus_client.core import Metric
from prometheus_client.core import SummaryMetricFamily as Summary
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from starlette.requests import Request
from starlette.responses import Response

from redirect.control.instance import Instance
from redirect.core.pools import Config, Origin, Pool
from redirect.telemetry.scoreboard import now_ms
from redirect.telemetry.snapshot import BOUNDS_US, Buckets, Counted, Forwards, Snapshot
from redirect.telemetry.sums import ejections, processes

OPEN_METRICS = "application/openmetrics-text"

# Origins that are in no pool any more, and whose numbers are shown: those that had a request last.
MAX_GONE = 1_000

# Bounds of the buckets that are shown, in microseconds; of an origin fewer, as thousands may have a histogram.
OF_ANSWERS = [bound for bound in BOUNDS_US if bound <= 1_000_000]
OF_FORWARDS = [bound for bound in BOUNDS_US if bound >= 100]
OF_ORIGINS = [digit * 10**power for power in (3, 4, 5, 6) for digit in (1, 2, 5)] + [10_000_000, 20_000_000, 60_000_000]

_Pairs = Sequence[tuple[Pool, Origin]]
_Places = Container[tuple[str | None, str | None]]
_WEIGHT_0 = re.compile(r"(?:^|;)\s*q=0(?:\.0*)?\s*$")

_Samples = Iterable[tuple[float, *tuple[str, ...]]]  # the value, and those of the labels


def respond(instance: Instance, request: Request) -> Response:
    """The metrics in the format and the encoding that the request accepts."""
    headers = request.headers
    # `choose_encoder` does not get the field itself, as it raises TypeError for `version=x`.
    encode, content_type = choose_encoder(OPEN_METRICS if _accepts(headers.get("accept", ""), OPEN_METRICS) else "")
    body, fields = encode(_Collector(instance)), {"content-type": content_type, "vary": "accept, accept-encoding"}
    if _accepts(headers.get("accept-encoding", ""), "gzip"):
        body, fields["content-encoding"] = gzip.compress(body, compresslevel=6), "gzip"
    return Response(body, headers=fields)


def _accepts(field: str, name: str) -> bool:
    """Whether the field lists it, and not with a weight of 0."""
    listed = [each.partition(";") for each in field.lower().split(",")]
    return any(kind.strip() == name and not _WEIGHT_0.search(parameters) for kind, _, parameters in listed)


class _Collector(NamedTuple):
    instance: Instance

    def collect(self) -> Iterator[Metric]:
        instance, snapshot = self.instance, self.instance.snapshot()
        pairs = [(pool, origin) for pool in instance.config.pools.values() for origin in pool.origins]
        forgotten = _forgotten(snapshot, {(pool.name, origin.name) for pool, origin in pairs})
        yield from _of_requests(snapshot, instance.config, pairs, forgotten)
        yield from _of_forwards(snapshot, instance.config, forgotten)
        yield from _of_limits(instance)
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
    samples: _Samples
    samples = [(total, pool or "", origin or "", str(code)) for (pool, origin, code), total in totals.items()]
    yield _family("redirect_requests_total", "Requests answered.", "pool origin code", samples)
    samples = [(total, route, str(code)) for (route, code), total in snapshot.routes.items()]
    yield _family("redirect_route_requests_total", "Requests that a route took.", "route code", samples)
    meaning, answers = "From request read to response sent, of what was not forwarded.", snapshot.answers
    yield Histogram("redirect_request_duration_seconds", meaning, _buckets(answers.buckets, OF_ANSWERS), answers.sum)
    numbers = snapshot.totals
    yield _single("redirect_loops_total", "Requests refused as loops.", numbers.loops)
    yield _single("redirect_unknown_pool_total", "Requests that named an unknown pool.", numbers.unknown_pool)
    samples = (numbers.forwarded_untrusted, "untrusted"), (numbers.forwarded_malformed, "malformed")
    meaning = "Heads with X-Forwarded fields that did not count."
    yield _family("redirect_forwarded_ignored_total", meaning, "reason", samples)
    yield _single("redirect_stale_answers_total", "Old answers used, as no origin answered.", numbers.stale)
    yield _single("redirect_access_log_lines_total", "Lines written to the access log.", numbers.lines)
    yield _single("redirect_access_log_dropped_total", "Lines lost because nothing read them.", numbers.dropped)


def _of_forwards(snapshot: Snapshot, config: Config, forgotten: _Places) -> Iterator[Metric]:
    """What became of requests that were forwarded, of origins that one was forwarded to."""
    forwards, totals = snapshot.forwards, snapshot.totals
    meaning, took = "From request read to the last byte of the answer, of what was forwarded.", forwards.durations
    yield Histogram("redirect_forward_duration_seconds", meaning, _buckets(took.buckets, OF_FORWARDS), took.sum)
    known = {place: numbers for place, numbers in forwards.origins.items() if place not in forgotten}
    origins = [((pool, origin or ""), numbers) for (pool, origin), numbers in known.items()]
    meaning = "From request sent to an origin to the head of its answer."
    responses = Histogram("redirect_origin_response_seconds", meaning, labels=("pool", "origin"))
    for labels, numbers in origins:
        if any(numbers.responses):
            responses.add_metric(labels, _buckets(numbers.responses, OF_ORIGINS), numbers.response_sum)
    yield responses
    named = [each for each in origins if each[0][1]]  # a failure may be of none
    samples: _Samples = [(numbers.in_flight, *labels) for labels, numbers in named]
    yield _of_origins("redirect_forwards_in_flight", "Requests that are forwarded at this moment.", samples)
    samples = [(numbers.retries, *labels) for labels, numbers in named]
    meaning = "Requests for which another origin was tried in place of this one."
    yield _of_origins("redirect_forward_retries_total", meaning, samples)
    samples = [(count, *labels, error) for labels, numbers in origins for error, count in numbers.failures.items()]
    yield _family("redirect_forward_failures_total", "Failures of origins.", "pool origin error", samples)
    samples = _connections(forwards, config)
    yield _family("redirect_origin_connections", "Open connections to origins.", "origin state", samples)
    samples = (totals.bytes_in, "in"), (totals.bytes_out, "out")
    meaning = "Bytes of bodies that were forwarded: in of requests, out of answers."
    yield _family("redirect_forward_bytes_total", meaning, "direction", samples)
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
    loading, common, now = snapshot.loading, instance.scoreboard.common, now_ms()
    ended = processes(instance.scoreboard)
    yield _single("redirect_connections", "Open connections.", sum(each.connections for each in snapshot.workers))
    yield _single("redirect_workers", "Worker processes.", len(snapshot.workers))
    yield _single("redirect_start_time_seconds", "When the instance was started.", instance.started_at)
    is_good = loading.error is None and not instance.is_late(snapshot)
    yield _single("redirect_config_last_reload_successful", "Whether the last reload succeeded.", is_good)
    meaning = "When the configuration in force was loaded."
    yield _single("redirect_config_last_reload_success_timestamp_seconds", meaning, loading.loaded_at)
    meaning = "Configurations that took the place of another: by reloads, origins that came and went, steps of ramps."
    yield _single("redirect_config_changes_total", meaning, instance.config.change)
    seconds = (now - common.master_heartbeat_ms) / 1000
    yield _single("redirect_master_last_seen_seconds", "Seconds since the last heartbeat of the master.", seconds)
    seconds = (now - common.controller_heartbeat_ms) / 1000
    meaning = "Seconds since the last heartbeat of the controller."
    yield _single("redirect_controller_last_seen_seconds", meaning, seconds)
    samples: _Samples = [(worker.last_seen, str(worker.pid)) for worker in snapshot.workers]
    meaning = "Seconds since the last heartbeat of a worker."
    yield _family("redirect_worker_last_seen_seconds", meaning, "worker", samples)
    samples = [(ended[f"{name}s_died"], name) for name in ("worker", "controller")]
    yield _family("redirect_processes_died_total", "Processes that ended out of order.", "process", samples)
    samples = [(ended[f"{name}s_hung"], name) for name in ("worker", "controller", "probe", "file")]
    meaning = "Processes that showed no heartbeat, and health checks and looks at the TOML that did not end."
    yield _family("redirect_processes_hung_total", meaning, "process", samples)
    meaning = "Requests to the admin listener that had a wrong token."
    yield _single("redirect_admin_refused_total", meaning, common.wrong_tokens)
    build = (1, instance.version, platform.python_version())
    yield _family("redirect_build_info", "What is running; the value is 1.", "version python", [build])


def _of_pools(instance: Instance, pairs: _Pairs) -> Iterator[Metric]:
    pools, ejected = instance.config.pools.values(), ejections(instance.scoreboard)
    samples: _Samples = [(1, pool.name, pool.pick, pool.on_loop) for pool in pools]
    yield _family("redirect_pool_info", "How a pool picks; the value is 1.", "pool pick on_loop", samples)
    samples = [(weight, *place) for pool in pools for weight, place in _each(pool, pool.configured_weights)]
    yield _of_origins("redirect_origin_weight", "Weight of an origin.", samples)
    samples = [(each.share(time()), each.pool, each.origin) for each in instance.publisher.overrides]
    yield _of_origins("redirect_override_share", "Share that an override gives an origin now.", samples)
    samples = [(share, *place) for pool in pools for share, place in _each(pool, instance.due(pool))]
    yield _of_origins("redirect_origin_due_share", "Share that is due to an origin now.", samples)
    places = [(pool.name, origin.name) for pool, origin in pairs if pool.eject is not None]
    samples = [(ejected.get(place, 0), *place) for place in places]
    yield _of_origins("redirect_ejections_total", "How often an origin was ejected.", samples)
    samples = [(instance.state(pool, origin).name != "down", pool.name, origin.name) for pool, origin in pairs]
    yield _of_origins("redirect_origin_up", "Whether an origin is not down.", samples)


def _each(pool: Pool, values: Iterable[float]) -> Iterator[tuple[float, tuple[str, str]]]:
    """What `values` has of the origins of the pool, in their order."""
    return ((value, (pool.name, origin.name)) for origin, value in zip(pool.origins, values, strict=True))


def _of_limits(instance: Instance) -> Iterator[Metric]:
    limits = instance.publisher.limits.states().items()
    samples = [(state.limit, route) for route, state in limits]
    yield _family("redirect_route_limit", "Requests that may be under way in a route.", "route", samples)
    samples = [(state.under_way, route) for route, state in limits]
    yield _family("redirect_route_in_flight", "Requests that count for the limit of a route.", "route", samples)


def _of_probes(instance: Instance) -> Iterator[Metric]:
    probed, meaning = instance.prober.probes(), "Health checks, until the status came or why not."
    durations = Summary("redirect_probe_duration_seconds", meaning, labels=("pool", "origin"))
    for place, probes in probed.items():
        durations.add_metric(place, probes.total, probes.seconds)
    yield durations
    samples: _Samples = [(probes.failures, *place) for place, probes in probed.items()]
    yield _of_origins("redirect_probe_failures_total", "Health checks that failed.", samples)


def _of_discovery(instance: Instance) -> Iterator[Metric]:
    pools = [pool for pool in instance.config.pools.values() if pool.discover]
    samples: _Samples = [(instance.discovery.trouble(pool.name) is None, pool.name) for pool in pools]
    yield _family("redirect_discovery_up", "Whether Docker or DNS can be asked for origins.", "pool", samples)
    samples = [(len(pool.origins), pool.name) for pool in pools]
    yield _family("redirect_discovered_origins", "Origins that were found.", "pool", samples)


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
    gone: dict[tuple[str | None, str | None], int] = {
        (pool, origin): count.last_ms
        for pool, origins in snapshot.picks().items()
        for origin, count in origins.items()
        if (pool, origin) not in present
    }
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


def _of_origins(name: str, meaning: str, samples: _Samples) -> Metric:
    return _family(name, meaning, "pool origin", samples)


def _single(name: str, meaning: str, value: float) -> Metric:
    return _kind(name)(name, meaning, value)


def _kind(name: str) -> type[Counter | Gauge]:
    return Counter if name.endswith("_total") else Gauge
