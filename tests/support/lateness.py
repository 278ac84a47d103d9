"""Tests of how soon something happens: a busy machine may be late, so the best of several times counts."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any

TIMES = 5


class LateError(AssertionError):
    pass


def judge(took: float, seconds: float) -> None:
    if took >= seconds:
        raise LateError(f"it took {took:.3f} s, not less than {seconds:g}")


def at_best(test: Callable[..., Any]) -> Callable[..., Any]:
    """Repeats a test that was late, and fails if it is each time."""

    @functools.wraps(test)
    async def repeated_async(**fixtures: Any) -> None:
        for _ in range(TIMES - 1):
            with contextlib.suppress(LateError):
                await test(**fixtures)
                return
        await test(**fixtures)

    @functools.wraps(test)
    def repeated(**fixtures: Any) -> None:
        for _ in range(TIMES - 1):
            with contextlib.suppress(LateError):
                test(**fixtures)
                return
        test(**fixtures)

    return repeated_async if inspect.iscoroutinefunction(test) else repeated
