"""The wall clock: set back or forward while the service runs, it changes what the time is called, and nothing else."""

import http.client
import json
import mmap
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
from support.clients import both_workers
from support.service import CLIENT, NEW, Running, patched, put_in_force, running, status, wait_for, workers
from support.wire import head

# Seconds within which a worker that hangs is reported.
SEEN_SECONDS = 5

HOUR = 3600

# The service, whose wall clock is late or early by as many seconds as the first eight bytes of a file say: nobody but
# the machine's owner may set the real one.
SERVICE = """
import datetime, mmap, sys, time
with open(sys.argv[1], "r+b") as file:
    shift = memoryview(mmap.mmap(file.fileno(), 8)).cast("q")
right, right_ns, Right = time.time, time.time_ns, datetime.datetime
time.time = lambda: right() + shift[0]
time.time_ns = lambda: right_ns() + shift[0] * 10**9
class Shifted(Right):
    @classmethod
    def now(cls, tz=None):
        return Right.now(tz) + datetime.timedelta(seconds=shift[0])
datetime.datetime = Shifted
"""

LAST = head("POST /last HTTP/1.1", "Transfer-Encoding: chunked")


class Clock:
    """The wall clock of a service."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._shift = memoryview(mmap.mmap(opened.fileno(), 8)).cast("q")

    def set(self, seconds: int) -> None:
        """Sets it to so many seconds more than it is."""
        self._shift[0] += seconds

    def differs(self, then: datetime) -> float:
        """Seconds between that time and its own."""
        return abs(then.timestamp() - time.time() - self._shift[0])


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "shift")


@pytest.fixture
def service(tmp_path: Path, clock: Clock) -> Iterator[Running]:
    with running(tmp_path, command=patched(SERVICE, str(tmp_path / "shift"))) as service:
        both_workers(service)
        yield service


def requests(service: Running) -> int:
    """How many there were in all, as told to Prometheus."""
    lines = CLIENT.get(f"{service.admin_url}/metrics").text.splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("redirect_requests_total{"))


@pytest.mark.parametrize("hours", [-1, 1], ids=["back", "forward"])
def test_a_clock_that_is_set(hours: int, service: Running, clock: Clock) -> None:
    """Set by an hour, no worker dies, what is counted goes on, durations are what they were, lines and answers have
    the new time, a changed TOML is found, and the page shows what happens now."""
    before, counted = workers(service), 100
    with httpx.Client() as client:
        for _ in range(counted):
            client.get(service.url)
        clock.set(hours * HOUR)
        answers = [client.get(service.url, headers={"X-Request-ID": f"after-{n}"}) for n in range(counted)]
        wait_for(lambda: clock.differs(parsedate_to_datetime(client.get(service.url).headers["date"])) < HOUR / 2)
    assert {answer.status_code for answer in answers} == {302}
    wait_for(lambda: f"after-{counted - 1}" in service.stdout())
    records = [json.loads(line) for line in service.stdout().splitlines()]
    assert max(record["duration_us"] for record in records) < HOUR * 1e6 / 2
    assert min(record["duration_us"] for record in records) >= 0
    later = [record for record in records if record["request_id"].startswith("after")]
    assert len(later) == counted
    assert all(clock.differs(datetime.fromisoformat(record["time"])) < HOUR / 2 for record in later)
    wait_for(lambda: requests(service) >= 2 * counted)

    # What is written now has a time that the service takes for one that is long past, or still to come.
    put_in_force(service, NEW)
    assert clock.differs(datetime.fromisoformat(status(service)["configuration"]["loaded_at"])) < HOUR / 2
    assert CLIENT.get(service.admin_url).status_code == 200

    time.sleep(SEEN_SECONDS)
    assert workers(service) == before
    assert all(worker["last_seen"] < SEEN_SECONDS for worker in status(service)["workers"])
    assert "heartbeat" not in service.stderr()
    assert "Traceback" not in service.stderr()


def test_a_clock_that_is_set_during_a_stop(service: Running, clock: Clock) -> None:
    """A stop takes as long as it may, by no clock that can be set: who is in the middle of a request is answered."""
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)) as client:
        client.connect()
        client.sock.sendall(LAST)
        wait_for(lambda: sum(worker["connections"] for worker in status(service)["workers"]) == 1)
        service.process.terminate()
        wait_for(lambda: "Handling signal: term" in service.stderr())
        clock.set(HOUR)
        time.sleep(0.5)  # in which gunicorn looks a few times whether it has waited long enough
        client.sock.sendall(b"0\r\n\r\n")
        assert client.sock.recv(4096).startswith(b"HTTP/1.1 302 ")
    assert service.process.wait(30) == 0
