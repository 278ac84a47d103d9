"""The admin listener's endpoints, and who may ask for them."""

import base64
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import urlencode

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from support.admin import CONFIG, FORWARDED, LIMITED, LOOP, POOLS, TO_1, ask, new_scoreboard, serve
from support.wire import new_recorder

from redirect.config.loader import parse_config
from redirect.control.publisher import publish_loading
from redirect.core.decision import Decision
from redirect.core.health import HealthStatus, encode
from redirect.telemetry.counters import Counters
from redirect.telemetry.scoreboard import Scoreboard
from redirect.telemetry.snapshot import Loading


@pytest.fixture
def scoreboard() -> Scoreboard:
    return new_scoreboard()


TO_2 = Decision(302, "pool-a", "origin-2", "http://origin-2")
REFUSED = Decision(400, detail="malformed")


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def by_labels(families: Iterable[Metric]) -> Samples:
    """Values by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value for each in families for sample in each.samples
    }


def samples(scoreboard: Scoreboard) -> Samples:
    """The metrics as Prometheus' own parser reads them."""
    return by_labels(text_string_to_metric_families(ask("/metrics", scoreboard).text))


def value(seen: Samples, name: str, **labels: str) -> float:
    return seen[name, frozenset(labels.items())]


@contextmanager
def worker_with_forwards(scoreboard: Scoreboard) -> Iterator[None]:
    """A worker lives that forwards to origin-5, which failed now and then."""
    recorder = new_recorder(CONFIG, "off", scoreboard)
    forwards = recorder.forwards
    for origin, error in 2 * [("origin-5:8000", "connection_refused")] + [(None, "destination_unavailable")]:
        forwards.failed("inner", origin, error)
    forwards.retried("inner", "origin-5:8000", None)
    forwards.report({("inner", "origin-5:8000"): 3}, {"origin-5:8000": (4, 2)}, 1)
    yield
    recorder.close()


@pytest.mark.parametrize("is_stopping", [False, True])
def test_healthz_is_200_also_during_the_shutdown(is_stopping: bool, scoreboard: Scoreboard) -> None:
    scoreboard.common.is_stopping = is_stopping
    response = ask("/healthz", scoreboard)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(("is_stopping", "status", "said"), [(False, 200, "ready"), (True, 503, "shutting down")])
def test_readyz_is_200_from_the_first_worker_until_the_shutdown(
    is_stopping: bool, status: int, said: str, scoreboard: Scoreboard
) -> None:
    assert ask("/readyz", scoreboard).json() == {"status": "starting"}
    scoreboard.make_slot(0)
    Counters(scoreboard.slots()[0], CONFIG)
    scoreboard.common.is_stopping = is_stopping
    response = ask("/readyz", scoreboard)
    assert (response.status_code, response.json()) == (status, {"status": said})


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nope", 404), ("POST", "/healthz", 405)])
def test_an_unknown_path_or_method_is_refused_as_a_problem(
    method: str, path: str, status: int, scoreboard: Scoreboard
) -> None:
    response = ask(path, scoreboard, method=method)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert ("allow" in response.headers) == (status == 405)


def test_a_trailing_slash_is_not_redirected(scoreboard: Scoreboard) -> None:
    """The redirect would lead to whatever host the client named."""
    assert ask("/healthz/", scoreboard).status_code == 404


def test_metrics_count_requests_by_pool_origin_and_status(scoreboard: Scoreboard) -> None:
    """Loops and unknown pools are counted once more; a 422 of an origin or of a route is no loop."""
    serve(scoreboard, TO_1, TO_1, TO_2, LOOP, REFUSED)
    serve(scoreboard, Decision(422, "pool-b", "origin-3", is_forward=True), Decision(422, route="/x", body=""))
    serve(scoreboard, TO_1, REFUSED, pool_requested="nope")
    seen = samples(scoreboard)
    assert value(seen, "redirect_requests_total", pool="pool-a", origin="origin-1", code="302") == 3
    assert value(seen, "redirect_requests_total", pool="pool-a", origin="origin-2", code="302") == 1
    assert value(seen, "redirect_requests_total", pool="pool-a", origin="origin-1", code="422") == 1
    assert value(seen, "redirect_requests_total", pool="", origin="", code="400") == 2
    assert value(seen, "redirect_loops_total") == 1
    assert value(seen, "redirect_unknown_pool_total") == 1  # what is refused asks no pool


