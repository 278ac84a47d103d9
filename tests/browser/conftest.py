"""Chromium, as Debian packages it, and the service that it looks at while others use it."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import httpx
import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from support.service import POOLS, ROOT, Running, running

CHROMIUM = "/usr/bin/chromium"
CHROMEDRIVER = "/usr/bin/chromedriver"

# Nothing of Chromium's own goes out; /dev/shm is small in containers.
OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()

# What others ask for meanwhile: pools, hosts and targets, some of them more than once.
POOL_IDS = ("pool-a", "pool-a", "pool-b", "pool-b", "pool-c", "pool-x", None)
HOSTS = ("www.example.com",) * 6 + ("origin-1", "origin-4")
TARGETS = (
    "/",
    "/endpoint/path?x=1&y=2",
    "/download/release-4.2.tar.gz",
    "/a%2Fb//c?utm_source=newsletter&utm_medium=mail",
    "/inner/x",
)

Start = Callable[..., Chrome]


# One pool more, of which one origin is down.
PROBED = {
    "weighted_hosts": {"127.0.0.1:1": 1, "mirror-2.example.com": 1},
    "health_check": {"path": "/healthz", "interval": 0.1, "fails": 1},
    "when_all_down": "ignore",
}


# What routes forward: both origins refuse connections.
FORWARDED = {
    "inner": {"weighted_hosts": {"127.0.0.1:1": 1, "127.0.0.1:2": 1}},
    "routes": [{"path_prefix": "/inner", "forward_to": "inner"}],
}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service that all tests here look at."""
    pools = POOLS | FORWARDED | {"downloads": PROBED}
    with running(tmp_path_factory.mktemp("site"), pools=pools) as service, traffic(service.url):
        yield service


@contextlib.contextmanager
def traffic(url: str) -> Iterator[None]:
    """Some requests per second, for as long as it lasts."""
    done, random = threading.Event(), Random(1)

    def use() -> None:
        with httpx.Client() as client:
            while not done.wait(random.expovariate(20)):
                pool = random.choice(POOL_IDS)
                headers = {"host": random.choice(HOSTS)} | ({"x-redirect-pool-id": pool} if pool else {})
                client.get(url + random.choice(TARGETS), headers=headers)

    thread = threading.Thread(target=use)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts a browser with a profile of its own and `prefs` in it."""
    with contextlib.ExitStack() as stack:

        def start(**prefs: Any) -> Chrome:
            options = ChromeOptions()
            options.binary_location = CHROMIUM
            for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
                options.add_argument(option)
            options.add_experimental_option("prefs", prefs)
            options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
            browser = Chrome(options, Service(CHROMEDRIVER))
            stack.callback(browser.quit)
            return browser

        yield start


@pytest.fixture(scope="session")
def chrome(start: Start) -> Chrome:
    """The browser that the tests share."""
    return start()


@pytest.fixture
def browser(chrome: Chrome, site: Running) -> Iterator[Chrome]:
    """The browser with the page in it, as anew. What it complains of fails the test."""
    screen(chrome, 1280, 900)
    look(chrome, "light")
    chrome.get(site.admin_url)
    yield chrome
    assert complaints(chrome) == []
    chrome.get("about:blank")


def complaints(browser: Chrome) -> list[str]:
    """The errors on the browser's console that nobody asked for yet."""
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in log if entry["level"] == "SEVERE"]


def screen(browser: Chrome, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def look(browser: Chrome, scheme: str) -> None:
    """Has the reader prefer `light` or `dark`."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def keep(browser: Chrome, name: str, width: int) -> None:
    """Keeps a picture of the whole page in `.browser`, to be looked at."""
    folder = ROOT / ".browser"
    folder.mkdir(exist_ok=True)
    screen(browser, width, 100)
    screen(browser, width, browser.execute_script("return document.documentElement.scrollHeight"))
    assert browser.save_screenshot(str(folder / f"{name}.png"))
