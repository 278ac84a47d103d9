"""gunicorn's application: its settings, and what each worker serves."""

import gc
import tempfile
from random import Random
from time import time
from typing import Any

from gunicorn.app.base import BaseApplication
from starlette.applications import Starlette

from redirect.config.loader import Loader, no_collections
from redirect.config.settings import Settings
from redirect.control.publisher import go_on, publish_loading, published
from redirect.core.forwarded import TrustedProxies
from redirect.core.pools import Config
from redirect.edge.asgi import create_app
from redirect.processes.controller_socket import ControllerSocket
from redirect.processes.listeners import Given, binds
from redirect.proxy.limits import Limits
from redirect.telemetry.counters import Counters
from redirect.telemetry.error_log import AS_JSON
from redirect.telemetry.log_writer import LogWriter
from redirect.telemetry.privacy import formatter
from redirect.telemetry.recorder import Recorder
from redirect.telemetry.scoreboard import Scoreboard, Slot, now_ms
from redirect.telemetry.snapshot import Loading

# Where gunicorn creates a file for each worker: a file system in memory, which cannot stall, and which a container with
# a read-only root has, too.
_WORKER_FILES = "/dev/shm"  # noqa: S108  gunicorn unlinks its files as it opens them


class Gunicorn(BaseApplication):
    """gunicorn with our settings; it reads no configuration of its own."""

    def __init__(self, settings: Settings, config: Config, loader: Loader, given: Given) -> None:
        self.settings = settings
        self._given = given
        self.config, self.loader = config, loader  # with which the instance was started
        self.scoreboard = Scoreboard(config.routes)
        self.scoreboard.common.started_ms = int(time() * 1000)
        self.scoreboard.common.master_heartbeat_ms = now_ms()
        publish_loading(self.scoreboard, Loading(time(), None, None, config.hash, now_ms()))
        if settings.state_dir is not None:
            from redirect.telemetry.state_file import kept_overrides  # SQLite, which most services do without

            self.config = go_on(self.scoreboard, config, kept_overrides(settings.state_dir))
        self.controller_socket = ControllerSocket(self.scoreboard.common)
        self.slot: Slot  # of the worker that is forked next
        super().__init__()

    def load_config(self) -> None:
        settings = self.settings
        options: dict[str, Any] = {
            "bind": binds(settings, self._given),
            "workers": settings.workers,
            "worker_class": "redirect.processes.worker.RedirectWorker",
            "keepalive": settings.keepalive,
            "graceful_timeout": settings.graceful_timeout,
            "worker_tmp_dir": _WORKER_FILES if _takes_files(_WORKER_FILES) else None,
            "control_socket_disable": True,
            "proc_name": "redirect",
            "logconfig_dict": AS_JSON if settings.log_format == "json" else {},
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Starlette:
        """The application of the worker that holds the slot, with the configuration in use. Its cycles begin at random
        places."""
        settings, scoreboard, slot = self.settings, self.scoreboard, self.slot
        with no_collections():
            config, _ = published(scoreboard, self.config)
            log_writer = None if settings.access_log == "off" else LogWriter(settings.access_log)
            lines = formatter(settings.log_query, settings.log_client_ip)
            recorder = Recorder(Counters(slot, config), log_writer, lines)
            recorder.forwarded.shows_values = settings.log_client_ip == "keep"
            proxies = TrustedProxies(settings.forwarded_allow_ips)
            limits, header = Limits(scoreboard.tokens, slot.numbers.held), settings.pool_id_header
            app = create_app(config, header, proxies, recorder, Random(), self.controller_socket, limits)
        gc.freeze()  # what lives as long as the worker need not be looked at by the collector again and again
        return app


def _takes_files(folder: str) -> bool:
    """Whether a file can be created there: it may be read-only, or have no inode left."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
