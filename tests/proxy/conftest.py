"""What the tests of forwarding share: coroutines are tests, on the event loop of the service."""

import asyncio
import inspect
from pathlib import Path

import pytest
import uvloop
from support.gateway import OWN, WAYS, Forwarding

# Of a whole test: one that waits for what never comes fails by itself.
TEST_SECONDS = 20.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test that is a coroutine."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}

    async def run() -> None:
        async with asyncio.timeout(TEST_SECONDS):
            await pyfuncitem.obj(**arguments)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    return True


@pytest.fixture(params=WAYS)
def forwarding(request: pytest.FixtureRequest, tmp_path: Path) -> Forwarding:
    """Each way in; what a test says of one holds for all."""
    return Forwarding(request.param, tmp_path / "access.jsonl")


@pytest.fixture(params=OWN)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Forwarding:
    """The ways in whose bytes are ours: another server's ASGI cannot do what these tests are about."""
    return Forwarding(request.param, tmp_path / "access.jsonl")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks those that speak over sockets: 30 ms each, in three ways."""
    for item in items:
        if {"forwarding", "own"} & {*getattr(item, "fixturenames", ())}:
            item.add_marker("slow")