def test_metrics_count_forwarded_fields_that_did_not_count(scoreboard: Scoreboard) -> None:
    recorder = new_recorder(CONFIG, "off", scoreboard)
    recorder.forwarded.untrusted("192.0.2.1")
    recorder.forwarded.malformed("10.0.0.1", "X-Forwarded-Proto", "h2")
    recorder.forwarded.untrusted("192.0.2.1")
    seen = samples(scoreboard)
    assert value(seen, "redirect_forwarded_ignored_total", reason="untrusted") == 2
    assert value(seen, "redirect_forwarded_ignored_total", reason="malformed") == 1


def test_metrics_count_requests_by_route_and_status(scoreboard: Scoreboard) -> None:
    """Of each action, and refusals as well; requests without a route are in no series."""
    moved = replace(TO_1, route="/old/*")
    serve(scoreboard, TO_1, moved, moved, FORWARDED, replace(FORWARDED, status=502), replace(LOOP, route="/old/*"))
    serve(scoreboard, moved, Decision(204, route="GET /constant"), REFUSED)
    seen = {labels: total for (name, labels), total in samples(scoreboard).items() if "route_requests" in name}
    assert {(dict(labels)["route"], dict(labels)["code"]): total for labels, total in seen.items()} == {
        ("/old/*", "302"): 3,
        ("/old/*", "422"): 1,
        ("/inner/*", "200"): 1,
        ("/inner/*", "502"): 1,
        ("GET /constant", "204"): 1,
    }


def test_durations_are_a_histogram_in_seconds(scoreboard: Scoreboard) -> None:
    serve(scoreboard, TO_1, TO_1, microseconds=60)
    serve(scoreboard, TO_1, microseconds=2_500_000)
    seen = samples(scoreboard)
    name = "redirect_request_duration_seconds"
    assert value(seen, f"{name}_count") == value(seen, f"{name}_bucket", le="+Inf") == 3
    assert value(seen, f"{name}_bucket", le="1") == 2
    assert value(seen, f"{name}_bucket", le="5e-05") == 0
    assert 2.5 < value(seen, f"{name}_sum") < 3.5


def test_forwards_have_a_histogram_of_their_own(scoreboard: Scoreboard) -> None:
    """Its buckets go up to a minute; those of what was not forwarded keep theirs, and end at a second."""
    serve(scoreboard, TO_1, microseconds=60)
    serve(scoreboard, FORWARDED, FORWARDED, microseconds=2_500_000)
    serve(scoreboard, FORWARDED, microseconds=61_000_000)
    seen = samples(scoreboard)
    answered, forwarded = "redirect_request_duration_seconds", "redirect_forward_duration_seconds"
    assert value(seen, f"{answered}_count") == value(seen, f"{answered}_bucket", le="1") == 1
    assert value(seen, f"{forwarded}_count") == value(seen, f"{forwarded}_bucket", le="+Inf") == 3
    assert value(seen, f"{forwarded}_bucket", le="60") == value(seen, f"{forwarded}_bucket", le="3") == 2
    assert value(seen, f"{forwarded}_bucket", le="2") == 0
    assert 66 < value(seen, f"{forwarded}_sum") < 68
    bounds: dict[str, list[float]] = {}
    for name, labels in seen:
        if name.endswith("_bucket"):
            bounds.setdefault(name.removesuffix("_bucket"), []).append(float(dict(labels)["le"]))
    assert (bounds[answered][0], bounds[answered][-2], len(bounds[answered])) == (1e-6, 1, 32)
    assert (bounds[forwarded][0], bounds[forwarded][-2]) == (1e-4, 60)


def test_metrics_tell_what_became_of_forwards_by_origin(scoreboard: Scoreboard) -> None:
    serve(scoreboard, FORWARDED, FORWARDED)
    with worker_with_forwards(scoreboard):
        seen = samples(scoreboard)
    origin = {"pool": "inner", "origin": "origin-5:8000"}
    response = "redirect_origin_response_seconds"
    assert value(seen, f"{response}_count", **origin) == 2
    assert value(seen, f"{response}_sum", **origin) == pytest.approx(0.004)
    assert value(seen, f"{response}_bucket", le="0.002", **origin) == 2
    assert value(seen, f"{response}_bucket", le="0.001", **origin) == 0
    assert value(seen, "redirect_forward_retries_total", **origin) == 1
    assert value(seen, "redirect_forward_failures_total", error="connection_refused", **origin) == 2
    assert value(seen, "redirect_forward_failures_total", error="destination_unavailable", pool="inner", origin="") == 1
    assert value(seen, "redirect_forwards_in_flight", **origin) == 3
    of_none = {name for name, labels in seen if dict(labels).get("origin") == ""}
    assert of_none <= {"redirect_forward_failures_total", "redirect_requests_total"}
    assert value(seen, "redirect_origin_connections", origin="origin-5:8000", state="idle") == 4
    assert value(seen, "redirect_origin_connections", origin="origin-5:8000", state="busy") == 2
    assert value(seen, "redirect_forward_bytes_total", direction="in") == 20
    assert value(seen, "redirect_forward_bytes_total", direction="out") == 2000
    assert value(seen, "redirect_tunnels") == 1


