"""The page of the admin listener as people have it: in Chromium, over the service as a process."""

import http.client
import itertools
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from support.service import Running, controller, running, wait_for, workers

from redirect.admin.view import MAX_ORIGINS_OF_POOL

from .conftest import Start, complaints, keep, look, screen

# Within so many seconds a redirect is in the list: what we promise.
PROMISE = 2
PATIENCE = 15

POOL = ".pool:has([title='{}'])"

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()

# Keeps each word that the page says about its connection from then on.
WATCH_CONNECTION = """
window.connectionWords = [];
new MutationObserver(() => connectionWords.push(connection.textContent)).observe(connection, { childList: true });
"""

# An event stream that opens, sends one beat and stays open; time goes twenty times as fast.
SILENT_STREAM = """
const later = setTimeout;
window.setTimeout = (act, ms) => later(act, ms / 20);
window.EventSource = class extends EventTarget {
  constructor() { super(); later(() => this.dispatchEvent(new Event("beat")), 50); }
  close() {}
};
"""

_numbers = itertools.count(1)

T = TypeVar("T")


def read(look: Callable[[], T]) -> T:
    """What `look` finds in a page that may be renewed while it looks."""
    while True:
        with suppress(StaleElementReferenceException):
            return look()


def text(browser: Chrome, css: str) -> str:
    return read(lambda: browser.find_element(By.CSS_SELECTOR, css).text)


def texts(browser: Chrome, css: str) -> list[str]:
    return read(lambda: [element.text for element in browser.find_elements(By.CSS_SELECTOR, css)])


def attribute(browser: Chrome, css: str, name: str) -> str | None:
    return read(lambda: browser.find_element(By.CSS_SELECTOR, css).get_attribute(name))


def within(browser: Chrome, seconds: float, condition: Callable[[], object]) -> None:
    WebDriverWait(browser, seconds, poll_frequency=0.05).until(lambda _: condition())


def is_live(browser: Chrome) -> bool:
    return text(browser, "#connection") == "live"


def rows(browser: Chrome, part: str) -> list[str]:
    """The rows of the list of requests that have `part` in them."""
    listed: str = browser.execute_script("return document.getElementById('requests').innerText")
    return [row for row in listed.splitlines() if part in row]


def redirect(site: Running, **headers: str) -> str:
    """Has a client redirected, and returns what can be found of it in the list."""
    path = f"/test-{next(_numbers)}"
    assert httpx.get(site.url + path, headers=headers).status_code in (302, 307)
    return path


def tab(browser: Chrome, times: int = 1) -> None:
    ActionChains(browser).send_keys(Keys.TAB * times).perform()


