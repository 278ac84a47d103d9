"""Coroutines as tests, on the event loop of a worker; the conftest of all tests has the hook. That of a folder may have
one of another loop."""

import asyncio
import inspect
from collections.abc import Callable

import pytest
import uvloop

# For anything that a test waits for.
PATIENCE_SECONDS = 30.0

# Of a whole test: one that waits for what never comes fails by itself.
TEST_SECONDS = 20.0


def on(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Callable[[pytest.Function], bool | None]:
    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
        """Runs a test that is a coroutine."""
        if not inspect.iscoroutinefunction(pyfuncitem.obj):
            return None
        arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}

        async def run() -> None:
            async with asyncio.timeout(TEST_SECONDS):
                await pyfuncitem.obj(**arguments)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(run())
        return True

    return pytest_pyfunc_call


pytest_pyfunc_call = on(uvloop.new_event_loop)


async def until(is_so: Callable[[], object]) -> None:
    """Returns once it is so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():
            await asyncio.sleep(0.001)
