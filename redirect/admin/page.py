"""The page of an instance, and the events that keep it live.

A section is rendered by the same template whether it is part of the page or sent later, so the page shows the same
without JavaScript. The browser may load nothing but our own files (Content-Security-Policy). Pages and events are
rendered in threads, so the event loop stays free; event streams are limited in number, and share their snapshots.
"""

import asyncio
import hashlib
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from redirect.admin import charts, discovered
from redirect.admin.refusal import refusal
from redirect.admin.rendering import render
from redirect.admin.stats import failures
from redirect.admin.troubles import Troubles, look
from redirect.admin.view import Query, Selection, listed, origin_views, routed, select
from redirect.control.instance import Instance
from redirect.core.pools import Pool
from redirect.telemetry.history import WINDOWS, Cell
from redirect.telemetry.snapshot import SECONDS, Count, Snapshot, quantile
from redirect.telemetry.statistics import Cursor

MAX_STREAMS = 16

# Seconds between two reads of the log. The numbers are sent at every second one.
TICK = 0.45

# Seconds between two beats: a page to which none comes is not live.
BEAT_SECONDS = 5.0

# Rows that are listed at once, and that are added at a tick: no reader is faster.
MAX_ROWS = 200
MAX_NEW_ROWS = 40

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

# The parts that are sent again when they change: names of templates, and ids in the page.
SECTIONS = ("troubles", "charts", "pools", "routes", "configuration")

_FOLDER = Path(__file__).parent
_ASSETS = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


def routes(instance: Instance, goes_on: Callable[[], bool]) -> list[BaseRoute]:
    """The page of `instance` at `/`, and what belongs to it. Its event streams end once `goes_on` says no."""
    assets = {name: (_FOLDER / name).read_bytes() for name in _ASSETS}
    version = hashlib.sha256(b"".join(assets.values())).hexdigest()[:12]  # other files get other addresses
    numbers = SharedNumbers(instance)
    streams = asyncio.Semaphore(MAX_STREAMS)

    def page(request: Request) -> Response:  # in a thread, as it is not `async`
        html = View(instance, numbers, Query.read(request.query_params)).page(version)
        return Response(html, headers=HEADERS, media_type="text/html")

    async def events(request: Request) -> ASGIApp:
        if not goes_on() or streams.locked():
            detail = "too many event streams are open" if goes_on() else "the instance is shutting down"
            return refusal(503, detail, HEADERS)
        if request.method == "HEAD":  # a stream without a body would not be one
            return Response(headers=HEADERS, media_type="text/event-stream")
        live = View(instance, numbers, Query.read(request.query_params)).live(goes_on)
        response = StreamingResponse(live, headers=HEADERS, media_type="text/event-stream")

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            async with streams:
                await response(scope, receive, send)

        return counted

    async def asset(request: Request) -> Response:
        name = request.url.path.rpartition("/")[2]
        return Response(assets[name], headers=HEADERS | {"cache-control": "max-age=3600"}, media_type=_ASSETS[name])

    return [Route("/", page), Route("/events", events), *(Route(f"/assets/{name}", asset) for name in assets)]


class Numbers(NamedTuple):
    snapshot: Snapshot
    picks: dict[str, dict[str, Count]]  # by pool and origin
    troubles: Troubles