def test_pools(browser: Chrome) -> None:
    """Each pool is shown with its origins: weight, configured and observed share, state, last hit."""
    # It comes first once its origin is found down; reading while the others move would mix them up.
    within(browser, PATIENCE, lambda: texts(browser, ".pool h3")[0] == "downloads")
    assert sorted(texts(browser, ".pool h3")) == ["downloads", "inner", "pool-a", "pool-b", "pool-c"]
    rows = read(
        lambda: [
            [cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")]
            for row in browser.find_elements(By.CSS_SELECTOR, f"{POOL.format('pool-b')} tbody tr:not(.more)")
        ]
    )
    origins = {cells[0]: cells[1:] for cells in rows}
    assert list(origins) == ["origin-4", "origin-5", "origin-6", "drained"]
    weight, shares, state, last = origins["origin-4"]
    assert (weight, state) == ("3", "up")
    assert "50.00%" in shares
    assert re.fullmatch(r"\d+ s ago|never", last)
    assert origins["drained"][2].startswith("draining")


def test_down(browser: Chrome) -> None:
    """An origin that its probes found down is shown with the reason."""
    shown = POOL.format("downloads") + " tbody"
    within(browser, 10, lambda: text(browser, f"{shown} .state").startswith("down"))
    assert "Connection refused" in texts(browser, f"{shown} .more")
    assert re.fullmatch(r".*\d down · Redirect on .+", browser.title)
    assert "127.0.0.1:1 of pool downloads is down" in text(browser, "#troubles")


def test_the_title_tells_that_all_is_well_again(browser: Chrome) -> None:
    """Where the list of troubles goes as well as where it changes."""
    for title, others in (("well", ""), ("ill", "<ul></ul>")):
        event = {"type": "troubles", "data": f"<p hidden data-title='{title}'></p>{others}"}
        assert browser.execute_script("replaceSection(arguments[0]); return document.title", event) == title


def test_forwards(browser: Chrome) -> None:
    """A pool that is forwarded to says so, and what became of forwards; their durations have a chart."""
    shown = POOL.format("inner")
    assert text(browser, f"{shown} .quiet") == "forwarded"
    within(browser, PATIENCE, lambda: "connection_refused" in text(browser, f"{shown} tbody"))
    assert re.search(r"[1-9]\d* retr(y|ies)", text(browser, f"{shown} tbody"))
    assert texts(browser, "figcaption > b")[1:] == ["Duration of what is answered here", "Duration of forwards"]


def test_redirect_appears(browser: Chrome, site: Running) -> None:
    """A redirect is in the list within two seconds, and its pool's numbers follow."""
    within(browser, PATIENCE, lambda: is_live(browser))
    path = redirect(site, **{"x-redirect-pool-id": "pool-c"})
    within(browser, PROMISE, lambda: rows(browser, path))
    (row,) = rows(browser, path)
    assert row.split("\t")[1:5] == ["307", "pool-c", "origin-7", "GET"]
    within(browser, PATIENCE, lambda: text(browser, f"{POOL.format('pool-c')} td.share").split()[-1] == "100.00%")


def test_charts(browser: Chrome) -> None:
    """The charts move: each second another path."""
    before = attribute(browser, ".rates", "d")
    within(browser, PATIENCE, lambda: attribute(browser, ".rates", "d") not in ("", before))
    assert attribute(browser, "path.p99", "d")


def test_filter(browser: Chrome, site: Running) -> None:
    """What is typed filters the list, that which is there and that which comes."""
    path = redirect(site)
    browser.find_element(By.NAME, "path").send_keys(path, Keys.ENTER)
    within(browser, PATIENCE, lambda: "path=" in browser.current_url and is_live(browser))
    within(browser, PATIENCE, lambda: rows(browser, path))
    others = [redirect(site), redirect(site)]
    httpx.get(f"{site.url}{path}/more")
    within(browser, PROMISE, lambda: rows(browser, f"{path}/more"))
    assert len(rows(browser, "\t")) == 2
    assert not [other for other in others if rows(browser, other)]
    browser.find_element(By.LINK_TEXT, "Show all").click()
    within(browser, PATIENCE, lambda: rows(browser, others[0]))


def test_find(browser: Chrome) -> None:
    """Pools are found by a part of an origin's name."""
    browser.find_element(By.NAME, "find").send_keys("ORIGIN-7", Keys.ENTER)
    within(browser, PATIENCE, lambda: "find=" in browser.current_url)
    assert texts(browser, ".pool h3") == ["pool-c"]


def test_a_row_opens(browser: Chrome, site: Running) -> None:
    """With all keys of its record; it stays open while others come, and the reader's time is beside UTC."""
    browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kolkata"})
    try:
        browser.get(site.admin_url)
        within(browser, PATIENCE, lambda: is_live(browser))
        path = redirect(site, **{"user-agent": "opened/1"})
        within(browser, PATIENCE, lambda: rows(browser, path))
        row = browser.find_element(By.XPATH, f"//tbody[@id='requests']/tr[td[@title='{path}']]")
        row.find_element(By.TAG_NAME, "summary").click()
        keys = row.find_element(By.XPATH, "following-sibling::tr[1]")
        assert keys.is_displayed()
        assert "opened/1" in keys.text
        later = redirect(site)
        within(browser, PATIENCE, lambda: rows(browser, later))
        assert keys.is_displayed()
        time = row.find_element(By.TAG_NAME, "time")
        minutes = re.search(r":(\d\d):", str(time.get_attribute("data-local")))
        assert minutes is not None
        assert int(minutes[1]) == (int(str(time.get_attribute("datetime"))[14:16]) + 30) % 60
        keep(browser, "opened", 1280)
    finally:
        browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})


def test_slash_begins_to_find(browser: Chrome) -> None:
    ActionChains(browser).send_keys("/b/").perform()
    assert attribute(browser, "[name=find]", "value") == "b/"


