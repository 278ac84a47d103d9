"""Old answers in a running service: over reloads, and in the metrics."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from support.origins import answering
from support.service import CLIENT, Running, running

pytestmark = [pytest.mark.processes, pytest.mark.slow]


def pools(origin: str, **keys: Any) -> dict[str, Any]:
    route = {"path_prefix": "/", "forward_to": "data", "retries": 0, **keys}
    return {"routes": [route], "data": {"weighted_hosts": {origin: 1}}}


def asked(service: Running) -> tuple[int, bytes]:
    answer = CLIENT.get(service.url)
    return answer.status_code, answer.content


def reload(service: Running, toml: dict[str, Any]) -> None:
    service.pools.write_text(tomli_w.dumps(toml))
    assert CLIENT.post(f"{service.admin_url}/reload", timeout=30).status_code == 200


def test_old_answers_are_counted_and_outlive_a_reload_of_their_route(tmp_path: Path) -> None:
    """A reload of the route without its cache drops them for good."""
    cache = {"stale_if_down": 300}
    with contextlib.ExitStack() as up:
        origin = up.enter_context(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nthen"))
        with running(tmp_path, pools=pools(origin, cache=cache), REDIRECT_WORKERS="1") as service:
            assert asked(service) == (200, b"then")
            up.close()
            assert asked(service) == (200, b"then")
            reload(service, pools(origin, cache=cache, timeouts={"answer": 5}))
            assert asked(service) == (200, b"then")
            assert "redirect_stale_answers_total 2.0\n" in CLIENT.get(f"{service.admin_url}/metrics").text
            for keys in ({}, {"cache": cache}):
                reload(service, pools(origin, **keys))
                assert asked(service)[0] == 503
