"""`redirect explain`: what a request would get, without asking the running service.

The rule: the request is read as the service reads it, from the bytes that a client sends, by a connection without a
network. A second reading of the same fields would differ in some of them.
"""

import ipaddress
import os
import re
from collections.abc import Callable
from random import Random

import click
import uvicorn
from uvicorn.server import ServerState

from redirect.commands.check import body_of, described_discover
from redirect.commands.loading import leave, load_or_exit, read_settings, setting
from redirect.config.settings import Settings
from redirect.core.balancer import Balancer
from redirect.core.cycles import Cycles
from redirect.core.decision import Decision
from redirect.core.forward import Forward
from redirect.core.forwarded import Problems, TrustedProxies
from redirect.core.pools import Config, Origin, Pool
from redirect.core.request import Request
from redirect.core.routes import Route, Routes
from redirect.core.service import new_service, outcome, unclear_path
from redirect.edge.asgi import create_app
from redirect.edge.connection import HttpConnection
from redirect.edge.forwarding import ForwardingClient
from redirect.edge.keys import key_of
from redirect.edge.limits import MAX_FED_BYTES
from redirect.proxy.fields import Field
from redirect.telemetry.counters import Counters
from redirect.telemetry.recorder import Recorder
from redirect.telemetry.scoreboard import Scoreboard


class _Connection(HttpConnection):
    """Keeps the first request that it reads, in place of answering it. Knows no routes, so it forwards none."""

    def read(self, data: bytes) -> None:
        self._read: list[tuple[Request, list[Field]]] = []
        self._buffer = data
        self._look_at_method()
        data = self._buffer
        while data and not self._read:
            self._parse(data[:MAX_FED_BYTES])
            data = data[MAX_FED_BYTES:]
        if self._pending:  # a body in chunks would follow
            self._read.append((self._pending.request, self._pending.headers))
        self.request, self.headers = self._read[0]

    def decide(self, request: Request) -> Decision | None:
        return request.answer

    def respond(self, request: Request, *, close: bool) -> None:
        self._read.append((request, self.headers))

    def key(self, hash_on: str) -> bytes:
        return key_of(hash_on, self.request.target, self.request.head.client_ip, self.headers)

    def refusal(self, route: Route, pool: Pool) -> Decision | None:
        """The answer in place of that of an origin of `pool`; None if the request is forwarded."""
        forward = Forward(route, Balancer(pool, Cycles(), Random()), None, None)
        client = ForwardingClient(self, is_http11=True, closes=True)
        answer = self.handler.exchange(client, forward, self.request, self.headers, "1.1", None, 0)
        return answer if isinstance(answer, Decision) else None


