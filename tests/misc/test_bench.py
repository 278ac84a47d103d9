"""The benchmark: what it makes of figures, and what it tells the servers. None is started here."""

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from subprocess import PIPE

import pytest
from support.logged import KEYS
from support.service import ROOT

sys.path.insert(0, str(ROOT / "misc" / "bench"))  # scripts beside each other, as `python misc/bench/bench.py` has them

import accounts
import deployment
import gateways
import pools
import proxies
import pure_python
import results
import servers
from comparison import GOALS, SERVERS, WORKLOADS, Comparison
from figures import number, ratio, spread, verdict
from load import MeasurementError, Seen, parse
from results import Results, page
from rounds import Run, cases, subjects, values
from support.toml import load
from table import Table
from tunnels import Tunnels

from redirect.config.loader import parse_config

PROXIES = {server.name: server for server in proxies.forwarding_to(9)}

REPORT = """\
Running 2s test @ http://127.0.0.1:40123/endpoint/path?x=1&y=2
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   524.56us  217.36us   4.43ms   83.86%
    Req/Sec   120.08k    11.31k  134.87k    50.00%
  Latency Distribution
     50%  599.00us
     75%  700.00us
     90%    0.90ms
     99%    1.62ms
  208784 requests in 2.10s, 24.30MB read
Requests/sec: 104392.00
Transfer/sec:     24.25MB
"""


def test_the_report_of_wrk() -> None:
    """Units of a report are its own; ours are seconds and milliseconds."""
    assert parse(REPORT) == pytest.approx(Seen(208784, 2.1, 0.599, 1.62))


@pytest.mark.parametrize(
    ("report", "message"),
    [
        pytest.param(REPORT + "  Non-2xx or 3xx responses: 3\n", "Non-2xx or 3xx responses: 3", id="no redirects"),
        pytest.param(
            REPORT + "  Socket errors: connect 0, read 1, write 0, timeout 0\n", "read 1", id="a connection is reset"
        ),
        pytest.param(REPORT.replace("208784", "0"), "nothing came back", id="no answer at all"),
        pytest.param("unable to connect", "nothing came back", id="no report"),
        pytest.param(REPORT.replace("99%", "98%"), "has no 99%", id="no p99"),
    ],
)
def test_reports_that_do_not_count(report: str, message: str) -> None:
    """A run in which anything but redirects came back is no measurement."""
    with pytest.raises(MeasurementError, match=re.escape(message)):
        parse(report)


def test_ratios_are_paired() -> None:
    """A round that is slow for both servers does not change their ratio."""
    assert ratio([10, 30, 12], [20, 60, 20]) == (0.5, 0.5, 0.6)
    assert spread([3, 1, 2]) == (2, 1, 3)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(0.0512, "0.05", id="small"),
        pytest.param(8.126, "8.13", id="below ten"),
        pytest.param(9.996, "10.0", id="ten when rounded"),
        pytest.param(33.333, "33.3", id="below a hundred"),
        pytest.param(99.96, "100", id="a hundred when rounded"),
        pytest.param(104392.4, "104,392", id="large"),
    ],
)
def test_numbers(value: float, shown: str) -> None:
    """A figure has the digits that it bears, and is never in powers of ten."""
    assert number(value) == shown


def test_spreads() -> None:
    """The lowest and the highest stand beside a median, unless there was one round only."""
    assert str(spread([8.2, 8, 9])) == "8.20 (8.00-9.00)"
    assert str(spread([8])) == "8.00"


def test_verdicts() -> None:
    """A limit that is reached exactly is met."""
    assert [verdict(value, 0.95) for value in (0.94, 0.95, 0.951)] == ["met", "met", "missed"]


def test_a_table() -> None:
    """A table is Markdown, and padded, so that it reads well as it is."""
    table = Table("Costs", ("server", "µs"), [("nginx", "8.30"), ("Caddy", "33.0")], "Medians.")
    assert table.markdown() == (
        "### Costs\n\n| server |   µs |\n| ------ | ---: |\n| nginx  | 8.30 |\n| Caddy  | 33.0 |\n\nMedians.\n"
    )


