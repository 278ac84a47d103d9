"""What the kernel tells of a client that is not read."""

import asyncio
import socket
import struct
from collections.abc import Callable

import pytest

from redirect.proxy.untaken import is_reset


def stay(peer: socket.socket) -> None:
    pass


def send_no_more(peer: socket.socket) -> None:
    peer.shutdown(socket.SHUT_WR)


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


async def unread(connection: socket.socket) -> asyncio.Transport:
    """A connection that is not read, with bytes that wait."""
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=connection)
    transport.pause_reading()
    return transport


@pytest.mark.parametrize(
    ("end", "is_so"),
    [
        pytest.param(stay, False, id="open"),
        pytest.param(send_no_more, False, id="half-closed"),
        pytest.param(socket.socket.close, False, id="closed, which may be half"),
        pytest.param(reset, True, id="reset"),
    ],
)
async def test_only_a_reset_tells_that_a_peer_has_left(end: Callable[[socket.socket], None], is_so: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as peer:
        transport = await unread(listener.accept()[0])
        peer.sendall(b"more")
        end(peer)
        await asyncio.sleep(0.02)
        assert is_reset(transport) is is_so
        transport.abort()
        await asyncio.sleep(0.02)
        assert not is_reset(transport)


async def test_a_socket_of_a_path_tells_nothing() -> None:
    here, there = socket.socketpair()
    transport = await unread(here)
    reset(there)
    assert not is_reset(transport)
    transport.abort()
