"""Origins that tests probe: real servers on loopback, which answer as they are told."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.threads import in_a_thread


class Origin:
    """A server that answers every GET with `status`; `asked` are the requests, each with its path and Host."""

    def __init__(self) -> None:
        self.status = 200
        self.location: str | None = None
        self.asked: list[tuple[str, str]] = []
        self.port = 0

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextlib.contextmanager
def origin(tls: ssl.SSLContext | None = None) -> Iterator[Origin]:
    told = Origin()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append((self.path, self.headers["host"]))
            self.send_response(told.status)
            self.send_header("content-length", "0")
            if told.location is not None:
                self.send_header("location", told.location)
            self.end_headers()

        def log_request(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with in_a_thread(server) as told.port:
        yield told


@contextlib.contextmanager
def answering(answer: bytes, *, ends: bool = True) -> Iterator[str]:
    """A server that answers whatever comes with these bytes, then ends the connection or says no more; its name."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):  # closed, at the end
                while True:
                    connection, _ = listener.accept()
                    connections.append(connection)
                    connection.recv(4096)
                    with contextlib.suppress(OSError):
                        connection.sendall(answer)
                    if ends:
                        connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield "{}:{}".format(*listener.getsockname())
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connections:
                connection.close()
