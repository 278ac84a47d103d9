"""ClickHouse's engine with the tables of misc/logs, as `redirect logs --at` and collectors find it."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import httpx
from support.service import ROOT

USER, PASSWORD = "redirect", "p @/w"


class Engine:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = 0  # one that the system gives, and the same when it starts again

    @property
    def url(self) -> str:
        return f"clickhouse://{USER}:p%20%40%2Fw@127.0.0.1:{self.port}/redirect"

    def start(self) -> None:
        script, tables = ROOT / "tests/support/clickhouse.py", ROOT / "misc/logs/clickhouse.sql"
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(self._directory), str(self.port), str(tables)],
            env={**os.environ, "CLICKHOUSE_USER": USER, "CLICKHOUSE_PASSWORD": PASSWORD},
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        with self._process:
            self._process.kill()

    def ask(self, query: str, content: bytes = b"", **settings: str) -> str:
        answer = httpx.post(
            f"http://127.0.0.1:{self.port}/",
            params={"query": query, "database": "redirect", **settings},
            headers={"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD},
            content=content,
            timeout=60,
        )
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.text

    def load(self, lines: Iterable[bytes]) -> None:
        """Inserts lines of the access log as collectors do, each with a time at which docker took it."""
        logged = (b'{"logged":"2026-11-20T00:00:00.%09dZ",' % number + line[1:] for number, line in enumerate(lines))
        settings = {"date_time_input_format": "best_effort", "input_format_skip_unknown_fields": "1"}
        self.ask("INSERT INTO access_lines FORMAT JSONEachRow", b"".join(logged), **settings)
