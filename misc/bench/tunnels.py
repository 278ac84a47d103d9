"""Idle tunnels: what a proxy's processes need of memory for one, after an upgrade and one message each way.

A tunnel takes two descriptors of a proxy, so the limit of descriptors bounds how many there are. What the kernel keeps
for sockets is not in it; that is the same for every proxy.
"""

import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import machine
from figures import number, verdict
from load import MeasurementError
from proxies import OURS, TUNNEL_ORIGIN, forwarding_to
from running import is_installed, running
from scale import Scale
from servers import Server
from table import Table

UPGRADE = (
    b"GET /tunnel HTTP/1.1\r\nHost: go.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"  # RFC 6455, section 1.3
)
MESSAGE = b"\x89\x00"  # a ping
SPARE = 512  # files that processes need for other things
LIMIT_KIB = 20.0  # of one of ours, the goal
FIRST = 100  # tunnels that pay for what the server makes once


@dataclass(frozen=True)
class Tunnels:
    subject: str
    count: int
    kib: float  # of one


def measure(scale: Scale) -> list[Tunnels]:
    count = min(scale.tunnels, (machine.allow_open_files() - SPARE) // 2)
    with running(TUNNEL_ORIGIN, machine.LOAD_CORE) as origin:
        return [_through(server, count) for server in forwarding_to(origin.port) if is_installed(server)]


def table(measured: Sequence[Tunnels]) -> Table:
    rows = [(each.subject, number(each.kib), _verdict(each)) for each in measured]
    note = (
        f"PSS of all processes of a proxy per tunnel, of {measured[0].count:,} that are idle; what the kernel keeps of "
    )
    note += "sockets is not in it, and is the same for all."
    return Table("Idle tunnels", ("proxy", "KiB", f"< {number(LIMIT_KIB)}"), rows, note)


def _verdict(tunnels: Tunnels) -> str:
    return verdict(tunnels.kib, LIMIT_KIB) if tunnels.subject == OURS else ""


def _through(server: Server, count: int) -> Tunnels:
    print(f"  tunnels: {count:,} through {server.name}", flush=True)
    with running(server) as proxy, contextlib.ExitStack() as clients:
        _open(clients, proxy.port, FIRST)
        before = proxy.pss_kib()
        _open(clients, proxy.port, count - FIRST)
        return Tunnels(server.name, count, (proxy.pss_kib() - before) / (count - FIRST))


def _open(clients: contextlib.ExitStack, port: int, count: int) -> None:
    for _ in range(count):
        client = clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        client.sendall(UPGRADE)
        with client.makefile("rb") as answer:
            line = answer.readline()
            if not line.startswith(b"HTTP/1.1 101 "):
                raise MeasurementError(f"{line!r} came where a tunnel is due")
            while answer.readline().strip():
                pass
            client.sendall(MESSAGE)
            if (came := answer.read(len(MESSAGE))) != MESSAGE:
                raise MeasurementError(f"{came!r} came through a tunnel where {MESSAGE!r} is due")