def run(subject: str, case: str, cpu_us: float) -> Run:
    return Run(subject, case, cpu_us, 1e6 / cpu_us, 0.5, 1.5, 0.99)


def test_values_by_round() -> None:
    """What a subject took in a case comes in the order of the rounds, its names in the order of the first."""
    runs = [run("a", "x", 1), run("b", "x", 2), run("a", "y", 3), run("a", "x", 4)]
    assert values(runs, "cpu_us", "a", "x") == [1, 4]
    assert (subjects(runs), cases(runs)) == (["a", "b"], ["x", "y"])


def test_the_page() -> None:
    """The page says how it was made, and which goals are met; a server that was left out has no row."""
    pure = servers.PURE_PYTHON.name
    costs = {servers.OURS.name: 8, pure: 19, servers.STARLETTE.name: 32, servers.NGINX.name: 10, servers.CADDY.name: 40}
    runs = [run(name, workload.name, cost) for workload in WORKLOADS for name, cost in costs.items()]
    memory = dict.fromkeys(costs, 40 * 1024)
    written = page(
        Results({"comparison": {"command": "python bench.py", "CPU": "a fast one"}}, Comparison(runs, memory))
    )
    assert "## Comparison\n\n- command: python bench.py\n- CPU: a fast one\n" in written
    for goal in (
        r"Redirect +\| nginx, JSON log +\| bare +\| +0\.95 \| +0\.80",
        r"Redirect +\| Redirect, Starlette front \| bare +\| +0\.30 \| +0\.25",
        r"Redirect, pure Python \| nginx, JSON log +\| never +\| +1\.90 \| +1\.90",
    ):
        assert re.search(rf"^\| {goal} +\| +met \|$", written, re.MULTILINE)
    assert "HAProxy" not in written
    assert "## Growth" not in written


def test_goals_are_measured() -> None:
    """Each goal is about a server and a workload of the comparison."""
    assert {name for goal in GOALS for name in (goal.subject, goal.against)} <= {server.name for server in SERVERS}
    assert {goal.workload for goal in GOALS} <= set(WORKLOADS)


