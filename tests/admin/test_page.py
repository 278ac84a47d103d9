"""The page of the admin listener, as the server renders it; in a browser it is tested by `make browser`."""

import asyncio
import contextlib
import json
import re
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from support import log_lines
from support.log_lines import RECORD

from redirect.admin import charts, page
from redirect.admin.page import HEADERS, MAX_NEW_ROWS, MAX_ROWS, MAX_STREAMS, SECTIONS, SharedNumbers, View, routes
from redirect.admin.view import LEAST_ORIGINS, MAX_ORIGINS, MAX_ORIGINS_OF_POOL, MAX_POOLS, Query, listed
from redirect.config.loader import parse_config
from redirect.control.instance import Instance, OriginState
from redirect.core.discovery import Found, LeftOut, Trouble
from redirect.core.due import Weights
from redirect.core.overrides import Override, with_overrides
from redirect.core.pools import Config, Origin, Pool
from redirect.telemetry.history import Cell, History
from redirect.telemetry.snapshot import (
    BOUNDS_US,
    NO_DURATIONS,
    SECONDS,
    Count,
    Counted,
    Durations,
    Forwards,
    Loading,
    OriginNumbers,
    Snapshot,
    Totals,
    Worker,
)
from redirect.telemetry.statistics import Cursor

TOML = """
[pool-a]
weighted_hosts = { "origin-1" = 5, "origin-2" = 3, "origin-3" = 2 }
is_default = true
[pool-b]
weighted_hosts = { "origin-4" = 3, "origin-5" = 1, "drained" = 0 }
[pool-c]
weighted_hosts = { "origin-7" = 1 }
status = 307
"""


def line(**values: Any) -> bytes:
    """A line of the access log, without its end."""
    return log_lines.line(**values).rstrip()


class FakeDiscovery:
    left_out: tuple[LeftOut, ...] = ()
    reason = ""  # why nothing can be asked

    def found(self, pool: str) -> Found:
        return Found(left_out=self.left_out)

    def trouble(self, pool: str) -> Trouble | None:
        return Trouble(0, self.reason) if self.reason else None


class FakePublisher:
    path = "/etc/redirect/pools.toml"
    trouble: Trouble | None = None


class FakeInstance:
    """What the page reads of an instance, with values that a test sets."""

    name = "web-1"
    version = "1.2.3"

    def __init__(self, toml: str = TOML) -> None:
        self.config: Config = parse_config(toml.encode(), "pools.toml")
        self.started_at = self.counted_since = time.time() - 90
        self.requests: dict[Counted, Count] = {}
        self.answers = Durations(NO_DURATIONS, 0, [second(0)] * SECONDS)
        self.forwards = Forwards(self.answers, 0, {}, {})
        self.loading = Loading(self.started_at)
        self.totals = Totals()
        self.routed: dict[tuple[str, int], int] = {}
        self.dues: dict[str, dict[str | None, float]] = {}
        self.log: list[bytes] = []
        self.snapshots = 0
        self.threads: set[int] = set()
        self.history = History()
        self.downs: dict[str, str] = {}  # origins, with the reason
        self.made: list[Override] = []
        self.discovery = FakeDiscovery()
        self.publisher = FakePublisher()

    def snapshot(self) -> Snapshot:
        self.snapshots += 1
        self.threads.add(threading.get_ident())
        workers = [Worker(4711, self.started_at, 3, 12345, self.config.hash, 0, 0.1)]
        return Snapshot(
            time.time(), self.requests, self.routed, self.totals, self.answers, self.forwards, workers, self.loading,
            self.dues,
        )  # fmt: skip

    def state(self, pool: Pool, origin: Origin) -> OriginState:
        self.threads.add(threading.get_ident())
        if origin.name in self.downs:
            return OriginState("down", self.started_at, self.downs[origin.name])
        return OriginState("up" if origin.weight else "draining", self.started_at)

    def due(self, pool: Pool) -> list[float]:
        weights = [0 if origin.name in self.downs else origin.weight for origin in pool.origins]
        return Weights(pool, weights).shares()

    def overrides(self, pool: Pool) -> list[Override]:
        return [each for each in self.made if each.pool == pool.name]

    def is_late(self, snapshot: Snapshot) -> bool:
        return snapshot.workers[0].config != self.config.hash

    def lines(self, cursor: Cursor | None) -> tuple[list[bytes], Cursor]:
        self.threads.add(threading.get_ident())
        return self.log[cursor[0] if cursor else 0 :], {0: len(self.log)}

    def routes(self, goes_on: Callable[[], bool] = lambda: True) -> list[Any]:
        return routes(cast(Instance, self), goes_on)

    def view(self, **query: str) -> View:
        instance = cast(Instance, self)
        return View(instance, SharedNumbers(instance), Query(**query))


async def answer(fake: FakeInstance, path: str = "/", **request: Any) -> httpx.Response:
    others = [Route(path, PlainTextResponse()) for path in ("/status", "/stats", "/metrics")]
    app = request.pop("app", None) or Starlette(routes=[*fake.routes(), *others])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin") as client:
        return await client.request(request.pop("method", "GET"), path, **request)


def ask(*asked: Any, **request: Any) -> httpx.Response:
    return asyncio.run(answer(*asked, **request))


def rows(html: str) -> list[str]:
    """The rows of the list of requests."""
    body = html.partition('<tbody id="requests">')[2].partition("</tbody>")[0]
    return [row for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL) if 'class="keys"' not in row]


def second(requests: int, up_to_us: int = 10) -> list[int]:
    return [requests if bound == up_to_us else 0 for bound in BOUNDS_US] + [0]


