"""The controller: the control plane of an instance, one process beside its workers.

It watches the file, publishes configurations and the health of origins, finds origins that come and go, and serves the
admin listener. Without it the workers go on with what they have; what it published outlives it, and the next controller
goes on from there.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, NoReturn

from starlette.applications import Starlette

from redirect.admin.app import create_admin_app, one_at_a_time
from redirect.admin.listener import answering
from redirect.config.loader import Loader
from redirect.config.settings import Settings
from redirect.control.discovery import Discovery, Provider
from redirect.control.dns_provider import DnsProvider
from redirect.control.ejections import Ejections
from redirect.control.instance import Instance
from redirect.control.keeper import Keeper
from redirect.control.probe import forget_authorities
from redirect.control.prober import Loop, Prober
from redirect.control.publisher import Publisher
from redirect.core.health import decode, worst
from redirect.core.pools import Config
from redirect.processes.controller_socket import ControllerSocket
from redirect.telemetry.history import NOTE_SECONDS
from redirect.telemetry.scoreboard import Scoreboard, now_ms

# Milliseconds between two looks at the file.
LOOK_MS = 900

# Seconds between two heartbeats, with which the controller also publishes what there is to publish.
TICK_SECONDS = 0.2

# Seconds between two steps of overrides.
OVERRIDE_SECONDS = 1.0

# Milliseconds without a heartbeat after which the master counts as one that hangs.
MASTER_LATE_MS = 4_000

# Files that are read at once, and answers that are made.
MAX_THREADS = 64

_logger = logging.getLogger("gunicorn.error")


class Controller:
    """Of the instance that was started with the configuration `first`."""

    def __init__(self, scoreboard: Scoreboard, settings: Settings, first: Config, loader: Loader, master: int) -> None:
        self._scoreboard = scoreboard
        self._common = scoreboard.common
        self._settings = settings
        self._master = master
        self._ended, self._is_found = asyncio.Event(), asyncio.Event()
        self._publisher = Publisher(scoreboard, str(settings.pools_config_path), first, loader)
        self._is_master_late = False
        self._tasks = asyncio.TaskGroup()
        self._endless: list[asyncio.Task[None]] = []

    def work(self, listeners: Sequence[socket.socket], workers: ControllerSocket) -> NoReturn:
        """Makes this process, a child of the master that blocks all signals, the controller. It ends with the master,
        and at TERM and QUIT. The `workers` are answered as well as the `listeners`."""
        code = 1
        try:
            gc.freeze()
            Loop().run_until_complete(self._run(listeners, workers))
            code = 0
        except Exception:
            _logger.exception("the controller ends")
        finally:
            os._exit(code)  # waits for no thread, and leaves to the master what belongs to it

    async def _run(self, listeners: Sequence[socket.socket], workers: ControllerSocket) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(MAX_THREADS))
        for stop in (signal.SIGTERM, signal.SIGQUIT):
            loop.add_signal_handler(stop, self._ended.set)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        async with self._tasks, contextlib.AsyncExitStack() as stack:
            await self._begin()
            # A route that shows something has given it away, so that workers need no token.
            await stack.enter_async_context(workers.answering(one_at_a_time(self._app(None))))
            for listener in listeners:  # one or none
                token = self._token()
                app = self._app(token, only_local=token is None)
                await stack.enter_async_context(answering(app, listener))
            ended = self._tasks.create_task(self._ended.wait())
            self._go_on_with(self._look_at_file(), self._publish_found(), self._step_overrides(), self._note_history())
            while not ended.done():
                self._tick()
                await asyncio.wait([ended], timeout=TICK_SECONDS)
            for task in self._endless:
                task.cancel()
            await self._instance.keep()

    async def _begin(self) -> None:
        scoreboard, config = self._scoreboard, self._publisher.config
        self._prober = Prober(scoreboard, config)
        self._ejections = Ejections(scoreboard, config)
        waits = not (self._common.controllers_died or self._common.controllers_hung)
        self._discovery = Discovery(self._start, config, decode(scoreboard.health.read()), waits=waits)
        directory = self._settings.state_dir
        keeper = None if directory is None else Keeper(scoreboard, directory)
        self._instance = Instance(scoreboard, self._publisher, self._prober, self._discovery, keeper)
        await self._instance.keep()
        if keeper is not None:
            self._go_on_with(keeper.run())

    def _go_on_with(self, *works: Coroutine[Any, Any, None]) -> None:
        """Has them done until the end."""
        self._endless += map(self._tasks.create_task, works)

    def _start(self, source: str) -> Provider:
        """Begins a provider of origins."""
        if source == "DNS":
            provider: Provider = DnsProvider(self._is_found.set)
        else:
            from redirect.control.docker import DockerProvider, own_container_id  # most instances do without httpx

            provider = DockerProvider(self._settings.docker_host, own_container_id(), self._is_found.set)
        self._go_on_with(provider.run())
        return provider

    def _app(self, token: str | None, *, only_local: bool = False) -> Starlette:
        return create_admin_app(self._instance, token, lambda: not self._ended.is_set(), only_local=only_local)

    def _token(self) -> str | None:
        """The token that the admin listener wants; None if it needs none, empty if it is missing."""
        token = self._settings.admin_token and self._settings.admin_token.get_secret_value()
        return None if token is None and not self._settings.is_admin_exposed else token or ""

    def _tick(self) -> None:
        if os.getppid() != self._master:  # the workers end, in order
            self._common.is_stopping = 1
            if not self._instance.workers():
                _logger.error("the master (pid: %s) is gone, and the controller ends", self._master)
                self._ended.set()
        self._common.controller_heartbeat_ms = now_ms()
        if self._publisher.config is not self._prober.config:
            self._prober.use(self._publisher.config)
            self._ejections.use(self._publisher.config)
            self._discovery.use(self._publisher.config)
        self._common.probes_hung += self._prober.restart_hung()
        self._common.files_hung += self._publisher.note_hang()
        if self._instance.keeper is not None:
            self._instance.keeper.note_hang()
        self._publish_health()
        self._publisher.limits.reconcile()
        if not self._is_found.is_set():  # what was found is published first
            self._instance.note_readiness()
        is_late = not self._common.is_stopping and now_ms() - self._common.master_heartbeat_ms > MASTER_LATE_MS
        if is_late and not self._is_master_late:
            _logger.error("the master (pid: %s) shows no heartbeat", self._master)
        self._is_master_late = is_late

    def _publish_health(self) -> None:
        discovered = self._discovery.health
        ejected = self._ejections.look(worst(self._prober.found, discovered))
        self._prober.publish(worst(ejected, discovered))

    async def _publish_found(self) -> None:
        """Publishes what providers found, health first: no worker uses an origin before it knows that it is down."""
        while True:
            await self._is_found.wait()
            self._is_found.clear()
            try:
                found = self._discovery.look()
                self._publish_health()
                await self._publisher.use_found(found)
            except Exception:  # a fault of this program, and no reason to end
                _logger.exception("origins that were found are not used")

    async def _step_overrides(self) -> None:
        while True:
            try:
                await self._publisher.step()
            except Exception:  # a fault of this program, and no reason to end
                _logger.exception("overrides stay as they are")
            await asyncio.sleep(OVERRIDE_SECONDS)

    async def _look_at_file(self) -> None:
        """Looks at the file when it is time to, and loads it when the master requests that for new workers."""
        looked_ms = now_ms()
        while True:
            requested = self._common.restarts_requested
            is_requested = requested != self._common.restarts_answered
            if is_requested or now_ms() - looked_ms >= LOOK_MS:
                is_good = await self._publisher.look(force=is_requested)
                looked_ms = now_ms()
                if is_requested:
                    if is_good:
                        forget_authorities()
                    self._common.is_restart_good = is_good
                    self._common.restarts_answered = requested
            await asyncio.sleep(TICK_SECONDS)

    async def _note_history(self) -> None:
        """Where its cells end, so that none is left out."""
        while True:
            try:
                await asyncio.to_thread(self._instance.note)
            except Exception:  # a fault of this program, and no reason to end
                _logger.exception("the history has no numbers of the last seconds")
            await asyncio.sleep(NOTE_SECONDS - monotonic() % NOTE_SECONDS)
