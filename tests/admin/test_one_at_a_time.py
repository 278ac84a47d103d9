"""What is rendered for clients of the public listener holds up neither the controller nor its other clients."""

import asyncio

from starlette.types import Message, Receive, Scope, Send
from support.wire import settled

from redirect.admin.app import PROBE_PATHS, one_at_a_time


class Rendering:
    """An app whose answers are due when a test says so."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append(scope["path"])
        if scope["path"] not in PROBE_PATHS:
            await self.may_end.wait()


async def ask(app: object, path: str, *, has_left: bool = False) -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"} if has_left else {"type": "http.request"}

    async def send(message: Message) -> None:
        raise AssertionError("nothing is sent")

    await app({"type": "http", "path": path}, receive, send)  # type: ignore[operator]


async def test_documents_are_rendered_one_after_another_and_probes_beside_them() -> None:
    """For requests that are still waited for."""
    rendering = Rendering()
    app = one_at_a_time(rendering)
    async with asyncio.TaskGroup() as tasks:
        for path, has_left in (("/stats", False), ("/metrics", True), ("/status", False)):
            tasks.create_task(ask(app, path, has_left=has_left))
        await settled()
        assert rendering.begun == ["/stats"]
        for path in PROBE_PATHS:
            await ask(app, path)
        assert rendering.begun == ["/stats", "/healthz", "/readyz"]
        rendering.may_end.set()
    assert rendering.begun == ["/stats", "/healthz", "/readyz", "/status"]
