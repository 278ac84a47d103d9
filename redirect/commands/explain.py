"""`redirect explain`: what a request would get, without asking the running service."""

import os
import re

import click

from redirect.commands.loading import leave, load_or_exit, read_settings, setting
from redirect.core.authority import parse
from redirect.core.forwarded import TrustedProxies
from redirect.core.request import Request
from redirect.core.service import outcome
from redirect.edge.reader import Reader

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@click.command()
@click.option("--pool", "requested", metavar="P", help="Value of the header that names the pool.")
@click.option("--host", metavar="H", help="Value of the Host header; the URL's host otherwise.")
@click.argument("url", default="http://localhost/")
@setting("pools_config_path")
def explain(requested: str | None, host: str | None, url: str, pools_config_path: str | None) -> None:
    """Say which pool answers URL, with which origins, shares and Locations.

    The running service is not asked, and its cycles do not move.
    """
    settings = read_settings(pools_config_path=pools_config_path)
    config = load_or_exit(settings)
    request = _request(url, host)
    head = request.head
    pool = config.pools.get(requested or "", config.default)
    why = "the default pool"
    if requested is not None:
        why = f"named by {settings.pool_id_header}" if pool.name == requested else f"{why}: {requested!r} is no pool"
    click.echo(f"pool     {pool.name} ({why})")
    click.echo(f"request  {head.scheme}://{head.host}{request.target}")
    width = max(len(origin.name) for origin in pool.origins)
    for origin, share in pool.shares():
        decision = outcome(pool, origin, head.scheme, head.endpoint)
        answer = f"{decision.status} {decision.location(request.target) or decision.detail}"
        click.echo(f"  {origin.name:<{width}}  {share:7.2%}  {answer if origin.weight else 'never: drained'}")


def _request(url: str, host: str | None) -> Request:
    """Returns the request that a client makes for `url`; a bare path means localhost over http."""
    if not _SCHEME.match(url):
        url = f"http://localhost/{url.removeprefix('/')}"
    scheme = "https" if url.lower().startswith("https:") else "http"  # other schemes are refused with the target
    target = os.fsencode(url.partition("#")[0])
    fields = {"host": os.fsencode(host or "localhost").decode("latin-1")}
    request = Reader("", TrustedProxies("")).read("GET", target, fields, "1.1", None, scheme)
    if request.answer is not None:
        leave(2, f"{url}: {request.answer.detail}")
    if host is None:
        return request
    return request._replace(head=request.head._replace(host=host, endpoint=parse(host).endpoint(scheme)))
