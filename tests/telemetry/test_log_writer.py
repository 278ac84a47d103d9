"""The log writer: it writes whole lines, never blocks, and counts and reports those that are lost."""

import asyncio
import contextlib
import json
import logging
import os
import pty
import resource
import select
import stat
import threading
import tty
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from support.coroutines import until
from support.ends import drain, sockets

from redirect.telemetry.log_writer import MAX_LINE_BYTES, MAX_WRITE_BYTES, LogWriter, try_target

# Lines of 1 KiB, numbered: far more of them than a pipe holds, and than may wait here.
PIPE_FULL = 64
MOST_WAITING = 256 * 1024
MANY = PIPE_FULL + MOST_WAITING // 1024 + 500


@pytest.fixture(autouse=True)
def _less_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redirect.telemetry.log_writer.MAX_WAITING_BYTES", MOST_WAITING)


def line(number: int, length: int = 1024) -> bytes:
    empty = json.dumps({"n": number, "text": ""})
    return empty.replace('""', f'"{"x" * (length - len(empty) - 1)}"').encode("ascii") + b"\n"


def lines(numbers: Iterable[int]) -> tuple[bytes, int]:
    """The arguments of `write`."""
    made = [line(number) for number in numbers]
    return b"".join(made), len(made)


def numbers(written: bytes) -> list[int]:
    """What came out: the numbers of lines, and below 0 how many were lost at that place."""
    found = []
    for each in written.splitlines(keepends=True):
        assert each.endswith(b"\n"), "a torn line"
        record = json.loads(each)
        found.append(record["n"] if "n" in record else -record["lost"])
    return found


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A pipe with a name, and the end from which it is read when the test likes."""
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, end
    with contextlib.suppress(OSError):
        os.close(end)


async def drained(end: int, is_all: Callable[[bytes], bool]) -> bytes:
    """What is read while the event loop goes on, once that is all."""
    found = b""
    while not is_all(found):
        found += drain(end)
        await asyncio.sleep(0)
    return found


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all writes."""
    sizes = []
    write = os.write

    def write_and_note(file: int, data: bytes) -> int:
        sizes.append(len(data))
        return write(file, data)

    monkeypatch.setattr("redirect.telemetry.log_writer.os.write", write_and_note)
    return sizes


async def test_a_batch_to_a_file_is_one_write(tmp_path: Path, writes: list[int]) -> None:
    """A file takes a batch at once, as long as it is not over 64 KiB."""
    log_writer = LogWriter(str(tmp_path / "log"))
    log_writer.write(*lines(range(60)))
    assert writes == [60 * 1024]
    log_writer.write(*lines(range(60, 160)))
    assert writes[1:] == [MAX_WRITE_BYTES, 36 * 1024]
    log_writer.close()
    assert log_writer.written == 160
    assert numbers((tmp_path / "log").read_bytes()) == [*range(160)]


async def test_a_pipe_gets_whole_lines_of_at_most_4096_bytes_at_once(fifo: tuple[str, int], writes: list[int]) -> None:
    """So those of several processes do not tear."""
    path, end = fifo
    log_writer = LogWriter(path)
    log_writer.write(b"".join([line(n, 1500) for n in range(3)]) + line(3, MAX_LINE_BYTES), 4)
    log_writer.close()
    assert writes == [3000, 1500, MAX_LINE_BYTES]
    assert numbers(drain(end)) == [0, 1, 2, 3]


def test_a_pipe_is_tried_without_an_end_for_its_reader(fifo: tuple[str, int]) -> None:
    """Who reads until the last writer closes would end before the first one writes."""
    path, reader = fifo
    try_target(path)
    assert not select.select([reader], [], [], 0)[0]


async def test_a_pipe_that_is_not_read_loses_the_lines_over_the_limit(fifo: tuple[str, int]) -> None:
    """They are reported in their place."""
    path, end = fifo
    log_writer = LogWriter(path)
    for n in range(MANY):
        log_writer.write(line(n))  # would stay here for ever
    assert log_writer.written == PIPE_FULL
    assert log_writer.lost == 500
    read = await drained(end, lambda read: numbers(read)[-1:] == [-500])
    log_writer.write(line(MANY))
    read += drain(end)
    assert numbers(read) == [*range(MANY - 500), -500, MANY]
    assert log_writer.written == len(numbers(read))
    log_writer.close()


