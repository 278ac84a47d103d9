"""The profile `logs` on a real engine: replicas, docker's files, syslog-ng, and ClickHouse's engine behind HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from support.compose import ROOT, ComposeProject, running, until
from support.log_lines import line, run

from .engine import PASSWORD, Engine

TIME = '"time":"2026-11-28T00:00:00.000Z"'
BROKEN = [  # each would be read on in the line behind it, or ClickHouse would refuse all that it came with
    "hello",
    "{}",
    "[1,2]",
    "",
    'x"y',
    "\\",
    '{"a":"unterminated',
    '{"a":1}',
    f'{{{TIME},"status":302,"path":"/torn',
    f'{{{TIME},"status":302,"path":"/torn}}',
    f'{{{TIME},"a":"\\"}}',
    f'{{{TIME},"a":{{"b":1}}',
    f'{{{TIME},"status":302}}{{{TIME},"status":302}}',
    f'{{{TIME},"a":{"[" * 2000}{"]" * 2000}}}',
    f'{{{TIME},"status":"abc"}}',
    '{"time":99999999999999999999999,"status":302}',
]

SERVICES = ("redirect", "nginx", "collector")


class Stack(ComposeProject):
    """Three replicas and the collector, which sends to `engine` on this machine."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(
            "redirect-logs",
            [ROOT / "docker-compose.yml", ROOT / "tests/logs/docker-compose.yml"],
            entrance="nginx",
            services=SERVICES,
            COMPOSE_PROFILES="logs",  # without it the collector would not be taken down
            REDIRECT_PORT="0",
            CLICKHOUSE_PASSWORD=PASSWORD,
            CLICKHOUSE_URL=f"http://host.docker.internal:{engine.port}",
        )
        root = self.docker("info", "--format", "{{.DockerRootDir}}").stdout.strip()
        self.environment["DOCKER_CONTAINERS"] = f"{root}/containers"

    def kill_collector(self) -> None:
        self.docker("kill", "--signal", "KILL", *self.containers("collector"))

    def start_collector(self) -> None:
        self.docker("start", *self.containers("collector"))


@pytest.fixture(scope="module")
def stack(engine: Engine) -> Iterator[Stack]:
    with running(Stack(engine)) as stack:
        yield stack


class Client(Thread):
    """Asks for /MARK/1, /MARK/2, … until it is stopped."""

    def __init__(self, stack: Stack, mark: str) -> None:
        super().__init__()
        self._stack, self._mark, self._is_over = stack, mark, Event()
        self.statuses: list[int] = []

    def run(self) -> None:
        with self._stack.connect() as connection:
            while not self._is_over.wait(0.002):
                connection.request(
                    "GET", f"/{self._mark}/{len(self.statuses)}", headers={"X-Redirect-Pool-ID": "pool-a"}
                )
                response = connection.getresponse()
                response.read()
                self.statuses.append(response.status)

    def stop(self) -> int:
        self._is_over.set()
        self.join()
        return len(self.statuses)


def found(engine: Engine, prefix: str) -> int:
    return int(engine.ask(f"SELECT count() FROM access WHERE startsWith(path, '{prefix}')"))


def test_all_lines_arrive_once_whatever_is_killed(stack: Stack, engine: Engine) -> None:
    """Collector and database, one while the other is away, too. No request notices. What is asked of the lines of all
    replicas has the same answer there as of what docker has."""
    client = Client(stack, "killed")
    client.start()
    until(lambda: found(engine, "/killed/"), lambda number: number > 100, "lines")
    stack.kill_collector()
    stack.start_collector()
    seen = found(engine, "/killed/")
    until(lambda: found(engine, "/killed/"), lambda number: number > seen + 100, "lines")
    engine.kill()
    seen = len(client.statuses)
    until(lambda: len(client.statuses), lambda number: number > seen + 500, "requests while there is no database")
    stack.kill_collector()
    stack.start_collector()
    engine.start()
    sent = client.stop()
    until(lambda: found(engine, "/killed/"), lambda number: number >= sent, f"{sent} lines")
    assert set(client.statuses) == {302}
    content = stack.compose("logs", "--no-log-prefix", "redirect").encode()
    for question in ("top --by instance", "shares", "statuses"):
        arguments = ["report", *question.split(), "--path-prefix", "/killed/"]
        of_docker, of_engine = run(*arguments, "-", content=content), run(*arguments, "--at", engine.url)
        assert of_engine.stdout == of_docker.stdout
    counted = json.loads(run("report", "top", "--json", "--path-prefix", "/killed/", "--at", engine.url).stdout)
    assert counted["values"] == counted["records"] == sent


