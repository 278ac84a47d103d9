"""The server: gunicorn's master, which keeps the workers running.

The rule: a start with a bad TOML or setting fails with the message and exit code; a running master
that is told to load the file again (HUP) keeps what it has if the new file is bad.
"""

import contextlib
import gc
import logging
import os
import resource
import signal
import sys
from itertools import count
from random import Random
from time import monotonic, time
from types import FrameType
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from starlette.applications import Starlette

from redirect.config.loader import ConfigError, no_collections
from redirect.config.settings import Settings
from redirect.control import prober
from redirect.control.prober import has_probes
from redirect.control.providers.file import Watch
from redirect.control.transfer import pack
from redirect.core.forwarded import TrustedProxies
from redirect.core.pools import Config
from redirect.edge.asgi import create_app
from redirect.processes import gunicorn_fixes as gunicorn_fixes
from redirect.processes.worker import RELOAD, SIGNALS, STOP_SIGNALS
from redirect.telemetry.counters import Counters
from redirect.telemetry.error_log import ErrorLog
from redirect.telemetry.instance import Changes, Instance
from redirect.telemetry.log_writer import LogWriter
from redirect.telemetry.recorder import Recorder
from redirect.telemetry.scoreboard import Scoreboard
from redirect.telemetry.snapshot import Loading

# Where gunicorn's workers show that they live: a file system in memory, which cannot stall, and which a
# container with a read-only root has too.
_HEARTBEATS = "/dev/shm"  # noqa: S108  gunicorn unlinks its files as it opens them

# Seconds: where a worker lives no longer, the next one waits as long.
SHORT_LIFE = 0.5

# Characters of a message that the admin listener shows; the error log has it whole.
LONGEST_ERROR = 1_000

_STDERR = 2
_logger = logging.getLogger("gunicorn.error")


