"""The master: gunicorn's, which keeps the workers and the controller alive and does nothing else.

The rule: a process that dies or hangs is replaced. A start with a bad setting or TOML never gets here; a running master
that is told to start new workers (HUP) keeps the old ones if the file is bad by then.
"""

import contextlib
import logging
import os
import resource
import signal
from time import monotonic
from types import FrameType

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from redirect.config.loader import Loader
from redirect.config.settings import Settings
from redirect.core.compiled import reader
from redirect.core.pools import Config
from redirect.processes import gunicorn_fixes as gunicorn_fixes
from redirect.processes.application import Gunicorn
from redirect.processes.child import Child
from redirect.processes.listeners import Given, are_given
from redirect.processes.worker import SIGNALS, STOP_SIGNALS, listen
from redirect.telemetry.scoreboard import WORKER_LATE_MS, Scoreboard, Slot, now_ms

# Seconds: where a process lives no longer, the next one waits as long.
SHORT_LIFE_SECONDS = 0.5

# Milliseconds without a heartbeat after which the controller is replaced.
CONTROLLER_LATE_MS = 3_000

# Milliseconds between two looks of the master from which on it was itself stopped, and maybe all were.
PAUSED_MS = 2_500

# Milliseconds that a process has until its first heartbeat.
START_MS = 60_000

# Seconds for which the next new workers wait until those before them serve.
BIRTH_SECONDS = 5.0

# Seconds that the controller has to end.
CONTROLLER_STOP_SECONDS = 2.0

_logger = logging.getLogger("gunicorn.error")


