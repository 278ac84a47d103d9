"""What the tests of forwarding share: coroutines are tests, on the event loop of the service."""

from pathlib import Path

import pytest
from support.coroutines import pytest_pyfunc_call as pytest_pyfunc_call
from support.gateway import OWN, WAYS, Forwarding


@pytest.fixture(params=WAYS)
def forwarding(request: pytest.FixtureRequest, tmp_path: Path) -> Forwarding:
    """Each way in; what a test says of one holds for all."""
    return Forwarding(request.param, tmp_path / "access.jsonl")


@pytest.fixture(params=OWN)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Forwarding:
    """The ways in whose bytes are ours: another server's ASGI cannot do what these tests are about."""
    return Forwarding(request.param, tmp_path / "access.jsonl")
