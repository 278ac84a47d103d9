"""The admin listener's endpoints."""

import asyncio

import httpx
import pytest

from redirect.admin.app import create_admin_app


def ask(path: str, *, ready: bool = True, method: str = "GET") -> httpx.Response:
    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(create_admin_app(lambda: ready))
        async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
            return await client.request(method, path)

    return asyncio.run(answer())


@pytest.mark.parametrize("ready", [True, False])
def test_healthz(ready: bool) -> None:
    """/healthz says that the process lives, also while it shuts down."""
    response = ask("/healthz", ready=ready)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(("ready", "status", "said"), [(True, 200, "ready"), (False, 503, "shutting down")])
def test_readyz(ready: bool, status: int, said: str) -> None:
    """/readyz is 503 once the process shuts down."""
    response = ask("/readyz", ready=ready)
    assert (response.status_code, response.json()) == (status, {"status": said})


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nope", 404), ("POST", "/healthz", 405)])
def test_others(method: str, path: str, status: int) -> None:
    """What is not there is refused as a problem."""
    response = ask(path, method=method)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert ("allow" in response.headers) == (status == 405)


def test_no_redirect() -> None:
    """A slash too many is not found: a redirect would lead to whatever host the client named."""
    assert ask("/healthz/").status_code == 404
