"""A compose project of its own: brought up under its own name and port, asked, read, taken down.

The rule: nothing of it outlives the session that made it, and nothing in it clashes with a project that runs already.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]

# What the engine says where a container starts processes while it is to be paused, as a health check does; it goes on.
CANNOT_PAUSE = "unable to freeze"
PAUSE_ATTEMPTS = 5

T = TypeVar("T")
AnyProject = TypeVar("AnyProject", bound="ComposeProject")


class ComposeProject:
    """`entrance` is the service whose port 8080 is published; of `services` none means all."""

    def __init__(
        self, name: str, files: Sequence[Path], *, entrance: str, services: Sequence[str] = (), **variables: str
    ) -> None:
        self.project = f"{name}-{secrets.token_hex(4)}"
        self.environment = {**os.environ, **variables}
        self.port = 0
        self._files = [f"--file={each}" for each in files]
        self._entrance = entrance
        self._services = services

    def up(self) -> None:
        self.compose("up", "--detach", "--build", "--quiet-pull", *self._services, timeout=900)
        self.find_port()

    def find_port(self) -> None:
        """Another one when the container was started again."""
        self.port = int(self.compose("port", self._entrance, "8080").split(":")[-1])

    def down(self) -> None:
        try:
            self.compose("down", "--volumes", "--remove-orphans", "--rmi", "local", timeout=120)
        except RuntimeError as error:
            if "has active endpoints" not in str(error) or self._left():
                raise
            # Engines may miscount what is in a network (moby, issue 43286), and keep it, empty, until they restart.
            print(f"an empty network of {self.project} stays until the engine restarts: {error}", file=sys.stderr)

    def compose(self, *arguments: str, timeout: float = 60, stdin: str | None = None) -> str:
        """Standard output of a compose command."""
        command = ("compose", *self._files, "--project-name", self.project, *arguments)
        return self.docker(*command, timeout=timeout, stdin=stdin).stdout

    def docker(
        self, *arguments: str, timeout: float = 60, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        for _ in range(PAUSE_ATTEMPTS):
            done = subprocess.run(
                ["docker", *arguments],
                env=self.environment,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
            if CANNOT_PAUSE not in done.stderr:
                break
        if check and done.returncode:
            raise RuntimeError(f"docker {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")
        return done

    def containers(self, service: str) -> list[str]:
        """Ids of the containers of a service, those that have ended included."""
        return self.compose("ps", "--all", "--quiet", service).split()

    def log_lines(self, container: str) -> list[str]:
        """What a container wrote to standard output; `docker logs`, unlike compose's, keeps it apart from stderr."""
        return self.docker("logs", container).stdout.splitlines()

    def _left(self) -> str:
        """Ids of the project's containers and names of its volumes."""
        label = f"--filter=label=com.docker.compose.project={self.project}"
        kinds = (("ps", "--all"), ("volume", "ls"))
        return "".join(self.docker(*kind, "--quiet", label).stdout for kind in kinds)

    def print_logs(self) -> None:
        """For a start that failed; a container's last lines say why it did not become healthy."""
        print(self.compose("ps", "--all"), file=sys.stderr)
        print(self.compose("logs", "--no-color", "--tail", "100"), file=sys.stderr)

    @contextmanager
    def connect(self) -> Iterator[HTTPConnection]:
        """A connection to the entrance, kept alive."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            yield connection
        finally:
            connection.close()


@contextmanager
def running(project: AnyProject) -> Iterator[AnyProject]:
    """Takes the project down, whatever happens; its logs are shown where a start failed."""
    # A cancelled job of a CI system gets TERM, at which Python would end without another word.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        try:
            project.up()
        except Exception:
            project.print_logs()
            raise
        yield project
    finally:
        project.down()


def until(look: Callable[[], T], enough: Callable[[T], bool], what: str, seconds: float = 30) -> T:
    """What `look` finds as soon as it is enough."""
    deadline = time.monotonic() + seconds
    while not enough(found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}; last found: {found!r:.2000}")
        time.sleep(0.2)
    return found