def test_an_origin_has_numbers_of_forwards_once_there_was_one(scoreboard: Scoreboard) -> None:
    """From the first answer on, also those that are 0. Without an answer there is no histogram."""
    names = ("redirect_forwards_in_flight", "redirect_forward_retries_total", "redirect_origin_response_seconds_count")

    def of_origins() -> list[list[float]]:
        seen = samples(scoreboard)
        return [[total for (each, _), total in seen.items() if each == name] for name in names]

    assert of_origins() == [[], [], []]
    new_recorder(CONFIG, "off", scoreboard).forwards.failed("inner", "origin-6", "dns_error")
    assert of_origins() == [[0], [0], []]
    serve(scoreboard, FORWARDED)
    assert of_origins() == [[0, 0], [0, 0], [1]]


def test_each_origin_has_a_weight_a_state_and_zero_requests_from_the_start(scoreboard: Scoreboard) -> None:
    seen = samples(scoreboard)
    for origin, weight in {"origin-1": 3, "origin-2": 1, "origin-3": 0}.items():
        assert value(seen, "redirect_origin_weight", pool="pool-a", origin=origin) == weight
        assert value(seen, "redirect_origin_up", pool="pool-a", origin=origin) == 1
        assert value(seen, "redirect_requests_total", pool="pool-a", origin=origin, code="302") == 0
    assert value(seen, "redirect_origin_weight", pool='b"\\', origin="origin-4") == 1


def test_an_origin_that_is_only_forwarded_to_has_no_redirects(scoreboard: Scoreboard) -> None:
    seen = [labels for name, labels in samples(scoreboard) if name == "redirect_requests_total"]
    assert {labels["code"] for labels in map(dict, seen) if labels["pool"] == "inner"} == {"200"}


def test_a_failed_reload_leaves_the_time_of_the_last_successful_one(scoreboard: Scoreboard) -> None:
    name = "redirect_config_last_reload_successful"
    assert value(samples(scoreboard), name) == 1
    publish_loading(scoreboard, Loading(1_700_000_000.0, "pools.toml:1:1: no", 1_700_000_001.0))
    seen = samples(scoreboard)
    assert value(seen, name) == 0
    assert value(seen, "redirect_config_last_reload_success_timestamp_seconds") == 1_700_000_000


def test_metrics_say_how_each_pool_picks(scoreboard: Scoreboard) -> None:
    said = 'redirect_pool_info{on_loop="refuse",pick="round_robin",pool="pool-a"} 1.0'
    assert said in ask("/metrics", scoreboard).text


def test_every_metric_has_a_type_and_a_help_text(scoreboard: Scoreboard) -> None:
    families = [*text_string_to_metric_families(ask("/metrics", scoreboard).text)]
    assert all(each.documentation and each.type in ("counter", "gauge", "histogram", "summary") for each in families)


def test_metrics_say_what_each_process_takes(scoreboard: Scoreboard) -> None:
    """This process is the controller and its parent the master."""
    master = os.getppid()
    seen = samples(scoreboard)
    of_controller = {"process": "controller", "pid": str(os.getpid())}
    assert value(seen, "process_resident_memory_bytes", **of_controller) > 1_000_000
    assert value(seen, "process_cpu_seconds_total", **of_controller) > 0
    assert 0 < value(seen, "process_open_fds", **of_controller) < value(seen, "process_max_fds", **of_controller)
    assert value(seen, "process_start_time_seconds", process="master", pid=str(master)) > 1_600_000_000


