"""Concurrency: how long an answer takes while more and more connections ask at once."""

from dataclasses import dataclass

import servers
from load import BARE
from rounds import Run, Shot, alternate, cases, cell, subjects
from running import all_running
from scale import Scale
from table import Table

SERVERS = (servers.OURS, servers.STARLETTE, servers.NGINX, servers.HAPROXY, servers.CADDY)
METRICS = {"p50_ms": "p50, ms", "p99_ms": "p99, ms", "requests_per_s": "redirects/s"}


@dataclass(frozen=True)
class Concurrency:
    runs: list[Run]  # a case is a number of connections


def measure(scale: Scale) -> Concurrency:
    with all_running(SERVERS) as started:
        shots = [
            Shot(server, server.name, str(connections), BARE, connections)
            for connections in scale.connections
            for server in started
        ]
        return Concurrency(alternate(shots, scale.connections_rounds, scale.seconds))


def tables(measured: Concurrency) -> list[Table]:
    return [_table(measured.runs, metric, unit) for metric, unit in METRICS.items()]


def _table(runs: list[Run], metric: str, unit: str) -> Table:
    rows = [(subject, *(str(cell(runs, metric, subject, case)) for case in cases(runs))) for subject in subjects(runs)]
    return Table(f"Connections that ask at once: {unit}", ("server", *cases(runs)), rows, "The bare request.")
