"""The worker: uvicorn's server in a process of gunicorn's, set up for what we serve.

Workers are the data plane: they answer requests on the public listener, count and log them, and apply what the
controller publishes. Signals are handled by the master, which tells workers when to stop.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401  it and the loop before the fork: by then other packages may be installed
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from random import Random
from types import FrameType
from typing import Any, ClassVar, NoReturn, cast

import uvicorn
import uvicorn.loops.uvloop
from gunicorn.arbiter import Arbiter
from gunicorn.sock import BaseSocket
from uvicorn_worker import UvicornWorker

from redirect.edge.fast_path import FastPath
from redirect.edge.handler import RequestHandler
from redirect.processes.allocator import keep_freed_memory
from redirect.processes.updates import Updates, in_steps

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGQUIT}

# Signals that may reach the whole process group, as Ctrl-C and the end of a terminal do: the master acts on them.
IGNORED = {signal.SIGINT, signal.SIGHUP, signal.SIGUSR2}

# Signals that a worker must not receive before it can act on them.
SIGNALS = {*STOP_SIGNALS, signal.SIGUSR1, signal.SIGUSR2}

# Seconds between two heartbeats, with which a worker reports its numbers.
HEARTBEAT_SECONDS = 0.5

# Seconds after which connections are told again that their worker ends: the last ones that the kernel handed
# over are made only after the others were told.
TELL_AGAIN_SECONDS = 0.05

_logger = logging.getLogger("gunicorn.error")


def listen(listener: BaseSocket, backlog: int) -> None:
    """Makes a socket listen, which gunicorn only bound. Ends this process if another program was faster in between;
    uvloop would close the socket without a word."""
    try:
        listener.sock.listen(backlog)
    except OSError as error:
        _logger.error("cannot listen on %s: %s", listener, error.strerror)
        sys.exit(Arbiter.WORKER_BOOT_ERROR)


class Server(uvicorn.Server):
    """uvicorn's server, stopped by TERM, which lets connections end in order and may come again, or by QUIT,
    which does not. It leaves with exit code 0: nothing is raised again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Does nothing: they are handled already."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = True
        self.force_exit = self.force_exit or sig == signal.SIGQUIT

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(TELL_AGAIN_SECONDS, self._tell_connections)
        await super().shutdown(sockets)

    def _tell_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.shutdown()


class RedirectWorker(UvicornWorker):
    """The worker class that `application` names to gunicorn."""

    # uvicorn's own view of proxies, its access log and websockets are off: `forwarded`, `access_log` and a redirect
    # replace them.
    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "http": FastPath, "loop": "uvloop", "ws": "none", "lifespan": "off",
        "proxy_headers": False, "access_log": False, "server_header": False,
    }  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn does not know gunicorn's limit; it has to end before the master kills.
        self.config.timeout_graceful_shutdown = self.cfg.graceful_timeout - 1
        # uvicorn's heartbeat follows the wall clock, and is written where nothing reads it.
        self.config.callback_notify = None

    def init_signals(self) -> None:
        super().init_signals()
        for sig in IGNORED:
            signal.signal(sig, signal.SIG_IGN)
        for stop in STOP_SIGNALS - {signal.SIGINT}:
            signal.signal(stop, _exit)  # until the server takes over
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def run(self) -> None:
        try:
            super().run()
        finally:
            _ignore_signals()

    async def _serve(self) -> None:
        keep_freed_memory()
        handler = self.wsgi.state.handler
        updates = Updates(self.app.scoreboard, handler, Random())
        await updates.apply()
        public = self._listen()
        self.config.app = self.wsgi
        server, loop = Server(self.config), asyncio.get_running_loop()
        for stop in STOP_SIGNALS - {signal.SIGINT}:  # before any task begins, which the first handler would end
            loop.add_signal_handler(stop, server.handle_exit, stop, None)
        loop.add_signal_handler(signal.SIGUSR1, handler.recorder.reopen)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        tasks = [asyncio.create_task(self._report(server, handler)), asyncio.create_task(updates.run())]
        try:
            # gunicorn's own wrapper would be closed twice, which uvloop spares real sockets.
            await server.serve(sockets=[public])
        finally:
            for task in tasks:
                task.cancel()
            # The loop runs on for a moment, and would give answers that are not logged on connections that are open
            # still, where there was no time to end them in order.
            connections: list[Any] = list(server.server_state.connections)  # HttpConnections
            cut = sum([connection.silence() for connection in connections])
            if cut:
                _logger.warning("forwards that were under way and are cut, as the time to stop is over: %s", cut)
            handler.recorder.close()
            # uvloop restores the default handlers as it closes, and a signal would kill the worker.
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def _listen(self) -> socket.socket:
        """Makes the public socket listen, and closes what is the controller's."""
        public, *admin = self.sockets
        for listener in admin:
            listener.sock.close()
        self.app.controller_socket.use_in_worker()
        listen(public, self.cfg.backlog)
        self.app.scoreboard.common.has_begun = 1
        return cast(socket.socket, public.sock)

    async def _report(self, server: Server, handler: RequestHandler) -> None:
        """Reports the worker's numbers and its heartbeat. Without a master it ends: nothing would replace it or tell it
        to stop, and it would keep the next master from the port."""
        while os.getppid() == self.ppid:
            handler.recorder.report(len(server.server_state.connections))
            for steps in (handler.forwarder.report(), handler.recorder.dues.share_out()):
                async for _ in in_steps(steps):
                    pass
            await asyncio.sleep(HEARTBEAT_SECONDS)
        _logger.error("the master (pid: %s) is gone, and this worker (pid: %s) ends", self.ppid, self.pid)
        os.kill(self.pid, signal.SIGTERM)


def _exit(*_: object) -> NoReturn:
    """Ends a worker that does not serve yet, at once. An exception could be raised anywhere: while the first task of
    the loop was made it left that behind, which nothing cancelled, and which served while Python exited, unlogged."""
    try:
        _logger.info("Worker exiting (pid: %s)", os.getpid())
    finally:
        os._exit(0)


def _ignore_signals() -> None:
    """For a process that exits: Python replaces handlers by the default meanwhile, and a signal would kill it."""
    for sig in SIGNALS:
        signal.signal(sig, signal.SIG_IGN)
