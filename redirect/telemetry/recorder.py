"""The recorder: collects access records, and counts and logs them in batches.

The rule: a request only adds its record. A batch is a hundred records, or those of 100 ms.
"""

import asyncio
from time import monotonic_ns

from redirect.core.decision import Decision, Outcome
from redirect.core.pools import Config
from redirect.telemetry.access_log import LineFormatter
from redirect.telemetry.counters import Counters
from redirect.telemetry.failure_log import FailureLogs
from redirect.telemetry.forwarded import ForwardedProblems
from redirect.telemetry.log_writer import LogWriter
from redirect.telemetry.record import LoggedHead, Record
from redirect.telemetry.scoreboard import now_ms

MAX_BATCH_RECORDS = 100
MAX_BATCH_SECONDS = 0.1

# Of a full batch, for a client of the admin page that comes later; while one is there, all lines are kept.
KEPT_LINES = 4


class Recorder:
    def __init__(
        self, counters: Counters, log_writer: LogWriter | None, formatter: LineFormatter | None = None
    ) -> None:
        self.slot = counters.slot
        self.numbers = counters.slot.numbers
        self.failures = FailureLogs()
        self.forwards = counters.forwards
        self.forwarded = ForwardedProblems(self.numbers)
        self.dues = counters.dues
        self._counters = counters
        self._lines, self._dropped = self.numbers.lines, self.numbers.dropped  # of workers before this one
        self._log_writer = log_writer
        self._formatter = formatter or LineFormatter()
        self._records: list[Record] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(
        self, decision: Decision, head: LoggedHead, request_id: str, target: str, started: int, config: str,
        outcome: Outcome | None = None,
    ) -> None:  # fmt: skip
        """Adds the record of a request that is answered now; `started` is by `monotonic_ns`, `config` the hash of the
        configuration that decided."""
        records = self._records
        if not records:
            self._timer = asyncio.get_running_loop().call_later(MAX_BATCH_SECONDS, self.flush)
        records.append((decision, head, request_id, target, started, monotonic_ns(), config, outcome))
        if len(records) == MAX_BATCH_RECORDS:
            self.flush()

    def flush(self) -> None:
        records, self._records = self._records, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not records:
            return
        self._counters.count(records)
        keeps_all = len(records) < MAX_BATCH_RECORDS or self.numbers.watched_until_ms > now_ms()
        if self._log_writer is None and not keeps_all:
            records = records[-KEPT_LINES:]
        lines = self._formatter.format(records)
        if self._log_writer is not None:
            self._log_writer.write(lines, len(records))
        self._counters.slot.keep_lines(lines if keeps_all else _last(lines, KEPT_LINES))

    def use(self, config: Config) -> None:
        self.flush()
        self._counters.use(config)
        self._formatter.forget()

    def report(self, connections: int) -> None:
        """Reports how many connections of this worker are open, and how many lines were written and lost."""
        self.numbers.heartbeat_ms = now_ms()
        self.numbers.connections = connections
        if self._log_writer is not None:
            self.numbers.lines = self._lines + self._log_writer.written
            self.numbers.dropped = self._dropped + self._log_writer.lost

    def reopen(self) -> None:
        self.failures.reopen()
        self.flush()
        if self._log_writer is not None:
            self._log_writer.reopen()

    def close(self) -> None:
        self.failures.close()
        self.flush()
        if self._log_writer is not None:
            self._log_writer.close()
        for _ in self.dues.share_out():
            pass
        self.report(0)
        self._counters.slot.free()


def _last(lines: bytes, count: int) -> bytes:
    begin = len(lines)
    for _ in range(count + 1):
        begin = lines.rfind(b"\n", 0, begin)
        if begin < 0:
            return lines
    return lines[begin + 1 :]