TEXT, OPEN_METRICS = "text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0"
PROMETHEUS_ACCEPTS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;"
    "q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "sent"),
    [
        pytest.param("*/*", TEXT, id="anything"),
        pytest.param("text/html", TEXT, id="neither"),
        pytest.param("text/plain;version=x", TEXT, id="text of no version"),
        pytest.param(PROMETHEUS_ACCEPTS, OPEN_METRICS, id="Prometheus"),
        pytest.param("application/openmetrics-text", OPEN_METRICS, id="OpenMetrics"),
        pytest.param("application/openmetrics-text;version=x", OPEN_METRICS, id="OpenMetrics of no version"),
        pytest.param("application/openmetrics-text; q=0.0, */*", TEXT, id="anything but OpenMetrics"),
    ],
)
def test_the_format_of_metrics_follows_accept(accept: str, sent: str, scoreboard: Scoreboard) -> None:
    response = ask("/metrics", scoreboard, headers={"accept": accept})
    assert (response.status_code, response.headers["content-type"]) == (200, f"{sent}; charset=utf-8")


def test_open_metrics_has_the_samples_of_the_text(scoreboard: Scoreboard) -> None:
    serve(scoreboard, TO_1, LOOP, REFUSED)
    text = ask("/metrics", scoreboard, headers={"accept": "application/openmetrics-text"}).text
    assert text.endswith("# EOF\n")
    seen = by_labels(openmetrics_families(text))  # type: ignore[no-untyped-call]
    assert seen.keys() == samples(scoreboard).keys()
    assert value(seen, "redirect_requests_total", pool="pool-a", origin="origin-1", code="302") == 1


@pytest.mark.parametrize(
    ("accepted", "sent"), [("gzip", "gzip"), ("identity", None), ("br, GZIP;q=0.5", "gzip"), ("gzip;q=0, *", None)]
)
def test_metrics_are_compressed_where_the_client_accepts_it(
    accepted: str, sent: str | None, scoreboard: Scoreboard
) -> None:
    response = ask("/metrics", scoreboard, headers={"accept-encoding": accepted})
    assert response.headers.get("content-encoding") == sent
    assert "redirect_workers 0.0\n" in response.text


def test_stats_show_requests_latency_and_shares(scoreboard: Scoreboard) -> None:
    serve(scoreboard, TO_1, TO_2, LOOP, REFUSED, microseconds=60)
    seen = ask("/stats", scoreboard).json()
    assert seen["requests_count"] == {"success": 2, "error": 2}
    assert 0.06 <= seen["latency_ms"]["average"] <= seen["latency_ms"]["p99"] * 1.5
    assert seen["forwards"] == {
        "requests": 0,
        "latency_ms": {"average": None, "p95": None, "p99": None},
        "failures": {},
        "retries": 0,
        "in_flight": 0,
    }
    pool = seen["pools"]["pool-a"]
    assert pool["picks"] == 3
    shares = {"configured_share": 0.75, "due_share": 0.75, "observed_share": pytest.approx(2 / 3)}
    assert pool["origins"]["origin-1"] == {"picks": 2, **shares}
    assert pool["origins"]["origin-3"] == {"picks": 0, "configured_share": 0, "due_share": 0, "observed_share": 0}


def test_stats_show_the_latency_of_all_requests_and_of_forwards(scoreboard: Scoreboard) -> None:
    serve(scoreboard, *[TO_1] * 96, microseconds=60)
    serve(scoreboard, *[FORWARDED] * 4, microseconds=2_500_000)
    seen = ask("/stats", scoreboard).json()
    assert seen["requests_count"] == {"success": 100, "error": 0}
    assert seen["latency_ms"]["p95"] <= 1 < 2000 < seen["latency_ms"]["p99"] < 3000
    assert 100 < seen["latency_ms"]["average"] < 120
    forwards = seen["forwards"]
    assert forwards["requests"] == 4
    assert all(2000 < forwards["latency_ms"][name] < 3000 for name in ("average", "p95", "p99"))


def test_stats_show_what_became_of_forwards_by_origin(scoreboard: Scoreboard) -> None:
    serve(scoreboard, *[FORWARDED] * 3, replace(FORWARDED, status=503))
    with worker_with_forwards(scoreboard):
        seen = ask("/stats", scoreboard).json()
    assert seen["pools"]["inner"]["picks"] == 4
    origins = seen["pools"]["inner"]["origins"]
    assert origins["origin-5:8000"]["picks"] == 4
    assert origins["origin-5:8000"]["forwards"] == {
        "response_ms": {"average": 2, "p95": pytest.approx(1.95)},
        "errors": 1,
        "failures": {"connection_refused": 2},
        "retries": 1,
        "in_flight": 3,
    }
    assert origins["origin-6"]["forwards"] == {
        "response_ms": {"average": None, "p95": None},
        "errors": 0,
        "failures": {},
        "retries": 0,
        "in_flight": 0,
    }
    total = {name: seen["forwards"][name] for name in ("failures", "retries", "in_flight")}
    failures = {"connection_refused": 2, "destination_unavailable": 1}
    assert total == {"failures": failures, "retries": 1, "in_flight": 3}
    assert "forwards" not in seen["pools"]["pool-a"]["origins"]["origin-1"]


