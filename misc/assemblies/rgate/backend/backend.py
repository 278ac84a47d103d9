"""A backend of rgate: `python backend.py NAME` serves dummy data under /api/NAME, and says which container answered."""

import json
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8080
ITEMS = {"payment": {"1": {"amount": 100, "currency": "USD"}}, "orders": {"1": {"item": "book", "count": 2}}}
NAME = sys.argv[1]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answers with all items, or with one."""
        prefix, _, key = self.path.partition("?")[0].removeprefix("/api/").partition("/")
        if self.path == "/healthz":
            self._answer(200, {"status": "ok"})
        elif prefix == NAME and not key:
            self._answer(200, ITEMS[NAME])
        elif prefix == NAME and key in ITEMS[NAME]:
            self._answer(200, ITEMS[NAME][key])
        else:
            self._answer(404, {"error": f"{NAME} has no {self.path}"})

    def do_HEAD(self) -> None:
        """Answers as to GET, without the body."""
        self.do_GET()

    def do_POST(self) -> None:
        """Answers with what came."""
        try:
            came = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        except ValueError:
            self._answer(400, {"error": "send JSON"})
            return
        self._answer(201, {"service": NAME, "got": came})

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-container", socket.gethostname())
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Leaves the log to the gateway."""


server = ThreadingHTTPServer(("", PORT), Handler)
# Python as a container's first process ignores TERM otherwise.
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
