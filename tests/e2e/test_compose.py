"""The service as it is deployed: nginx, three replicas, nine origins, one load test, all in containers."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from threading import Event, Thread
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from click.testing import CliRunner
from support.compose import until

from redirect.commands.main import cli

from .stack import POOLS, REPLICAS, WORKERS, Stack, ask

pytestmark = pytest.mark.usefixtures("load_test")  # the others do not begin before it ends: it takes all the CPU

DEFAULT_POOL = next(name for name, pool in POOLS.items() if pool.get("is_default"))
ORIGINS = {origin: name for name, pool in POOLS.items() for origin in pool["weighted_hosts"]}

# What these pools, pool names that nobody knows and no name at all (None) are answered with.
SERVED_BY: dict[str | None, str] = {**{name: name for name in POOLS}, "no-such-pool": DEFAULT_POOL, None: DEFAULT_POOL}

KEYS = (
    "time level pool_requested pool origin location status method host path query client_ip user_agent referer "
    "trace_id request_id duration_us instance worker config "
    "route action origin_status origin_us tries bytes_in bytes_out served_from due weights detail fallback_for"
).split()

# The value that chi-square exceeds with p = 0.0001, by degrees of freedom; qchisq(0.9999, df) in R.
CHI_SQUARE = {1: 15.14, 2: 18.42, 3: 21.11, 4: 23.51}

# Whatever nginx itself does not refuse, as it does `/%zz`, `/../x` and bytes that no URL may have.
TARGETS = [
    *r"""
    / // /// //x /x/ /a//b/// //evil.example/%2f.. /;p=1;q /a;b=c?d;e /~u/@:!$&'()*,= /a+b /...
    /? /?? /?a=b&a=c /?a= /?&& /a?b?c=/../d /?http://evil.example/%0d%0a /?%zz% /?x=%20+y
    /a%2Fb /a%2fb /%41 /%E9 /%C3%A9 /%0a /a%0d%0aX:y /%5c%5cx /%25%32%46 /a%20b+c
    /a/./b/../c /a/.. /a/%2e%2e/b /#frag /a#frag?x /?x#frag /a\b /a|b^c`{}"<> /?a|b^`{}"<>'
    /healthz /readyz /status /metrics /favicon.ico /.well-known/acme-challenge/x
    """.split(),
    "/" + "x" * 8000,
    "/?" + "q" * 8000,
]


def status_of(pool: str) -> int:
    status: int = POOLS[pool].get("status", 302)
    return status


def test_load_test_gets_redirects_alone(load_test: tuple[int, str]) -> None:
    """Under load every answer is a redirect, no connection fails, and every origin of every pool is named."""
    exit_code, report = load_test
    tallies: dict[str, dict[str, int]] = defaultdict(dict)
    section = ""
    for line in report.splitlines():
        if row := re.fullmatch(r"( *)(\S+) +([\d.]+)", line):
            tallies[section if row[1] else ""][row[2]] = int(float(row[3]))
        else:
            section = line
    print(report)

    assert exit_code == 0
    assert tallies[""]["requests"] > 1000
    assert set(tallies["answers by status"]) == {str(status_of(pool)) for pool in POOLS}
    assert set(tallies["answers by origin"]) == set(ORIGINS)
    assert set(tallies["requests by pool"]) == {*POOLS, "none", "unknown"}
    assert tallies["socket errors"] == {"connect": 0, "read": 0, "write": 0, "timeout": 0}


def writers(stack: Stack, replica: str) -> set[tuple[str, int]]:
    """Instance and worker of each line of a replica."""
    records = map(json.loads, stack.log_lines(replica))
    return {(record["instance"], record["worker"]) for record in records}


def test_every_line_on_standard_output_is_a_record(stack: Stack) -> None:
    """Standard output of a replica holds access records and nothing else, but for how many were lost where a load
    test was faster than the engine reads; each worker of each replica writes some."""
    for replica in stack.containers("redirect"):
        for record in map(json.loads, stack.log_lines(replica)):
            assert [key for key in record if key != "truncated"] == KEYS or record["lost"] > 0
        assert {instance for instance, _ in writers(stack, replica)} == {replica[:12]}
        assert len(writers(stack, replica)) == WORKERS // REPLICAS


@pytest.mark.parametrize("option", [["--no-log-prefix"], []])
def test_what_compose_prints_of_all_replicas_is_queried(stack: Stack, option: list[str]) -> None:
    printed = stack.compose("logs", "--no-color", *option, "redirect")
    sql = "SELECT DISTINCT instance FROM access WHERE status IS NOT NULL ORDER BY ALL"
    result = CliRunner().invoke(cli, ["logs", "query", "--json", sql, "-"], input=printed)
    found = [json.loads(line)["instance"] for line in result.stdout.splitlines()]
    assert found == sorted(replica[:12] for replica in stack.containers("redirect"))


@pytest.mark.parametrize("pool", POOLS)
def test_shares(stack: Stack, pool: str) -> None:
    """Through nginx and all replicas, the origins of a pool get their shares within what chance allows."""
    clients, each = 12, 100
    mark = f"{uuid4()}-"

    def run(client: int) -> Counter[str]:
        headers = {"X_Redirect_Pool_ID": pool, "X_Request_ID": f"{mark}{client}"}
        with stack.connect() as connection:
            return Counter(urlsplit(str(ask(connection, **headers).location)).netloc for _ in range(each))

    with ThreadPoolExecutor(clients) as executor:
        picks = sum(executor.map(run, range(clients)), Counter[str]())

    weights = POOLS[pool]["weighted_hosts"]
    assert set(picks) <= set(weights)
    expected = {origin: clients * each * weight / sum(weights.values()) for origin, weight in weights.items()}
    chi_square = sum((picks[origin] - number) ** 2 / number for origin, number in expected.items())
    assert chi_square < CHI_SQUARE[len(weights) - 1], picks
    assert len({record["instance"] for record in stack.records(mark, clients * each)}) == REPLICAS


def test_following_reaches_the_origin(stack: Stack) -> None:
    """Inside the network, following a redirect reaches the origin that Location names, for each of the nine."""
    # However the requests fall on the workers, one of them gets as many as a whole turn, and so to every origin.
    requests = [
        ("/a%2Fb?c=d", {"X-Redirect-Pool-ID": name})
        for name, pool in POOLS.items()
        for _ in range(WORKERS * sum(pool["weighted_hosts"].values()))
    ]

    answers = stack.run_inside(requests)["answers"]

    assert {(location, reached) for _, location, reached in answers} == {
        (f"http://{origin}/a%2Fb?c=d", origin) for origin in ORIGINS
    }


@pytest.mark.parametrize("requested", SERVED_BY)
def test_one_record_per_request(stack: Stack, requested: str | None) -> None:
    """Each request leaves exactly one record, which says what the client got and which address it really has."""
    mark = f"{uuid4()}-"
    named = {} if requested is None else {"X-Redirect-Pool-ID": requested}
    requests = [
        (f"/{n}?q=%20", {**named, "X-Request-ID": f"{mark}{n}", "X-Forwarded-For": "203.0.113.9"}) for n in range(20)
    ]

    inside = stack.run_inside(requests)
    records = sorted(stack.records(mark, len(requests)), key=lambda record: int(record["path"][1:]))

    pool = SERVED_BY[requested]
    assert [record["request_id"] for record in records] == [headers["X-Request-ID"] for _, headers in requests]
    assert [(each["status"], each["location"], each["origin"]) for each in records] == [
        tuple(answer) for answer in inside["answers"]
    ]
    for record in records:
        assert record["pool_requested"] == requested
        assert record["pool"] == pool == ORIGINS[record["origin"]]
        assert record["status"] == status_of(pool)
        assert (record["host"], record["query"]) == ("nginx:8080", "q=%20")
        assert record["client_ip"] == inside["address"]


def test_request_id_is_generated_once(stack: Stack) -> None:
    """A request without an id gets one from nginx, not another one from the service."""
    target = f"/{uuid4()}"
    with stack.connect() as connection:
        ask(connection, target)

    def ids() -> list[str]:
        lines = [line for each in stack.containers("redirect") for line in stack.log_lines(each) if target in line]
        return [json.loads(line)["request_id"] for line in lines]

    (request_id,) = until(ids, lambda found: len(found) == 1, f"one record of {target}")
    assert re.fullmatch("[0-9a-f]{32}", request_id)


@pytest.mark.parametrize("host", ["origin-1", "ORIGIN-1.", "origin-1:80"])
def test_loop_is_refused(stack: Stack, host: str) -> None:
    """A pick that is the host asked for gives 422 and no Location, and every other pick a redirect."""
    turn = sum(POOLS["pool-a"]["weighted_hosts"].values())
    with stack.connect() as connection:
        answers = {ask(connection, Host=host, X_Redirect_Pool_ID="pool-a") for _ in range(WORKERS * turn)}

    assert answers == {
        (422, None, "application/problem+json"),
        (302, "http://origin-2/", None),
        (302, "http://origin-3/", None),
    }


@pytest.mark.parametrize("target", TARGETS, ids=[target[:30] for target in TARGETS])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_target_is_kept(stack: Stack, method: str, target: str) -> None:
    """Through nginx too, path and query reach the Location byte for byte, and no path is kept for ourselves."""
    with stack.connect() as connection:
        answer = ask(connection, target, method=method)
    assert answer.status == 302
    assert answer.location is not None
    assert re.sub("^http://origin-[123]", "", answer.location) == target


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_body_of_any_size_is_redirected(stack: Stack, size: int, chunked: bool) -> None:
    """A body changes nothing, however large: the redirect is answered, and the replicas serve on. The connection does,
    too, unless nginx leaves the body unread, or might take for its end what is none."""
    target = "/a%2Fb?c"
    with stack.connect() as connection:
        body = iter([b"x" * size]) if chunked else b"x" * size
        connection.request("POST", target, body, {"X-Redirect-Pool-ID": "pool-c"}, encode_chunked=chunked)
        response = connection.getresponse()
        response.read()
        assert response.status == 307
        assert response.headers["location"].endswith(target)
        assert response.headers["connection"] == ("close" if chunked or not 0 < size <= 65_536 else "keep-alive")
        assert ask(connection).status == 302


@dataclass
class Traffic:
    """What clients got while something else went on."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)


