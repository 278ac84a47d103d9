"""What the admin listener shows, on the public listener of an instance, through any of its workers."""

import contextlib
import http.client
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.clients import both_workers
from support.service import CLIENT, POOLS, Running, controller, free_port, is_ready, running, wait_for

DOCUMENTS = ("stats", "status", "healthz", "readyz", "metrics")
SHOWN = {**POOLS, "routes": [{"path": f"/{each}", "show": each} for each in DOCUMENTS]}
TOKEN = {"authorization": "Bearer s3cret"}


def values(answer: httpx.Response) -> Any:
    """What an answer says, without what changes by the moment."""
    if "json" not in answer.headers["content-type"]:
        return [line for line in answer.text.splitlines() if line.startswith(("# TYPE", "redirect_origin_weight"))]
    document = answer.json()
    for changing in ("requests_count", "latency_ms", "workers"):
        document.pop(changing, None)
    return document


@pytest.mark.parametrize("path", [*DOCUMENTS, "status?pool=pool-b&origin=drained", "status?pool=pool-x"])
def test_a_route_shows_what_the_admin_listener_shows(path: str, public: Running) -> None:
    """The same status, fields and body, to clients without the token that the admin listener wants."""
    accepted = {"accept": "application/openmetrics-text", "accept-encoding": "gzip"}
    for method in ("GET", "HEAD"):
        shown = CLIENT.request(method, f"{public.url}/{path}", headers=accepted)
        there = CLIENT.request(method, f"{public.admin_url}/{path}", headers=accepted | TOKEN)
        assert shown.status_code == there.status_code
        assert names(shown) == names(there)
        if method == "GET":
            assert values(shown) == values(there)
    assert CLIENT.get(f"{public.admin_url}/status").status_code == 401


def names(answer: httpx.Response) -> dict[str, str]:
    """The fields of an answer; lengths differ with the numbers that are in it, and the id is the request's."""
    changing = ("date", "content-length", "x-request-id")
    return {name: value for name, value in answer.headers.items() if name not in changing}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running(tmp_path_factory.mktemp("public"), pools=SHOWN, REDIRECT_ADMIN_TOKEN="s3cret") as service:
        yield service


def test_other_methods_and_paths_are_not_shown(public: Running) -> None:
    refused = CLIENT.post(f"{public.url}/stats")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert CLIENT.post(f"{public.url}/reload").status_code == 302
    assert CLIENT.get(f"{public.url}/").status_code == 302


def test_a_record_of_what_was_shown(public: Running) -> None:
    CLIENT.get(f"{public.url}/healthz?x", headers={"x-request-id": "shown-1"})
    record = public.record("shown-1")
    seen = {key: record[key] for key in ("route", "action", "status", "pool", "path", "query", "detail")}
    assert seen == {
        "route": "/healthz", "action": "show", "status": 200, "pool": None, "path": "/healthz", "query": "x",
        "detail": None,
    }  # fmt: skip


def without_admin(folder: Path) -> Any:
    """An instance whose admin listener is off, so that its own routes show what tests ask for."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    return running(
        folder, pools=SHOWN, admin_url=url, REDIRECT_SERVER_PORT=str(port), REDIRECT_ADMIN_BIND="off"
    )  # fmt: skip


def unix_sockets(pid: int) -> list[list[str]]:
    """What /proc/net/unix tells of the sockets of a process: flags, and the name if there is one."""
    links = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(each))
    inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]]
    return [[row[3], *row[7:]] for row in rows if row[6] in inodes]


def test_without_an_admin_listener_the_controller_answers_workers_alone(tmp_path: Path) -> None:
    """Its sockets listen to nothing else, and have no name to connect to."""
    with without_admin(tmp_path) as service:
        for document in DOCUMENTS:
            assert CLIENT.get(f"{service.admin_url}/{document}").status_code == 200
        both_workers(service)
        sockets = unix_sockets(controller(service))
        assert sockets
        assert all(each == ["00000000"] for each in sockets)  # no name, and not that of a listener


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_controller_that_dies_or_hangs_is_waited_for_or_answered_for(how: signal.Signals, tmp_path: Path) -> None:
    """Where it is replaced at once, requests wait for the next one; where it hangs they get 503 after two seconds, and
    redirects go on."""
    with without_admin(tmp_path) as service:
        before = controller(service)
        os.kill(before, how)
        began, seen = time.monotonic(), set()
        while 200 not in seen or controller_of(service) in (0, before):
            answer = CLIENT.get(f"{service.admin_url}/healthz", timeout=30)
            seen.add(answer.status_code)
            if answer.status_code == 503:
                assert answer.json()["detail"] == "the controller does not answer"
                assert answer.headers["retry-after"] == "5"
            assert CLIENT.get(f"{service.admin_url}/x").status_code == 302
            assert time.monotonic() - began < 30
            time.sleep(0.1)
        assert 503 in seen or how == signal.SIGKILL
        assert CLIENT.get(f"{service.admin_url}/stats").json()["requests_count"]["success"] > 0
        assert "Traceback" not in service.stderr()


def controller_of(service: Running) -> int:
    """The same while the controller cannot be asked who the workers are."""
    try:
        return controller(service)
    except (KeyError, ValueError):
        return 0


def test_readyz_is_503_on_the_public_listener_while_it_stops(tmp_path: Path) -> None:
    with running(tmp_path, pools=SHOWN) as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/readyz")
            assert connection.getresponse().read() == b'{"status":"ready"}'
            service.process.terminate()
            wait_for(lambda: not is_ready(service.admin_url))
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (503, b'{"status":"shutting down"}')
        assert service.process.wait(30) == 0
