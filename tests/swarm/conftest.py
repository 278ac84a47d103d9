"""The stack that the tests share; whatever happens, it is taken away at the end."""

import signal
from collections.abc import Iterator

import pytest

from .stack import SwarmStack, pools


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwarmStack]:
    # A cancelled job of a CI system gets TERM, at which Python would end without another word.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stack = SwarmStack(tmp_path_factory.mktemp("swarm"))
    try:
        stack.up(pools("first"))
        yield stack
    finally:
        stack.down()