@pytest.mark.processes
def test_the_service_in_pure_python() -> None:
    """The row without compiled modules has none, also where they are installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    built = {module["name"] for module in project["tool"]["setuptools"]["ext-modules"]}
    assert set(pure_python.COMPILED) == built
    command = (*servers.PURE_PYTHON.command[:-1], "--version")
    shown = subprocess.run(command, stdout=PIPE, text=True, check=True, timeout=30).stdout
    assert shown.endswith("Python reader\n")


def test_the_page_of_the_deployment() -> None:
    """Ours is set against the same nginx in front of one that redirects itself."""
    costs = {deployment.OURS: (30, 20), deployment.PEER: (30, 10)}
    runs = [
        run(name, part, cost)
        for name, (front, behind) in costs.items()
        for part, cost in zip(deployment.PARTS, (front, behind, front + behind), strict=True)
    ]
    written = page(Results({"deployment": {}}, deployment=runs))
    assert re.search(r"^\| Redirect +\| +30\.0 \| +20\.0 \| +50\.0 \| +20,000 \|", written, re.MULTILINE)
    assert "by round: 2.00 behind it, 1.25 in all" in written.replace("\n", " ")


def test_the_deployment_has_our_nginx_conf() -> None:
    """As it is, but for one replica on a port of this machine, files in a folder, and what old versions do not know."""
    conf = deployment.in_front_of("Redirect", 9).files["nginx.conf"]
    changed = {*conf.splitlines()} - {*(ROOT / "nginx.conf").read_text().splitlines()}
    words = (
        "@FOLDER@",
        "@PORT@",
        "@ADMIN_PORT@",
        "127.0.0.1:9 ",
        "daemon off;",
        "worker_processes 1;",
        "1.1;",
        'Connection "";',
    )
    assert all(any(word in line for line in changed) for word in words)
    assert all(any(word in line for word in words) for line in changed)
    assert not re.search(r"redirect:8080|^\s*resolver", conf, re.MULTILINE)


def test_the_page_of_forwarding() -> None:
    """A goal of a rate is met from its limit on, one of a cost up to it."""
    names = {case.name for case in gateways.WORKLOADS}
    runs = [run(name, case, cost) for case in names for name, cost in {proxies.OURS: 14, proxies.NGINX: 10}.items()]
    tunnels = [Tunnels(proxies.OURS, 1000, 20.0), Tunnels(proxies.NGINX, 1000, 25.0)]
    written = page(Results({"forwarding": {}, "tunnels": {}}, forwarding=runs, tunnels=tunnels))
    assert re.search(r"^\| CPU per request +\| nginx +\| never +\| ≤ 1\.40 \| +1\.40 .* met \|$", written, re.MULTILINE)
    assert re.search(r"^\| rate +\| nginx +\| 1 MiB +\| ≥ 1\.00 \| +0\.71 .* missed \|$", written, re.MULTILINE)
    assert "Envoy" not in written
    assert re.search(r"^\| Redirect +\| 20\.0 \| +met \|$", written, re.MULTILINE)


def test_goals_of_forwarding_are_measured() -> None:
    """Each goal is about a proxy and a workload of the part."""
    assert {goal.against for goal in gateways.GOALS} <= PROXIES.keys()
    assert {goal.workload for goal in gateways.GOALS} == {case.name for case in gateways.WORKLOADS}


def test_our_own_file_forwards_to_the_origin() -> None:
    """The TOML of the part is one that the service takes."""
    config = parse_config(PROXIES[proxies.OURS].files["pools.toml"].encode(), "pools.toml")
    assert [origin.name for origin in config.pools["origin"].origins] == ["127.0.0.1:9"]


@pytest.mark.parametrize("kind", pools.WEIGHTS)
def test_a_large_pool(kind: str) -> None:
    """A generated TOML is one that the service takes, and the same each time."""
    text = pools.toml({"pool-0": pools.large(100, kind), "pool-1": pools.large(3, kind)})
    config = parse_config(text.encode(), "pools.toml")
    assert [len(pool.origins) for pool in config.pools.values()] == [100, 3]
    assert config.default is config.pools["pool-0"]
    assert text == pools.toml({"pool-0": pools.large(100, kind), "pool-1": pools.large(3, kind)})


def test_many_pools() -> None:
    """Pools are numbered, as the load asks for them, and no origin is in two of them."""
    written = tomllib.loads(pools.toml(pools.many(1000)))
    assert list(written) == [f"pool-{number}" for number in range(1000)]
    assert len({host for pool in written.values() for host in pool["weighted_hosts"]}) == 3000


def test_nginx_has_our_shares() -> None:
    """nginx picks from the pools of our TOML with the shares that we give them."""
    text = servers.NGINX.files["nginx.conf"]
    blocks = re.findall(r"split_clients \S+ \$origin_(\w) \{(.*?)\}", text, re.DOTALL)
    for letter, block in blocks:
        config = load(servers.CONFIGURATIONS / "pools.toml")
        rows = re.findall(r"(\S+)\s+(\S+);", block)
        given = {host: float(share.rstrip("%")) for share, host in rows[:-1]}
        given[rows[-1][1]] = 100 - sum(given.values())
        wanted = {origin.name: 100 * share for origin, share in config.pools[f"pool-{letter}"].shares()}
        assert given == pytest.approx(wanted, abs=0.01)
    assert len(blocks) == 3


def test_haproxy_has_our_shares() -> None:
    """HAProxy draws from as many numbers as the weights sum up to, and an origin has as many as its weight."""
    config = load(servers.CONFIGURATIONS / "pools.toml")
    for name, pool in config.pools.items():
        backend = servers.HAPROXY.files["haproxy.cfg"].partition(f"\nbackend {name}\n")[2].partition("backend")[0]
        numbers = re.findall(r"rand\((\d+)\)", backend)
        firsts = [0, *map(int, re.findall(r"-m int ge (\d+)", backend)), *map(int, numbers)]
        hosts = re.findall(r"str\((\S+)\)", backend)
        weights = [end - first for first, end in pairwise(firsts)]
        assert list(zip(hosts, weights, strict=True)) == [(origin.name, origin.weight) for origin in pool.origins]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(servers.NGINX.files["nginx.conf"], id="nginx"),
        pytest.param(servers.HAPROXY.files["haproxy.cfg"], id="HAProxy"),
        pytest.param(PROXIES["nginx"].files["nginx.conf"], id="nginx as a proxy"),
        pytest.param(PROXIES["HAProxy"].files["haproxy.cfg"], id="HAProxy as a proxy"),
    ],
)
def test_they_log_what_we_log(text: str) -> None:
    """What nginx and HAProxy log of a request has the keys of our access record, in its order."""
    assert re.findall(r'"(\w+)":', text) == list(KEYS)


@pytest.mark.parametrize(
    "server", [pytest.param(server, id=server.name) for server in SERVERS if server.name.endswith("no log")]
)
def test_without_a_log(server: servers.Server) -> None:
    """A server whose log is off is told of none."""
    (text,) = server.files.values()
    assert "access.log" not in text
    assert "log global" not in text


# Uses 50 ms of CPU time for each line that it reads, and writes one then.
WORKING = """
import sys, time
for line in sys.stdin:
    end = time.process_time() + 0.05
    while time.process_time() < end: pass
    print(flush=True)