class Master(Arbiter):
    """gunicorn's master. A worker between its birth and its own handlers has the master's: it would
    take a signal to stop, tell nobody, and be killed only after the graceful timeout.

    TERM and INT stop the service in order, and at once if it stops already; so does QUIT the first time."""

    _is_stopping = False
    _told = 0  # to stop, so often
    _prober = 0  # its process id; 0 as long as there is nothing to probe
    _no_births_until = 0.0

    handle_int = Arbiter.handle_term  # gunicorn's takes it for QUIT

    def signal(self, sig: int, frame: FrameType | None) -> None:
        """While it stops gunicorn looks out for INT and QUIT alone, and tells workers to QUIT then. Of two that come
        together it forgets one."""
        self._told += sig in STOP_SIGNALS
        super().signal(signal.SIGQUIT if self._is_stopping and sig == signal.SIGTERM else sig, frame)

    def stop(self, graceful: bool = True) -> None:
        self._is_stopping = True
        self.app.scoreboard.stop()
        self._keep_prober()
        super().stop(graceful and self._told < 2)

    def reap_workers(self) -> None:
        """A worker that cannot begin ends a start. Later it is one more that died: the others serve, and it is tried
        again, but not all the time."""
        before = dict(self.WORKERS)
        try:
            super().reap_workers()
        except HaltServer:
            if not self.app.scoreboard.has_begun() and not self._is_stopping:
                raise
            self.reap_workers()  # those that gunicorn did not come to
        dead = [worker for pid, worker in before.items() if pid not in self.WORKERS]
        if any(monotonic() - worker.born < SHORT_LIFE for worker in dead):
            self._no_births_until = monotonic() + SHORT_LIFE

    def spawn_workers(self) -> None:
        """gunicorn calls it whenever there are too few, and at least once a second."""
        if monotonic() < self._no_births_until:
            return
        try:
            super().spawn_workers()
        except OSError as error:  # the next second may be a better one
            _logger.error("there are fewer workers than there should be: %s", error)

    def spawn_worker(self) -> int:
        self.app.take_slot({worker.slot for worker in self.WORKERS.values()})
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the worker lets them in again
        try:
            pid = int(super().spawn_worker())
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self.WORKERS[pid].slot, self.WORKERS[pid].born = self.app.slot, monotonic()
        return pid

    def murder_workers(self) -> None:
        """What gunicorn does once a second. So often we look at the file, too."""
        wish = self.app.scoreboard.wanted()
        is_wanted = not self.app.scoreboard.is_fulfilled(wish)
        if self._look(anyway=is_wanted):
            self._tell_workers()
        if is_wanted:
            self.app.scoreboard.fulfil(wish)
        self._keep_prober()
        super().murder_workers()

    def reload(self) -> None:
        """HUP: new workers with the file as it is now. A bad file changes nothing, not even workers.

        gunicorn waits here until the old ones are gone, so as not to tell them twice to stop, and hears, looks at
        and replaces nothing meanwhile. Ours may be told twice.
        """
        if not self._look(anyway=True):
            return
        try:
            for _ in range(self.num_workers):
                self.spawn_worker()
        except OSError as error:
            _logger.error("there are fewer new workers than there should be: %s", error)
            self._tell_workers()  # some of the old ones go on
        self.manage_workers()

    def _tell_workers(self) -> None:
        """Tells them that another configuration is put up."""
        for worker in [*self.WORKERS]:
            self.kill_worker(worker, RELOAD)

    def _look(self, *, anyway: bool) -> bool:
        """Loads the file, if it is another one or `anyway`; whether it was good."""
        try:
            return self._load(anyway=anyway)
        except Exception:  # ours, and no reason to end: gunicorn's master would
            _logger.exception("the configuration stays as it was")
            self.app.say_loaded("loading the file met a fault of this service; its log tells more")
            return False

    def _load(self, *, anyway: bool) -> bool:
        found = self.app.watch.look(monotonic(), anyway=anyway)
        if isinstance(found, ConfigError):
            _logger.error("the configuration stays as it was:\n%s", found)
            self.app.say_loaded(str(found))
        if not isinstance(found, Config):
            return False
        for warning in found.warnings:
            _logger.warning("%s", warning)
        _logger.info("loaded the configuration %s", found.hash)
        self.app.adopt(found)
        if self._prober and _lives(self._prober):
            os.kill(self._prober, RELOAD)
        return True

    def _keep_prober(self) -> None:
        """Sees to it that there is a prober while there is something to probe."""
        is_needed = has_probes(self.app.config) and not self._is_stopping
        lives = self._prober and _lives(self._prober)
        if is_needed and not lives:
            self._spawn_prober()
        elif lives and not is_needed:
            os.kill(self._prober, signal.SIGTERM)
        elif self._prober and not is_needed:  # what it found out is soon out of date
            self._prober = 0
            self.app.scoreboard.put_verdicts(b"")

    def _spawn_prober(self) -> None:
        if self._prober:
            _logger.error("the prober (pid: %s) ended, another takes its place", self._prober)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # until it has handlers of its own
        try:
            self._prober = os.fork()
            if not self._prober:
                for sig in self.SIGNALS:
                    signal.signal(sig, signal.SIG_IGN)
                for listener in self.LISTENERS:
                    listener.sock.close()
                prober.run(self.app.scoreboard, self.app.config, self.pid, RELOAD)
        except OSError as error:  # the next second may be a better one
            _logger.error("there is no prober: %s", error)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Gunicorn(BaseApplication):
    """gunicorn with our settings; it reads no configuration of its own."""

    def __init__(self, settings: Settings, config: Config) -> None:
        self.settings = settings
        self.config = config
        self.scoreboard = Scoreboard()
        self.slot = 0  # of the scoreboard, for the worker that is born next
        self.watch = Watch(settings.pools_config_path, config)
        self._loaded_at = time()
        self._changes = Changes(self._loaded_at, {})
        self.say_loaded(None)
        super().__init__()

    def adopt(self, config: Config) -> None:
        """Takes another configuration, for workers that are born from now on, and puts it up for those that live."""
        self._loaded_at = time()
        self._changes = self._changes.after(self.config, config, self._loaded_at)
        self.config = config
        self.scoreboard.put(pack(config))
        self.say_loaded(None)

    def say_loaded(self, error: str | None) -> None:
        """Tells the workers when the configuration in force was loaded, and why a later one was not."""
        error_at = time() if error else None
        loading = Loading(self._loaded_at, error and _shown(error), error_at, self.config.hash)
        self.scoreboard.say(loading._asdict())

    def take_slot(self, taken: set[int]) -> None:
        """Takes the first slot that is not `taken` for the worker that is born next. A worker that was killed did not
        give its slot back, and would seem to live once another process has its number."""
        self.slot = next(slot for slot in count() if slot not in taken)
        self.scoreboard.make_slot(self.slot)
        for slot in set(range(self.scoreboard.slots())) - taken:
            self.scoreboard.slot(slot).give_back()

    def load_config(self) -> None:
        settings = self.settings
        options: dict[str, Any] = {
            "bind": [settings.public_bind] + [settings.admin_bind] * (settings.admin_bind != "off"),
            "workers": settings.workers,
            "worker_class": "redirect.processes.worker.RedirectWorker",
            "keepalive": settings.keepalive,
            "graceful_timeout": settings.graceful_timeout,
            "worker_tmp_dir": _HEARTBEATS if os.access(_HEARTBEATS, os.W_OK) else None,
            "control_socket_disable": True,
            "proc_name": "redirect",
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Starlette:
        """The application of one worker, made in its process: its cycles begin at places of their own."""
        settings, config = self.settings, self.config
        with no_collections():
            log_writer = None if settings.access_log == "off" else LogWriter(settings.access_log)
            recorder = Recorder(Counters(self.scoreboard.slot(self.slot), config), log_writer)
            proxies = TrustedProxies(settings.forwarded_allow_ips)
            app = create_app(config, settings.pool_id_header, proxies, recorder, Random())
            instance = Instance(self.scoreboard, config, str(settings.pools_config_path), self._changes)
            number, instance.health = instance.verdicts_number(), instance.read_health()
            app.state.handler.service.update(instance.health, monotonic())
            recorder.heed(number)
            app.state.instance = instance
            app.state.settings = settings
        gc.freeze()  # what lives as long as the worker need not be looked at again and again
        return app


def _shown(error: str) -> str:
    """As many of its lines as the admin listener shows."""
    if len(error) <= LONGEST_ERROR:
        return error
    *lines, last = error[:LONGEST_ERROR].split("\n")
    kept = lines or [f"{last}…"]
    more = error.count("\n") + 1 - len(kept)
    return "\n".join(kept + [f"and {more} more, see the error log"] * (more > 0))


def _lives(child: int) -> bool:
    """Whether that child of this process lives, which nobody but this process can end for good."""
    try:
        return os.waitpid(child, os.WNOHANG) == (0, 0)
    except ChildProcessError:  # gunicorn, which waits for all of its children, was first
        return False


def serve(settings: Settings, config: Config) -> None:
    """Runs the service until it is told to stop, then leaves with exit code 0 (SystemExit)."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems allow fewer than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the usual soft limit is 1,024: few connections
    sys.stderr = ErrorLog(_STDERR)
    Master(Gunicorn(settings, config)).run()
