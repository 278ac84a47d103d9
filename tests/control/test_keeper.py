"""Numbers outlive a restart, whatever becomes of processes, the directory and the file; nothing is counted twice."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redirect.config.loader import parse_config
from redirect.control import keeper as keeper_module
from redirect.control.instance import Instance
from redirect.control.keeper import HUNG_SECONDS, Keeper
from redirect.control.publisher import go_on
from redirect.core.decision import Decision, Outcome
from redirect.core.overrides import Override, pack, unpack
from redirect.core.request import Head
from redirect.telemetry import statistics
from redirect.telemetry.counters import Counters
from redirect.telemetry.record import logged_head
from redirect.telemetry.scoreboard import Common, Numbers, Scoreboard
from redirect.telemetry.snapshot import Loading, Snapshot, Totals
from redirect.telemetry.state_file import NAME, Kept, StateFile, kept_overrides
from redirect.telemetry.sums import DURATIONS, LAYOUT, PROCESSES, Rows, put, rows

CONFIG = parse_config(b"[pool]\nis_default = true\nweighted_hosts = { one = 1 }\n", "pools.toml")
HEAD = logged_head("GET", Head("nowhere", "http", None, "a", None, None, None, None))
SINCE_MS = 1_000_000


def started(*, at_ms: int = SINCE_MS) -> Scoreboard:
    """The scoreboard of an instance that was started then, in which nothing is counted."""
    scoreboard = Scoreboard()
    scoreboard.common.started_ms = at_ms
    scoreboard.make_slot(0)
    return scoreboard


def work(scoreboard: Scoreboard) -> None:
    """A worker counts something of everything."""
    counters = Counters(scoreboard.slots()[0], CONFIG)
    forward = Decision(200, "pool", "one", None, route="/api")
    records: list[Any] = [
        (Decision(302, "pool", "one", "http://one"), HEAD, "id", "/", 0, 1500, CONFIG.hash, None),
        (forward, HEAD, "id", "/api", 0, 2_000_000, CONFIG.hash, Outcome(200, 1700, 1, 10, 20)),
        (Decision(404, None, None, None), HEAD, "id", "/", 0, 1500, CONFIG.hash, None),
    ]
    counters.count(records)
    counters.forwards.failed("pool", None, "destination_unavailable")
    counters.forwards.retried("pool", "one", 300)
    numbers = scoreboard.slots()[0].numbers
    numbers.lines += 3
    numbers.dropped += 1
    numbers.stale += 1
    scoreboard.common.workers_died += 1
    scoreboard.ejections.publish(json.dumps({"pool": {"one": 1}}).encode())


def look(scoreboard: Scoreboard) -> Snapshot:
    return statistics.snapshot(scoreboard, Loading(0.0, config=CONFIG.hash))


def requests(scoreboard: Scoreboard) -> int:
    return sum(count.total for count in look(scoreboard).requests.values())


def run(folder: Path, *, works: bool = True) -> Scoreboard:
    """A run of the service, from its start to its end."""
    scoreboard = started()
    keeper = Keeper(scoreboard, folder)
    keeper.step()
    if works:
        work(scoreboard)
    keeper.step()
    return scoreboard


def test_the_layout_is_that_of_the_first_version_that_kept_numbers() -> None:
    """Where it changes all that was kept is lost to the next version."""
    assert LAYOUT == 1833975049


def test_all_that_never_goes_back_is_kept() -> None:
    """Numbers of a slot are kept, or known as what is not: how it is now, and signals between processes."""
    now = {"pid", "since_ms", "heartbeat_ms", "connections", "requests", "tunnels", "health"}
    now |= {"config", "configs", "change"}
    memory = {"series_bytes", "ring_begun", "ring_ended", "watched_until_ms", "held"}
    assert {name for name, *_ in Numbers._fields_} - now - memory == {*Totals._fields, *DURATIONS}


def test_all_that_is_counted_of_processes_is_kept() -> None:
    assert {name for name, *_ in Common._fields_ if name.endswith(("_died", "_hung"))} == {*PROCESSES}


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    """The next run has all numbers of the one before, and adds its own to them."""
    first = run(tmp_path)
    second = run(tmp_path, works=False)
    assert rows(second) == rows(first)
    before, after = look(first), look(second)
    assert after.answers.buckets == before.answers.buckets
    assert after.answers.sum == before.answers.sum
    assert after.forwards.origins == before.forwards.origins
    assert after.routes == before.routes == {("/api", 200): 1}
    assert {key: count.last_ms for key, count in after.requests.items()} == {
        key: count.last_ms for key, count in before.requests.items()
    }
    work(second)
    assert requests(second) == 2 * requests(first)
    assert look(second).forwards.origins["pool", None].failures == {"destination_unavailable": 2}
    assert look(second).totals.bytes_out == 40


def test_overrides_go_on_after_a_restart(tmp_path: Path) -> None:
    """Those with which it began give way to what the run before wrote last, those that were asked for since do not. A
    file of an earlier version has none."""
    first = run(tmp_path)
    first.overrides.publish(b"[]")
    Keeper(first, tmp_path).step()
    with contextlib.closing(sqlite3.connect(tmp_path / NAME)) as file:
        file.execute("DROP TABLE overrides")
        file.commit()
    assert kept_overrides(tmp_path) == "[]"
    second = run(tmp_path)
    for asked in (b"[]", b'[["p", "a", 1, 2, 3.0, 4.0, 5.0]]'):
        second.overrides.publish(asked)
    keeper = Keeper(second, tmp_path)
    keeper.step()
    del keeper
    third = started()
    third.overrides.publish(b"[]")
    Keeper(third, tmp_path).step()
    assert third.overrides.read() == second.overrides.read() == kept_overrides(tmp_path).encode()


def test_overrides_are_in_force_when_the_first_worker_begins(tmp_path: Path) -> None:
    """Those whose time is not over. Nothing is made where there is no file."""
    assert kept_overrides(tmp_path / "new") == "[]"
    assert not (tmp_path / "new").exists()
    config = parse_config(b"[p]\nis_default = true\nweighted_hosts = { a = 1, b = 0, c = 1 }\n", "pools.toml")
    wanted = [Override("p", "a", 0, 0, time.time(), 0, 100), Override("p", "c", 0, 0, 1.0, 0, 100)]
    scoreboard = started()
    began = go_on(scoreboard, config, pack(wanted))
    assert [origin.weight for origin in began.pools["p"].origins] == [0, 0, 1]
    assert unpack(scoreboard.overrides.read()) == wanted[:1]
    for damaged in ("no JSON", '[["p", "a", 1, "1", 0, 0, 1e12]]', '[["p", ["a"], 1, 1, 0, 0, 0]]'):
        assert go_on(started(), config, damaged) is config


def test_a_file_of_another_program_has_no_overrides(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / NAME)) as file:
        file.execute("CREATE TABLE overrides (content TEXT NOT NULL)")
        file.execute("INSERT INTO overrides VALUES ('[1]')")
        file.commit()
    assert kept_overrides(tmp_path) == "[]"


def test_kept_requests_are_none_of_the_configuration_in_force(tmp_path: Path) -> None:
    """Observed shares are those since the start: the configuration may have changed while the service was down."""
    run(tmp_path)
    assert {count.since_load for count in look(run(tmp_path, works=False)).requests.values()} == {0}


async def test_numbers_say_since_when_they_count(tmp_path: Path) -> None:
    """The start of the first run that was kept; without one the start."""

    async def since(folder: Path | None) -> float:
        scoreboard = started(at_ms=5 * SINCE_MS)
        unused: Any = None
        keeper = None if folder is None else Keeper(scoreboard, folder)
        instance = Instance(scoreboard, unused, unused, unused, keeper)
        await instance.keep()
        return instance.counted_since

    run(tmp_path)
    assert await since(tmp_path) == SINCE_MS / 1000
    assert await since(None) == 5 * SINCE_MS / 1000


def test_a_controller_that_is_replaced_counts_nothing_twice(tmp_path: Path) -> None:
    """Wherever the one before ended: it had put the numbers in half, or whole without writing the file, or had."""
    first = run(tmp_path)
    kept = StateFile(tmp_path).read()
    assert kept is not None
    second = started()
    put(second.kept, dict([*kept.rows.items()][:3]))
    Keeper(second, tmp_path).step()
    assert rows(second) == rows(first)

    third = started()
    keeper = Keeper(third, tmp_path)
    keeper._take_over()
    Keeper(third, tmp_path).step()
    Keeper(third, tmp_path).step()
    assert rows(third) == rows(first)
    assert rows(run(tmp_path, works=False)) == rows(first)


def test_one_directory_has_one_instance(tmp_path: Path) -> None:
    """A second one says so, and leaves the file alone; once the first has ended it goes on from its numbers."""
    first, second = started(), started()
    held, waiting = Keeper(first, tmp_path), Keeper(second, tmp_path)
    held.step()
    work(second)
    waiting.step()
    assert waiting.error is not None
    assert "another instance uses it; give each a directory of its own" in waiting.error
    work(first)
    held.step()
    del held._file  # closes the lock
    waiting.step()
    assert requests(second) == 6
    assert waiting.error is None


def test_an_instance_that_ignores_the_lock_is_noticed(tmp_path: Path) -> None:
    """Some network file systems have no locks; the file then says whose it is."""
    first = Keeper(started(), tmp_path)
    first.step()
    (tmp_path / "lock").unlink()
    run(tmp_path)
    before = (tmp_path / NAME).read_bytes()
    first.step()
    assert "another instance wrote into numbers.sqlite3" in str(first.error)
    assert (tmp_path / NAME).read_bytes() == before


def _text(path: Path) -> None:
    path.write_text("not a database, but long enough to be one" * 100)


def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE run (run)")
    file.close()


def _other_version(path: Path) -> None:
    run(path.parent)
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 1")
    file.close()


def _torn(path: Path) -> None:
    run(path.parent)
    path.write_bytes(path.read_bytes()[:-4096])


def _row(key: str, numbers: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        run(path.parent)
        with sqlite3.connect(path) as file:
            file.execute("INSERT INTO sums VALUES (?, ?)", (key, numbers))
        file.close()

    return make


def _overrides(content: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        run(path.parent)
        with sqlite3.connect(path) as file:
            file.execute("UPDATE overrides SET content = ?", (content,))
        file.close()

    return make


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(_overrides("[[1]]"), "is damaged", id="overrides of another shape"),
        pytest.param(_overrides('[["p", "a", 1, 1, "0", 0, 1]]'), "is damaged", id="an override of other types"),
        pytest.param(_text, "is damaged (file is not a database); move it away", id="text"),
        pytest.param(_torn, "is damaged (database disk image is malformed); move it away", id="torn"),
        pytest.param(_foreign, "is the file of another program; name another directory", id="foreign"),
        pytest.param(_other_version, "is of another version of this service", id="version"),
        pytest.param(_row("{", "[1]"), "is damaged", id="no key"),
        pytest.param(_row("5", "[1]"), "is damaged", id="key without kind"),
        pytest.param(_row('["retries", "p", "o"]', "no JSON"), "is damaged", id="no numbers"),
        pytest.param(_row('["retries", "p", "o"]', "1"), "is damaged", id="one number"),
        pytest.param(_row('["retries", "p", "o"]', "[-1]"), "is damaged", id="negative"),
        pytest.param(_row('["retries", "p", "o"]', "[1, 1]"), "is damaged", id="too many numbers"),
        pytest.param(_row('["retries", "p"]', "[1]"), "is damaged", id="too few labels"),
        pytest.param(_row('["routes", "/", null]', "[1]"), "is damaged", id="no status"),
        pytest.param(_row('["in_flight", "p", "o"]', "[1]"), "is damaged", id="another kind"),
        pytest.param(_row('["in_flight"]', "[1]"), "is damaged", id="another kind without labels"),
        pytest.param(_row('["none"]', "[]"), "is damaged", id="no kind"),
    ],
)
def test_a_file_that_is_not_ours_is_left_as_it_is(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    """Its numbers are not used, not even in part. The error log says why, and what to do; done so, numbers are kept
    without a restart."""
    make(tmp_path / NAME)
    before = (tmp_path / NAME).read_bytes()
    scoreboard = started()
    keeper = Keeper(scoreboard, tmp_path)
    work(scoreboard)
    counted = rows(scoreboard)
    keeper.step()
    assert reason in str(keeper.error)
    assert rows(scoreboard) == counted
    assert (tmp_path / NAME).read_bytes() == before
    (tmp_path / NAME).rename(tmp_path / "away")
    keeper.step()
    assert rows(scoreboard) == counted
    kept = StateFile(tmp_path).read()
    assert kept is not None
    assert kept.rows == counted


def _with_pragma(pragma: str) -> Callable[..., sqlite3.Connection]:
    connect = sqlite3.connect

    def connected(*args: Any, **options: Any) -> sqlite3.Connection:
        file: sqlite3.Connection = connect(*args, **options)
        file.execute(pragma)
        return file

    return connected


@pytest.mark.parametrize(
    ("pragma", "reason"),
    [
        pytest.param("PRAGMA max_page_count = 1", "database or disk is full", id="full"),
        pytest.param("PRAGMA query_only = ON", "attempt to write a readonly database", id="read-only"),
    ],
)
def test_a_disk_that_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, pragma: str, reason: str
) -> None:
    """It is reported once, with what to do; numbers count on, and are kept once it takes them again."""
    caplog.set_level(logging.INFO, "gunicorn.error")
    scoreboard = started()
    keeper = Keeper(scoreboard, tmp_path)
    keeper.step()
    work(scoreboard)
    for pool in range(100):  # more than the pages that the file has
        scoreboard.slots()[0].counts[scoreboard.slots()[0].add_series("retries", (f"{pool}" * 20, "one"))] = 1
    counted = rows(scoreboard)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", _with_pragma(pragma))
        keeper.step()
        keeper.step()
    assert [record.getMessage() for record in caplog.records] == [
        f"REDIRECT_STATE_DIR: the numbers are not kept in {tmp_path}: numbers.sqlite3: {reason}; see that user "
        f"{os.geteuid()} may write it and there is space. It is tried again every 5 s."
    ]
    keeper.step()
    assert caplog.records[-1].getMessage() == f"the numbers are kept in {tmp_path} again"
    assert rows(scoreboard) == counted == rows(run_after(tmp_path, keeper))


def run_after(folder: Path, keeper: Keeper) -> Scoreboard:
    """The next run, behind that of `keeper`."""
    del keeper._file  # closes the lock, once no exception of it is left: Python 3.13 keeps some in circles
    gc.collect()
    return run(folder, works=False)


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    """It is made where it is missing; where it cannot be, the state says so."""
    (tmp_path / "file").write_text("")
    keeper = Keeper(started(), tmp_path / "file" / "state")
    keeper.step()
    assert f"Not a directory; make it a directory that user {os.geteuid()} may write into" in str(keeper.error)
    Keeper(started(), tmp_path / "new" / "state").step()
    assert (tmp_path / "new" / "state" / NAME).exists()


def test_a_fault_of_this_program_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its traceback is logged, and the next step is made."""
    keeper = Keeper(started(), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(keeper_module, "rows", lambda _: 1 / 0)
        keeper.step()
    assert "ZeroDivisionError" in caplog.text
    keeper.step()
    assert StateFile(tmp_path).read() is not None


async def test_numbers_are_kept_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crash loses is what was counted since the last write."""
    monkeypatch.setattr(keeper_module, "INTERVAL_SECONDS", 0.01)
    scoreboard = started()
    task = asyncio.create_task(Keeper(scoreboard, tmp_path).run())
    for times in (1, 2):
        work(scoreboard)
        while (kept := StateFile(tmp_path).read()) is None or kept.rows.get('["routes", "/api", 200]') != [times]:
            await asyncio.sleep(0.01)
    task.cancel()


async def test_an_end_does_not_wait_for_a_disk_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a start: the master would kill the controller."""
    monkeypatch.setattr(keeper_module, "MAX_WAIT_SECONDS", 0.01)
    keeper = Keeper(started(), tmp_path)
    keeper._lock.acquire()
    await keeper.keep()
    assert not (tmp_path / NAME).exists()


def test_a_disk_that_hangs_is_reported_until_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gunicorn.error")
    keeper, now = Keeper(started(), tmp_path), [100.0]
    monkeypatch.setattr(keeper_module, "monotonic", lambda: now[0])

    def hang(scoreboard: Scoreboard) -> Rows:
        for seconds in (HUNG_SECONDS, 1, 1):
            now[0] += seconds
            keeper.note_hang()
        return rows(scoreboard)

    monkeypatch.setattr(keeper_module, "rows", hang)
    keeper.note_hang()
    keeper.step()
    keeper.note_hang()
    assert [record.getMessage() for record in caplog.records] == [
        f"REDIRECT_STATE_DIR: the numbers are not kept in {tmp_path}: its file system has not answered for 30 s. "
        "It is tried again every 5 s.",
        f"the numbers are kept in {tmp_path} again",
    ]


@pytest.mark.processes
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    """What is read is what one write left: never parts of two."""

    def write(file: StateFile, number: int) -> None:
        file.write(Kept(1, 1, {f'["retries", "p", "{key}"]': [number] for key in range(300)}), 1)

    write(StateFile(tmp_path), 0)
    for attempt in range(15):
        if not (pid := os.fork()):
            file = StateFile(tmp_path)
            for number in range(100_000):
                write(file, number)
            os._exit(1)
        time.sleep(0.02 + attempt * 0.003)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        kept = StateFile(tmp_path).read()
        assert kept is not None
        assert len(kept.rows) == 300
        assert len({tuple(numbers) for numbers in kept.rows.values()}) == 1
