"""ClickHouse's engine behind its HTTP interface, as far as a collector and `redirect logs --at` use that, since no
server is to be had where the tests run. SQL, tables and parts on disk are ClickHouse's own, by chdb.

    python clickhouse.py DIRECTORY PORT [FILE.sql...]    prints the port; as CLICKHOUSE_USER, with CLICKHOUSE_PASSWORD
"""

import os
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from urllib.parse import parse_qsl, urlsplit

from chdb.session import Session

READING = re.compile(r"\s*(SELECT|WITH|SHOW|DESCRIBE|EXPLAIN)\b", re.IGNORECASE)
CODE = re.compile(r"Code: (\d+)")
STATUSES = {"26": 400, "27": 400, "62": 400, "117": 400, "60": 404, "81": 404}  # others are 500


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock = Lock()
    session: Session
    user = os.environ.get("CLICKHOUSE_USER", "default")
    password = os.environ.get("CLICKHOUSE_PASSWORD", "")

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["content-length"])))

    def _answer(self, body: bytes) -> None:
        parameters = dict(parse_qsl(urlsplit(self.path).query))
        query = parameters.pop("query", "")
        query += "\n" if query and body else ""
        database = parameters.pop("database", "default")
        parameters.pop("wait_end_of_query", None)  # of the interface, and true here
        given = self.headers["x-clickhouse-user"] or "default", self.headers["x-clickhouse-key"] or ""
        if urlsplit(self.path).path == "/ping":
            self._send(200, b"Ok.\n")
        elif given != (self.user, self.password):
            self._send(403, f"Code: 516. DB::Exception: {given[0]}: Authentication failed".encode())
        elif self.command == "GET" and not READING.match(query):
            self._send(500, b"Code: 164. DB::Exception: Cannot execute query in readonly mode. (READONLY)")
        else:
            self._run(database, query + body.decode(), parameters)

    def _run(self, database: str, query: str, settings: dict[str, str]) -> None:
        clause = "SETTINGS " + ", ".join(f"{name} = '{value}'" for name, value in settings.items())
        if not settings:
            pass
        elif query.startswith("INSERT"):
            query = query.replace(" FORMAT ", f" {clause} FORMAT ", 1)
        else:
            query += f"\n{clause}"
        try:
            with self.lock:
                self.session.query(f"USE {database}")
                answer = self.session.query(query, "TabSeparated").bytes() or b""
        except Exception as error:
            code = CODE.search(str(error))
            self._send(STATUSES.get(code[1] if code else "", 500), str(error).encode())
        else:
            self._send(200, answer)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


def main(directory: str, port: str, *scripts: str) -> None:
    Handler.session = Session(directory)
    for script in scripts:  # in the database `default`, as the image runs them
        text = re.sub(r"--.*", "", Path(script).read_text())
        for statement in filter(str.strip, text.split(";")):
            Handler.session.query(statement)
    server = ThreadingHTTPServer(("", int(port)), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