def test_before_the_first_request_the_page_shows_no_observed_share() -> None:
    html = ask(FakeInstance()).text
    for shown in (
        "pool-a",
        "origin-1",
        "50.00%",
        "draining",
        "never",
        "No request yet",
        "web-1",
        "1.2.3",
        "pools.toml",
    ):
        assert shown in html
    assert html.count('<span class="unseen">observed</span> –') == 7
    assert ' now <b class="big">–</b>' in html


def test_observed_shares_are_of_the_picks_under_the_configuration_in_force() -> None:
    """The last hit may be from before."""
    fake = FakeInstance()
    last_ms = int(time.time() * 1000) - 3_500
    fake.requests = {
        ("pool-a", "origin-1", 302): Count(100, 30, last_ms),
        ("pool-a", "origin-1", 422): Count(1, 1, last_ms),
        ("pool-a", "origin-2", 302): Count(100, 0, last_ms),
        ("pool-a", "origin-3", 302): Count(100, 9, last_ms),
        ("pool-a", None, 503): Count(100, 100, last_ms),
        ("gone", "origin-1", 302): Count(100, 100, last_ms),
        (None, None, 400): Count(100, 100, last_ms),
    }
    html = ask(fake).text
    observed = re.findall(r'<span class="unseen">observed</span> (\S+)</div>', html)
    assert observed[:3] == ["77.50%", "0.00%", "22.50%"]
    assert set(observed[3:]) == {"–"}
    assert html.count(">3 s ago</time>") == 3


def test_due_shares_are_shown_where_they_are_not_as_configured() -> None:
    """They are those of now, whatever was due of the picks that were made: 0 while none may be picked."""
    fake = FakeInstance(PROBED)

    def shown() -> list[str]:
        return re.findall(r">due</span> (\S+)</div>", ask(fake).text)

    assert shown() == []
    fake.downs = {"origin-1": "timed out"}
    assert shown() == ["0.00%", "100.00%"]
    fake.requests = {("first", "origin-2", 302): Count(4, 4, 0)}
    fake.dues = {"first": {None: 2, "origin-2": 2}}
    assert shown() == ["0.00%", "100.00%"]
    fake.downs["origin-2"] = "timed out"
    assert shown() == ["0.00%", "0.00%"]
    fake.downs = {}
    assert shown() == []


def test_what_was_due_of_the_picks_is_marked_where_they_are_drawn() -> None:
    """Where it is not as configured, or what is due now is not. Of 40 picks 10 were made while origin-1 was down."""
    fake = FakeInstance(PROBED)

    def marks() -> list[tuple[str, str, str]]:
        observed = (
            r'due of them, ([^"]*)"><svg[^>]*><rect class="observed"[^>]*><line x1="(\S+)" .*?>where (\S+) were due<'
        )
        return re.findall(observed, ask(fake).text)

    fake.requests = {("first", "origin-1", 302): Count(15, 15, 0), ("first", "origin-2", 302): Count(25, 25, 0)}
    assert marks() == []
    fake.dues = {"first": {None: 10, "origin-2": 10}}
    mean = [("37.50%", "0.375", "37.50%"), ("62.50%", "0.625", "62.50%")]
    assert marks() == mean
    fake.downs = {"origin-1": "timed out"}
    assert marks() == mean
    fake.dues = {}  # all picks were made before the origin went down
    assert marks() == [("50.00%", "0.5", "50.00%")] * 2
    fake.requests = {}
    assert marks() == []


def test_an_override_is_marked_beside_the_shares_of_the_file() -> None:
    """With its share now; weights are those of the file."""
    fake = FakeInstance()
    before = re.findall(r'<td class="weight">(\S+)</td>', ask(fake).text)
    fake.made = [Override("pool-a", "origin-1", 100, 900, time.time() - 3600, 7200, 3600)]
    fake.config = with_overrides(fake.config, fake.made, time.time())
    html = ask(fake).text
    assert re.findall(r"<span>override</span> (\S+)</div>", html) == ["50.00%"]
    assert "In place of the file&#39;s: 10 % to 90 %, until 20" in html.replace("'s", "&#39;s")
    assert re.findall(r'<td class="weight">(\S+)</td>', html) == before


def test_what_people_typed_is_shown_as_text() -> None:
    """In the list, in filters, in messages."""
    evil = "<script>alert('1')</script>\"'"
    escaped = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&#34;&#39;"
    fake = FakeInstance(f"[{json.dumps(evil)}]\nweighted_hosts = {{ a = 1 }}\nis_default = true\n")
    columns = ("pool_requested", "pool", "origin", "method", "host", "path", "query", "client_ip")
    fake.log = [line(**dict.fromkeys(columns, evil))]
    fake.loading = Loading(0.0, evil, 1.0)
    html = ask(fake).text
    assert html.count(escaped) >= 2 * len(columns)
    html += ask(fake, "/", params=dict.fromkeys(Query._fields, evil)).text
    assert evil not in html
    assert html.count("<script") == 2  # ours, once in each


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        pytest.param("a\x1b[31mb", r"a\x1b[31mb", id="escape sequence"),
        pytest.param("/\u202etxt.exe", r"/\u202etxt.exe", id="right to left"),
        pytest.param("a\u200bb", r"a\u200bb", id="of no width"),
        pytest.param("a\nb", r"a\nb", id="line end"),
        pytest.param("\u00fcber", "\u00fcber", id="a letter"),
    ],
)
def test_a_character_that_cannot_be_seen_is_shown_by_its_escape(sent: str, shown: str) -> None:
    """So is one that turns text around."""
    fake = FakeInstance()
    fake.log = [line(path=sent, query="")]
    (row,) = rows(ask(fake).text)
    assert f'<td class="target" title="{shown}">{shown}</td>' in row


