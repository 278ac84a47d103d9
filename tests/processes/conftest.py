"""What the tests of processes share. Coroutines are tests, on the event loop of a worker."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.coroutines import pytest_pyfunc_call as pytest_pyfunc_call
from support.origins import Origin, origin


@pytest.fixture
def origins() -> Iterator[list[Origin]]:
    with ExitStack() as stack:
        yield [stack.enter_context(origin()) for _ in range(3)]
