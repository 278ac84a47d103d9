"""The commands: `redirect serve`, `redirect check`, `redirect explain`; `logs` and `pools` have modules of their own.

Exit codes: 0 done, 1 the configuration has faults or a listener cannot be had, 2 the command or a
setting is wrong.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import sys
from time import monotonic, sleep
from typing import Any, NoReturn

import click

from redirect.authority import parse
from redirect.config import Config, ConfigError, Fault, load
from redirect.forwarded import TrustedProxies
from redirect.logs.commands import logs
from redirect.outlet import try_target
from redirect.pools.commands import pools
from redirect.pools.text import lines, name_width
from redirect.request import Reader, Request
from redirect.service import outcome
from redirect.settings import Settings, SettingsError, load_settings

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

# Seconds within which a reload is asked for again, where the worker that was asked ends: others take its place.
RELOAD_PATIENCE = 10

CONFIG_OPTION = click.option("--config", "pools_config_path", metavar="FILE", help="The TOML of the pools.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def cli() -> None:
    """A weighted redirect service: pools in a TOML file, picked from by weighted round robin."""


cli.add_command(logs)
cli.add_command(pools)


@cli.command()
@click.option("--host", "server_host", help="Address to listen on; REDIRECT_SERVER_HOST, 0.0.0.0.")
@click.option("--port", "server_port", help="Port to listen on; REDIRECT_SERVER_PORT, 8080.")
@click.option("--workers", help="Worker processes; REDIRECT_WORKERS, one per core.")
@CONFIG_OPTION
@click.option("--access-log", help="-, off, or a file to append to; REDIRECT_ACCESS_LOG, -.")
@click.option("--admin-bind", help="host:port of the admin listener, or off; REDIRECT_ADMIN_BIND, 127.0.0.1:9000.")
def serve(**options: Any) -> None:
    """Run the service: a gunicorn master, one worker per core."""
    _set_signals()
    settings = _settings(**options)
    config = _load(settings)
    _print_faults(config.warnings, "warning: ")
    try:
        if settings.access_log != "off":
            try_target(settings.access_log)
    except OSError as error:
        _leave(2, f"REDIRECT_ACCESS_LOG: cannot open {settings.access_log!r}: {error.strerror}")
    if settings.is_admin_exposed and settings.admin_token is None:
        click.echo(
            f"warning: {settings.admin_bind} can be reached from elsewhere: without REDIRECT_ADMIN_TOKEN the admin "
            "listener answers /healthz, /readyz and /metrics only",
            err=True,
        )
    if "GUNICORN_FD" not in os.environ:  # a master that replaces another inherits its listeners
        _try_listeners(settings)
    os.environ.pop("WEB_CONCURRENCY", None)  # gunicorn reads it as it is imported; REDIRECT_WORKERS is ours

    from redirect import server  # takes half a second that the other commands need not pay

    server.serve(settings, config)


def _set_signals() -> None:
    """What signals do until gunicorn has handlers of its own: to stop is to leave, for a container's first process too,
    which hears nothing without; the others have nothing to act on yet, and would kill."""
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: sys.exit(0))
    for other in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(other, signal.SIG_IGN)


@cli.command()
@click.option("--admin-bind", help="host:port of the admin listener; REDIRECT_ADMIN_BIND, 127.0.0.1:9000.")
def reload(admin_bind: str | None) -> None:
    """Have the running service load its TOML now.

    Returns once it is in force in every worker, or says why it is not, with exit code 1.
    """
    settings = _settings(admin_bind=admin_bind)
    if settings.admin_bind == "off":
        _leave(2, "REDIRECT_ADMIN_BIND: there is no admin listener to ask, name one")
    try:
        deadline = monotonic() + RELOAD_PATIENCE
        answer, said = _post_reload(settings)
        while (
            answer.status == 503
            and (seconds := answer.headers.get("retry-after", "")).isdecimal()
            and monotonic() + int(seconds) < deadline
        ):
            sleep(int(seconds))
            answer, said = _post_reload(settings)
    except (OSError, http.client.HTTPException, ValueError) as error:
        _leave(1, f"no answer from the admin listener at {settings.admin_bind}: {error}; does the service run there?")
    try:
        told = f"{said['path']} is in force: {said['hash']}" if answer.status == 200 else str(said["detail"])
    except (KeyError, TypeError):
        _leave(
            1, f"what answers at {settings.admin_bind} is not the admin listener of this service; name another address"
        )
    if answer.status != 200:
        _leave(1, told)
    click.echo(told)


def _post_reload(settings: Settings) -> tuple[http.client.HTTPResponse, Any]:
    """The answer of the worker that the connection reaches, and what it says; None where that is no JSON."""
    token = settings.admin_token.get_secret_value() if settings.admin_token else None
    connection = http.client.HTTPConnection(_reachable(settings.admin_bind), timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", "/reload", headers={"Authorization": f"Bearer {token}".encode()} if token else {})
        answer = connection.getresponse()
        content = answer.read()
    try:
        return answer, json.loads(content)
    except ValueError:
        return answer, None


@cli.command()
@click.argument("file", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def check(file: str | None, as_json: bool) -> None:
    """Validate the TOML and print its pools with their shares."""
    settings = _settings(pools_config_path=file)
    path = str(settings.pools_config_path)
    try:
        config = load(path)
    except ConfigError as error:
        if as_json:
            click.echo(json.dumps({"file": path, "faults": _rows(error.faults)}, indent=2))
        _print_faults(() if as_json else error.faults)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(_described(path, config), indent=2))
        return
    _print_faults(config.warnings, "warning: ")
    for pool in config.pools.values():
        for line in lines(config, pool):
            click.echo(line)


@cli.command()
@click.option("--pool", "requested", metavar="P", help="Value of the header that names the pool.")
@click.option("--host", metavar="H", help="Value of the Host header; the URL's host otherwise.")
@click.argument("url", default="http://localhost/")
@CONFIG_OPTION
def explain(requested: str | None, host: str | None, url: str, pools_config_path: str | None) -> None:
    """Say which pool answers URL, with which origins, shares and Locations.

    The running service is not asked, so no turn of it is consumed.
    """
    settings = _settings(pools_config_path=pools_config_path)
    config = _load(settings)
    request = _asked(url, host)
    head = request.head
    pool = config.pools.get(requested or "", config.default)
    why = "the default pool"
    if requested is not None:
        why = f"named by {settings.pool_id_header}" if pool.name == requested else f"{why}: {requested!r} is no pool"
    click.echo(f"pool     {pool.name} ({why})")
    click.echo(f"request  {head.scheme}://{head.host}{request.target}")
    width = name_width(pool)
    for origin, share in pool.shares():
        decision = outcome(pool, origin, head.scheme, head.endpoint)
        said = (
            f"{decision.status} {decision.location(request.target) or decision.detail}"
            if origin.weight
            else "never: drained"
        )
        click.echo(f"  {origin.name:<{width}}  {share:7.2%}  {said}")


def _settings(**options: Any) -> Settings:
    try:
        return load_settings(**options)
    except SettingsError as error:
        _leave(2, str(error))


def _load(settings: Settings) -> Config:
    try:
        return load(settings.pools_config_path)
    except ConfigError as error:
        _leave(1, str(error))


def _leave(code: int, message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)


def _try_listeners(settings: Settings) -> None:
    """Ends the start at once where gunicorn would try five times and say less."""
    listeners = {
        "REDIRECT_SERVER_HOST and REDIRECT_SERVER_PORT": settings.public_bind,
        "REDIRECT_ADMIN_BIND": settings.admin_bind,
    }
    with contextlib.ExitStack() as both:  # each listens while the other is tried: they may be the same
        for setting, bind in listeners.items():
            try:
                if bind != "off":
                    both.enter_context(_listen(bind))
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or "no host name"
                _leave(1, f"cannot listen on {bind}: {reason}; choose another with {setting}")


def _reachable(bind: str) -> str:
    """Where a listener that is bound so can be asked from here."""
    host, _, port = bind.rpartition(":")
    loopback = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  not to listen on
    return f"{loopback.get(host, host)}:{port}"


def _listen(bind: str) -> socket.socket:
    host, _, port = bind.rpartition(":")
    family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    probe = socket.socket(family, kind, protocol)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen(1)
    except OSError:
        probe.close()
        raise
    return probe


def _asked(url: str, host: str | None) -> Request:
    """The request that a client makes for `url`; a bare path is asked of localhost over http."""
    if not _SCHEME.match(url):
        url = f"http://localhost/{url.removeprefix('/')}"
    scheme = "https" if url.lower().startswith("https:") else "http"  # another one is refused with the target
    target = os.fsencode(url.partition("#")[0])
    fields = {"host": os.fsencode(host or "localhost").decode("latin-1")}
    request = Reader("", TrustedProxies("")).read("GET", target, fields, "1.1", None, scheme)
    if request.answer is not None:
        _leave(2, f"{url}: {request.answer.detail}")
    if host is None:
        return request
    return request._replace(head=request.head._replace(host=host, endpoint=parse(host).endpoint(scheme)))


def _print_faults(faults: tuple[Fault, ...], prefix: str = "") -> None:
    for fault in faults:
        click.echo(f"{prefix}{fault}", err=True)


def _rows(faults: tuple[Fault, ...]) -> list[dict[str, object]]:
    return [{name: getattr(fault, name) for name in ("line", "column", "key", "message")} for fault in faults]


def _described(path: str, config: Config) -> dict[str, object]:
    return {
        "file": path,
        "hash": config.hash,
        "pools": [
            {
                "name": pool.name,
                "status": pool.status,
                "is_default": pool is config.default,
                "origins": [
                    {"name": origin.name, "weight": origin.weight, "share": share} for origin, share in pool.shares()
                ],
            }
            for pool in config.pools.values()
        ],
        "warnings": _rows(config.warnings),
    }