LOG = {
    "plain": line(),
    "loop": line(status=422, level="warning"),
    "other pool": line(pool="pool-b", origin="origin-4", pool_requested="pool-b"),
    "deep": line(path="/deep/down", query=""),
    "forged": line(path='/"pool":"pool-b","status":422,'),
    "refused": line(status=400, pool=None, origin=None, path=None, query="", method=None, host=None),
}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param({}, set(LOG), id="nothing typed"),
        pytest.param({"pool": "pool-b"}, {"other pool"}, id="pool"),
        pytest.param({"pool": "pool"}, set(), id="not the whole pool"),
        pytest.param({"origin": "origin-4"}, {"other pool"}, id="origin"),
        pytest.param({"status": "422"}, {"loop"}, id="status"),
        pytest.param({"status": "4XX"}, {"loop", "refused"}, id="class of statuses"),
        pytest.param({"status": "abc"}, set(LOG), id="no status"),
        pytest.param({"path": "/x"}, {"plain", "loop", "other pool"}, id="path"),
        pytest.param({"path": "/de"}, {"deep"}, id="how the path begins"),
        pytest.param({"path": "/x?y=1"}, {"plain", "loop", "other pool"}, id="path and query"),
        pytest.param({"path": '/"pool"'}, {"forged"}, id="quotes"),
        pytest.param({"status": "302", "path": "/x", "pool": "pool-b"}, {"other pool"}, id="all at once"),
    ],
)
def test_only_requests_that_fit_all_filters_are_listed(query: dict[str, str], expected: set[str]) -> None:
    """No value passes for another key."""
    assert {name for name, line in LOG.items() if listed([line], Query(**query), 1)[0]} == expected


def test_the_form_filters_and_keeps_what_was_typed() -> None:
    """A status that is none does not filter, and the page says so."""
    fake = FakeInstance()
    fake.log = list(LOG.values())
    html = ask(fake, "/?status=422&find=pool-a").text
    assert len(rows(html)) == 1
    assert 'name="status" value="422"' in html
    assert html.count('name="find" value="pool-a"') == 2  # its own form has it, and the other passes it on
    html = ask(fake, '/?status="abc"').text
    assert len(rows(html)) == len(LOG)
    assert "There is no status “&#34;abc&#34;”" in html
    assert "No request yet that fits the filter." in ask(fake, "/?pool=nope").text


def test_the_newest_request_is_the_first_row() -> None:
    """The number of rows is limited."""
    fake = FakeInstance()
    fake.log = [line(path=f"/{number}", query="") for number in range(MAX_ROWS + 1)]
    found = rows(ask(fake).text)
    assert len(found) == MAX_ROWS
    assert f">/{MAX_ROWS}</td>" in found[0]
    assert ">/1</td>" in found[-1]


def test_names_are_broken_at_their_dots() -> None:
    """Where there is no room for them: that of a pool and of an origin, and in the list of requests."""
    fake = FakeInstance('["a.b"]\nweighted_hosts = { "eu.example.com:80" = 1 }\nis_default = true\n')
    fake.log = [line(pool="a.b", origin="eu.example.com:80", path="/a.b", query="")]
    html = ask(fake).text
    assert html.count(">eu<wbr>.example<wbr>.com:80</t") == 2
    assert (html.count(">a<wbr>.b<"), html.count("<wbr>")) == (2, 6)


def test_lost_lines_are_shown_whatever_the_filter() -> None:
    fake = FakeInstance()
    marker = {"time": RECORD["time"], "level": "error", "message": "lost", "lost": 1200, "instance": "w", "worker": 1}
    fake.log = [line(), json.dumps(marker, separators=(",", ":")).encode()]
    (row,) = rows(ask(fake, "/?pool=nope").text)
    assert "1,200 lines were lost" in row


def names(html: str) -> list[str]:
    """The pools that are shown."""
    return re.findall(r'<h3 title="(.*?)">', html)


def test_many_pools_are_shown_page_by_page() -> None:
    """The default pool comes before all; one is found by a part of a name, too. There is no page behind the last."""
    toml = "".join(
        f'[pool-{number}]\nweighted_hosts = {{ "Host-{number}" = 1 }}\nis_default = {str(number == 77).lower()}\n'
        for number in range(MAX_POOLS + 50)
    )
    fake = FakeInstance(toml)
    html = ask(fake).text
    first = ["pool-77", *(f"pool-{number}" for number in range(MAX_POOLS - 1))]
    assert names(html) == first
    assert "page 1 of 2, 100 pools" in html
    assert 'rel="next" href="./?page=2#pools-title"' in html
    last = ask(fake, "/?page=2").text
    assert len({*first, *names(last)}) == len(first) + len(names(last)) == 100
    assert [names(ask(fake, f"/?page={page}").text) for page in ("3", "999999", "-1", "x")] == [names(last)] * 2 + [
        first
    ] * 2
    html = ask(fake, "/?find=HOST-98").text
    assert names(html) == ["pool-98"]
    assert "page 1" not in html
    assert "No pool and no origin has “<bdi>&lt;b&gt;</bdi>” in its name." in ask(fake, "/?find=<b>").text


def origins(html: str) -> list[str]:
    return re.findall(r'<th scope="row" title="(.*?)">', html.partition('id="requests"')[0])