def test_files_that_docker_rotated_meanwhile_are_read(stack: Stack, engine: Engine, tmp_path: Path) -> None:
    """And lines of standard error, or of containers without the tag, are not."""
    lines = [line(time="2026-11-26T00:00:00.000Z", path=f"/rotated/{number}").decode() for number in range(1000)]
    (tmp_path / "write.py").write_text(
        f"import os, sys, time\nlines = {lines!r}\nsys.stdout.writelines(lines[:10])\nsys.stdout.flush()\n"
        "while not os.path.exists('/go'):\n    time.sleep(0.1)\n"
        "sys.stdout.writelines(lines[10:])\nsys.stdout.flush()\nsys.stderr.writelines(lines[:300])\nsys.stderr.flush()\n"
        "open('/done', 'w')\ntime.sleep(600)\n"
    )
    options = ["--log-opt", "max-size=200k", "--log-opt", "max-file=9", "--volume", f"{tmp_path}:/src:ro"]
    writers = [
        stack.docker("run", "--detach", *options, *tag, "python:3.14-slim", "python", "/src/write.py").stdout.strip()
        for tag in (["--log-opt", "tag=redirect"], [])
    ]
    try:
        until(lambda: found(engine, "/rotated/"), lambda number: number == 10, "lines")
        stack.kill_collector()
        for writer in writers:
            stack.docker("exec", writer, "touch", "/go")
            stack.docker("exec", writer, "sh", "-c", "until [ -e /done ]; do sleep 0.1; done")
        stack.start_collector()
        until(lambda: found(engine, "/rotated/"), lambda number: number >= 1000, "lines")
        assert found(engine, "/rotated/") == 1000
    finally:
        stack.docker("rm", "--force", *writers)


def test_a_broken_line_takes_no_other_one_with_it(stack: Stack, engine: Engine, tmp_path: Path) -> None:
    """All that `redirect logs` finds in the same lines arrives: also of a later version, and with odd text."""
    content = line(path="/broken/odd", user_agent='{[:"\\' * 100)
    content += b'{"new_key":{"a":[1,"}"]},' + line(path="/broken/later")[1:]
    for number, broken in enumerate(BROKEN):
        content += broken.encode() + b"\n" + line(path=f"/broken/{number}")
    (tmp_path / "lines").write_bytes(content)
    mount = ("--volume", f"{tmp_path}:/src:ro")
    writer = stack.docker(
        "run", "--detach", *mount, "--log-opt", "tag=redirect", "python:3.14-slim", "cat", "/src/lines"
    ).stdout.strip()
    try:
        until(lambda: found(engine, "/broken/"), lambda number: number == len(BROKEN) + 2, "lines")
    finally:
        stack.docker("rm", "--force", writer)
    question = ("query", "--csv", "SELECT path FROM access WHERE path LIKE '/broken/%' ORDER BY path")
    assert run(*question, "--at", engine.url).stdout == run(*question, "-", content=content).stdout
    assert engine.ask("SELECT count() FROM access_lines WHERE time < '2000-01-01'") == "0\n"


def test_a_collector_that_cannot_deliver_is_unhealthy_and_says_why(stack: Stack, engine: Engine) -> None:
    """Until it can again."""
    engine.kill()
    with stack.connect() as connection:
        connection.request("GET", "/undelivered", headers={"X-Redirect-Pool-ID": "pool-a"})
        connection.getresponse().read()
    (collector,) = stack.containers("collector")

    def health() -> str:
        return stack.docker("inspect", "--format", "{{.State.Health.Status}}", collector).stdout.strip()

    until(health, lambda status: status == "unhealthy", "health", seconds=90)
    assert "http: error sending HTTP request" in stack.docker("logs", collector).stderr
    engine.start()
    until(health, lambda status: status == "healthy", "health", seconds=90)
    assert found(engine, "/undelivered") == 1
