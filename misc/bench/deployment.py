"""The deployment: our nginx.conf in front of one worker, as users run it, and CPU time of both.

The peer has the same nginx in front, and the nginx that redirects by itself behind it. All are on one core, wrk on the
other.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import machine
import servers
from figures import ratio
from load import CONNECTIONS, NEVER, wrk
from rounds import Run, cell, subjects, values
from running import Running, is_installed, running
from scale import Scale
from servers import Server
from table import Table

NGINX_CONF = servers.HERE.parents[1] / "nginx.conf"
FRONT, BEHIND, BOTH = "nginx in front", "behind it", "both"
PARTS = (FRONT, BEHIND, BOTH)
OURS, PEER = "Redirect", "nginx"

# From what nginx.conf says in compose to what it says here. Debian's nginx does not know its newest line, and has
# another default where the connections to the replicas are kept (since 1.29.7).
_HERE = {
    r"\A": "daemon off;\n",
    r"worker_processes auto;": "worker_processes 1;",
    r"/dev/stdout": "@FOLDER@/access.log",
    r"/tmp/": "@FOLDER@/",  # noqa: S108  of the container
    r"\n    resolver .*": "",
    r"server redirect:8080 resolve": "server 127.0.0.1:@REPLICA@",
    r"listen 8080;": "listen 127.0.0.1:@PORT@ backlog=4096;",
    r"\n +proxy_redirect off;": r'\n        proxy_http_version 1.1;\n        proxy_set_header Connection "";\g<0>',
    r"listen 127.0.0.1:8081;": "listen 127.0.0.1:@ADMIN_PORT@;",
    r"\n *keepalive_min_timeout .*": "",
}

NOTE = """\
Medians (lowest-highest) of all rounds, heads that never repeat. In front: CPU time of our nginx.conf, one process.
Behind it: one worker of Redirect, or the nginx that redirects by itself. All share a core."""


class Deployment(NamedTuple):
    name: str
    front: Running
    behind: Running


def in_front_of(name: str, port: int) -> Server:
    """nginx with our nginx.conf, and with what listens on `port` as its only replica."""
    text = NGINX_CONF.read_text()
    for pattern, here in _HERE.items():
        text, count = re.subn(pattern, here, text)
        if not count:
            raise ValueError(f"nginx.conf has no {pattern!r} any more: change what the benchmark makes of it")
    text = text.replace("@REPLICA@", str(port))
    return Server(f"nginx in front of {name}", tuple(servers.NGINX_COMMAND.split()), {"nginx.conf": text})


def measure(scale: Scale) -> list[Run]:
    if not is_installed(servers.NGINX):
        return []
    with (
        running(servers.OURS) as ours,
        running(servers.NGINX) as peer,
        running(in_front_of(ours.name, ours.port)) as front_of_ours,
        running(in_front_of(peer.name, peer.port)) as front_of_peer,
    ):
        deployments = Deployment(OURS, front_of_ours, ours), Deployment(PEER, front_of_peer, peer)
        return [run for number in range(scale.rounds) for run in _round(deployments, number + 1, scale)]


def _round(deployments: Iterable[Deployment], number: int, scale: Scale) -> list[Run]:
    print(f"  round {number} of {scale.rounds}", flush=True)
    return [run for deployment in deployments for run in _fire(deployment, scale.seconds)]


def _fire(deployment: Deployment, seconds: int) -> list[Run]:
    name, front, behind = deployment
    before = front.cpu_us(), behind.cpu_us()
    seen = wrk(front.port, NEVER, seconds, CONNECTIONS, machine.LOAD_CORE)
    in_front, at_replica = front.cpu_us() - before[0], behind.cpu_us() - before[1]
    front.empty_log()
    behind.empty_log()
    rate = seen.requests / seen.seconds
    return [
        Run(name, part, cpu_us / seen.requests, rate, seen.p50_ms, seen.p99_ms, cpu_us / 1e6 / seen.seconds)
        for part, cpu_us in zip(PARTS, (in_front, at_replica, in_front + at_replica), strict=True)
    ]


def table(runs: Sequence[Run]) -> Table:
    rows = [
        (
            subject,
            *(str(cell(runs, "cpu_us", subject, part)) for part in PARTS),
            *(str(cell(runs, metric, subject, BOTH)) for metric in ("requests_per_s", "p50_ms", "p99_ms")),
        )
        for subject in subjects(runs)
    ]
    note = NOTE
    if {OURS, PEER} <= {*subjects(runs)}:
        parts = {part: ratio(values(runs, "cpu_us", OURS, part), values(runs, "cpu_us", PEER, part)) for part in PARTS}
        note += f"\nOurs in parts of nginx's, by round: {parts[BEHIND]} behind it, {parts[BOTH]} in all."
    header = ("behind nginx", *(f"{part}, µs" for part in PARTS), "redirects/s", "p50, ms", "p99, ms")
    return Table("CPU time per redirect of both", header, rows, note)