def test_what_fails_is_shown_first_and_on_request_alone() -> None:
    fake = FakeInstance(PROBED + '[fourth]\nweighted_hosts = { "origin-4" = 1, "origin-5" = 1 }\n')
    assert names(ask(fake).text) == ["first", "second", "third", "fourth"]
    assert "No pool fails." in ask(fake, "/?down=1").text
    fake.downs = {"origin-2": "timed out", "origin-3": "timed out"}
    html = ask(fake).text
    assert names(html) == ["second", "third", "first", "fourth"]
    assert origins(html)[3:5] == ["origin-2", "origin-1"]
    fake.downs = {"origin-3": "timed out"}
    assert names(ask(fake).text) == ["second", "third", "first", "fourth"]
    html = ask(fake, "/?down=1").text
    assert (names(html), origins(html)) == (["second", "third"], ["origin-3", "origin-3"])


def test_the_gravest_failure_is_shown_first() -> None:
    """Pools without an origin, then by the share that is down, with the default pool first among equals."""
    hosts = '{{ "{0}-1" = 7, "{0}-2" = 2, "{0}-3" = 1 }}'
    pools = "".join(
        f'[{name}]\nweighted_hosts = {hosts.format(name)}\nhealth_check = {{ path = "/" }}\n{more}'
        for name, more in {"a": "", "b": "is_default = true\n", "c": "", "d": "", "e": "", "f": ""}.items()
    )
    fake = FakeInstance(pools + '[unasked]\ndiscover = { name = "web", port = 80 }\n')
    fake.downs = dict.fromkeys(("a-3", "b-3", "c-1", "d-1", "d-2", "d-3", "f-2", "f-3"), "timed out")
    assert names(ask(fake).text) == ["d", "unasked", "c", "f", "b", "a", "e"]
    assert [each.split()[0] for each in strip(ask(fake).text)[2:]] == ["d-1", "d-2", "d-3", "c-1", "f-2", "3"]


def test_another_origin_that_goes_down_changes_the_order() -> None:
    """At once, although the same pools fail as before."""
    fake = FakeInstance(PROBED.replace('"origin-3" = 1, "drained" = 0', '"origin-3" = 1, "origin-4" = 1'))
    fake.downs = {"origin-1": "timed out", "origin-4": "timed out"}
    view = fake.view()
    assert names(view.sections()["pools"])[:2] == ["first", "second"]
    fake.downs["origin-3"] = "timed out"
    view.numbers = SharedNumbers(view.instance)
    assert names(view.sections()["pools"])[:2] == ["second", "third"]


def test_pools_and_origins_are_sorted_by_traffic() -> None:
    """By that of the time which is drawn."""
    fake = FakeInstance()
    fake.history.note(fake.snapshot(), 86_400)
    fake.requests = {("pool-c", "origin-7", 307): Count(9, 9, 0), ("pool-a", "origin-2", 302): Count(4, 4, 0)}
    fake.history.note(fake.snapshot(), 86_405)
    html = ask(fake, "/?sort=traffic").text
    assert names(html) == ["pool-c", "pool-a", "pool-b"]
    assert origins(html)[:4] == ["origin-7", "origin-2", "origin-1", "origin-3"]
    fake.history.note(fake.snapshot(), 86_500)
    assert names(ask(fake, "/?sort=traffic").text) == ["pool-a", "pool-b", "pool-c"]
    assert names(ask(fake, "/?sort=traffic&over=hour").text) == ["pool-c", "pool-a", "pool-b"]


def test_rate_errors_and_p99_are_drawn_by_pool_and_origin() -> None:
    """Over the minute, or what is chosen; p99 only where origins answer."""
    fake = FakeInstance(TOML + '[[routes]]\npath = "/x"\nforward_to = "pool-c"\n')
    fake.history.note(fake.snapshot(), 86_400)
    fake.requests = {("pool-a", "origin-1", 302): Count(90, 90, 0), ("pool-a", None, 503): Count(10, 10, 0)}
    fake.requests[("pool-c", "origin-7", 200)] = Count(25, 25, 0)
    numbers = OriginNumbers(second(20, 20_000))
    fake.forwards = replace(fake.forwards, origins={("pool-c", "origin-7"): numbers})
    fake.history.note(fake.snapshot(), 86_405)
    html = ask(fake).text
    shown = [
        re.sub("<.*?>|\\s+", " ", part).split() for part in re.findall(r"/s</span>.*?</(?:p|td)>", html, re.DOTALL)
    ]
    assert shown == [
        ["/s", "10.00%", "errors"],
        ["/s"],
        ["/s", "p99", "19.9", "ms"],
        ["/s", "p99", "19.9", "ms", *"25 requests p95 of all 19.5 ms 0 under way 0 errors 0 retries".split()],
    ]
    assert re.findall(r"([0-9.]+)/s</span>", html) == ["20", "18", "5", "5"]
    assert 'd="M0 12' + "V12m1 0" * 11 + 'V0h1V12z"' in html  # what was not seen is a gap
    fake.history.note(fake.snapshot(), 86_500)
    assert "/s</span>" not in ask(fake).text
    html = ask(fake, "/?over=day").text
    assert ("The last day" in html, "24 h ago" in html, html.count("/s</span>")) == (True, True, 4)


