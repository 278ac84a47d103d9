"""The access log and the error log of several workers that share a pipe."""

import contextlib
import fcntl
import os
import select
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from support.clients import both_workers
from support.logged import KEYS
from support.service import CLIENT, Running, running, wait_for, workers

pytestmark = pytest.mark.processes


def test_lines_of_workers_do_not_tear(service: Running) -> None:
    """Workers that share standard output write whole lines, each with its own process id."""
    count = len(service.stdout().splitlines())
    seen: set[int] = set()
    for _ in range(20):  # rounds; which worker takes a connection is chance
        with httpx.Client(headers={"User-Agent": "x" * 3000}) as client, ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda n: client.get(f"{service.url}/{n}"), range(200)))
        count += 200
        records = service.records(count)[-200:]
        assert all(list(record)[: len(KEYS)] == KEYS for record in records)
        seen |= {record["worker"] for record in records}
        if len(seen) == 2:
            break
    assert len(seen) == 2


def test_a_service_whose_logs_nobody_reads(tmp_path: Path) -> None:
    """With both logs in one pipe that is full, requests are answered, workers replaced, and a stop is obeyed."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    command = ("bash", "-c", 'exec "$0" -m redirect serve > "$1" 2>&1', sys.executable, str(path))
    with running(tmp_path, command=command) as service:
        killed = min(both_workers(service))
        for _ in range(100):  # more than the pipe has room for
            assert CLIENT.get(service.url).status_code == 302
        room = select.poll()
        room.register(writing, select.POLLOUT)
        wait_for(lambda: not room.poll(0))
        with contextlib.suppress(BlockingIOError):  # short messages may find room behind the last line
            while os.write(writing, b"\n"):
                pass
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: len(workers(service) - {killed}) == 2)
        assert service.stop() == 0
    for end in (reading, writing):
        os.close(end)
