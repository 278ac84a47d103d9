"""The page: what the instance does, to look at; and the events that keep it live.

The rule: the page only shows, and a part of it is rendered here, by one template, whether it is asked
for with the page or sent to it later. So it says the same without JavaScript, and what people typed is
made harmless in one place: Jinja escapes HTML, `visible` what cannot be seen or turns text around. The
browser is allowed nothing but our own files (Content-Security-Policy).

The event loop that runs this answers redirects: the numbers are added up by a thread, and pages are
rendered in small steps. Watchers cannot pile up: a worker has so many event streams at most, and they end with it.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from time import monotonic
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from redirect.admin import charts
from redirect.admin.refusal import refusal
from redirect.admin.view import Query, Selection, leisurely, listed, pools, select
from redirect.control.instance import Instance

# Event streams of one worker.
MOST_STREAMS = 16

# Seconds between two looks at the log. The numbers are sent at every second one, or, where it takes long to
# make them, so seldom that it takes a tenth of the time.
TICK = 0.45
PART = 10

# Requests that are listed at once, and those that are added at a tick: nobody reads faster.
MOST_ROWS = 200
MOST_NEW_ROWS = 40

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

# The parts that are sent anew as their numbers change: templates, and ids in the page.
SECTIONS = ("charts", "pools", "configuration")

_NOTHING = "\N{EN DASH}"
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))

_FOLDER = Path(__file__).parent
_ASSETS = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


def routes(instance: Instance, is_ready: Callable[[], bool]) -> list[BaseRoute]:
    """The page of `instance` at `/`, and what belongs to it. Its event streams end once `is_ready` says no."""
    assets = {name: (_FOLDER / name).read_bytes() for name in _ASSETS}
    version = hashlib.sha256(b"".join(assets.values())).hexdigest()[:12]  # other files get other addresses
    streams: set[_Stream] = set()

    async def page(request: Request) -> Response:
        html = await View(instance, Query.read(request.query_params)).page(version)
        return Response(html, headers=HEADERS, media_type="text/html")

    async def events(request: Request) -> Response:
        if not is_ready() or len(streams) >= MOST_STREAMS:
            detail = "this worker is shutting down" if not is_ready() else "too many watch already"
            return refusal(503, detail, HEADERS)
        if request.method == "HEAD":  # a stream without a body would not be one
            return Response(headers=HEADERS, media_type="text/event-stream")
        return _Stream(View(instance, Query.read(request.query_params)).live(is_ready), streams)

    async def asset(request: Request) -> Response:
        name = request.url.path.rpartition("/")[2]
        return Response(assets[name], headers=HEADERS | {"cache-control": "max-age=3600"}, media_type=_ASSETS[name])

    return [Route("/", page), Route("/events", events), *(Route(f"/assets/{name}", asset) for name in assets)]


class View:
    """What one reader sees of an instance."""

    def __init__(self, instance: Instance, query: Query) -> None:
        self._instance = instance
        self._query = query
        self._selection: Selection | None = None

    async def page(self, assets: str) -> str:
        """The whole page; `assets` changes with what it loads."""
        lines, _ = await run_in_threadpool(self._instance.lines, None)
        requests = await self.requests(lines, MOST_ROWS, is_first=True)
        sections = await self.sections()
        return await _render(
            "page",
            assets=assets,
            instance=self._instance,
            query=self._query,
            selection=await self._select(),
            sections={name: Markup(html) for name, html in sections.items()},  # noqa: S704  rendered here
            requests=Markup(requests),  # noqa: S704  rendered here
        )

    async def sections(self) -> dict[str, str]:
        """The parts that show numbers, each under the id of its place in the page."""
        snapshot = await run_in_threadpool(self._instance.snapshot)
        selection = await self._select()
        (p50, p99), ticks = charts.durations(snapshot.seconds, 0.5, 0.99)
        values = {
            "instance": self._instance,
            "snapshot": snapshot,
            "now": snapshot.time,
            "selection": selection,
            "pools": await pools(selection, snapshot, self._instance.state),
            "query": self._query,
            "rates": charts.rates(snapshot.seconds),
            "p50": p50,
            "p99": p99,
            "ticks": ticks,
        }
        return {name: await _render(name, **values) for name in SECTIONS}

    async def requests(self, lines: Sequence[bytes], most: int, *, is_first: bool = False) -> str:
        """Rows of the list of requests; `is_first`: all that there are, not those that are new."""
        return await _render("requests", listed=listed(lines, self._query, most), query=self._query, is_first=is_first)

    async def _select(self) -> Selection:
        config = self._instance.config
        if self._selection is None or self._selection.config is not config:
            self._selection = await select(config, self._query.find)
        return self._selection

    async def live(self, is_ready: Callable[[], bool]) -> AsyncGenerator[str]:
        """What happens, as events until `is_ready` says no: first the list of requests as it is, then what is new."""
        lines, cursor = await run_in_threadpool(self._instance.lines, None)
        yield _event("all-requests", await self.requests(lines, MOST_ROWS, is_first=True))
        sent: dict[str, str] = {}
        while True:
            began = monotonic()
            sections = await self.sections()
            ticks = ceil((monotonic() - began) * PART / TICK)
            for name in SECTIONS:
                if sections[name] != sent.get(name):
                    yield _event(name, sections[name])
            sent = sections
            for _ in range(min(max(2, ticks), 20)):
                await asyncio.sleep(TICK)
                if not is_ready():
                    return
                lines, cursor = await run_in_threadpool(self._instance.lines, cursor)
                if rows := await self.requests(lines, MOST_NEW_ROWS):
                    yield _event("requests", rows)


class _Stream(StreamingResponse):
    """The answer that goes on; it is one of `streams` while it does."""

    def __init__(self, events: AsyncIterator[str], streams: "set[_Stream]") -> None:
        super().__init__(events, headers=HEADERS, media_type="text/event-stream")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._streams.add(self)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.remove(self)


def _event(name: str, html: str) -> str:
    """A server-sent event; its data goes line by line."""
    data = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"event: {name}\n{data}\n"


async def _render(template: str, **values: Any) -> str:
    parts = _templates.get_template(f"{template}.html").generate(values)
    return "".join([part async for part in leisurely(parts)]).strip()


def _visible(value: object) -> str:
    """A value as text in which every character is seen: `\\x1b`, `\\u202e` instead of what such a one would do."""
    if isinstance(value, Markup):
        return value
    text = str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _count(number: int) -> str:
    return f"{number:,}"


def _percent(part: float | None) -> str:
    return _NOTHING if part is None else f"{part:.2%}"


def _duration(microseconds: float | None) -> str:
    if microseconds is None:
        return _NOTHING
    if microseconds < 1000:
        return f"{microseconds:.0f} µs"
    return f"{microseconds / 1000:.3g} ms" if microseconds < 999_500 else f"{microseconds / 1_000_000:.3g} s"


def _utc(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _ago(time: float | None, now: float) -> str:
    """How long ago a Unix time was, as an element that has the time too."""
    if time is None:
        return "never"
    seconds = max(0, int(now - time))
    unit, size = next((unit for unit in _UNITS if unit[1] <= seconds), _UNITS[-1])
    ago = f"{seconds // size} {unit} ago"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        datetime.fromtimestamp(time, UTC).isoformat(), _utc(time), ago
    )


_templates = Environment(
    loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, finalize=_visible, trim_blocks=True
)
_templates.globals |= {"count": _count, "duration": _duration}
_templates.filters |= {"count": _count, "duration": _duration, "percent": _percent, "utc": _utc, "ago": _ago}
