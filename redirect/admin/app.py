"""The admin application: our own endpoints, and which of them need the token.

`/healthz` says that the controller is alive, `/readyz` that a worker takes requests: 503 once the instance stops.

What tells of pools and clients needs the token, where there has to be one; what probes and Prometheus ask for does not.
Where none is needed, as only this machine reaches the listener, a browser on it may ask for a page from elsewhere whose
name leads here (DNS rebinding): that shows in Host.
"""

import asyncio
import base64
import contextlib
import hmac
import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from time import monotonic

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from redirect.admin import metrics
from redirect.admin.page import routes
from redirect.admin.refusal import WrongTokens, refusal
from redirect.admin.stats import UnknownNameError, shown_overrides, stats, status
from redirect.control.instance import READY, Instance
from redirect.core.authority import parse
from redirect.core.difference import listed
from redirect.core.wording import instead, shown

PROBE_PATHS = ("/healthz", "/readyz")
OPEN_PATHS = (*PROBE_PATHS, "/metrics")

# Seconds that a reload is waited for.
LONGEST_RELOAD = 10

# Of a TOML that is compared with the one in force.
MAX_COMPARED_BYTES = 64 * 1024 * 1024

MAX_OVERRIDE_BYTES = 64 * 1024


def create_admin_app(
    instance: Instance, token: str | None, goes_on: Callable[[], bool], *, only_local: bool = False
) -> Starlette:
    """The admin application of an instance. With a `token` requests without it get OPEN_PATHS only; if it is empty,
    all do. With `only_local` those for another host than this one get PROBE_PATHS. Event streams and reloads end when
    `goes_on` returns False.
    """
    app = Starlette(
        routes=[
            Route("/healthz", _healthz),
            Route("/readyz", partial(_readyz, instance)),
            # Starlette calls in threads what is not `async`: with many pools these take a while.
            Route("/metrics", partial(metrics.respond, instance)),
            Route("/stats", partial(_stats, instance)),
            Route("/status", partial(_status, instance)),
            Route("/reload", partial(_reload, instance, goes_on), methods=["POST"]),
            Route("/compare", partial(_compare, instance), methods=["POST"]),
            Route("/weights", partial(_weights, instance), methods=["GET", "POST", "DELETE"]),
            *routes(instance, goes_on),
        ],
        exception_handlers={HTTPException: _refuse},
        middleware=[Middleware(_guarded, WrongTokens(instance.scoreboard.common), token=token, only_local=only_local)],
    )
    app.router.redirect_slashes = False  # it would build a Location from the client's Host
    return app


