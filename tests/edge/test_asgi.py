"""The Starlette front by itself, as any ASGI server would run it."""

import asyncio
import json
from pathlib import Path
from random import Random

import httpx
import pytest
from starlette.applications import Starlette
from support.connection import Broken
from support.wire import POOLS, new_recorder

from redirect.config.loader import parse_config
from redirect.core.authority import parse
from redirect.core.forwarded import TrustedProxies
from redirect.core.pools import Config, Origin, Pool
from redirect.core.service import balancers, new_service
from redirect.edge.asgi import create_app


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.jsonl"


@pytest.fixture
def app(log: Path) -> Starlette:
    config = parse_config(POOLS, "pools.toml")
    return create_app(config, "X-Pool", TrustedProxies("10.0.0.0/8"), new_recorder(config, str(log)), Random(1))


def ask(
    app: Starlette, path: str = "/", *, peer: str = "192.0.2.7", method: str = "GET", **headers: str
) -> httpx.Response:
    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(peer, 50000))
        async with httpx.AsyncClient(transport=transport, base_url="http://asked.example") as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            response = await client.request(method, path, headers=named)
        app.state.handler.recorder.flush()
        return response

    return asyncio.run(answer())


@pytest.mark.parametrize(
    ("headers", "status", "location"),
    [
        pytest.param({}, 302, "http://origin-1/x", id="no pool"),
        pytest.param({"x_pool": "pool-b"}, 307, "http://origin-2.example.com/x", id="a pool"),
        pytest.param({"x_pool": "nope"}, 302, "http://origin-1/x", id="an unknown pool"),
        pytest.param({"x_pool": ""}, 302, "http://origin-1/x", id="an empty name"),
        pytest.param({"x_pool": "POOL-B"}, 302, "http://origin-1/x", id="names have their letters' case"),
        pytest.param({"host": "other.example"}, 302, "http://origin-1/x", id="another host"),
    ],
)
def test_redirects(app: Starlette, headers: dict[str, str], status: int, location: str) -> None:
    """The header names the pool; without it, or with a name that is none, the default pool answers."""
    response = ask(app, "/x", **headers)
    assert (response.status_code, response.headers["location"]) == (status, location)


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/status", "/x/", "/a%2Fb?c=%20"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "TRACE"])
def test_no_path_is_ours(app: Starlette, path: str, method: str) -> None:
    """The public listener owns no path and knows no method: all of them redirect."""
    response = ask(app, path, method=method)
    assert (response.status_code, response.headers["location"]) == (302, f"http://origin-1{path}")


PROTO = "x_forwarded_proto"
FOR = "x_forwarded_for"


@pytest.mark.parametrize(
    ("peer", "headers", "scheme", "client_ip"),
    [
        pytest.param("10.1.2.3", {PROTO: "https"}, "https", "10.1.2.3", id="trusted peer, scheme"),
        pytest.param("10.1.2.3", {FOR: "192.0.2.9"}, "http", "192.0.2.9", id="trusted peer, client"),
        pytest.param("192.0.2.7", {PROTO: "https", FOR: "192.0.2.9"}, "http", "192.0.2.7", id="untrusted peer"),
        pytest.param("10.1.2.3", {PROTO: "gopher", FOR: "<script>"}, "http", "10.1.2.3", id="nonsense"),
    ],
)
def test_trust(app: Starlette, log: Path, peer: str, headers: dict[str, str], scheme: str, client_ip: str) -> None:
    """X-Forwarded-Proto makes the scheme and X-Forwarded-For the logged client, from a trusted peer only."""
    assert ask(app, "/x", peer=peer, **headers).headers["location"] == f"{scheme}://origin-1/x"
    assert json.loads(log.read_text())["client_ip"] == client_ip


@pytest.mark.parametrize(
    ("host", "headers", "status"),
    [
        pytest.param("origin-1:80", {}, 422, id="http's port"),
        pytest.param("origin-1:443", {}, 302, id="https's port is another over http"),
        pytest.param("ORIGIN-1.:443", {PROTO: "https"}, 422, id="https's port behind a trusted proxy"),
        pytest.param("origin-1:80", {PROTO: "https"}, 302, id="http's port is another over https"),
    ],
)
def test_loop(app: Starlette, host: str, headers: dict[str, str], status: int) -> None:
    """The origin that was asked for is refused with 422; the default port is the forwarded scheme's."""
    response = ask(app, peer="10.1.2.3", host=host, **headers)
    assert response.status_code == status
    assert ("location" in response.headers) == (status == 302)
    if status == 422:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json() == {
            "type": "about:blank",
            "title": "Unprocessable Content",
            "status": 422,
            "detail": "pool-a picked origin-1, the host that was asked for: a redirect would loop",
        }


def test_a_host_that_is_none(app: Starlette) -> None:
    """Without the guard in front the app itself refuses a Host that is no authority."""
    response = ask(app, host="u@h")
    assert (response.status_code, response.headers["connection"]) == (400, "close")


def test_nobody_to_send_to(app: Starlette) -> None:
    """A pool without an eligible origin is 503, with the seconds after which to try again."""
    drained = Pool("pool-a", (Origin("origin-1", parse("origin-1"), 0),), 302)
    front = app.state.handler
    front.service = new_service(Config({"pool-a": drained}, drained, "hash"), Random(1))
    response = ask(app)
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert response.json()["detail"] == "no origin of pool-a is eligible"


def test_our_own_fault(app: Starlette, log: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours is answered with 500 and no word of it, recorded, and its traceback logged."""
    front = app.state.handler
    front.service = Broken(front.service.config, dict(balancers(front.service.config, Random(1))))
    response = ask(app)
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text
    assert json.loads(log.read_text())["level"] == "error"
    assert "RuntimeError: a secret" in caplog.text


def test_a_new_service_is_one_assignment(app: Starlette) -> None:
    """Assigning another service to the front changes the answers to all that follows."""
    front = app.state.handler
    front.service = new_service(parse_config(b'[p]\nweighted_hosts = {"new" = 1}\nis_default = true', "p"), Random(1))
    assert ask(app).headers["location"] == "http://new/"
