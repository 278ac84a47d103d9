"""Plays a remote service: GET / answers as the scenario says, step by step.

    POST /setscenario   [["BODY", STATUS, DELAY in ms], …]: one step for each request that follows
    GET /requests       when requests came since then, in seconds since 1970

The rule: a request takes its step, and is noted, when it comes; behind the last step it is answered at once, with 200.
"""

import asyncio
import time
from collections import deque
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route


class Step(NamedTuple):
    body: str
    status: int
    delay_ms: float


USUAL = Step("ok", 200, 0)
FORM = 'send a JSON array of steps such as ["BODY", 200, 50], the delay in milliseconds'

steps: deque[Step] = deque()
received: list[float] = []


def step_of(value: Any) -> Step:
    """Raises ValueError or TypeError for anything else than a step."""
    step = Step(*value)
    is_status = type(step.status) is int and 200 <= step.status <= 599
    if not (isinstance(step.body, str) and is_status and step.delay_ms >= 0):
        raise ValueError
    return step


async def work(_: Request) -> Response:
    received.append(time.time())
    step = steps.popleft() if steps else USUAL
    await asyncio.sleep(step.delay_ms / 1000)
    return PlainTextResponse(step.body, step.status)


async def set_scenario(request: Request) -> Response:
    try:
        scenario = [step_of(value) for value in await request.json()]
    except (ValueError, TypeError):
        return JSONResponse({"error": FORM}, 400)
    steps.clear()
    steps.extend(scenario)
    received.clear()
    return JSONResponse({"steps": len(steps)})


async def requests(_: Request) -> Response:
    return JSONResponse(received)


app = Starlette(
    routes=[Route("/", work), Route("/setscenario", set_scenario, methods=["POST"]), Route("/requests", requests)]
)
