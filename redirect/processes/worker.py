"""The worker: uvicorn's server in a process of gunicorn's, set up for what we serve.

Beside the public listener each worker also answers on the admin listener, if there is one: whichever
worker takes the connection. Signals are the master's affair: it tells workers when to stop.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from time import monotonic
from types import FrameType
from typing import Any, ClassVar, NoReturn
from weakref import ref

import uvicorn
from gunicorn.arbiter import Arbiter
from starlette.datastructures import State
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState
from uvicorn_worker import UvicornWorker

from redirect.admin.app import create_admin_app
from redirect.edge.connection_limit import CONNECTION_LIMIT, RESERVE
from redirect.edge.fast_path import FastPath
from redirect.edge.handler import RequestHandler
from redirect.processes.updates import keep_up
from redirect.telemetry.instance import Instance
from redirect.telemetry.recorder import Recorder

# What both listeners have in common. uvicorn's own view of proxies, its access log and websockets are
# off: `forwarded`, `access_log` and a redirect do their work.
_COMMON: dict[str, Any] = {
    "loop": "uvloop",
    "ws": "none",
    "lifespan": "off",
    "proxy_headers": False,
    "access_log": False,
    "server_header": False,
}

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGQUIT}

# What may reach the whole group, such as Ctrl-C and the end of a terminal: the master acts on it, and tells workers.
IGNORED = {signal.SIGINT, signal.SIGHUP}

# How the master tells a worker that it has put up another configuration.
RELOAD = signal.SIGUSR2

# What a worker must not hear before it can do as it is told.
SIGNALS = {*STOP_SIGNALS, signal.SIGUSR1, RELOAD}

# Seconds, within those that gunicorn gives, for the requests on connections that the admin listener took last, and
# for its answers to them.
LAST_REQUESTS, LAST_ANSWERS = 0.1, 0.8

# Connections that the admin listener takes, per worker: more would have the descriptors of clients.
ADMIN_CONNECTIONS = RESERVE // 2

# Seconds between two times that a worker shows that it lives, and looks whether its master does.
BEAT = 1.0

# Seconds between two times that a worker says how many connections it has, and what became of its lines.
PUBLISHING = 0.5

# Seconds between two looks at what probes found out, and two steps of a slow start.
HEEDING = 0.2

# Seconds until that is tried again where it met a fault of ours.
AFTER_FAULT = 5.0

# Seconds after which connections are told again that their worker ends: the last ones that the kernel handed
# over are made only after the others were told.
TELL_AGAIN = 0.05

_logger = logging.getLogger("gunicorn.error")


class Server(uvicorn.Server):
    """uvicorn's server, stopped by TERM, which lets connections end in order and may come again, or by QUIT,
    which does not. It leaves with exit code 0: nothing is raised again."""

    def hear_signals(self) -> None:
        """Is stopped by them from now on."""
        for stop in STOP_SIGNALS - {signal.SIGINT}:
            asyncio.get_running_loop().add_signal_handler(stop, self.handle_exit, stop, None)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing to do: they are heard already."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = True
        self.force_exit = self.force_exit or sig == signal.SIGQUIT

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(TELL_AGAIN, self._tell_connections)
        await super().shutdown(sockets)

    def _tell_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.shutdown()


class AdminProtocol(HttpToolsProtocol):
    """uvicorn's protocol, for so many connections as there may be. The time that it gives them between two requests is
    all that they have until the head of the first one has come, or of the next one, to its end.

    Relies on these of its parent: `connections`, `timeout_keep_alive`, and that `_unset_keepalive_if_required` is what
    cancels `timeout_keep_alive_task`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        if len(self.connections) > ADMIN_CONNECTIONS:
            transport.abort()

    def _unset_keepalive_if_required(self) -> None:
        """What the parent does when bytes come, whatever they are; on a connection that has ended it does nothing."""

    def on_headers_complete(self) -> None:
        super()._unset_keepalive_if_required()
        super().on_headers_complete()


