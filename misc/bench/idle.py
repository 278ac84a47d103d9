"""Idle connections: what an open one costs the server's memory while nothing happens on it.

What the kernel keeps for a socket is not in it; that is the same for every server.
"""

import contextlib
import socket
from dataclasses import dataclass

import machine
import servers
from figures import number
from load import TARGET
from running import running
from scale import Scale
from table import Table

REQUEST = f"GET {TARGET} HTTP/1.1\r\nHost: go.example.com\r\n\r\n".encode()
SPARE = 512  # files that processes need for other things
FIRST = 100  # connections that pay for what the server makes once


@dataclass(frozen=True)
class Idle:
    connections: int
    kib: float  # of one


def measure(scale: Scale) -> Idle:
    count = min(scale.idle_connections, machine.allow_open_files() - SPARE)
    with running(servers.OURS) as server, contextlib.ExitStack() as clients:
        _open(clients, server.port, FIRST)
        before = server.pss_kib()
        _open(clients, server.port, count - FIRST)
        return Idle(count, (server.pss_kib() - before) / (count - FIRST))


def _open(clients: contextlib.ExitStack, port: int, count: int) -> None:
    """Opens connections that each make one request and stay."""
    for _ in range(count):
        client = clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        client.sendall(REQUEST)
        assert client.recv(4096).startswith(b"HTTP/1.1 302 ")


def table(measured: Idle) -> Table:
    rows = [(f"{measured.connections:,}", number(measured.kib))]
    note = "Each made one request before. Memory of the processes, without what the kernel keeps for a socket."
    return Table("Idle connections", ("open at once", "KiB for each"), rows, note)
