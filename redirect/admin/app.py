"""The admin listener: our own endpoints, which the public listener has no place for.

`/healthz` says that the process lives, `/readyz` that it takes requests: 503 once it shuts down.
"""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from redirect.app import response
from redirect.decision import Decision


def create_admin_app(is_ready: Callable[[], bool]) -> Starlette:
    """The admin application of one worker process."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        if is_ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "shutting down"}, 503)

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail = f"the admin listener has no {request.method} {request.url.path}"
        refusal = response(Decision(error.status_code, detail=detail), "")
        refusal.headers.update(error.headers or {})  # Allow, where the method is wrong
        return refusal

    app = Starlette(
        routes=[Route("/healthz", healthz), Route("/readyz", readyz)], exception_handlers={HTTPException: refuse}
    )
    app.router.redirect_slashes = False  # it would build a Location from the client's Host
    return app