@contextmanager
def traffic(stack: Stack) -> Iterator[Traffic]:
    seen, stop = Traffic(), Event()

    def client() -> None:
        with stack.connect() as connection:
            while not stop.wait(0.005):
                try:
                    answer = ask(connection, X_Redirect_Pool_ID="pool-b")
                except (OSError, HTTPException) as error:
                    connection.close()
                    seen.failed.append(repr(error))
                else:
                    seen.answered += 1
                    if answer.status != 302:
                        seen.failed.append(repr(answer))

    clients = [Thread(target=client) for _ in range(4)]
    for each in clients:
        each.start()
    try:
        yield seen
    finally:
        stop.set()
        for each in clients:
            each.join()


def test_scaling_while_requests_run(stack: Stack) -> None:
    """Scaling to five and back fails no request, and the new replicas get their part without any other change."""
    with traffic(stack) as seen:
        stack.scale(5)
        replicas = stack.containers("redirect")
        assert len(replicas) == 5
        for replica in replicas:
            until(partial(stack.log_lines, replica), bool, f"a request at the replica {replica}")
        stack.scale(REPLICAS)
        assert len(stack.containers("redirect")) == REPLICAS
        so_far = seen.answered
        until(lambda: seen.answered, lambda answered: answered > so_far + 1000, "answers after scaling back")
    assert seen.failed == []


