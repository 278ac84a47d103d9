"""A server that takes events as Sentry does."""

import contextlib
import gzip
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.threads import in_a_thread


@contextlib.contextmanager
def sentry() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its DSN, and the events that it has received."""
    events: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers["content-encoding"] == "gzip":
                body = gzip.decompress(body)
            _, *items = body.splitlines()
            events.extend(
                json.loads(item) for kind, item in zip(items[::2], items[1::2], strict=True) if b"event" in kind
            )
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://key@127.0.0.1:{port}/1", events