class RedirectWorker(UvicornWorker):
    """The worker class that `server` names to gunicorn."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {**_COMMON, "http": FastPath}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn does not know gunicorn's limit; it has to be done before the master kills.
        self.config.timeout_graceful_shutdown = self.cfg.graceful_timeout - 1
        # uvicorn's heartbeat follows the wall clock: set back, it goes silent and the master kills all.
        self.config.callback_notify = None

    def init_signals(self) -> None:
        super().init_signals()
        for sig in IGNORED:
            signal.signal(sig, signal.SIG_IGN)
        for stop in STOP_SIGNALS - {signal.SIGINT}:
            signal.signal(stop, _exit)  # until the server takes over
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _listen(self) -> None:
        """Has the sockets listen, which the master only bound: another program may have been faster in between, and
        uvloop would close what cannot listen, without a word."""
        for listener in self.sockets:
            try:
                listener.sock.listen(self.cfg.backlog)
            except OSError as error:
                _logger.error("cannot listen on %s: %s", listener, error.strerror)
                sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def run(self) -> None:
        """Ignores signals once it has served."""
        try:
            super().run()
        finally:
            _ignore_signals()

    async def _serve(self) -> None:
        self._listen()
        self.wsgi.state.instance.begin()
        self.config.app = self.wsgi
        CONNECTION_LIMIT.reserve = RESERVE + 2 * self.cfg.workers  # HUP has as many again for a while
        server = Server(self.config)
        recorder = self.wsgi.state.handler.recorder
        loop, is_told = asyncio.get_running_loop(), asyncio.Event()
        server.hear_signals()  # before any task begins, which the first handler would end in the middle
        loop.add_signal_handler(signal.SIGUSR1, recorder.reopen)
        loop.add_signal_handler(RELOAD, is_told.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        beating, publishing = asyncio.create_task(self._beat()), asyncio.create_task(_publish(server, recorder))
        handler, instance = self.wsgi.state.handler, self.wsgi.state.instance
        reloading = asyncio.create_task(keep_up(handler, instance, is_told))
        heeding = asyncio.create_task(_heed(handler, instance))
        # gunicorn's own wrappers would be closed twice, which uvloop spares real sockets.
        public, *admin = (listener.sock for listener in self.sockets)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(_close, server, recorder)
            for task in (beating, publishing, reloading, heeding):
                stack.callback(task.cancel)
            for listener in admin:  # one or none
                await stack.enter_async_context(_admin(server, listener, self.wsgi.state, self._has_master))
            await server.serve(sockets=[public])
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    async def _beat(self) -> None:
        """Shows the master that this worker lives. Without a master it ends: nobody would replace it or tell it of
        another configuration, and it would keep the next master from the port."""
        while self._has_master():
            self.notify()
            await asyncio.sleep(BEAT)
        _logger.error("the master (pid: %s) is gone, and this worker (pid: %s) ends", self.ppid, self.pid)
        os.kill(self.pid, signal.SIGTERM)

    def _has_master(self) -> bool:
        return bool(os.getppid() == self.ppid)


def _exit(*_: object) -> NoReturn:
    """Ends a worker that does not serve yet. The master may signal it again while Python exits."""
    _ignore_signals()
    sys.exit(0)


def _ignore_signals() -> None:
    """For a process that exits: Python replaces handlers by the default meanwhile, and a signal would kill it."""
    for sig in SIGNALS:
        signal.signal(sig, signal.SIG_IGN)


def _close(server: Server, recorder: Recorder) -> None:
    """Logs the last answers. The loop turns on for a moment, and would give others on connections that are open still,
    where there was no time to end them in order."""
    for connection in list(server.server_state.connections):
        connection.silence()  # type: ignore[union-attr]  # all are guards
    recorder.close()


async def _publish(server: Server, recorder: Recorder) -> None:
    while True:
        recorder.publish(len(server.server_state.connections))
        await asyncio.sleep(PUBLISHING)


async def _heed(handler: RequestHandler, instance: Instance) -> None:
    """Has origins left out that are down, and those that came back get their share."""
    seen: tuple[object, int] = None, 0
    while True:
        try:
            now = ref(handler.service), instance.verdicts_number()  # one that is replaced is not to be kept by us
            health = instance.health if now == seen else await asyncio.to_thread(instance.read_health)
            handler.service.update(health, monotonic())
            if now != seen:
                instance.health = health  # not before it is applied: it is what `/status` says
                handler.recorder.heed(now[1])
                seen = now
        except Exception:  # ours: who is picked stays so, and the next verdict may do
            _logger.exception("what probes found out is not heeded here")
            await asyncio.sleep(AFTER_FAULT)
        await asyncio.sleep(HEEDING)


@contextlib.asynccontextmanager
async def _admin(
    server: Server, listener: socket.socket, state: State, has_master: Callable[[], bool]
) -> AsyncIterator[None]:
    """Answers on the admin listener, also while `server` shuts down."""
    settings = state.settings
    token = settings.admin_token and settings.admin_token.get_secret_value()
    is_open = token is None and not settings.is_admin_exposed
    config = uvicorn.Config(
        create_admin_app(
            state.instance,
            None if is_open else token or "",
            # A worker whose place another takes speaks for that one: the listener is the same.
            is_ready=lambda: server.started and has_master() and not state.instance.is_stopping(),
            goes_on=lambda: server.started and not server.should_exit,
        ),
        http="httptools",
        log_config=None,
        **_COMMON,
    )
    config.load()
    server_state = ServerState()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: AdminProtocol(config, server_state, {}, loop), sock=listener)
    yield
    listening.close()
    await asyncio.sleep(LAST_REQUESTS)
    for connection in list(server_state.connections):
        connection.shutdown()
    if server_state.tasks:
        await asyncio.wait(server_state.tasks, timeout=LAST_ANSWERS)
