"""How much of what was written to a connection the other side has not taken yet.

The rule: whether a slow peer goes on is seen in the kernel. Its buffer grows to megabytes and has room again in large
steps, so what the event loop still holds stands still for minutes while the peer reads steadily.
"""

import asyncio
import fcntl
import struct
import termios
from contextlib import suppress


def untaken(transport: asyncio.WriteTransport) -> int:
    """Bytes that wait in the event loop, and those in the kernel that are not acknowledged (SIOCOUTQ of tcp(7))."""
    waiting, connection = transport.get_write_buffer_size(), transport.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError, ValueError):  # it is closed
            waiting += struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    return waiting
