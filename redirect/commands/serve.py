"""`redirect serve`: checks what it can before any process is started."""

import contextlib
import os
import signal
import socket
import sys
from typing import Any

import click

from redirect.commands.loading import CONFIG_OPTION, leave, load_or_exit, print_faults, read_settings
from redirect.config.settings import Settings
from redirect.telemetry.log_writer import try_target


@click.command()
@click.option("--host", "server_host", help="Address to listen on; REDIRECT_SERVER_HOST, 0.0.0.0.")
@click.option("--port", "server_port", help="Port to listen on; REDIRECT_SERVER_PORT, 8080.")
@click.option("--workers", help="Worker processes; REDIRECT_WORKERS, one per core.")
@CONFIG_OPTION
@click.option("--access-log", help="-, off, or a file to append to; REDIRECT_ACCESS_LOG, -.")
@click.option("--admin-bind", help="host:port of the admin listener, or off; REDIRECT_ADMIN_BIND, 127.0.0.1:9000.")
def serve(**options: Any) -> None:
    """Run the service: a gunicorn master, one worker per core."""
    _set_signals()
    settings = read_settings(**options)
    config = load_or_exit(settings)
    print_faults(config.warnings, "warning: ")
    try:
        if settings.access_log != "off":
            try_target(settings.access_log)
    except OSError as error:
        leave(2, f"REDIRECT_ACCESS_LOG: cannot open {settings.access_log!r}: {error.strerror}")
    if settings.is_admin_exposed and settings.admin_token is None:
        click.echo(
            f"warning: {settings.admin_bind} can be reached from elsewhere: without REDIRECT_ADMIN_TOKEN the admin "
            "listener answers /healthz, /readyz and /metrics only",
            err=True,
        )
    if "GUNICORN_FD" not in os.environ:  # a master that replaces another inherits its listeners
        _try_listeners(settings)
    os.environ.pop("WEB_CONCURRENCY", None)  # gunicorn reads it as it is imported; REDIRECT_WORKERS is ours

    from redirect.processes import master  # takes half a second that the other commands need not pay

    master.serve(settings, config)


def _set_signals() -> None:
    """What signals do until gunicorn has handlers of its own: to stop is to leave, for a container's first process too,
    which hears nothing without; the others have nothing to act on yet, and would kill."""
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: sys.exit(0))
    for other in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(other, signal.SIG_IGN)


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
                leave(1, f"cannot listen on {bind}: {reason}; choose another with {setting}")


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