def test_without_javascript(browser: Chrome, start: Start, site: Running) -> None:
    """Without JavaScript the page says the same, and loads itself anew where it is told to; then there is no form whose
    text it would take away."""
    path = redirect(site)
    within(browser, PATIENCE, lambda: rows(browser, path))
    plain = start(**{"profile.managed_default_content_settings.javascript": 2})
    plain.get(site.admin_url)
    parts = {"h2": 5, ".pools th[scope=row]": 8, "td.share": 8, "#configuration dt": 7, "label": 7}
    for css in parts:
        shown = [texts(one, css) for one in (browser, plain)]
        if css != "td.share":
            assert shown[0] == shown[1]
        assert len(shown[0]) == len(shown[1]) >= parts[css]
    assert attribute(plain, "path.rates", "d")
    assert not read(lambda: plain.find_element(By.ID, "pause").is_displayed())
    keep(plain, "without-javascript", 1280)
    plain.get(f"{site.admin_url}/?path=/test-")
    later = redirect(site)
    assert later not in text(plain, "#requests")

    def is_there_after_reload() -> bool:
        plain.find_element(By.LINK_TEXT, "reload").click()
        return later in text(plain, "#requests")

    within(plain, PATIENCE, is_there_after_reload)
    assert plain.find_element(By.NAME, "find").is_displayed()
    plain.find_element(By.LINK_TEXT, "every 5 s").click()
    last = redirect(site)
    within(plain, PATIENCE, lambda: last in text(plain, "#requests"))
    assert not read(lambda: plain.find_element(By.NAME, "find").is_displayed())
    plain.find_element(By.LINK_TEXT, "stop").click()
    within(plain, PATIENCE, lambda: "reload=" not in plain.current_url)
    assert read(lambda: plain.find_element(By.NAME, "find").is_displayed())


def test_typed_is_text(browser: Chrome, site: Running) -> None:
    """A path of `<script>` in the live list is text, and so is a filter."""
    within(browser, PATIENCE, lambda: is_live(browser))
    script = "<script>document.title='taken'</script><img/src=x/onerror=document.title='taken'>"
    connection = http.client.HTTPConnection("127.0.0.1", site.port)
    connection.request("GET", f"/{script}")
    connection.getresponse().read()
    connection.close()
    within(browser, PROMISE, lambda: rows(browser, script))
    browser.find_element(By.NAME, "status").send_keys(script, Keys.ENTER)
    within(browser, PATIENCE, lambda: script in text(browser, "#status-wrong"))
    assert "taken" not in browser.title
    assert not browser.find_elements(By.CSS_SELECTOR, "img, script:not([src])")


def test_content_security_policy(browser: Chrome, site: Running) -> None:
    """A script in the page does not run, and the page cannot speak to others: the policy is in force."""
    browser.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.ran = true';"
        "document.body.append(script)"
    )
    assert browser.execute_script("return window.ran") is None
    fetch = "const done = arguments[1]; fetch(arguments[0]).then(() => done('sent'), () => done('refused'))"
    assert browser.execute_async_script(fetch, site.url) == "refused"
    assert len([message for message in complaints(browser) if "Content Security Policy" in message]) >= 2


def test_keyboard(browser: Chrome) -> None:
    """Tab reaches every control in the order of the page, and each shows that it is the one."""
    within(browser, PATIENCE, lambda: is_live(browser))
    expected = (
        "Skip to the numbers, Pools, Routes, Requests, Configuration, Pause, minute, hour, day, "
        "Find, only what is down, busiest first, Find, "
        "Pool, Origin, Status, Path, Filter, Last requests"
    ).split(", ")
    for name in expected:
        tab(browser)
        while browser.execute_script("return document.querySelector('#troubles :focus')"):  # as many links as are down
            tab(browser)
        control = browser.switch_to.active_element
        assert control.accessible_name == name
        assert control.value_of_css_property("outline-style") == "solid"
    tab(browser)
    assert browser.switch_to.active_element.tag_name == "summary"


def test_pause(browser: Chrome, site: Running) -> None:
    """Space on the button stops what moves, and the focus stays; the next shows what was missed."""
    within(browser, PATIENCE, lambda: is_live(browser))
    tab(browser, 6)
    ActionChains(browser).send_keys(" ").perform()
    assert text(browser, "#connection") == "paused"
    before = text(browser, "main")
    path = redirect(site)
    with pytest.raises(TimeoutException):
        within(browser, PROMISE, lambda: text(browser, "main") != before)
    assert browser.switch_to.active_element.text == "Resume"
    ActionChains(browser).send_keys(" ").perform()
    within(browser, PATIENCE, lambda: rows(browser, path))