def test_time_that_was_not_seen_is_no_time_without_requests() -> None:
    """It is marked in the charts and in those of pools, and the page says until when it was."""
    fake = FakeInstance()
    html = ask(fake, "/?over=hour").text
    assert re.findall(r'(?:now|mean|most) (?:<b class="big">)?(.)(?:</b>)?</span>', html)[:3] == ["–"] * 3
    fake.history.note(fake.snapshot(), 86_400)
    for seconds, picks in ((60, 0), (120, 0), (180, 30)):
        fake.requests = {("pool-a", "origin-1", 302): Count(picks, picks, 0)} if picks else {}
        fake.history.note(fake.snapshot(), 86_399 + seconds)
    html = ask(fake, "/?over=hour").text
    charts_, pools = html.partition('id="pools-title"')[::2]
    assert re.findall('class="unknown" d="(.*?)"', charts_) == ["".join(f"M{x} 0h1v100h-1z" for x in range(57))] * 2
    assert {*re.findall('class="unknown" d="(.*?)"', pools)} == {"".join(f"M{x} 0h1v12h-1z" for x in range(57))}
    assert f'd="M0 12{"V12m1 0" * 57}V12h1V12h1V0h1V12z"' in pools
    assert charts_.count("not seen until <time") == charts_.count(">2 min ago</time></span>") == 2
    for seconds in range(4 * 60, 61 * 60, 60):
        fake.history.note(fake.snapshot(), 86_399 + seconds)
    assert "not seen until" not in ask(fake, "/?over=hour").text
    assert "not seen until" in ask(fake, "/?over=day").text
    assert "not seen until" not in ask(fake).text


def test_the_minute_begins_with_the_start() -> None:
    """Seconds before it are not known to be without requests."""
    fake = FakeInstance()
    fake.started_at = time.time() - 10.5
    html = ask(fake).text
    assert html.count(">11 s ago</time></span>") == html.count("not seen until <time") == 2
    assert html.count("".join(f"M{x} 0h1v100h-1z" for x in range(49)) + '"') == 2
    fake.started_at -= 60
    assert "not seen until" not in ask(fake).text


def test_of_many_that_are_left_out_twenty_are_named() -> None:
    """How many more there are is said, and where they are listed."""
    fake = FakeInstance('[a]\ndiscover = { name = "web", port = 80 }\nis_default = true\n')
    for number, more in ((20, []), (1021, ["1,001"])):
        fake.discovery.left_out = tuple(LeftOut(f"c-{each}", "0", "exited", "no") for each in range(number))
        html = ask(fake).text
        assert html.count(" is left out (exited): no<") == 20
        assert re.findall(r'(\S+) more are left out: <a href="status\?pool=a">', html.replace(">", "> ")) == more


def test_of_many_that_cannot_be_asked_for_the_strip_names_five() -> None:
    fake = FakeInstance("".join(f'[p{n}]\ndiscover = {{ name = "web", port = 80 }}\n' for n in range(8)) + TOML)
    fake.discovery.reason = "timed out"
    assert strip(ask(fake).text)[-1] == "Of 3 more pools the origins cannot be asked for."


def test_of_many_origins_the_first_are_shown() -> None:
    """Those that match `find` come before all."""
    hosts = ", ".join(f'"origin-{number}" = 1' for number in range(1000))
    fake = FakeInstance(f"[a]\nweighted_hosts = {{ {hosts} }}\nis_default = true\n")
    fake.requests = {("a", "origin-999", 302): Count(1, 1, 1), ("a", "origin-0", 302): Count(3, 3, 1)}
    html = ask(fake).text
    assert html.count('<td class="share"') == MAX_ORIGINS_OF_POOL
    assert "950 more of 1,000 origins are not shown" in html
    assert "75.00%" in html  # of the picks of all origins
    html = ask(fake, "/?find=origin-999").text
    assert re.findall(r'<th scope="row" title="(origin.*?)">', html)[:2] == ["origin-999", "origin-0"]


def test_the_origins_of_all_pools_together_are_limited() -> None:
    hosts = ", ".join(f"origin-{number} = 1" for number in range(40))
    fake = FakeInstance("".join(f"[p{n}]\nis_default = true\nweighted_hosts = {{ {hosts} }}\n" for n in range(10)))
    html = ask(fake).text
    assert html.count('<td class="share"') == MAX_ORIGINS + 2 * LEAST_ORIGINS
    assert "37 more of 40 origins are not shown" in html


def test_each_second_is_a_step_of_the_charts() -> None:
    """The last one is at the right end; a second without requests has no duration."""
    before = [second(0)] * (SECONDS - 4)
    drawn = charts.rates([Cell(1, second(count), NO_DURATIONS) for count in [0] * (SECONDS - 3) + [3, 0, 4]])
    assert (drawn.now, drawn.mean, drawn.most) == (4, 7 / SECONDS, 4)
    assert drawn.path == "M57 100v-75.00h.8V100M59 100v-100.00h.8V100"
    assert [value for value, _ in drawn.ticks] == [0, 2, 4]
    (p50,), ticks = charts.durations([*before, second(1), second(0), *[second(2, 1000)] * 2], 0.5)
    assert p50.path == "M56 69.0H57M58 2.4H59V2.4H60"
    assert [p50.now, p50.overall] == [pytest.approx(850), pytest.approx(812.5)]
    assert [value for value, _ in ticks] == [1, 10, 100, 1000]


def test_forwards_have_a_chart_of_their_own() -> None:
    """Where routes forward, durations of forwards are drawn apart; all requests are one rate."""
    fake = FakeInstance()
    fake.answers = fake.answers._replace(seconds=[second(3)] * SECONDS)
    assert re.findall(r"<b>(Duration.*?)</b>", ask(fake).text) == ["Duration"]
    fake = FakeInstance(TOML + '[[routes]]\npath = "/x"\nforward_to = "pool-c"\n')
    fake.answers = fake.answers._replace(seconds=[second(3)] * SECONDS)
    seconds = [second(2, 20_000)] * SECONDS
    fake.forwards = replace(fake.forwards, durations=fake.answers._replace(seconds=seconds))
    html = ask(fake).text
    assert re.findall(r"<b>(Duration.*?)</b>", html) == ["Duration of what is answered here", "Duration of forwards"]
    assert re.findall(r'p50 now <b class="big">(.*?)</b>', html) == ["8 µs", "15 ms"]
    assert re.findall(r'now <b class="big">(\d+)</b>', html) == ["5"]