def test_stats_before_the_first_request_have_no_latency_and_no_observed_share(scoreboard: Scoreboard) -> None:
    seen = ask("/stats", scoreboard).json()
    assert seen["latency_ms"] == {"average": None, "p95": None, "p99": None}
    assert seen["pools"]["pool-a"]["origins"]["origin-1"]["observed_share"] is None


def test_status_shows_pools_the_configuration_and_live_workers(scoreboard: Scoreboard) -> None:
    begin = time()
    serve(scoreboard, TO_1)  # and ends
    recorder = new_recorder(CONFIG, "off", scoreboard)
    recorder.report(7)
    recorder.numbers.health = 5
    seen: dict[str, Any] = ask("/status", scoreboard).json()
    assert seen["configuration"] == {
        "path": "pools.toml",
        "hash": CONFIG.hash,
        "change": 0,
        "loaded_at": "2023-11-14T22:13:20.000Z",
        "last_error": None,
        "last_error_at": None,
        "warnings": [],
        "changes": [],
    }
    (worker,) = seen["workers"]
    assert {name: worker[name] for name in ("connections", "requests", "config", "verdicts")} == {
        "connections": 7,
        "requests": 0,
        "config": CONFIG.hash,
        "verdicts": 5,
    }
    assert begin - 0.001 <= datetime.fromisoformat(worker["since"]).timestamp() <= time()
    usual = {"since": "2020-09-13T12:26:40.000Z", "reason": None, "in_flight": 0}
    assert seen["pools"]["pool-a"] == {
        "status": 302,
        "is_default": True,
        "is_forwarded": False,
        "overrides": [],
        "origins": {
            "origin-1": {"weight": 3, "share": 0.75, "due_share": 0.75, "state": "up", **usual},
            "origin-2": {"weight": 1, "share": 0.25, "due_share": 0.25, "state": "up", **usual},
            "origin-3": {"weight": 0, "share": 0, "due_share": 0, "state": "draining", **usual},
        },
    }


def test_the_share_of_an_origin_that_is_down_is_due_to_the_others(scoreboard: Scoreboard) -> None:
    """Its configured share is the same, in /status and /metrics."""
    down = {"inner": {"origin-6": HealthStatus(False, 0.0, 0.0, "ejected", 1)}}
    scoreboard.health.publish(encode(down))
    origins = ask("/status", scoreboard).json()["pools"]["inner"]["origins"]
    assert {name: (one["share"], one["due_share"]) for name, one in origins.items()} == {
        "origin-5:8000": (0.5, 1),
        "origin-6": (0.5, 0),
    }
    assert 'redirect_origin_due_share{origin="origin-6",pool="inner"} 0.0' in ask("/metrics", scoreboard).text


