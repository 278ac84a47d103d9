"""The recorder: what was answered, gathered for a moment, then counted and logged.

The rule: a request only leaves its record here. Batches of records, a hundred or what came within
100 ms, are counted, made into lines, and given to the log_writer.
"""

import asyncio
from time import monotonic_ns

from redirect.core.decision import Decision
from redirect.core.pools import Config
from redirect.telemetry.access_log import Lines
from redirect.telemetry.counters import Counters
from redirect.telemetry.log_writer import LogWriter
from redirect.telemetry.record import Quoted, Record
from redirect.telemetry.scoreboard import now_ms

# A batch is written when it has so many records or is so old (seconds).
BATCH = 100
LONGEST_WAIT = 0.1

# Of a batch so many lines are kept for whoever comes to look, and all of them while somebody looks.
KEPT = 4


class Recorder:
    """The recorder of one worker. `log_writer` is None where no access log is wanted."""

    def __init__(self, counters: Counters, log_writer: LogWriter | None) -> None:
        self._counters = counters
        self._log_writer = log_writer
        self._lines = Lines()
        self._records: list[Record] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, decision: Decision, quoted: Quoted, target: str, started: int, config: str) -> None:
        """Adds the record of a request for `target` that was `started` at that time of `monotonic_ns`, and is
        answered now. `config` is the hash of the configuration that decided."""
        records = self._records
        if not records:
            self._timer = asyncio.get_running_loop().call_later(LONGEST_WAIT, self.flush)
        records.append((decision, quoted, target, started, monotonic_ns(), config))
        if len(records) == BATCH:
            self.flush()

    def flush(self) -> None:
        """Counts and logs what was gathered."""
        records, self._records = self._records, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not records:
            return
        self._counters.count(records)
        is_watched = self._counters.slot.numbers.watched_until_ms > now_ms()
        if self._log_writer is None and not is_watched:
            records = records[-KEPT:]
        lines = self._lines.of(records)
        if self._log_writer is not None:
            self._log_writer.write(lines)
        self._counters.slot.keep_lines("".join(lines if is_watched else lines[-KEPT:]).encode("ascii"))

    def use(self, config: Config) -> None:
        """Counts what is answered from now on under another configuration."""
        self.flush()
        self._counters.use(config)

    def report(self, connections: int) -> None:
        """Reports how many connections of this worker are open, and how many lines were written and lost."""
        log_writer = self._log_writer
        self._counters.report(
            connections, log_writer.written if log_writer else 0, log_writer.lost if log_writer else 0
        )

    def report_health(self, number: int) -> None:
        """Reports the number of the health status that this worker has applied."""
        self._counters.report_health(number)

    def reopen(self) -> None:
        """Logs to a new file from now on, where the old one was renamed."""
        self.flush()
        if self._log_writer is not None:
            self._log_writer.reopen()

    def close(self) -> None:
        """Writes what was gathered, and ends."""
        self.flush()
        if self._log_writer is not None:
            self._log_writer.close()
        self.report(0)
        self._counters.slot.free()
