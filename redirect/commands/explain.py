"""`redirect explain`: what a request would get, without asking the running service."""

import ipaddress
import os
import re
from collections.abc import Callable
from functools import partial
from random import Random
from typing import NamedTuple

import click
import httptools

from redirect.commands.check import body_of, described_discover
from redirect.commands.loading import leave, load_or_exit, read_settings, setting
from redirect.core.authority import parse_raw
from redirect.core.balancer import Balancer
from redirect.core.cycles import Cycles
from redirect.core.decision import Decision
from redirect.core.forwarded import TrustedProxies
from redirect.core.pools import Config, Origin, Pool
from redirect.core.request import Request
from redirect.core.routes import Route, Routes
from redirect.core.service import new_service, outcome, unclear_path
from redirect.edge.connection import NOT_HTTP
from redirect.edge.keys import key_of
from redirect.edge.limits import LINE_TOO_LONG, MAX_REQUEST_LINE_BYTES, malformed
from redirect.edge.reader import OTHER_VERSION, Reader


class _Asked(NamedTuple):
    request: Request
    requested: str | None  # the pool
    header: str  # that names pools
    key_of: Callable[[str], bytes]  # what a pool tells clients by


def _address(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        if not value:
            return None
        address = ipaddress.ip_address(value)
        return str(getattr(address, "ipv4_mapped", None) or address)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no IP address") from None


def _fields(context: click.Context, parameter: click.Parameter, lines: tuple[str, ...]) -> list[tuple[bytes, bytes]]:
    parts = [line.partition(":") for line in lines]
    if any(not colon for _, colon, _ in parts):
        raise click.BadParameter(f"{' '.join(lines)!r} is not NAME: VALUE")
    return [(os.fsencode(name), os.fsencode(value.strip())) for name, _, value in parts]


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@click.command()
@click.option("--method", metavar="M", default="GET", help="Method of the request.")
@click.option("--pool", "requested", metavar="P", help="Value of the header that names the pool.")
@click.option("--host", metavar="H", help="Value of the Host header; the URL's host otherwise.")
@click.option("--client-ip", metavar="A", callback=_address, help="Address of the client, for pools that pick by it.")
@click.option(
    "--header",
    "fields",
    metavar="'N: V'",
    multiple=True,
    callback=_fields,
    help="A header field, for pools that pick by it, and preflights.",
)
@click.argument("url", default="http://localhost/")
@setting("pools_config_path")
def explain(
    method: str,
    requested: str | None,
    host: str | None,
    client_ip: str | None,
    fields: list[tuple[bytes, bytes]],
    url: str,
    pools_config_path: str | None,
) -> None:
    """Say which route takes URL, which pool answers, with which origins, shares and Locations.

    The running service is not asked, and its cycles do not move.
    """
    settings = read_settings("pools_config_path", "pool_id_header", pools_config_path=pools_config_path)
    config = load_or_exit(settings)
    reader = Reader(settings.pool_id_header, TrustedProxies(""))
    request = _request(method, url, host, reader, reader.fields(fields))
    requested = requested or request.head.pool_requested
    if _print_without_pick(config, request, requested):
        return
    key = partial(key_of, target=request.target, client_ip=client_ip, fields=fields)
    asked = _Asked(request, requested, settings.pool_id_header, key)
    if config.routes:
        _print_by_route(config, asked)
    else:
        _print_by_header(config, asked, _url(request))


def _print_without_pick(config: Config, request: Request, requested: str | None) -> bool:
    """Whether it is an OPTIONS that is answered without an origin."""
    answer, asks = request.answer, request.cross_origin
    if answer is None and asks is not None and asks.method is not None and request.method == "OPTIONS":
        answer = new_service(config, Random()).preflight(request.target, requested, request.head.endpoint, asks)
    if answer is None:
        return False
    if answer.pool is not None:
        click.echo(f"pool     {answer.pool} (its cors, as this is a preflight)")
    click.echo(f"request  {request.method} {_url(request)}")
    click.echo(f"answer   {answer.status}, no origin is picked")
    for name, value in answer.fields:
        click.echo(f"  {name}: {value}")
    return True


def _print_by_route(config: Config, asked: _Asked) -> None:
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


def _print_action(config: Config, route: Route, asked: _Asked) -> None:
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
        scheme = pool.scheme or "http"
        _print_origins(pool, asked, lambda origin: f"forward to {scheme}://{origin.name}{origin.path_prefix}{target}")


def _print_by_header(config: Config, asked: _Asked, line: str) -> None:
    """What becomes of a request that no route takes."""
    pool, why, requested = config.default, "the default pool", asked.requested
    if requested is not None:
        unknown = "forwarded to by a route, and cannot be named" if requested in config.pools else "no pool"
        named = config.pools.get(requested) if requested not in config.forwarded() else None
        pool, why = named or pool, f"named by {asked.header}" if named else f"{why}: {requested!r} is {unknown}"
    if pool is None:
        click.echo(f"pool     none: 404, there is no default pool{why.removeprefix('the default pool')}")
        click.echo(f"request  {line}")
        return
    click.echo(f"pool     {pool.name} ({why})")
    click.echo(f"request  {line}")
    _print_redirects(pool, asked)


def _print_redirects(pool: Pool, asked: _Asked) -> None:
    request = asked.request
    has_others = sum(origin.weight > 0 for origin in pool.origins) > 1

    def answer(origin: Origin) -> str:
        decision = outcome(pool, origin, request.head.scheme, request.head.endpoint)
        if decision.prefix is None and pool.on_loop == "next" and has_others:
            return "one of the others: it is the host that was asked for"
        return f"{decision.status} {decision.location(request.target) or decision.detail}"

    _print_origins(pool, asked, answer)


def _print_origins(pool: Pool, asked: _Asked, answer: Callable[[Origin], str]) -> None:
    if pool.discover is not None:
        click.echo(f"  {described_discover(pool.discover)}; `redirect check --live` asks for them")
        return
    width = max(len(origin.name) for origin in pool.origins)
    for origin, share in pool.shares():
        click.echo(f"  {origin.name:<{width}}  {share:7.2%}  {answer(origin) if origin.weight else 'never: drained'}")
    if pool.pick == "hash":
        key = asked.key_of(pool.hash_on)
        shown = key.decode("utf-8", "backslashreplace")
        picked = Balancer(pool, Cycles(), Random()).pick_by_key(key).origin.name
        by_key = f"{picked} is that of the {pool.hash_on} {shown}"
        click.echo(f"  {by_key if key else f'any of them, by chance and weight: {pool.hash_on} is not given'}")
    if pool.fallback is not None:
        click.echo(f"  {pool.fallback} serves while none of them is eligible")


def _url(request: Request) -> str:
    if request.target == "*":
        return "*"
    host = os.fsdecode((request.head.host or "").encode("latin-1"))
    return f"{request.head.scheme}://{host}{request.target}"


def _request(method: str, url: str, host: str | None, reader: Reader, fields: dict[str, str]) -> Request:
    """Returns the request that a client makes for `url`; a bare path means localhost over http."""
    if url != "*" and not _SCHEME.match(url):
        url = f"http://localhost/{url.removeprefix('/')}"
    scheme = "https" if url.lower().startswith("https:") else "http"  # other schemes are refused with the target
    target = os.fsencode(url.partition("#")[0])
    if host is not None:
        fields["host"] = os.fsencode(host).decode("latin-1")
    is_named = "host" in fields
    fields.setdefault("host", "localhost")
    request = reader.read(method, target, fields, "1.1", None, scheme)
    refused = request.answer or _refusal(method, request.target)
    if refused is not None and refused.status >= 400:
        leave(2, f"{url}: {refused.status}, {refused.detail}")
    if not is_named:
        return request
    named = fields["host"]
    return request._replace(head=request.head._replace(host=named, endpoint=parse_raw(named).endpoint(scheme)))


def _refusal(method: str, target: str) -> Decision | None:
    """What the connection says of a request line that it does not take; `target` is as it arrives, as latin-1."""
    line = os.fsencode(method) + b" " + target.encode("latin-1") + b" HTTP/1.1"
    if len(line) > MAX_REQUEST_LINE_BYTES:
        return LINE_TOO_LONG
    try:
        httptools.HttpRequestParser(object()).feed_data(line + b"\r\nhost: a\r\n\r\n")
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        return malformed(error)
    return OTHER_VERSION if os.fsencode(method) in NOT_HTTP else None