ODD = 'b"\\'  # the other pool


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        pytest.param({"pool": "pool-a"}, {"pool-a": ["origin-1", "origin-2", "origin-3"]}, id="a pool"),
        pytest.param({"pool": ODD}, {ODD: ["origin-4"]}, id="a pool with an odd name"),
        pytest.param({"origin": "origin-2"}, {"pool-a": ["origin-2"]}, id="an origin"),
        pytest.param({"origin": "origin-3", "pool": "pool-a"}, {"pool-a": ["origin-3"]}, id="an origin of a pool"),
        pytest.param({"pool": "", "origin": ""}, None, id="empty names are none"),
    ],
)
def test_a_status_of_one_pool_or_origin_leaves_out_the_others(
    query: dict[str, str], shown: dict[str, list[str]] | None, scoreboard: Scoreboard
) -> None:
    """What is shown is the same as in the whole: an origin keeps its share of the pool."""
    whole = ask("/status", scoreboard).json()
    seen = ask(f"/status?{urlencode(query)}", scoreboard).json()
    if shown is not None:
        whole["pools"] = {
            pool: {**whole["pools"][pool], "origins": {name: whole["pools"][pool]["origins"][name] for name in origins}}
            for pool, origins in shown.items()
        }
    assert seen == whole


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("pool=pool-x", 'there is no pool "pool-x"; did you mean "pool-a"? There are "pool-a", '),
        ("pool=x&origin=origin-1", 'there is no pool "x"; there are "pool-a", '),
        ("origin=origin4", 'no pool has the origin "origin4"; did you mean "origin-4"?'),
        ("pool=pool-a&origin=origin-4", 'pool-a has no origin "origin-4"; did you mean "origin-3"?'),
    ],
)
def test_a_status_of_what_there_is_not_is_404_with_the_nearest_name(
    query: str, said: str, scoreboard: Scoreboard
) -> None:
    refused = ask(f"/status?{query}", scoreboard)
    assert (refused.status_code, refused.headers["content-type"]) == (404, "application/problem+json")
    assert refused.json()["detail"].startswith(said)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/status?appName=pool-a", '/status has no parameter "appName"; there are "pool", "origin"'),
        (
            "/status?pool=pool-a&orign=x",
            '/status has no parameter "orign"; did you mean "origin"? There are "pool", "orig',
        ),
        ("/status?pool=pool-a&pool=pool-b", "/status takes one pool, got 2"),
        ("/stats?pool=pool-a", '/stats has no parameter "pool"; there are none'),
        ("/weights?pool=pool-a", '/weights has no parameter "pool"; there are none'),
    ],
)
def test_a_question_that_cannot_be_asked_is_400(target: str, said: str, scoreboard: Scoreboard) -> None:
    """The whole would look like the answer to it."""
    refused = ask(target, scoreboard)
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")
    assert refused.json()["detail"].startswith(said)


def test_metrics_tell_how_full_the_limit_of_a_route_is(scoreboard: Scoreboard) -> None:
    """In all workers together; routes without a limit have no series."""
    for slot, tokens in ((0, 3), (1, 2)):
        scoreboard.make_slot(slot)
        scoreboard.slots()[slot].numbers.held[0].tokens = tokens
    text = ask("/metrics", scoreboard, pools=LIMITED).text
    found = [
        line for line in text.splitlines() if line.startswith(("redirect_route_limit", "redirect_route_in_flight"))
    ]
    assert found == ['redirect_route_limit{route="/limited"} 7.0', 'redirect_route_in_flight{route="/limited"} 5.0']


def test_status_shows_what_is_under_way_at_an_origin(scoreboard: Scoreboard) -> None:
    with worker_with_forwards(scoreboard):
        origins = ask("/status", scoreboard).json()["pools"]["inner"]["origins"]
    assert {name: origin["in_flight"] for name, origin in origins.items()} == {"origin-5:8000": 3, "origin-6": 0}


PRIVATE = ["/stats", "/status", "/nope"]
RIGHT = [
    pytest.param("Bearer s3cret:x", id="Bearer"),
    pytest.param("bearer s3cret:x", id="schemes have no case"),
    pytest.param("Basic " + base64.b64encode(b"anybody:s3cret:x").decode(), id="password"),
    pytest.param("Basic " + base64.b64encode(b":s3cret:x").decode(), id="password of nobody"),
]
WRONG = [
    pytest.param({}, id="none"),
    pytest.param({"authorization": "Bearer s3cret"}, id="another token"),
    pytest.param({"authorization": "Bearer "}, id="an empty token"),
    pytest.param({"authorization": "Basic s3cret:x"}, id="no base64"),
    pytest.param({"authorization": "Basic " + base64.b64encode(b"s3cret:x").decode()}, id="user without password"),
    pytest.param({"authorization": "Digest s3cret:x"}, id="another scheme"),
]


@pytest.mark.parametrize("path", PRIVATE)
@pytest.mark.parametrize("authorization", RIGHT)
def test_a_request_with_the_token_is_answered(path: str, authorization: str, scoreboard: Scoreboard) -> None:
    assert ask(path, scoreboard, token="s3cret:x", headers={"authorization": authorization}).status_code in (200, 404)


