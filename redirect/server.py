"""The server: gunicorn's master, which keeps the workers running.

The rule: a start with a bad TOML or setting fails with the message and exit code; a running master
that is told to load the file again (HUP) keeps what it has if the new file is bad.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # run as a file: its folder comes first on the path and is no place for imports
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import gc
import logging
import os
import signal
from random import Random
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from starlette.applications import Starlette

from redirect.access_log import AccessLog
from redirect.app import create_app
from redirect.config import Config, ConfigError, load, no_collections
from redirect.forwarded import TrustedProxies
from redirect.settings import Settings
from redirect.worker import STOP_SIGNALS

# Where gunicorn's workers show that they live: a file system in memory, which cannot stall, and which a
# container with a read-only root has too.
_HEARTBEATS = "/dev/shm"  # noqa: S108  gunicorn unlinks its files as it opens them

_logger = logging.getLogger("gunicorn.error")


class Master(Arbiter):
    """gunicorn's master. A worker between its birth and its own handlers has the master's: it would
    take a signal to stop, tell nobody, and be killed only after the graceful timeout."""

    def spawn_worker(self) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # the worker lets them in again
        try:
            return int(super().spawn_worker())
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def reload(self) -> None:
        """HUP: new workers with the file as it is now. A bad file changes nothing, not even workers."""
        try:
            config = load(self.app.settings.pools_config_path)
        except ConfigError as error:
            _logger.error("the configuration stays as it was:\n%s", error)
            return
        for warning in config.warnings:
            _logger.warning("%s", warning)
        self.app.config = config
        super().reload()


class Gunicorn(BaseApplication):
    """gunicorn with our settings; it reads no configuration of its own."""

    def __init__(self, settings: Settings, config: Config) -> None:
        self.settings = settings
        self.config = config
        super().__init__()

    def load_config(self) -> None:
        settings = self.settings
        options: dict[str, Any] = {
            "bind": [settings.public_bind] + [settings.admin_bind] * (settings.admin_bind != "off"),
            "workers": settings.workers,
            "worker_class": "redirect.worker.RedirectWorker",
            "keepalive": settings.keepalive,
            "graceful_timeout": settings.graceful_timeout,
            "worker_tmp_dir": _HEARTBEATS if os.access(_HEARTBEATS, os.W_OK) else None,
            "control_socket_disable": True,
            "proc_name": "redirect",
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Starlette:
        """The application of one worker, made in its process: its turns begin at places of their own."""
        settings = self.settings
        with no_collections():
            app = create_app(
                self.config,
                settings.pool_id_header,
                TrustedProxies(settings.forwarded_allow_ips),
                AccessLog(settings.access_log),
                Random(),
            )
        gc.freeze()  # what lives as long as the worker need not be looked at again and again
        return app


def serve(settings: Settings, config: Config) -> None:
    """Runs the service until it is told to stop, then leaves with exit code 0 (SystemExit)."""
    Master(Gunicorn(settings, config)).run()


if __name__ == "__main__":
    from redirect.cli import cli

    cli(["serve", *sys.argv[1:]])
