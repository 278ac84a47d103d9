"""The storage service: dummy data in memory, by partition and id. Each is on its own; they share nothing."""

import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response

DATA: dict[str, dict[str, dict[str, Any]]] = {
    partition: {str(number): {"partition": partition, "id": str(number), "value": number**2} for number in range(1, 4)}
    for partition in ("red", "green", "blue")
}

IS_DEVELOPMENT = os.environ.get("ENVIRONMENT") == "development"

app = FastAPI(
    title="storage",
    docs_url="/swagger" if IS_DEVELOPMENT else None,
    redoc_url=None,
    openapi_url="/openapi.json" if IS_DEVELOPMENT else None,
)


@app.middleware("http")
async def behind_gateway(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Says which container answered; and has swagger find its description behind a prefix that the gateway took off."""
    request.scope["root_path"] = request.headers.get("x-forwarded-prefix", "")
    response = await call_next(request)
    response.headers["x-container"] = socket.gethostname()
    return response


@app.get("/healthz")
@app.head("/healthz", include_in_schema=False)
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/data")
@app.head("/data", include_in_schema=False)
async def partitions() -> list[str]:
    return [*DATA]


@app.get("/data/{partition}")
@app.head("/data/{partition}", include_in_schema=False)
async def ids(partition: str) -> list[str]:
    return [*_partition(partition)]


@app.get("/data/{partition}/{key}")
@app.head("/data/{partition}/{key}", include_in_schema=False)
async def value(partition: str, key: str) -> dict[str, Any]:
    found = _partition(partition).get(key)
    if found is None:
        raise HTTPException(404, f"{partition} has no {key}")
    return found


def _partition(name: str) -> dict[str, dict[str, Any]]:
    if name not in DATA:
        raise HTTPException(404, f"there is no partition {name}")
    return DATA[name]
