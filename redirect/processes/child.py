"""A process that the master forks beside its workers."""

import logging
import os
import signal
from collections.abc import Callable
from time import monotonic, sleep
from typing import NamedTuple

_logger = logging.getLogger("gunicorn.error")


class Child(NamedTuple):
    """A forked process, and when it was forked (seconds of the monotonic clock)."""

    pid: int
    born: float

    @classmethod
    def start(cls, work: Callable[[], object]) -> "Child | None":
        """Forks a process that does `work` and never returns; None if there can be none now.

        It begins with all signals blocked, so that none reaches the master's handlers in it.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if not pid:
                try:
                    work()
                except Exception:  # nothing is above that could tell
                    _logger.exception("the controller cannot begin")
                finally:
                    os._exit(1)
            return cls(pid, monotonic())
        except OSError as error:  # the next second may be a better one
            _logger.error("there is no controller: %s", error)
            return None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def is_running(self) -> bool:
        try:
            return os.waitpid(self.pid, os.WNOHANG) == (0, 0)
        except ChildProcessError:  # gunicorn, which waits for all of its children, was first
            return False

    def stop(self, seconds: float) -> None:
        """Ends it, in order if it does so within `seconds`."""
        deadline = monotonic() + seconds
        if seconds and self.is_running():
            os.kill(self.pid, signal.SIGTERM)
        while self.is_running():
            if monotonic() >= deadline:
                os.kill(self.pid, signal.SIGKILL)
            sleep(0.01)
