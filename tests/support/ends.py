"""Both ends of what a process may have as standard output or error, the one to read first."""

import contextlib
import os
import socket


def sockets() -> tuple[int, int]:
    reading, writing = socket.socketpair()
    return reading.detach(), writing.detach()


def drain(reading: int) -> bytes:
    """What can be read now."""
    os.set_blocking(reading, False)
    found = b""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(reading, 65536):
            found += piece
    return found