class Master(Arbiter):
    """gunicorn's master.

    TERM and INT stop the service in order, and at once if it is stopping already; so does QUIT the first time.
    """

    handle_int = Arbiter.handle_term  # gunicorn's takes it for QUIT

    def __init__(self, app: Gunicorn) -> None:
        self._common = app.scoreboard.common
        self._controller: Child | None = None
        self._stop_signals = 0
        self._no_births_until = self._no_controller_until = 0.0
        self._restarts_answered = 0
        self._looked_ms = now_ms()
        self._resumed_ms = 0  # when all were last seen to go on, that had been stopped
        self._killed: set[int] = set()  # workers that the master killed and that did not end yet
        super().__init__(app)
        _logger.addFilter(self._is_news)

    def start(self) -> None:
        super().start()
        _logger.info("Heads are read by the %s", reader())
        for listener in self.LISTENERS[1:]:  # the admin listener's connections wait for the controller
            listen(listener, self.cfg.backlog)

    def signal(self, sig: int, frame: FrameType | None) -> None:
        """While it stops gunicorn watches for INT and QUIT alone, and tells workers to QUIT then. Of two that come
        together it loses one."""
        self._stop_signals += sig in STOP_SIGNALS
        super().signal(signal.SIGQUIT if self._common.is_stopping and sig == signal.SIGTERM else sig, frame)

    def stop(self, graceful: bool = True) -> None:
        """Stops the workers, then the controller, which reports until then that the instance is stopping."""
        self._common.is_stopping = 1
        self.systemd = are_given()  # whose sockets stay in the file system
        super().stop(graceful and self._stop_signals < 2)
        if self._controller:
            self._controller.stop(CONTROLLER_STOP_SECONDS if graceful and self._stop_signals < 2 else 0)

    def reap_workers(self) -> None:
        """A worker that cannot begin ends a start. Later it is one more that died: the others serve, and it is tried
        again, but not all the time."""
        before = dict(self.WORKERS)
        try:
            super().reap_workers()
        except HaltServer:
            if not self._common.has_begun and not self._common.is_stopping:
                raise
            self.reap_workers()  # those that gunicorn did not come to
        for pid, worker in before.items():
            if pid not in self.WORKERS:
                self._killed.discard(pid)
                self._common.workers_died += worker.slot.numbers.pid == pid and not worker.hangs
                worker.slot.free()  # at once: what a worker that was killed held is free again
                if monotonic() - worker.born < SHORT_LIFE_SECONDS:
                    self._no_births_until = monotonic() + SHORT_LIFE_SECONDS

    def kill_worker(self, pid: int, sig: int) -> None:
        if sig == signal.SIGKILL:
            self._killed.add(pid)
        super().kill_worker(pid, sig)

    def _is_news(self, record: logging.LogRecord) -> bool:
        """gunicorn takes each SIGKILL for the kernel's, and its line has operators look for what took the memory."""
        is_guess = str(record.msg).endswith("Perhaps out of memory?")
        return not (is_guess and isinstance(record.args, tuple) and record.args[0] in self._killed)

    def spawn_workers(self) -> None:
        """gunicorn calls it whenever there are too few, and at least once a second."""
        if monotonic() < self._no_births_until:
            return
        try:
            super().spawn_workers()
        except OSError as error:
            if not self._common.has_begun and not self.WORKERS:  # nothing serves, and nothing would
                raise HaltServer(f"there can be no worker: {error}", Arbiter.WORKER_BOOT_ERROR) from None
            _logger.error("there are fewer workers than there should be: %s", error)  # the next second may be better

    def spawn_worker(self) -> int:
        slot = self.app.slot = self._free_slot()
        # A forked worker has the master's signal handlers until it installs its own. A TERM in that window would be
        # swallowed, so signals are blocked across the fork.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = int(super().spawn_worker())
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        worker = self.WORKERS[pid]
        worker.slot, worker.born, worker.hangs = slot, monotonic(), False
        return pid

    def _free_slot(self) -> Slot:
        """The first slot that no worker holds. One that was killed did not free its slot, and would seem to be alive
        once another process has its number."""
        scoreboard: Scoreboard = self.app.scoreboard
        held = {worker.slot for worker in self.WORKERS.values()}
        free = [slot for slot in scoreboard.slots() if slot not in held]
        for slot in free:
            slot.free()
        return free[0] if free else scoreboard.make_slot(len(held))

    def manage_workers(self) -> None:
        """gunicorn calls it first of all, and then at least once a second. Keeps the controller, too."""
        if self._controller and not self._controller.is_running():
            _logger.error("the controller (pid: %s) ended, and another takes its place", self._controller.pid)
            self._common.controllers_died += 1
            if monotonic() - self._controller.born < SHORT_LIFE_SECONDS:
                self._no_controller_until = monotonic() + SHORT_LIFE_SECONDS
            self._controller = None
        if self._controller is None and not self._common.is_stopping and monotonic() >= self._no_controller_until:
            self._controller = Child.start(self._control)
        super().manage_workers()

    def murder_workers(self) -> None:
        """gunicorn calls it at least once a second."""
        now = self._common.master_heartbeat_ms = now_ms()
        if now - self._looked_ms > PAUSED_MS:
            self._resumed_ms = now
        self._looked_ms = now
        self._replace_hung(now)
        answered = self._common.restarts_answered
        if answered != self._restarts_answered and not self._are_being_born():
            self._restarts_answered = answered
            if self._common.is_restart_good:
                self._replace_workers()

    def reload(self) -> None:
        """HUP: new workers with the file as it is now, once the controller has loaded it. A bad file changes nothing,
        not even workers."""
        self._common.restarts_requested += 1

    def reexec(self) -> None:
        """USR2: forks a process that becomes a second master, by the program as it is on disk now. One that cannot must
        end at once: as a master it would stop the workers of this one."""
        master = os.getpid()
        try:
            super().reexec()
        except OSError as error:
            _logger.error("there is no second master: %s", error)
            if os.getpid() != master:
                os._exit(1)

    def _are_being_born(self) -> bool:
        """Whether workers of the last seconds do not serve yet: more would have those stopped that do."""
        since = monotonic() - BIRTH_SECONDS
        workers = self.WORKERS.values()
        return any(each.born > since and each.slot.numbers.heartbeat_ms < each.born * 1000 for each in workers)

    def _replace_workers(self) -> None:
        """Starts new workers; gunicorn stops the oldest if there are too many."""
        try:
            for _ in range(self.num_workers):
                self.spawn_worker()
        except OSError as error:
            _logger.error("there are fewer new workers than there should be: %s", error)
        self.manage_workers()

    def _replace_hung(self, now: int) -> None:
        controller = self._controller
        if (
            controller
            and self._late_ms(self._common.controller_heartbeat_ms, controller.born, now) > CONTROLLER_LATE_MS
        ):
            _logger.error("the controller (pid: %s) shows no heartbeat and is replaced", controller.pid)
            self._common.controllers_hung += 1
            controller.stop(0)
            self._controller = None
        for pid, worker in [*self.WORKERS.items()]:
            late = self._late_ms(worker.slot.numbers.heartbeat_ms, worker.born, now)
            hung, worker.hangs = worker.hangs, late > WORKER_LATE_MS
            if worker.hangs and not hung:
                self._common.workers_hung += 1
                _logger.error("worker (pid: %s) shows no heartbeat", pid)
            if late > (self.app.settings.worker_timeout - 1) * 1000:  # the next look is a second away
                _logger.error("worker (pid: %s) hangs and is replaced", pid)
                self.kill_worker(pid, signal.SIGKILL)

    def _late_ms(self, heartbeat_ms: int, born: float, now_ms: int) -> int:
        """Milliseconds since a heartbeat was due: since the last one, or since the time for the first one was over.
        What was stopped with the master has shown none meanwhile, and has as long as any from when it goes on."""
        begun = int(born * 1000)
        return now_ms - max(heartbeat_ms if heartbeat_ms >= begun else begun + START_MS, self._resumed_ms)

    def _control(self) -> None:
        """Makes this process, forked from the master, the controller."""
        from redirect.processes.controller import Controller  # what it imports the workers need not

        public, *admin = self.LISTENERS
        public.sock.close()
        app = self.app
        controller = Controller(app.scoreboard, app.settings, app.config, app.loader, self.pid)
        controller.work([each.sock for each in admin], app.controller_socket)


def serve(settings: Settings, config: Config, loader: Loader, given: Given) -> None:
    """Runs the service until it is told to stop, then leaves with exit code 0 (SystemExit). The `config` was loaded by
    `loader`, which reads only what changes from then on."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems allow fewer than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the usual soft limit is 1,024: few connections
    Master(Gunicorn(settings, config, loader, given)).run()