def test_reload_while_requests_run(stack: Stack) -> None:
    """HUP to all replicas at once gives each new workers and fails no request."""

    def workers() -> set[tuple[str, int]]:
        return {writer for replica in stack.containers("redirect") for writer in writers(stack, replica)}

    before = workers()
    with traffic(stack) as seen:
        stack.compose("kill", "--signal", "HUP", "redirect")
        until(lambda: workers() - before, lambda new: len(dict(new)) == REPLICAS, "records of a new worker of each")
    assert seen.failed == []


def test_crash_while_requests_run(stack: Stack) -> None:
    """A replica that dies and comes back fails no request."""
    replica = stack.containers("redirect")[0]
    with traffic(stack) as seen:
        stack.docker("kill", replica)
        until(lambda: seen.answered, lambda answered: answered > 1000, "answers after the crash")
        before = len(stack.log_lines(replica))
        stack.docker("start", replica)
        until(lambda: len(stack.log_lines(replica)), lambda lines: lines > before, "a request at the restarted replica")
    assert seen.failed == []


def test_prometheus_finds_the_replicas(stack: Stack) -> None:
    """By their name in the network all replicas are found, and each tells its metrics to everybody, and no more."""
    found = stack.scrape()
    assert len(found) == REPLICAS
    for answers in found.values():
        assert answers.pop("requests") > 0
        assert answers == {"/metrics": 200, "/readyz": 200, "/status": 403, "/": 403}


def test_the_image_has_the_compiled_reader(stack: Stack) -> None:
    for container in stack.containers("redirect"):
        assert stack.docker("exec", container, "redirect", "--version").stdout.endswith(", compiled reader\n")


@pytest.mark.parametrize("service", ["redirect", "nginx", "origin-1"])
def test_least_privilege(stack: Stack, service: str) -> None:
    """Containers run without root, have no capabilities, gain none, and not even root can write to their files."""
    for container in stack.containers(service):
        assert stack.docker("exec", container, "id", "-u").stdout.strip() != "0"
        status = stack.docker("exec", container, "cat", "/proc/1/status").stdout
        fields = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}
        assert "0" not in fields["Uid"] + fields["Gid"]
        assert {int(fields[name][0], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}
        assert fields["NoNewPrivs"] == ["1"]
        for place in ("/probe", "/usr/local/bin/probe", "/etc/probe"):
            attempt = stack.docker("exec", "--user", "0", container, "touch", place, check=False)
            assert "Read-only file system" in attempt.stderr
