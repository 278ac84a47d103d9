"""The `redirect` command, also as `python -m redirect`.

The rule: a signal to stop ends it at once, also while it imports, which takes a third of a second: as PID 1 of a
container it would ignore TERM, and Ctrl-C would show where the imports are.
"""

import errno
import io
import os
import signal
import sys
from types import FrameType

# What is wrong where the output is a file on a full disk, or a pipe that nothing reads any more.
_OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(*arguments: str) -> None:
    """Runs the command with the given arguments, before those of the process."""
    given = [*arguments, *sys.argv[1:]]
    code = 0 if given[:1] == ["serve"] else None  # a service that stops has done what it was to do

    def leave(number: int, _: FrameType | None) -> None:
        os._exit(128 + number if code is None else code)

    for stop in STOP_SIGNALS:
        signal.signal(stop, leave)
    if code is not None:  # a service that does not run yet has nothing to reload or to open again
        for other in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(other, signal.SIG_IGN)
    from redirect.commands.main import cli

    if code is None:  # `serve` has more to do then
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        _open_streams()
    try:
        try:
            cli(given, prog_name="redirect")
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        if error.errno not in _OF_OUTPUT:
            raise
        if error.errno != errno.EPIPE:
            print(f"the output cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201
        os._exit(1)  # Python would try to write once more


def _open_streams() -> None:
    """Standard input that was closed is empty, and output goes nowhere. What an encoding has no character for, as
    Latin-1 has none for most, is an escape."""
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115  for as long as the process lives
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