def test_updates_leave_the_reader_alone(browser: Chrome) -> None:
    """What is selected stays selected, and what is typed stays typed, while the page moves on."""
    browser.find_element(By.NAME, "path").send_keys("/half-ty")
    browser.execute_script("getSelection().selectAllChildren(document.querySelector('[title=pool-a]'))")
    before = text(browser, "#charts")
    within(browser, PATIENCE, lambda: text(browser, "#charts") != before)
    assert browser.execute_script("return getSelection().toString()") == "pool-a"
    assert browser.find_element(By.NAME, "path").get_attribute("value") == "/half-ty"


def test_reconnects(browser: Chrome, site: Running) -> None:
    """When the controller dies the page says so, finds the next by itself, and lists nothing twice."""
    within(browser, PATIENCE, lambda: is_live(browser))
    path = redirect(site)
    within(browser, PROMISE, lambda: rows(browser, path))
    os.kill(controller(site), signal.SIGKILL)
    within(browser, PATIENCE, lambda: text(browser, "#connection") == "reconnecting…")
    within(browser, PATIENCE, lambda: is_live(browser))
    after = redirect(site)
    within(browser, PATIENCE, lambda: rows(browser, after))
    assert len(rows(browser, path + "\t")) <= 1
    assert len(rows(browser, after + "\t")) == 1
    complaints(browser)  # a connection that breaks is an error to the browser


def test_live_while_events_come(browser: Chrome, site: Running) -> None:
    """A stream that is open and silent is not live."""
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SILENT_STREAM})
    try:
        browser.get(site.admin_url)
        browser.execute_script(WATCH_CONNECTION)
        within(browser, PATIENCE, lambda: len(browser.execute_script("return connectionWords")) >= 2)
        words = browser.execute_script("return connectionWords")
        assert {"live", "nothing comes, reconnecting…"} == {*words}
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_new_workers_leave_the_page_live(browser: Chrome, site: Running) -> None:
    """The page has its numbers from the controller, which stays while workers are replaced."""
    within(browser, PATIENCE, lambda: is_live(browser))
    browser.execute_script(WATCH_CONNECTION)
    before = workers(site)
    site.process.send_signal(signal.SIGHUP)
    wait_for(lambda: not workers(site) & before)
    path = redirect(site)
    within(browser, PATIENCE, lambda: rows(browser, path))
    assert browser.execute_script("return connectionWords") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(browser: Chrome, scheme: str) -> None:
    """The page is light or dark as the reader likes, and every text can be read."""
    look(browser, scheme)
    within(browser, PATIENCE, lambda: is_live(browser))
    ground = browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    red = int(re.findall(r"\d+", ground)[0])
    assert red > 200 if scheme == "light" else red < 50
    assert browser.execute_script(CONTRAST) == []
    keep(browser, scheme, 1280)


def test_phone(browser: Chrome, site: Running) -> None:
    """On a phone nothing has to be scrolled sideways but the list of requests, inside itself."""
    screen(browser, 390, 844)
    within(browser, PATIENCE, lambda: is_live(browser))
    path = redirect(site, host=f"{'long.' * 12}name.example.com", **{"x-redirect-pool-id": "x" * 200})
    within(browser, PATIENCE, lambda: rows(browser, path))
    width, room = browser.execute_script(
        "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"
    )
    assert width <= room == 390
    keep(browser, "phone", 390)


# What needs room: names, weights, a pool with all that its head can say, routes, unseen time.
CROWDED: dict[str, Any] = {
    "p" * 128: {"weighted_hosts": {"origin-1": 1_000_000, "origin-2": 100_000}},
    "downloads": {
        "weighted_hosts": {f"downloads-eu-west-{number}.example.com": 1 for number in (1, 2)} | {"sixteen-chars-ab": 1}
    },
    "mirrors": {"weighted_hosts": {f"downloads-eu-west-1.example.com:{port}": 1 for port in (8443, 8444)}},
    "found-in-the-names": {"discover": {"name": "localhost", "port": 1}, "is_default": True},
    "many": {"weighted_hosts": {f"origin-{number}": 1 for number in range(MAX_ORIGINS_OF_POOL + 1)}},
    "routes": [
        {"path": "/hello", "respond": {"status": 200}},
        {"path_prefix": "/inner", "forward_to": "found-in-the-names"},
    ],
}