async def _healthz(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _readyz(instance: Instance, request: Request) -> Response:
    readiness = instance.readiness()
    return JSONResponse({"status": readiness}, 200 if readiness == READY else 503)


def _stats(instance: Instance, request: Request) -> Response:
    _asked(request)
    return _json(stats(instance))


def _status(instance: Instance, request: Request) -> Response:
    pool, origin = _asked(request, "pool", "origin")
    try:
        return _json(status(instance, pool, origin))
    except UnknownNameError as error:
        return refusal(404, str(error))


async def _reload(instance: Instance, goes_on: Callable[[], bool], request: Request) -> Response:
    _check_origin(request)
    deadline = monotonic() + LONGEST_RELOAD
    loaded = asyncio.create_task(instance.publisher.look(force=True))
    await asyncio.wait({loaded}, timeout=LONGEST_RELOAD)  # it goes on, and a later reload waits for it
    while not loaded.done() or not await run_in_threadpool(instance.is_applied):
        if not goes_on():
            return refusal(503, "the instance is shutting down")
        if monotonic() > deadline:
            trouble = instance.publisher.trouble
            why = "; /status tells more" if trouble is None else f": {trouble.reason}"
            return refusal(503, f"not in force after {LONGEST_RELOAD} s{why}")
        await asyncio.sleep(0.05)
    loading = instance.loading()
    if loading.error is not None:
        return refusal(422, loading.error)
    return _json({"path": instance.publisher.path, "hash": loading.config})


async def _compare(instance: Instance, request: Request) -> Response:
    _check_origin(request)
    content = await _body(request, MAX_COMPARED_BYTES)
    try:
        found = await run_in_threadpool(instance.publisher.compare, content)
    except ValueError as error:
        return refusal(422, str(error))
    return _json({"hash": instance.config.hash, "changes": listed(found)})


async def _weights(instance: Instance, request: Request) -> Response:
    if request.method in ("GET", "HEAD"):
        _asked(request)
        return _overrides(instance)
    _check_origin(request)
    return await (_end_override if request.method == "DELETE" else _override)(instance, request)


def _overrides(instance: Instance) -> Response:
    return _json({"overrides": shown_overrides(instance.publisher.overrides)})


async def _end_override(instance: Instance, request: Request) -> Response:
    pool, origin = _asked(request, "pool", "origin")
    if not (pool and origin):
        return refusal(422, "name the override in the URL: DELETE /weights?pool=POOL&origin=ORIGIN")
    if not await instance.publisher.end_override(pool, origin):
        return refusal(404, f"there is no override of {origin!r} in {pool!r}; GET /weights lists them")
    await instance.keep()
    return _overrides(instance)


async def _override(instance: Instance, request: Request) -> Response:
    _asked(request)
    try:
        content = json.loads(await _body(request, MAX_OVERRIDE_BYTES), object_pairs_hook=_object)
    except (ValueError, RecursionError):
        content = None
    try:
        made = await instance.publisher.override(content)
    except ValueError as error:
        return refusal(422, str(error))
    await instance.keep()
    return _json(shown_overrides([made])[0])


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """What JSON has as an object. A key that is there twice is refused: one of them would be ignored."""
    given = Counter(name for name, _ in pairs)
    for name, times in given.items():
        if times > 1:
            raise HTTPException(422, f"the object has {times:,} keys {shown(name)}")
    return dict(pairs)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code in (404, 405):
        detail = f"the admin listener has no {request.method} {request.url.path}"
    return refusal(error.status_code, detail, error.headers or {})  # Allow, where the method is wrong


async def _body(request: Request, most: int) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > most:
            raise HTTPException(413, f"at most {most:,} bytes are read", {"connection": "close"})
    return bytes(content)


def _guarded(app: ASGIApp, wrong_tokens: WrongTokens, *, token: str | None, only_local: bool) -> ASGIApp:
    """The app, which answers requests for another host for PROBE_PATHS, and those without the token for OPEN_PATHS."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        refused = _refused(scope["path"], Headers(scope=scope), token, only_local)
        if refused is _WRONG_TOKEN:
            wrong_tokens.note((scope["client"] or [None])[0])
        await (refused or app)(scope, receive, send)

    return answer


_REALM = {"www-authenticate": 'Basic realm="redirect", charset="UTF-8"'}
_NO_TOKEN = refusal(401, "send REDIRECT_ADMIN_TOKEN as Bearer token or as password of any user", _REALM)
_WRONG_TOKEN = refusal(401, "the token that was sent is not the service's REDIRECT_ADMIN_TOKEN", _REALM)


def _refused(path: str, headers: Headers, token: str | None, only_local: bool) -> Response | None:
    hosts = headers.getlist("host")  # HTTP/1.0 need not say; browsers do
    if only_local and path not in PROBE_PATHS and not all(map(_is_loopback, hosts)):
        detail = "without REDIRECT_ADMIN_TOKEN this listener answers for localhost and loopback addresses only"
        return refusal(421, detail)
    if token is None or path in OPEN_PATHS:
        return None
    if not token:
        return refusal(403, "not answered here: REDIRECT_ADMIN_TOKEN is not set")
    sent = _sent_token(headers)
    if hmac.compare_digest(sent, token.encode()):
        return None
    return _WRONG_TOKEN if sent else _NO_TOKEN


def _is_loopback(host: str) -> bool:
    try:
        name = parse(host).host
        return name == "localhost" or name.endswith(".localhost") or ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_origin(request: Request) -> None:
    """A page from elsewhere that is open in a browser of ours could send a POST, too: 403. Browsers say where a page is
    from by Sec-Fetch-Site to https and loopback only, by Origin always."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is None and origin is not None:
        site = "same-origin" if origin.partition("://")[2] == request.headers.get("host") else "cross-site"
    if site not in (None, "none", "same-origin"):
        raise HTTPException(403, "not for pages from elsewhere")


def one_at_a_time(app: ASGIApp) -> ASGIApp:
    """The app, which renders for one request at a time. Any number of clients of the public listener may ask for what
    routes show; the controller has other work, and the admin listener other clients."""
    turn = asyncio.Semaphore(1)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PROBE_PATHS:
            await app(scope, receive, send)
            return
        async with turn:
            if not await Request(scope, receive).is_disconnected():  # a worker does not wait for ever
                await app(scope, receive, send)

    return answer


def _sent_token(headers: Headers) -> bytes:
    """The token of a request, sent as Bearer or as the password of Basic; empty without one."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip(" \t").encode("latin-1")  # UTF-8 has bytes that are spaces in Unicode
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
    return b""


def _asked(request: Request, *names: str) -> list[str]:
    """The values of these parameters of the query, empty without one. Any other, or one that is there twice, is 400:
    if it were ignored, the answer would look like that to another question."""
    given = Counter(name for name, _ in request.query_params.multi_items())
    for name, times in given.items():
        if name not in names:
            raise HTTPException(400, f"{request.url.path} has no parameter {shown(name)}{instead(name, names)}")
        if times > 1:
            raise HTTPException(400, f"{request.url.path} takes one {name}, got {times}")
    return [request.query_params.get(name, "") for name in names]


def _json(value: object) -> Response:
    body = json.dumps(value, indent=2) + "\n"
    return Response(body, media_type="application/json", headers={"cache-control": "no-store"})
