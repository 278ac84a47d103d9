"""The stacks that tests here share; whatever happens, they are taken down at the end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from .gateway import GatewayStack
from .stack import Stack

AnyStack = TypeVar("AnyStack", bound=Stack)


@contextmanager
def running(stack: AnyStack) -> Iterator[AnyStack]:
    # A cancelled job of a CI system gets TERM, at which Python would end without another word.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
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
def stack() -> Iterator[Stack]:
    with running(Stack()) as stack:
        yield stack


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayStack]:
    with running(GatewayStack(tmp_path_factory.mktemp("gateway"))) as stack:
        yield stack


@pytest.fixture(scope="session")
def load_test(stack: Stack) -> tuple[int, str]:
    """Exit code and report of wrk, which starts with the stack."""
    (wrk,) = stack.containers("wrk")
    exit_code = int(stack.docker("wait", wrk, timeout=120).stdout)
    return exit_code, stack.docker("logs", wrk).stderr