def _address(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        if not value:
            return None
        address = ipaddress.ip_address(value)
        return str(getattr(address, "ipv4_mapped", None) or address)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no IP address") from None


def _lines(context: click.Context, parameter: click.Parameter, lines: tuple[str, ...]) -> list[str]:
    if any(":" not in line for line in lines):
        raise click.BadParameter(f"{' '.join(lines)!r} is not NAME: VALUE")
    return [*lines]


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HTTP = re.compile(r"(?i:(https?)://)([^/?]*)(.*)", re.DOTALL)


@click.command()
@click.option("--method", metavar="M", default="GET", help="Method of the request.")
@click.option("--pool", "requested", metavar="P", help="Value of the header that names the pool.")
@click.option("--host", metavar="H", help="Value of the Host header; the URL's host otherwise.")
@click.option("--client-ip", metavar="A", callback=_address, help="Address of the client, for pools that pick by it.")
@click.option(
    "--header",
    "lines",
    metavar="'N: V'",
    multiple=True,
    callback=_lines,
    help="A header field, for pools that pick by it, and preflights.",
)
@click.argument("url", default="http://localhost/")
@setting("pools_config_path")
def explain(
    method: str,
    requested: str | None,
    host: str | None,
    client_ip: str | None,
    lines: list[str],
    url: str,
    pools_config_path: str | None,
) -> None:
    """Say which route takes URL, which pool answers, with which origins, shares and Locations.

    The running service is not asked, and its cycles do not move.
    """
    used = "pools_config_path", "pool_id_header", "forwarded_allow_ips"
    settings = read_settings(*used, pools_config_path=pools_config_path)
    config = load_or_exit(settings)
    if requested:
        lines = [f"{settings.pool_id_header}: {requested}", *lines]
    if host is not None:
        lines = [f"Host: {host}", *lines]
    asked = _new_connection(settings, client_ip)
    _ask(asked, method, url, lines)
    if _print_without_pick(config, asked.request):
        return
    if config.routes:
        _print_by_route(config, asked)
    else:
        _print_by_header(config, asked, _url(asked.request))


def _print_without_pick(config: Config, request: Request) -> bool:
    """Whether it is an OPTIONS that is answered without an origin."""
    answer, asks, head = request.answer, request.cross_origin, request.head
    if answer is None and asks is not None and asks.method is not None and request.method == "OPTIONS":
        answer = new_service(config, Random()).preflight(request.target, head.pool_requested, head.endpoint, asks)
    if answer is None:
        return False
    if answer.pool is not None:
        click.echo(f"pool     {answer.pool} (its cors, as this is a preflight)")
    click.echo(f"request  {request.method} {_url(request)}")
    _print_answer(answer)
    return True


def _print_answer(answer: Decision) -> None:
    click.echo(f"answer   {answer.status}, no origin is picked{f': {answer.detail}' if answer.detail else ''}")
    for name, value in answer.fields:
        click.echo(f"  {name}: {value}")


def _print_by_route(config: Config, asked: _Connection) -> None:
    request = asked.request
    path, line = request.target.partition("?")[0], f"request  {request.method} {_url(request)}"
    if (unclear := unclear_path(path)) is not None:
        click.echo(f"route    none is asked: {unclear.status}, {unclear.detail}")
        click.echo(line)
        return
    routes = Routes(config.routes)
    found = routes.find(request.head.endpoint, path, request.method)
    if found is None:
        click.echo("route    none matches")
        _print_by_header(config, asked, f"{request.method} {_url(request)}")
        return
    if isinstance(found, Route):
        _print_reasons(found, config, request.method)
    else:
        click.echo(f"route    none takes {request.method}: 405, allowed are {', '.join(found)}")
    for each in routes.candidates(request.head.endpoint, path):
        if each is not found:
            click.echo(f"next     {each.name}")
    if isinstance(found, Route):
        _print_action(config, found, asked)
    else:
        click.echo(line)


def _print_reasons(route: Route, config: Config, method: str) -> None:
    host, path = f"is {route.host}", f"is {route.path}"
    if route.host is None:
        host = "any, as no route for it matches" if any(each.host for each in config.routes) else "any"
    elif route.host.startswith("*."):
        host = f"is below {route.host[2:]}"
    if route.path is None:
        path = f"begins with {route.prefix}, no longer prefix matches" if route.prefix else "any, as no prefix matches"
    takes = f"is one of {', '.join(route.taken)}" if method in route.taken else "is taken by GET"
    click.echo(f"route    {route.name}")
    click.echo(f"  host   {host}")
    click.echo(f"  path   {path}")
    click.echo(f"  method {takes if route.taken else 'any'}")


def _print_action(config: Config, route: Route, asked: _Connection) -> None:
    if route.respond is not None:
        click.echo(f"answer   {route.respond.status} {body_of(route.respond)}".rstrip())
    if route.show is not None:
        click.echo(f"answer   what the admin listener shows at /{route.show}")
    if route.pool is not None:
        click.echo(f"pool     {route.pool} ({route.action})")
    click.echo(f"request  {asked.request.method} {_url(asked.request)}")
    if route.redirect_to is not None:
        _print_redirects(config.pools[route.redirect_to], asked)
    if route.forward_to is not None:
        pool, (target, _) = config.pools[route.forward_to], route.target_of(asked.request.target)
        if (refusal := asked.refusal(route, pool)) is not None:
            _print_answer(refusal)
            return
        scheme = pool.scheme or "http"
        _print_origins(pool, asked, lambda origin: f"forward to {scheme}://{origin.name}{origin.path_prefix}{target}")


def _print_by_header(config: Config, asked: _Connection, line: str) -> None:
    """What becomes of a request that no route takes."""
    pool, why, requested = config.default, "the default pool", asked.request.head.pool_requested
    if requested is not None:
        unknown = "forwarded to by a route, and cannot be named" if requested in config.pools else "no pool"
        named = config.pools.get(requested) if requested not in config.forwarded() else None
        header, pool = asked.handler.reader.pool_id_header, named or pool
        why = f"named by {header}" if named else f"{why}: {_text(requested)!r} is {unknown}"
    if pool is None:
        click.echo(f"pool     none: 404, there is no default pool{why.removeprefix('the default pool')}")
        click.echo(f"request  {line}")
        return
    click.echo(f"pool     {pool.name} ({why})")
    click.echo(f"request  {line}")
    _print_redirects(pool, asked)


def _print_redirects(pool: Pool, asked: _Connection) -> None:
    request = asked.request
    has_others = sum(origin.weight > 0 for origin in pool.origins) > 1

    def answer(origin: Origin) -> str:
        decision = outcome(pool, origin, request.head.scheme, request.head.endpoint)
        if decision.prefix is None and pool.on_loop == "next" and has_others:
            return "one of the others: it is the host that was asked for"
        return f"{decision.status} {decision.location(request.target) or decision.detail}"

    _print_origins(pool, asked, answer)


def _print_origins(pool: Pool, asked: _Connection, answer: Callable[[Origin], str]) -> None:
    if pool.discover is not None:
        click.echo(f"  {described_discover(pool.discover)}; `redirect check --live` asks for them")
        return
    width = max(len(origin.name) for origin in pool.origins)
    for origin, share in pool.shares():
        click.echo(f"  {origin.name:<{width}}  {share:7.2%}  {answer(origin) if origin.weight else 'never: drained'}")
    if pool.pick == "hash":
        key = asked.key(pool.hash_on)
        shown = key.decode("utf-8", "backslashreplace")
        picked = Balancer(pool, Cycles(), Random()).pick_by_key(key).origin.name
        by_key = f"{picked} is that of the {pool.hash_on} {shown}"
        click.echo(f"  {by_key if key else f'any of them, by chance and weight: {pool.hash_on} is not given'}")
    if pool.fallback is not None:
        click.echo(f"  {pool.fallback} serves while none of them is eligible")


def _text(value: str) -> str:
    """A value as it was given: the reader has a character for each byte."""
    return os.fsdecode(value.encode("latin-1"))


def _url(request: Request) -> str:
    if request.target == "*":
        return "*"
    return f"{request.head.scheme}://{_text(request.head.host or '')}{request.target}"


def _ask(connection: _Connection, method: str, url: str, lines: list[str]) -> None:
    """Sends the request that a client makes for `url`; a bare path means localhost over http."""
    if url != "*" and not _SCHEME.match(url):
        url = f"http://localhost/{url.removeprefix('/')}"
    target, host = url.partition("#")[0], "localhost"
    if (found := _HTTP.fullmatch(target)) is not None:  # other schemes are refused with the target
        scheme, host, rest = found.groups()
        connection.scheme = "https" if scheme.lower() == "https" else "http"
        target = rest if rest.startswith("/") else f"/{rest}"
        if method == "OPTIONS" and not rest:  # RFC 9112, section 3.2.4
            target = "*"
    if not any(line.partition(":")[0].lower() == "host" for line in lines):
        lines = [f"Host: {host}", *lines]
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "\r\n"])
    connection.read(os.fsencode(head))
    refused = connection.request.answer
    if refused is not None and refused.status >= 400:
        leave(2, f"{url}: {refused.status}, {refused.detail}")


def _new_connection(settings: Settings, client_ip: str | None) -> _Connection:
    """A connection of a service that has no pools."""
    config = Config({}, None, "0")
    recorder = Recorder(Counters(Scoreboard().make_slot(0), config), None)
    trusted = TrustedProxies(settings.forwarded_allow_ips)
    app = create_app(config, settings.pool_id_header, trusted, recorder, Random())
    trusted.problems = Problems()  # the worker's would be logged
    served = uvicorn.Config(app, ws="none", log_config=None)
    connection = _Connection(served, ServerState(), {}, object())  # in place of an event loop: nothing is sent
    connection.client = None if client_ip is None else (client_ip, 0)
    return connection