def test_a_pool_that_is_forwarded_to_shows_what_became_of_forwards() -> None:
    """Per origin, and with no status of redirects; one that clients are redirected to as well has both."""
    fake = FakeInstance(TOML + "".join(f'[[routes]]\npath = "/{x}"\nforward_to = "pool-{x}"\n' for x in "ac"))
    fake.requests = {
        ("pool-c", "origin-7", 200): Count(1230, 1230, 1),
        ("pool-c", "origin-7", 502): Count(3, 3, 1),
        ("pool-c", "origin-7", 503): Count(1, 1, 1),
    }
    responses = second(20, 20_000)
    numbers = OriginNumbers(responses, 0.3, {"dns_error": 4, "connection_refused": 1000}, 1, 5)
    fake.forwards = replace(fake.forwards, origins={("pool-c", "origin-7"): numbers})
    html = ask(fake).text
    rows = re.findall(r'<tr class="more">(.*?)</tr>', html, re.DOTALL)
    shown = [re.findall(r"<span.*?>(.*?)</span>", row) for row in rows]
    assert len(shown) == 4  # three origins of pool-a
    assert shown[0] == ["0 requests", "p95 of all –", "0 under way", "0 errors", "0 retries"]
    failures = ["dns_error 4", "connection_refused 1,000"]
    assert shown[3] == ["1,234 requests", "p95 of all 19.5 ms", "5 under way", "4 errors", "1 retry", *failures]
    assert re.findall(r'<span class="quiet">([^<]*?)</span>\s*<span class="quiet end">', html) == [
        "302 and forwarded",
        "302",
        "forwarded",
    ]


def test_routes_show_what_they_do_and_what_became_of_their_requests() -> None:
    """And all forwards together; a file without routes has no such part."""
    assert re.search(r'aria-labelledby="routes-title" hidden', ask(FakeInstance()).text)
    routes = (
        '[[routes]]\npath = "/no"\nrespond = { status = 403 }\n[[routes]]\npath_prefix = "/x"\nforward_to = "pool-c"\n'
    )
    fake = FakeInstance(TOML + routes)
    fake.routed = {("/x/*", 200): 1230, ("/x/*", 404): 3, ("/x/*", 502): 1, ("gone", 200): 9}
    first, second_ = (OriginNumbers(NO_DURATIONS, 0, {"dns_error": tries}, 1, 2) for tries in (4, 5))
    fake.forwards = replace(fake.forwards, origins={("pool-c", "origin-7"): first, ("pool-c", "origin-8"): second_})

    def shown(html: str) -> tuple[list[str], list[str]]:
        part = html.partition('id="routes">')[2].partition("</section>")[0]
        cells = [
            " ".join(re.sub("<.*?>", " ", row).split()) for row in re.findall(r"<tr>.*?</tr>", part, re.DOTALL)[1:]
        ]
        return cells, re.findall("<dd>(.*?)</dd>", part)[:4]

    html = ask(fake).text
    assert shown(html) == (["/no respond 403 0 0 0", "/x/* forward_to pool-c 1,234 3 1"], ["0", "4", "2", "9"])
    assert "dns_error 9" in html
    assert shown(ask(fake, "/?find=pool-C").text)[0] == ["/x/* forward_to pool-c 1,234 3 1"]


def test_a_request_opens_with_all_keys_of_its_record() -> None:
    fake = FakeInstance()
    fake.log = [line(user_agent="curl/8")]
    html = ask(fake).text
    row = re.findall(r'<tr class="keys">.*?</tr>', html, re.DOTALL)[0]
    found = dict(re.findall(r"<dt>(.*?)<dd>(.*?)</div>", row))
    assert {key: str(value) for key, value in (RECORD | {"user_agent": "curl/8"}).items() if value is not None} == {
        key: value for key, value in found.items() if value != "–"
    }
    assert found.keys() == RECORD.keys()


def test_the_page_says_that_it_is_of_one_instance_and_where_the_rest_is() -> None:
    html = ask(FakeInstance()).text
    assert "the numbers of one instance, web-1." in html
    assert re.findall('<a href="(s[a-z]+|m[a-z]+)">', html) == ["status", "stats", "metrics"]


def test_the_axis_of_durations_begins_where_it_is_told() -> None:
    """It has three decades at least, and as many as the longest needs; what is below its begin lies on it."""
    (p50,), ticks = charts.durations([second(1)] * SECONDS, 0.5, least_us=100)
    assert [value for value, _ in ticks] == [100, 1000, 10_000, 100_000]
    assert p50.path.startswith("M0 100.0H1")
    _, ticks = charts.durations([second(1, 60_000_000)] * SECONDS, 0.5, least_us=100)
    assert ticks[-1] == (100_000_000, 0)


def test_without_requests_the_charts_show_their_axes_only() -> None:
    drawn = charts.rates([Cell(1, NO_DURATIONS, NO_DURATIONS)] * SECONDS)
    assert (drawn.now, drawn.most, drawn.path) == (0, 0, "")
    (p50,), ticks = charts.durations([NO_DURATIONS] * SECONDS, 0.5)
    assert p50 == (None, None, "")
    assert len(ticks) == 4