@pytest.mark.parametrize("path", PRIVATE)
@pytest.mark.parametrize("headers", WRONG)
def test_a_request_without_the_token_is_refused(path: str, headers: dict[str, str], scoreboard: Scoreboard) -> None:
    """Whether the path exists does not show."""
    refused = ask(path, scoreboard, token="s3cret:x", headers=headers)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic ")
    missing = "send REDIRECT_ADMIN_TOKEN as Bearer token or as password of any user"
    wrong = "the token that was sent is not the service's REDIRECT_ADMIN_TOKEN"
    assert refused.json()["detail"] == (wrong if scoreboard.common.wrong_tokens else missing)


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
@pytest.mark.parametrize("token", ["d\u00e9j\u00e0", "\u0445", "\u00a7\u00c5"], ids=ascii)
def test_a_token_may_have_letters_of_any_alphabet(scheme: str, token: str, scoreboard: Scoreboard) -> None:
    """In UTF-8, some bytes of which are spaces in Unicode."""
    sent = token.encode() if scheme == "Bearer" else base64.b64encode(f":{token}".encode())
    answered = ask("/stats", scoreboard, token=token, headers={"authorization": f"{scheme} ".encode() + sent})  # type: ignore[dict-item]
    assert answered.status_code == 200


def test_a_wrong_token_is_counted(scoreboard: Scoreboard, caplog: pytest.LogCaptureFixture) -> None:
    """One that is missing is not: a browser asks for it that way."""
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer right"}):
        ask("/status", scoreboard, token="right", headers=headers)
    assert value(samples(scoreboard), "redirect_admin_refused_total") == 1
    (line,) = caplog.records
    assert line.getMessage().startswith("the admin listener refused 127.0.0.1, which sent a wrong token; ")


@pytest.mark.parametrize("headers", WRONG)
def test_an_empty_token_matches_no_request(headers: dict[str, str], scoreboard: Scoreboard) -> None:
    refused = ask("/status", scoreboard, token="", headers=headers)
    assert refused.status_code == 403
    assert "REDIRECT_ADMIN_TOKEN is not set" in refused.json()["detail"]


@pytest.mark.parametrize("token", ["", "s3cret"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_and_prometheus_need_no_token(path: str, token: str, scoreboard: Scoreboard) -> None:
    new_recorder(CONFIG, "off", scoreboard)
    assert ask(path, scoreboard, token=token).status_code == 200


def test_a_toml_is_compared_with_the_one_in_force(scoreboard: Scoreboard) -> None:
    """It needs the token, as a reload does; faults are told, and nothing is loaded."""
    changed = POOLS.replace(b'"origin-1" = 3', b'"origin-1" = 1')
    said = ask("/compare", scoreboard, method="POST", content=changed).json()
    assert said["changes"] == ["pool pool-a: origin-1: 75 % -> 50 %, origin-2: 25 % -> 50 %"]
    refused = ask("/compare", scoreboard, method="POST", content=b"[p]")
    assert (refused.status_code, "the file that was sent:1:1" in refused.json()["detail"]) == (422, True)
    assert ask("/compare", scoreboard, method="POST", content=changed, token="t").status_code == 401
    elsewhere = {"sec-fetch-site": "cross-site"}
    assert ask("/compare", scoreboard, method="POST", content=changed, headers=elsewhere).status_code == 403


def test_shares_are_overridden_for_a_while(scoreboard: Scoreboard) -> None:
    """They are shown beside those of the file, and end when this is asked for."""
    wanted = {"pool": "pool-a", "origin": "origin-2", "to": 50}
    made = ask("/weights", scoreboard, method="POST", content=json.dumps(wanted).encode())
    assert (made.status_code, made.json()["share"]) == (200, 50)
    assert ask("/weights", scoreboard).json()["overrides"] == [made.json()]
    head = ask("/weights", scoreboard, method="HEAD", content=json.dumps(wanted | {"to": 70}).encode())
    assert (head.status_code, ask("/weights", scoreboard).json()["overrides"]) == (200, [made.json()])
    pool = ask("/status?pool=pool-a", scoreboard).json()["pools"]["pool-a"]
    assert pool["overrides"] == ask("/stats", scoreboard).json()["pools"]["pool-a"]["overrides"] == [made.json()]
    shown = [(each["weight"], each["share"], each["due_share"]) for each in pool["origins"].values()]
    assert shown == [(3, 0.75, 0.5), (1, 0.25, 0.5), (0, 0, 0)]
    metrics = ask("/metrics", scoreboard).text
    assert 'redirect_override_share{origin="origin-2",pool="pool-a"} 0.5' in metrics
    assert 'redirect_origin_weight{origin="origin-2",pool="pool-a"} 1.0' in metrics
    ended = ask("/weights?pool=pool-a&origin=origin-2", scoreboard, method="DELETE")
    assert (ended.status_code, ended.json()) == (200, {"overrides": []})
    assert ask("/weights?pool=pool-a&origin=origin-2", scoreboard, method="DELETE").status_code == 404


@pytest.mark.parametrize("query", ["", "?pool=pool-a", "?origin=origin-2", "?pool=&origin=origin-2"])
def test_an_override_to_end_is_named_in_the_url(query: str, scoreboard: Scoreboard) -> None:
    """Not in a body, as that of a POST."""
    content = b'{"pool": "pool-a", "origin": "origin-2"}'
    refused = ask(f"/weights{query}", scoreboard, method="DELETE", content=content)
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "name the override in the URL: DELETE /weights?pool=POOL&origin=ORIGIN",
    )


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 422),
        (b'{"pool": "x", "origin": "y", "to": 1}', {}, 422),
        (b"[" * 60_000, {}, 422),
        (b" " * 70_000, {}, 413),
        (b"{}", {"sec-fetch-site": "cross-site"}, 403),
        (b"{}", {"origin": "http://evil.example"}, 403),  # as browsers say it to http
        (b"{}", {"origin": "null"}, 403),
        (b"{}", {"origin": "http://localhost:9000", "host": "localhost:9000"}, 422),
    ],
)
def test_an_override_that_makes_no_sense_is_refused(
    scoreboard: Scoreboard, content: bytes, headers: dict[str, str], status: int
) -> None:
    assert ask("/weights", scoreboard, method="POST", content=content, headers=headers).status_code == status
    assert ask("/weights", scoreboard, method="POST", content=content, token="t").status_code == 401


