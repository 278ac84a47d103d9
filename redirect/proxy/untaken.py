"""What only the kernel knows of a connection: what the other side has not taken yet, and that it has gone unread.

The rule: whether a slow peer goes on is seen in the kernel. Its buffer grows to megabytes and has room again in large
steps, so what the event loop still holds stands still for minutes while the peer reads steadily. That a peer has reset
its connection the event loop sees where it reads or writes, and not while both rest.
"""

import asyncio
import fcntl
import socket
import struct
import termios
from contextlib import suppress

# The first byte of the kernel's answer to TCP_INFO, of a connection that is no more: TCP_CLOSE of tcp_states.h.
_CLOSED = b"\x07"


def untaken(transport: asyncio.WriteTransport) -> int:
    """Bytes that wait in the event loop, and those in the kernel that are not acknowledged (SIOCOUTQ of tcp(7))."""
    waiting, connection = transport.get_write_buffer_size(), transport.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError, ValueError):  # it is closed
            waiting += struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    return waiting


def is_reset(transport: asyncio.BaseTransport) -> bool:
    """Whether the peer has reset the connection, or was given up; not where it only sends no more, or is no TCP."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError, ValueError):  # it is closed here, or of another kind
            return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == _CLOSED)
    return False
