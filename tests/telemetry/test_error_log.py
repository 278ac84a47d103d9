"""The error log: no process blocks on it."""

import fcntl
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.ends import drain, sockets

from redirect.telemetry.error_log import ErrorLog, JsonFormatter


def pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    return reading, writing


def read(reading: int) -> str:
    return drain(reading).decode()


@pytest.mark.slow
@pytest.mark.parametrize("ends", [pipe, sockets])
def test_messages_that_are_not_read_are_lost_and_reported(ends: Callable[[], tuple[int, int]]) -> None:
    """The next message that is written comes behind their number."""
    reading, writing = ends()
    log = ErrorLog(writing)
    for n in range(20_000):
        log.write(f"message {n:05}\n")
    *taken, last = read(reading).splitlines()
    assert taken == [f"message {n:05}" for n in range(len(taken))]
    assert f"message {len(taken):05}".startswith(last)  # torn, or whole

    log.write("another\nof two lines\n")
    report, *rest = read(reading).strip().splitlines()
    lost = 20_000 - len(taken) - (last == f"message {len(taken):05}")
    assert report == f"{lost} messages were lost here, as standard error was not read"
    assert rest == ["another", "of two lines"]
    log.write("and one\n")
    assert read(reading) == "and one\n"
    for end in (reading, writing):
        os.close(end)


def test_text_that_is_no_unicode_is_escaped(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        ErrorLog(file.fileno()).write("tök \udcff\n")
    assert (tmp_path / "log").read_text() == "tök \\udcff\n"


def test_a_full_disk_does_not_block() -> None:
    with Path("/dev/full").open("wb", buffering=0) as file:
        assert ErrorLog(file.fileno()).write("message\n") == len("message\n")


def test_as_json_each_message_is_an_object_on_a_line(tmp_path: Path) -> None:
    """What a logger says, with its traceback, and what is written past loggers."""
    with (tmp_path / "log").open("wb") as file:
        log = ErrorLog(file.fileno(), as_json=True)
        handler = logging.StreamHandler(log)
        handler.setFormatter(JsonFormatter())
        try:
            raise ValueError("line 1\nline 2")
        except ValueError as error:
            about = (ValueError, error, error.__traceback__)
        handler.handle(logging.LogRecord("any", logging.ERROR, "a.py", 1, "no %s", ("good",), about))
        log.write("warning: {of two\nlines\n")
        print("printed", file=log)
    logged, warning, printed = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert (logged["level"], logged["message"]) == ("error", "no good")
    assert logged["exception"].startswith("Traceback")
    assert logged["exception"].endswith("ValueError: line 1\nline 2")
    assert (warning["level"], warning["message"], warning["exception"]) == ("warning", "{of two\nlines", None)
    assert (printed["message"], printed["pid"], printed.keys()) == ("printed", os.getpid(), logged.keys())
