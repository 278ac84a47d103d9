"""What comes out: two tables to read, what was seen and how it came about, and one file for machines."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fault import Outcome
from figures import number, verdict
from table import Table

SEEN = ("in front", "fault", "requests", "failed", "cut", "p99, ms", "worst, ms", "at most", "")
SEEN_NOTE = """\
Failed: any other answer than the redirect that is due, or than the origin's to that very request, none within 10 s, or
a connection that ended with a request on it; nothing is tried twice. Cut: those that were on a connection of the very
process that was killed, where nothing is in front to ask another one, and POSTs that had been forwarded on a connection
which their origin ended, for they must not be sent twice; none was. Latency counts from when a request was due, at a
fixed rate, whether a connection was free or not; the generator looks once a millisecond."""

MADE = ("in front", "fault", "times", "requests/s", "idle, %", "lag, ms", "back, s")
MADE_NOTE = """\
Times: how often the fault was injected while the requests ran, at half of the peak that was measured just before. Idle:
what nobody wanted of the CPU time of the machine, which the service, the generator, the engine and everybody else
share; where next to nothing is left, all have waited. Lag: how late the generator itself was at worst. Back: seconds,
at worst, until all was as before: another process serves, a replica is asked again, a configuration is in force in
every worker."""


@dataclass(frozen=True)
class Report:
    command: str
    machine: Mapping[str, str]
    outcomes: Sequence[Outcome] = ()

    @property
    def failed(self) -> int:
        return sum(each.failed for each in self.outcomes)


def write(report: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.json").write_text(json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n")
    (folder / "faults.md").write_text(page(report))


def page(report: Report) -> str:
    machine = "\n".join(f"- {what}: {value}" for what, value in report.machine.items())
    seen = Table("What requests saw", SEEN, [seen_row(each) for each in report.outcomes], SEEN_NOTE, labels=2)
    made = Table("How it was made", MADE, [made_row(each) for each in report.outcomes], MADE_NOTE, labels=2)
    parts = [f"# Faults\n\nMade by `{report.command}`.\n\n{machine}\n", seen.markdown(), made.markdown()]
    return "\n".join([*parts, *_reasons(report)])


def seen_row(outcome: Outcome) -> tuple[str, ...]:
    limit = outcome.at_most_ms
    return (
        outcome.front,
        outcome.fault,
        f"{outcome.requests:,}",
        f"{outcome.failed:,}",
        f"{outcome.cut:,}",
        number(outcome.p99_ms),
        number(outcome.worst_ms),
        "" if limit is None else number(limit),
        "" if limit is None else verdict(outcome.worst_ms, limit),
    )


def made_row(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.front,
        outcome.fault,
        str(outcome.times),
        f"{outcome.peak / 2:,.0f}",
        f"{100 * outcome.idle:.0f}",
        number(outcome.lag_ms),
        "" if outcome.recovered_s is None else number(outcome.recovered_s),
    )


def _reasons(report: Report) -> list[str]:
    """What failed and cut requests met, if there are any."""
    reasons = [
        f"- {outcome.fault}, {outcome.front} in front: {count:,} times {fault}\n"
        for outcome in report.outcomes
        for fault, count in outcome.faults.items()
    ]
    return ["What requests met that failed or were cut:\n", "".join(reasons)] if reasons else []