def test_the_page_shows_the_configuration_and_why_the_last_reload_failed() -> None:
    fake = FakeInstance(TOML.replace("is_default = true", "is_default = true\nstatus = 301"))
    fake.loading = Loading(time.time() - 7200, "pools.toml:1:1: <no>\npools.toml:2:1: nor this", time.time() - 65)
    html = ask(fake).text
    assert "The last reload failed" in html
    assert "<pre>pools.toml:1:1: &lt;no&gt;\npools.toml:2:1: nor this\n</pre>" in html
    for shown in (fake.config.hash, ">2 h ago</time>", ">1 min ago</time>", "browsers cache a permanent", ">12,345<"):
        assert shown in html


PROBED = """
[first]
weighted_hosts = { "origin-1" = 1, "origin-2" = 1 }
is_default = true
health_check = { path = "/" }
[second]
weighted_hosts = { "origin-3" = 1, "drained" = 0 }
health_check = { path = "/" }
[third]
weighted_hosts = { "origin-3" = 1 }
health_check = { path = "/" }
when_all_down = "ignore"
"""


def strip(html: str) -> list[str]:
    """The lines of the strip under the header."""
    lines = re.findall("<li>(.*?)</li>", html.partition('id="troubles"')[2].partition("</div>")[0], re.DOTALL)
    return [re.sub("<.*?>", "", each) for each in lines]


def test_what_is_wrong_stands_in_the_title_and_under_the_header() -> None:
    """A reload that failed, what is down, and pools without an origin; where nothing is wrong there is no strip."""
    fake = FakeInstance(PROBED)
    assert (strip(ask(fake).text), ask(fake).text.count("<title>Redirect on web-1<")) == ([], 1)
    fake.downs = {"origin-1": "timed out", "origin-3": "Connection refused"}
    fake.loading = Loading(0, "pools.toml:1:1: no", time.time() - 65)
    html = ask(fake).text
    title = "reload failed, 1 pool without origin, 3 down · Redirect on web-1"
    assert (f"<title>{title}<" in html, f'data-title="{title}"' in html) == (True, True)
    assert strip(html) == [
        "The last reload failed 1 min ago; what was loaded before stays in force.",
        "No origin of pool second can be picked.",
        "origin-3 of pool second is down, 1 min ago: Connection refused",
        "origin-3 of pool third is down, 1 min ago: Connection refused",
        "origin-1 of pool first is down, 1 min ago: timed out",
    ]


def test_the_strip_says_why_the_file_is_not_read() -> None:
    fake = FakeInstance()
    trouble = fake.publisher.trouble = Trouble(time.time() - 65, "pools.toml: not read, as it is stalled")
    fake.loading = Loading(0, trouble.reason, trouble.since)
    html = ask(fake).text
    assert "<title>file not read · Redirect on web-1<" in html
    assert strip(html) == ["pools.toml: not read, as it is stalled; what was loaded before stays in force."]


def test_of_many_that_are_down_the_strip_names_five() -> None:
    hosts = ", ".join(f"origin-{number} = 1" for number in range(1200))
    fake = FakeInstance(f'[a]\nweighted_hosts = {{ {hosts} }}\nis_default = true\nhealth_check = {{ path = "/" }}\n')
    fake.downs = {f"origin-{number}": "" for number in range(1100)}
    html = ask(fake).text
    assert "<title>1,100 down · " in html
    assert (len(strip(html)), strip(html)[-1]) == (6, "1,095 more are down.")


def test_without_javascript_the_page_reloads_itself_on_request_alone() -> None:
    """Else it would take away what is being typed; where it does, all that was chosen is kept."""
    refresh = '<noscript><meta http-equiv="refresh" content="5"></noscript>'
    for query in ("", "?find=a"):
        html = ask(FakeInstance(), f"/{query}").text
        assert ("http-equiv" in html, 'class="reloads"' in html) == (False, False)
    assert '<a href="./?find=a&amp;reload=1">every 5 s</a>' in html
    html = ask(FakeInstance(), "/?reload=1&find=a").text
    assert (refresh in html, '<body class="reloads">' in html) == (True, True)
    assert 'reloads every 5 s, <a href="./?find=a">stop</a>' in html


def test_the_page_counts_requests_that_named_an_unknown_pool() -> None:
    fake = FakeInstance()
    assert "named a pool" not in ask(fake).text
    fake.totals = Totals(unknown_pool=1234)
    assert "1,234 requests named a pool that is not here" in ask(fake).text


@pytest.mark.parametrize("path", ["/", "/assets/page.css", "/assets/page.js", "/assets/icon.svg"])
def test_each_response_forbids_the_browser_all_but_our_own_files(path: str) -> None:
    response = ask(FakeInstance(), path)
    assert response.status_code == 200
    assert {name: response.headers[name] for name in HEADERS} | {"cache-control": ""} == HEADERS | {"cache-control": ""}
    assert ask(FakeInstance(), path, method="HEAD").headers["content-type"] == response.headers["content-type"]
    assert ask(FakeInstance(), path, method="POST").status_code == 405


def test_the_page_loads_nothing_from_elsewhere() -> None:
    """It has no style or script of its own in it, either."""
    fake = FakeInstance()
    html = ask(fake).text
    texts = [html, *(ask(fake, f"/assets/{name}").text for name in ("page.css", "page.js"))]
    assert not [text for text in texts if re.search(r"https?:|//[a-z]|@import", text.replace("// ", ""))]
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script>", html)
    addresses = re.findall(r'(?:src|href)="(?!#|\./)(.*?)"', html)
    assert {ask(fake, f"/{address}").status_code for address in addresses} == {200}