def test_an_override_that_says_something_twice_is_refused(scoreboard: Scoreboard) -> None:
    """In one object; the last would count."""
    twice = b'{"pool": "pool-a", "origin": "origin-2", "to": 1, "to": 90}'
    refused = ask("/weights", scoreboard, method="POST", content=twice)
    assert (refused.status_code, refused.json()["detail"]) == (422, 'the object has 2 keys "to"')
    assert ask("/weights", scoreboard).json()["overrides"] == []


def test_a_reload_waits_for_the_workers_until_the_instance_ends(
    scoreboard: Scoreboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload is answered once every worker has the configuration; while the instance ends it is refused."""
    monkeypatch.chdir(tmp_path)
    Path("pools.toml").write_bytes(b"#\n" + POOLS)
    scoreboard.make_slot(0)
    worker = Counters(scoreboard.slots()[0], CONFIG)
    refused = ask("/reload", scoreboard, method="POST", goes_on=False)
    assert (refused.status_code, refused.json()["detail"]) == (503, "the instance is shutting down")
    worker.use(replace(parse_config(b"#\n" + POOLS, "pools.toml"), change=1))
    assert ask("/reload", scoreboard, method="POST").status_code == 200
    Path("pools.toml").write_bytes(b"bad")
    assert ask("/reload", scoreboard, method="POST").status_code == 422


LOCAL = ["localhost", "LOCALHOST:9000", "a.localhost:1", "127.0.0.1:9000", "127.9.9.9", "[::1]:9000"]
FOREIGN = [
    "evil.example",
    "localhost.evil.example",
    "192.0.2.1:9000",
    "[2001:db8::1]",
    "u@localhost",
    "127.0.0.1.evil.example",
]


@pytest.mark.parametrize("host", LOCAL)
@pytest.mark.parametrize("path", ["/", "/status", "/metrics"])
def test_without_a_token_the_own_machine_is_answered(path: str, host: str, scoreboard: Scoreboard) -> None:
    assert ask(path, scoreboard, only_local=True, headers={"host": host}).status_code == 200


def test_each_of_several_hosts_has_to_be_the_own_machine(scoreboard: Scoreboard) -> None:
    hosts = [("host", "localhost"), ("host", "evil.example")]
    assert ask("/status", scoreboard, only_local=True, headers=hosts).status_code == 421


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/metrics"), ("POST", "/reload"), ("GET", "/nope")])
def test_without_a_token_no_other_host_is_answered(method: str, path: str, host: str, scoreboard: Scoreboard) -> None:
    """A page from elsewhere, whose name leads here, asks for its own host (DNS rebinding)."""
    refused = ask(path, scoreboard, method=method, only_local=True, headers={"host": host})
    assert (refused.status_code, refused.json()["title"]) == (421, "Misdirected Request")
    assert ask("/readyz", scoreboard, only_local=True, headers={"host": host}).status_code in (200, 503)
