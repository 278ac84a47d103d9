"""ClickHouse's engine as `redirect logs --at` and collectors find it."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import httpx
from support.service import ROOT


def program(directory: Path, port: int) -> list[str]:
    script, tables = ROOT / "tests/support/clickhouse.py", ROOT / "misc/logs/clickhouse.sql"
    return [str(script), str(directory), str(port), str(tables)]


class Engine:
    USER: ClassVar = "redirect"
    PASSWORD: ClassVar = "p @/w"

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"clickhouse://{self.USER}:p%20%40%2Fw@127.0.0.1:{port}/redirect"

    def ask(self, query: str, content: bytes = b"", **settings: str) -> str:
        answer = httpx.post(
            f"http://127.0.0.1:{self.port}/",
            params={"query": query, "database": "redirect", **settings},
            headers={"X-ClickHouse-User": self.USER, "X-ClickHouse-Key": self.PASSWORD},
            content=content,
            timeout=60,
        )
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.text

    def load(self, lines: Iterable[bytes]) -> None:
        """Inserts lines of the access log as collectors do, each with a time at which the engine took it."""
        logged = (b'{"logged":"2026-11-20T00:00:00.%09dZ",' % number + line[1:] for number, line in enumerate(lines))
        settings = {"date_time_input_format": "best_effort", "input_format_skip_unknown_fields": "1"}
        self.ask("INSERT INTO access_lines FORMAT JSONEachRow", b"".join(logged), **settings)