async def test_later_lines_come_behind_the_report_of_lost_ones(fifo: tuple[str, int]) -> None:
    """Lines that find room again come behind the one that tells of those that did not."""
    path, end = fifo
    log_writer = LogWriter(path)
    for n in range(MANY):
        log_writer.write(line(n))
    read = os.read(end, 32 * 1024)
    await until(lambda: log_writer.written > PIPE_FULL)
    log_writer.write(line(MANY))
    read += await drained(end, lambda more: numbers(read + more)[-1:] == [MANY])
    assert numbers(read) == [*range(MANY - 500), -500, MANY]
    log_writer.close()


async def test_a_pipe_without_a_reader_loses_lines_and_logs_it_once(
    fifo: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    path, end = fifo
    log_writer = LogWriter(path)
    os.close(end)
    for n in range(MANY):
        log_writer.write(line(n))
    log_writer.close()
    assert (log_writer.written, log_writer.lost) == (0, MANY)
    waits, lost = caplog.messages
    assert waits.startswith("access log: lines wait")
    assert waits.endswith("[Errno 32] Broken pipe")
    assert lost == f"access log: {MANY} lines were lost at the end"


async def test_lines_wait_for_a_reader_that_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redirect.telemetry.log_writer.RETRY_SECONDS", 0.01)
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log_writer = LogWriter(path)
    os.close(end)
    log_writer.write(line(0))
    log_writer.write(line(1))
    again = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    await until(lambda: log_writer.written == 2)
    assert numbers(drain(again)) == [0, 1]
    log_writer.close()
    os.close(again)


@contextlib.contextmanager
def longest_file(size: int) -> Iterator[None]:
    """Files cannot grow beyond `size`: a disk that is full there, and takes part of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_loses_lines_and_tears_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once there is space again the loss is reported."""
    monkeypatch.setattr("redirect.telemetry.log_writer.RETRY_SECONDS", 0.01)
    path = tmp_path / "log"
    log_writer = LogWriter(str(path))
    with longest_file(10_000):
        for n in range(MANY):
            log_writer.write(line(n))
        assert numbers(path.read_bytes()) == [*range(9)]
        waiting = MOST_WAITING // 1024
        assert (log_writer.written, log_writer.lost) == (9, MANY - 9 - waiting)
    await until(lambda: log_writer.written == 9 + waiting + 1)
    assert numbers(path.read_bytes()) == [*range(9 + waiting), -(MANY - 9 - waiting)]
    log_writer.close()
    assert len(caplog.messages) == 1


async def test_a_disk_that_is_full_from_the_start_loses_lines(caplog: pytest.LogCaptureFixture) -> None:
    log_writer = LogWriter("/dev/full")
    log_writer.write(line(0))
    log_writer.close()
    assert (log_writer.written, log_writer.lost) == (0, 1)
    assert caplog.messages[0].endswith("[Errno 28] No space left on device")


async def test_reopen_writes_to_a_new_file_of_the_old_name(tmp_path: Path) -> None:
    path, rotated = tmp_path / "log", tmp_path / "log.1"
    log_writer = LogWriter(str(path))
    log_writer.write(line(0))
    path.rename(rotated)
    log_writer.write(line(1))
    log_writer.reopen()
    log_writer.write(line(2))
    log_writer.close()
    assert numbers(rotated.read_bytes()) == [0, 1]
    assert numbers(path.read_bytes()) == [2]


async def test_reopen_writes_the_waiting_lines_to_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    log_writer = LogWriter(str(path))
    log_writer.write(line(0))
    path.unlink()
    log_writer.reopen()
    assert numbers(path.read_bytes()) == [0]
    log_writer.close()


async def test_reopen_keeps_the_old_file_if_the_path_cannot_be_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    log_writer = LogWriter(str(folder / "log"))
    folder.rename(tmp_path / "moved")
    log_writer.reopen()
    log_writer.write(line(0))
    log_writer.close()
    assert numbers((tmp_path / "moved" / "log").read_bytes()) == [0]
    (message,) = caplog.messages
    assert "cannot be opened again" in message


async def test_lines_wait_for_a_file_that_cannot_be_opened_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The error log says so once."""
    monkeypatch.setattr("redirect.telemetry.log_writer.RETRY_SECONDS", 0.001)
    folder = tmp_path / "folder"
    log_writer = LogWriter(str(folder / "log"))
    log_writer.write(line(0))
    log_writer.reopen()
    log_writer.write(line(1))
    await asyncio.sleep(0.01)
    assert log_writer.written == 0
    folder.mkdir()
    await until(lambda: log_writer.written == 2)
    log_writer.close()
    assert numbers((folder / "log").read_bytes()) == [0, 1]
    assert [message for message in caplog.messages if "lines wait" in message] == caplog.messages[:1]


async def test_lines_for_a_file_that_is_never_opened_are_reported_as_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log_writer = LogWriter(str(tmp_path / "folder" / "log"))
    log_writer.write(*lines(range(3)))
    log_writer.close()
    assert (log_writer.written, log_writer.lost) == (0, 3)
    assert caplog.messages[-1] == "access log: 3 lines were lost at the end"


async def test_close_waits_for_a_slow_reader(fifo: tuple[str, int]) -> None:
    path, end = fifo
    os.set_blocking(end, True)
    read: list[bytes] = []

    def read_all() -> None:
        while piece := os.read(end, 4096):
            read.append(piece)

    log_writer = LogWriter(path)
    log_writer.write(*lines(range(200)))
    reader = threading.Thread(target=read_all)
    reader.start()
    log_writer.close()
    reader.join()
    assert log_writer.lost == 0
    assert numbers(b"".join(read)) == [*range(200)]


@pytest.mark.slow
async def test_close_does_not_wait_forever(
    fifo: tuple[str, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It logs how many lines were lost."""
    monkeypatch.setattr("redirect.telemetry.log_writer.CLOSE_TIMEOUT_SECONDS", 0.05)
    path, _ = fifo
    log_writer = LogWriter(path)
    log_writer.write(*lines(range(PIPE_FULL + 10)))
    log_writer.close()
    assert (log_writer.written, log_writer.lost) == (PIPE_FULL, 10)
    assert caplog.messages == ["access log: 10 lines were lost at the end"]


@contextlib.contextmanager
def standard_output(file: int) -> Iterator[None]:
    """`file` in place of this process's standard output."""
    before = os.dup(1)
    os.dup2(file, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)


def terminal() -> tuple[int, int]:
    reading, writing = pty.openpty()
    tty.setraw(writing)
    return reading, writing


@pytest.mark.parametrize("ends", [os.pipe, terminal, sockets], ids=["pipe", "terminal", "socket"])
async def test_standard_output_that_is_not_read_does_not_block(ends: Callable[[], tuple[int, int]]) -> None:
    """And it still blocks for other processes that share it."""
    reading, writing = ends()
    with standard_output(writing):
        log_writer = LogWriter("-")
        for n in range(2000):
            log_writer.write(line(n))
        assert os.get_blocking(writing)
        assert log_writer.lost > 0
        read = await drained(reading, lambda read: numbers(read[: read.rfind(b"\n") + 1])[-1:] == [-log_writer.lost])
        assert numbers(read) == [*range(2000 - log_writer.lost), -log_writer.lost]
        log_writer.close()
    assert stat.S_IFMT(os.fstat(writing).st_mode)  # still open
    os.close(reading)
    os.close(writing)


async def test_standard_output_stays_open(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file, standard_output(file.fileno()):
        for n in range(2):
            log_writer = LogWriter("-")
            log_writer.write(line(n))
            log_writer.reopen()
            log_writer.close()
    assert numbers((tmp_path / "log").read_bytes()) == [0, 1]


async def test_the_report_of_lost_lines_has_time_count_instance_and_worker(
    fifo: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    path, end = fifo
    caplog.set_level(logging.CRITICAL)
    log_writer = LogWriter(path)
    for n in range(MANY):
        log_writer.write(line(n))
    read = await drained(end, lambda read: b"lost" in read)
    report = json.loads(read.splitlines()[-1])
    assert list(report) == ["time", "level", "message", "lost", "instance", "worker"]
    assert (report["level"], report["lost"], report["worker"]) == ("error", 500, os.getpid())
    assert report["time"].endswith("Z")
    log_writer.close()


def test_a_shells_file_is_appended_to(tmp_path: Path) -> None:
    """After `serve > file`; where another program truncates it (copytruncate), writing goes on at its begin."""
    with (tmp_path / "out").open("wb") as out:
        writer = LogWriter("-", standard=out.fileno())
        writer.write(line(1))
        os.truncate(out.name, 0)
        writer.write(line(2))
        writer.close()
    assert (tmp_path / "out").read_bytes() == line(2)
