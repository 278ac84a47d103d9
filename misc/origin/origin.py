"""A demo origin: answers every method and path with its own name, so that a followed redirect shows where it led."""

import signal
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import gethostname


class Handler(BaseHTTPRequestHandler):
    def __getattr__(self, name: str) -> Callable[[], None]:
        """http.server looks for do_GET, do_PURGE ...: whatever the method is, there is one answer."""
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def answer(self) -> None:
        lines = (gethostname(), f"host: {self.headers['Host']}", f"{self.command} {self.path}", "")
        body = "\n".join(lines).encode("latin-1")
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


# The kernel drops signals that process 1 of a container has no handler for: without this, `docker compose down`
# waits ten seconds for each origin and then kills it.
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
ThreadingHTTPServer(("", 80), Handler).serve_forever()