Events = AsyncGenerator[tuple[str, str]]


@contextlib.asynccontextmanager
async def stream(fake: FakeInstance, **query: str) -> AsyncGenerator[Events]:
    """The events of a stream, as a browser takes them apart."""

    async def events() -> Events:
        async with contextlib.aclosing(fake.view(**query).live(lambda: True)) as live:
            async for event in live:
                name, *data = event.removesuffix("\n\n").split("\n")
                assert event.endswith("\n\n")
                assert all(text.startswith("data: ") for text in data)
                yield name.removeprefix("event: "), "\n".join(text.removeprefix("data: ") for text in data)

    async with asyncio.timeout(10), contextlib.aclosing(events()) as seen:
        yield seen


async def test_an_event_is_the_part_of_the_page_to_the_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.5)
    fake = FakeInstance()
    fake.log = [line(), line(path="/\x0b\u2028<script>", query="")]
    fake.loading = Loading(0, "one\ntwo", 0)
    async with stream(fake) as events:
        html = fake.view().page("")
        sent = dict([await anext(events) for _ in range(1 + len(SECTIONS))])
    assert list(sent) == ["all-requests", *SECTIONS]
    for name, part in sent.items():
        assert f'id="{name.removeprefix("all-")}">{part}</' in html


@pytest.mark.slow
async def test_a_new_request_that_fits_the_filter_is_sent_once() -> None:
    """Of too many only the last are sent, and how many more there were."""
    fake = FakeInstance()
    fake.log = [line(path="/old")]

    async def requests(events: Events) -> str:
        return next(data for name, data in [event async for event in _until(events, "requests")] if name == "requests")

    async with stream(fake, pool="pool-a") as events:
        name, old = await anext(events)
        assert (name, old.count("/old")) == ("all-requests", 3)  # twice in its row, once among its keys
        fake.log += [line(path="/new"), line(path="/other", pool="pool-b")]
        new = await requests(events)
        assert new.count("<tr>") == 1
        assert "/new" in new
        fake.log += [line(path=f"/{number}") for number in range(MAX_NEW_ROWS + 1000)]
        many = await requests(events)
        assert many.count("<tr>") == MAX_NEW_ROWS
        assert "1,000 more, too many to show" in many


async def _until(events: Events, last: str) -> Events:
    async for event in events:
        yield event
        if event[0] == last:
            return


async def test_a_stream_has_beats_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "TICK", 0.01)
    monkeypatch.setattr(page, "BEAT_SECONDS", 0.05)
    async with stream(FakeInstance()) as events:
        for _ in range(2):
            [_ async for _ in _until(events, "beat")]


async def test_a_reload_changes_the_pools_that_a_stream_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "TICK", 0.01)
    fake = FakeInstance()
    async with stream(fake) as events:
        async for name, data in events:
            if name == "pools" and "origin-9" in data:
                return
            fake.config = parse_config(TOML.replace("origin-1", "origin-9").encode(), "pools.toml")


@contextlib.contextmanager
def served(fake: FakeInstance, goes_on: Callable[[], bool]) -> Iterator[str]:
    """The page behind a server, since httpx's own transport has no streams."""
    config = uvicorn.Config(Starlette(routes=fake.routes(goes_on)), port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.slow
def test_streams_end_with_the_instance() -> None:
    """There are no new ones, either."""
    ready = True
    with served(FakeInstance(), lambda: ready) as url, httpx.stream("GET", f"{url}/events") as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        chunks = stream.iter_text()
        assert next(chunks).startswith("event: all-requests\n")
        ready = False
        assert all(chunks)  # to the end, which is an orderly one
        assert httpx.get(f"{url}/events").status_code == 503


@pytest.mark.slow
def test_one_stream_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once one ends, another one is accepted."""
    monkeypatch.setattr(page, "TICK", 0.05)  # a stream ends at the next one
    with served(FakeInstance(), lambda: True) as url, contextlib.ExitStack() as stack, httpx.Client() as client:
        streams = [stack.enter_context(client.stream("GET", f"{url}/events")) for _ in range(MAX_STREAMS)]
        refused = client.get(f"{url}/events")
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
        assert refused.headers["content-security-policy"] == HEADERS["content-security-policy"]
        assert client.get(url).status_code == 200
        streams[0].close()
        deadline = time.monotonic() + 10
        while client.head(f"{url}/events").status_code == 503:
            assert time.monotonic() < deadline


async def test_the_event_loop_renders_nothing() -> None:
    fake = FakeInstance()
    fake.log = [line()]
    assert (await answer(fake)).status_code == 200
    async with stream(fake) as events:
        assert [(await anext(events))[0] for _ in range(1 + len(SECTIONS))] == ["all-requests", *SECTIONS]
    assert threading.get_ident() not in fake.threads


def test_all_readers_share_a_snapshot_for_half_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "TICK", 0.4)
    monkeypatch.setattr(page, "monotonic", iter([10.0, 10.0, 10.1, 10.2, 10.2]).__next__)  # two for each that is made
    fake = FakeInstance()
    app = Starlette(routes=fake.routes())
    for snapshots in (1, 1, 2):
        assert ask(fake, app=app).status_code == 200
        assert fake.snapshots == snapshots


def test_making_snapshots_takes_a_tenth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "monotonic", iter([10.0, 11.0, 19.9, 20.0, 21.0]).__next__)  # a second to make one
    fake = FakeInstance()
    numbers = SharedNumbers(cast(Instance, fake))
    for snapshots in (1, 1, 2):
        numbers.latest()
        assert fake.snapshots == snapshots