"""


@pytest.mark.processes
def test_processes_of_a_group() -> None:
    """The account of a group holds what its processes had, and grows as they work; of no process it is 0."""
    command = [sys.executable, "-c", WORKING]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, bufsize=1, process_group=0) as process:
        assert process.stdin
        assert process.stdout
        seen = []
        for _ in range(2):
            process.stdin.write("\n")
            process.stdout.readline()
            seen.append(accounts.cpu_us(process.pid))
        assert seen[0] > 30_000
        assert seen[1] - seen[0] > 30_000
        assert accounts.pss_kib(process.pid) > 1024
    assert accounts.cpu_us(0x7FFFFFFF) == accounts.pss_kib(0x7FFFFFFF) == 0


def test_what_ends_while_it_is_looked_at_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process before its group is read or after, and a thread; of a kernel without schedstat there are ticks."""
    stat = f"1 (a) b) S 0 77{' 0' * 8} 2 1 0"
    for name, text in {
        "1/stat": stat,
        "1/task/1/schedstat": "5000 0 1",
        "1/task/2/stat": stat,
        "1/smaps_rollup": "Pss:   12 kB\n",
        "2/stat": stat,
    }.items():
        tmp_path.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        tmp_path.joinpath(name).write_text(text)
    for gone in ("3", "1/task/3"):
        tmp_path.joinpath(gone).symlink_to("gone")
    monkeypatch.setattr(accounts, "PROC", tmp_path)
    assert accounts.cpu_us(77) == (5000 + 3 * accounts.TICK_NS) / 1e3
    assert accounts.pss_kib(77) == 12


@pytest.mark.parametrize("error", accounts.ENDED)
def test_a_process_that_ends_while_its_file_is_read(error: type[OSError], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has had no time and no memory."""

    def fail(path: Path) -> str:
        raise error(path)

    monkeypatch.setattr(accounts, "_processes", lambda group: [accounts.PROC / "self"])
    monkeypatch.setattr(Path, "read_text", fail)
    assert accounts.cpu_us(77) == accounts.pss_kib(77) == 0


def test_parts_that_are_not_measured_again_stay(tmp_path: Path) -> None:
    """With when and on what they were made."""
    kept = results.read(servers.HERE / "results")
    tmp_path.joinpath("results.json").write_text(json.dumps(asdict(kept)))
    assert results.read(tmp_path) == kept
    assert page(kept) == (servers.HERE / "results" / "results.md").read_text()
    assert results.read(tmp_path / "none") == Results({})


def test_the_documents_show_the_results() -> None:
    """The tables of docs/operations.md on speed are of the results that are kept; README's is the beginning of one."""
    results = (servers.HERE / "results" / "results.md").read_text()
    section = (ROOT / "docs" / "operations.md").read_text().partition("## Speed")[2]
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert len(tables) == 2
    assert all(shown in results for shown in tables)
    (in_readme,) = re.findall(r"^\| server .*\n(?:\|.*\n)+", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert tables[0].startswith(in_readme)