class SharedNumbers:
    """The numbers of an instance for all readers of its page: made at most once in half a tick, and, where they take
    long to make, so seldom that it takes a tenth of the time."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._lock = threading.Lock()
        self._expires = -inf

    def latest(self) -> Numbers:
        with self._lock:
            began = monotonic()
            if began >= self._expires:
                snapshot = self._instance.snapshot()
                self._numbers = Numbers(snapshot, snapshot.picks(), look(self._instance, snapshot))
                self._expires = began + max(TICK / 2, 10 * (monotonic() - began))
            return self._numbers


@dataclass
class View:
    """What one reader sees of an instance. Its methods take a while, so they are called in threads, one at a time."""

    instance: Instance
    numbers: SharedNumbers
    query: Query
    _selection: Selection = field(init=False)
    _selected: object = None
    _cursor: Cursor | None = None

    def page(self, assets: str) -> str:
        """The whole page; `assets` changes with the files that it loads."""
        return render("page", **self._values(), requests=self.requests(), assets=assets)

    def sections(self) -> dict[str, str]:
        """The parts that show numbers, by id."""
        values = self._values()
        return {name: render(name, **values) for name in SECTIONS}

    def requests(self) -> str:
        """Rows of the list of requests: at first the last ones, then those that are new since the last call."""
        is_first = self._cursor is None
        lines, self._cursor = self.instance.lines(self._cursor)
        records, more = listed(lines, self.query, MAX_ROWS if is_first else MAX_NEW_ROWS)
        return render("requests", records=records, more=more, query=self.query, is_first=is_first)

    def _values(self) -> dict[str, Any]:
        snapshot, picks, troubles = self.numbers.latest()
        config, cells = self.instance.config, self._cells(snapshot)
        return {
            "instance": self.instance,
            "snapshot": snapshot,
            "troubles": troubles,
            "title": " · ".join([*filter(None, [", ".join(troubles.summary())]), f"Redirect on {self.instance.name}"]),
            "selection": self._select(troubles),
            "routes": routed(config.routes, snapshot.routes, self.query.find),
            "failures": failures(snapshot.forwards.origins.values()),
            "picks": picks,
            "origin_views": origin_views,
            "due_now": self._due_now,
            "found": discovered.found,
            "members": discovered.members,
            "forwarded": config.forwarded(),
            "only_forwarded": config.only_forwarded(),
            "quantile": quantile,
            "query": self.query,
            "windows": WINDOWS,
            "trend": partial(self.instance.history.trend, self.query.window),
            "spark": charts.spark,
            "unseen": charts.unseen,
            "seen_since": None if cells[0].seconds else snapshot.time - sum(cell.seconds for cell in cells),
            "rates": charts.rates(cells),
            "durations": self._durations(snapshot, cells),
        }

    def _cells(self, snapshot: Snapshot) -> list[Cell]:
        """What the charts draw: a minute by seconds, or as the history has it."""
        if self.query.window != "minute":
            return self.instance.history.whole(self.query.window)
        both = zip(snapshot.answers.seconds, snapshot.forwards.durations.seconds, strict=True)
        first = self.instance.started_at - (snapshot.time - SECONDS)
        return [Cell(float(cell > first), answers, forwards) for cell, (answers, forwards) in enumerate(both, 1)]

    def _due_now(self, pool: Pool) -> dict[str, float]:
        """By origin."""
        return {origin.name: due for origin, due in zip(pool.origins, self.instance.due(pool), strict=True)}

    def _durations(
        self, snapshot: Snapshot, cells: list[Cell]
    ) -> list[tuple[str, list[charts.Quantile], charts.Ticks]]:
        """A title, lines and an axis for each chart: the second one only where there is something to forward."""
        answers = [cell.answers for cell in cells]
        if not self.instance.config.forwarded() and not snapshot.forwards.durations.requests:
            return [("Duration", *charts.durations(answers, 0.5, 0.99))]
        forwards = [cell.forwards for cell in cells]
        return [
            ("Duration of what is answered here", *charts.durations(answers, 0.5, 0.99)),
            ("Duration of forwards", *charts.durations(forwards, 0.5, 0.99, least_us=100)),
        ]

    def _select(self, troubles: Troubles) -> Selection:
        """Made again when a pool fails in another way, and with each note of the history: sorting takes a while."""
        config, history = self.instance.config, self.instance.history
        reasons = config, history.notes, troubles.failing()
        if self._selected != reasons:
            traffic = history.traffic(self.query.window) if self.query.sort else {}
            self._selection = select(config, self.query, troubles, traffic)
            self._selected = reasons
        return self._selection

    async def live(self, goes_on: Callable[[], bool]) -> AsyncGenerator[str]:
        """Events until `goes_on` says no: first the list of requests as it is, then what is new, and a beat."""
        yield _event("all-requests", await run_in_threadpool(self.requests))
        sent: dict[str, str] = {}
        time = asyncio.get_running_loop().time
        beat_at = time() + BEAT_SECONDS
        while True:
            sections = await run_in_threadpool(self.sections)
            for name, html in sections.items():
                if html != sent.get(name):
                    yield _event(name, html)
            sent = sections
            if time() >= beat_at:
                beat_at = time() + BEAT_SECONDS
                yield _event("beat", "alive")
            for _ in range(2):
                await asyncio.sleep(TICK)
                if not goes_on():
                    return
                if rows := await run_in_threadpool(self.requests):
                    yield _event("requests", rows)


def _event(name: str, html: str) -> str:
    """A server-sent event; its data goes line by line."""
    return "\n".join([f"event: {name}", *(f"data: {line}" for line in html.splitlines()), "\n"])
