"""Programs that tests start and end: each listens on a port of its own."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

from support.service import ROOT, wait_for


def uvicorn(app: str, port: int) -> list[str]:
    """The command that serves an app of tests/."""
    folder = str(ROOT / "tests")
    return [sys.executable, "-m", "uvicorn", app, "--app-dir", folder, "--port", str(port), "--log-level", "warning"]


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def ended_process() -> int:
    """The id of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@contextlib.contextmanager
def started(command: list[str], port: int) -> Iterator[None]:
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as process:
        try:
            wait_for(lambda: listens(port) or process.poll() is not None)
            assert process.poll() is None, command
            yield
        finally:
            process.terminate()
