"""A server that runs: started on free ports of its own, in a folder and a process group of its own, and
ended with all that it left, however the benchmark ends.

The rule: a server is measured only after it answered a request with a redirect to one of the origins, or with the
origin's 200 if it forwards.
"""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import accounts
import machine
from load import TARGET, MeasurementError
from servers import Server

SECONDS_TO_START = 120
HOST = {"Host": "go.example.com"}

_LOCATION = re.compile(r"http://origin-[\d-]+\.example\.com" + re.escape(TARGET))


class Running:
    def __init__(self, server: Server, process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
        self.name = server.name
        self._forwards = server.forwards
        self.port = port
        self.seconds_to_start = 0.0
        self._process = process
        self.folder = folder

    def cpu_us(self) -> float:
        return accounts.cpu_us(self._process.pid)

    def pss_kib(self) -> int:
        return accounts.pss_kib(self._process.pid)

    def empty_log(self) -> None:
        """All of them append, so the next line comes first again. A minute's worth would be gigabytes."""
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self.folder / "access.log", 0)

    def wait_until_ready(self, url: str) -> None:
        started = time.perf_counter()
        while not _is_ready(url):
            if self._process.poll() is not None or time.perf_counter() - started > SECONDS_TO_START:
                said = (self.folder / "stderr").read_text()
                raise MeasurementError(f"{self.name} does not start:\n{said[-2000:]}")
            time.sleep(0.01)
        self.seconds_to_start = time.perf_counter() - started

    def check(self) -> None:
        status, location = _ask(f"http://127.0.0.1:{self.port}{TARGET}")
        if not (status == 200 if self._forwards else status == 302 and _LOCATION.fullmatch(location)):
            due = "the origin's 200" if self._forwards else "a 302 to an origin"
            raise MeasurementError(f"{self.name} answers {status} with Location {location!r} where {due} is due")

    def end(self) -> None:
        """At once: nothing that it holds is worth the wait for its connections."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def running(server: Server, cores: str = machine.SERVER_CORE) -> Iterator[Running]:
    """The server on `cores`, as taskset(1) spells them."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        port, admin_port = machine.free_ports(2)
        words = {"@FOLDER@": folder, "@PORT@": str(port), "@ADMIN_PORT@": str(admin_port)}
        os.chmod(folder, 0o755)  # noqa: S103  nginx reads files as another user, where root starts it
        for name, text in server.files.items():
            (Path(folder) / name).write_text(_filled(text, words))
        started = Running(server, _start(server, words, cores), Path(folder), int(words["@PORT@"]))
        try:
            started.wait_until_ready(_filled(server.ready, words))
            started.check()
            yield started
        finally:
            started.end()


@contextlib.contextmanager
def all_running(servers: Iterable[Server]) -> Iterator[list[Running]]:
    """Those of them that are installed, all at once; it says which are not."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running(server)) for server in servers if is_installed(server)]


def is_installed(server: Server) -> bool:
    if machine.find(server.program):
        return True
    print(f"left out: {server.name}; to install it: {machine.how_to_install([server.program])}")
    return False


def _start(server: Server, words: dict[str, str], cores: str) -> subprocess.Popen[bytes]:
    program, *arguments = (_filled(word, words) for word in server.command)
    folder = Path(words["@FOLDER@"])
    ours = ("REDIRECT_", "FORWARDED_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    with (folder / "access.log").open("ab") as stdout, (folder / "stderr").open("ab") as stderr:
        return subprocess.Popen(  # noqa: S603  our own words
            ["taskset", "-c", cores, machine.find(program) or program, *arguments],  # noqa: S607
            env=kept | {name: _filled(value, words) for name, value in server.environment.items()},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )


def _filled(text: str, words: dict[str, str]) -> str:
    for word, meaning in words.items():
        text = text.replace(word, meaning)
    return text


def _is_ready(url: str) -> bool:
    try:
        return _ask(url)[0] < 400
    except (OSError, http.client.HTTPException):
        return False


def _ask(url: str) -> tuple[int, str]:
    """Status and Location of the answer."""
    parts = urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(parts.netloc, timeout=10)) as connection:
        connection.request("GET", url.removeprefix(f"http://{parts.netloc}"), headers=HOST)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location", "")
