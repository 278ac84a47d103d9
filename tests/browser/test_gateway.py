"""A page in Chromium behind a route that forwards: its upload, its server-sent events and its WebSocket."""

import hashlib
from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from support.app import EVENTS, MIB
from support.programs import started, uvicorn
from support.service import Running, free_port, running

from .conftest import complaints

SECONDS = 20


@pytest.fixture
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    port = free_port()
    pools = {
        "routes": [{"path_prefix": "/app", "forward_to": "app", "strip_prefix": True}],
        "app": {"weighted_hosts": {f"127.0.0.1:{port}": 1}},
    }
    with (
        started(uvicorn("support.app:app", port), port),
        running(tmp_path_factory.mktemp("gateway"), pools=pools) as service,
    ):
        yield service


def test_a_page_uploads_and_gets_events_and_messages(chrome: Chrome, gateway: Running) -> None:
    expected = {
        "digest": hashlib.sha256(bytes(MIB)).hexdigest(),
        "events": "".join(map(str, range(EVENTS))),
        "chat": "hello",
    }
    chrome.get(f"{gateway.url}/app/page")
    for name, text in expected.items():
        WebDriverWait(chrome, SECONDS).until(lambda _: chrome.find_element(By.ID, name).text == text)  # noqa: B023
    assert [error for error in complaints(chrome) if "favicon" not in error] == []
    chrome.get("about:blank")
    assert {record["status"] for record in gateway.records(4 + EVENTS)} <= {101, 200, 404}