# The texts that are cut at the end of their element, or at that of one around it that has a scroll bar. In the list of
# requests what clients sent may be.
CUT = """
const clips = (element) => getComputedStyle(element).overflowX !== "visible";
const may = (element) => element.matches(".unseen, .requests td:not(.name)");
return [...document.querySelectorAll("h2, h3, th, td, dt, dd, li, p, caption, .workers")]
  .filter((element) => clips(element) && element.scrollWidth > element.clientWidth && !may(element))
  .map((element) => element.textContent);
"""

# By text, on how many lines each of the elements is.
LINES = """
const lines = (element) => {
  const range = document.createRange();
  range.selectNodeContents(element);
  return new Set([...range.getClientRects()].map((box) => Math.round(box.bottom / 8))).size;
};
return [...document.querySelectorAll(arguments[0])].map((element) => [element.textContent, lines(element)]);
"""

# How far the left edge of the text of each element is from that of the card.
INDENTS = """
return [...document.querySelectorAll(arguments[0])].map((element) =>
  element.getBoundingClientRect().left + parseFloat(getComputedStyle(element).paddingLeft)
  - element.closest(".pool").getBoundingClientRect().left);
"""

# The room between the texts under each chart.
GAPS = """
const gaps = [];
for (const ends of document.querySelectorAll(".plot p")) {
  const boxes = [...ends.children].map((element) => element.getBoundingClientRect());
  boxes.slice(1).forEach((box, index) => gaps.push(box.left - boxes[index].right));
}
return gaps;
"""


@pytest.fixture(scope="session")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("crowded"), pools=CROWDED) as service:
        for pool in ("downloads", "mirrors", "p" * 128):
            httpx.get(service.url, headers={"x-redirect-pool-id": pool})
        yield service


@pytest.mark.parametrize("width", [360, 390, 820, 1000, 1280, 1920])
def test_neither_a_name_nor_a_number_is_cut(chrome: Chrome, width: int, crowded: Running) -> None:
    """It would read as another one."""
    screen(chrome, width, 900)
    chrome.get(crowded.admin_url)
    within(chrome, PATIENCE, lambda: is_live(chrome) and rows(chrome, "mirrors"))
    page, room = chrome.execute_script(
        "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"
    )
    cut = chrome.execute_script(CUT)
    keep(chrome, f"crowded-{width}", width)
    chrome.get("about:blank")
    assert page <= room == width
    assert cut == []


@pytest.mark.parametrize("width", [360, 390])
def test_on_a_phone_texts_have_their_room(chrome: Chrome, width: int, crowded: Running) -> None:
    """Words of routes and names of origins are not broken, weights stand under names, ends of charts stand apart."""
    screen(chrome, width, 900)
    chrome.get(f"{crowded.admin_url}/?over=hour")
    within(chrome, PATIENCE, lambda: is_live(chrome))
    names = dict(chrome.execute_script(LINES, "#routes tbody :is(th, td:not(.number)), .pools tbody th"))
    indents = {round(indent) for indent in chrome.execute_script(INDENTS, ".pools tbody :is(th, .weight)")}
    gaps = chrome.execute_script(GAPS)
    chrome.get("about:blank")
    assert {"/hello", "respond 200", "/inner/*", "downloads-eu-west-1.example.com:8443"} <= names.keys()
    assert {name: lines for name, lines in names.items() if lines > 1} == {}
    assert len(indents) == 1
    assert min(indents) >= 8
    assert len(gaps) >= 4
    assert min(gaps) >= 8


def test_time_that_was_not_seen_has_one_colour(browser: Chrome) -> None:
    """In the charts and in those of pools, and what was seen has the other."""
    look(browser, "dark")
    within(browser, PATIENCE, lambda: browser.find_elements(By.CSS_SELECTOR, ".spark .unknown"))
    unseen, ground = browser.execute_script(
        """
        const styles = (css) => [...document.querySelectorAll(css)].map((element) => getComputedStyle(element));
        const fills = new Set(styles(".unknown").map((style) => style.fill));
        return [[...fills], [...new Set(styles(".plot svg, .spark").map((style) => style.backgroundColor))]];
        """
    )
    assert len(unseen) == 1
    assert ground == ["rgba(0, 0, 0, 0)"]
