"""The stack that all tests here share; whatever happens, it is taken down at the end."""

import signal
from collections.abc import Iterator

import pytest

from .stack import Stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    # A cancelled job of a CI system gets TERM, at which Python would end without another word.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stack = Stack()
    try:
        try:
            stack.up()
        except Exception:
            stack.print_logs()
            raise
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="session")
def load_test(stack: Stack) -> tuple[int, str]:
    """Exit code and report of wrk, which starts with the stack."""
    (wrk,) = stack.containers("wrk")
    exit_code = int(stack.docker("wait", wrk, timeout=120).stdout)
    return exit_code, stack.docker("logs", wrk).stderr
