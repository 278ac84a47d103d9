"""ClickHouse's engine, with the tables of misc/logs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from .engine import Engine, program


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    command = [sys.executable, *program(tmp_path_factory.mktemp("clickhouse"), port=0)]
    environment = {**os.environ, "CLICKHOUSE_USER": Engine.USER, "CLICKHOUSE_PASSWORD": Engine.PASSWORD}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Engine(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
