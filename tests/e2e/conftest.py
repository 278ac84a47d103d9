"""The stacks that tests here share; whatever happens, they are taken down at the end."""

from collections.abc import Iterator

import pytest
from support.compose import running

from .gateway import GatewayStack
from .stack import Stack


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
