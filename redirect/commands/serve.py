"""`redirect serve`: checks what it can before any process is started."""

import contextlib
import errno
import os
import resource
import sys
from typing import Any

import click

from redirect.commands.loading import F, leave, load_or_exit, print_warnings, read_settings, setting
from redirect.config.loader import Loader
from redirect.config.settings import Settings, unknown_variables
from redirect.processes import listeners
from redirect.proxy.descriptors import LEAST_DESCRIPTORS
from redirect.telemetry.error_log import ErrorLog
from redirect.telemetry.log_writer import try_target

_STDIN, _STDOUT, _STDERR = 0, 1, 2

_CHOSEN_WITH = {"public": "REDIRECT_SERVER_HOST and REDIRECT_SERVER_PORT", "admin": "REDIRECT_ADMIN_BIND"}


def _with_settings(command: F) -> F:
    """Gives the command an option for each setting but the token, which the list of processes would show."""
    for name in reversed(Settings.model_fields):
        if name != "admin_token":
            command = setting(name)(command)
    return command


@click.command()
@_with_settings
def serve(**options: Any) -> None:
    """Run the service: a gunicorn master, one worker per core."""
    closed = _fill_descriptors()
    try:
        os.getcwd()
    except OSError as error:  # gunicorn goes there for a second master
        leave(1, f"the folder in which it is started cannot be used: {error.strerror}; start it in another")
    settings = read_settings(**options)
    sys.stderr = ErrorLog(_STDERR, as_json=settings.log_format == "json")
    _check_descriptors()
    loader = Loader(str(settings.pools_config_path), is_served=True)
    config = load_or_exit(settings, loader=loader)
    for warning in unknown_variables():
        click.echo(f"warning: {warning}", err=True)
    print_warnings(config)
    try:
        if settings.access_log == "-" and _STDOUT in closed:  # the log would be lost
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if settings.access_log != "off":
            try_target(settings.access_log)
    except OSError as error:
        leave(2, f"REDIRECT_ACCESS_LOG: cannot open {settings.access_log!r}: {error.strerror}; name another file")
    if settings.is_admin_exposed and settings.admin_token is None:
        click.echo(
            f"warning: {settings.admin_bind} can be reached from elsewhere: without REDIRECT_ADMIN_TOKEN the admin "
            "listener answers /healthz, /readyz and /metrics only",
            err=True,
        )
    try:
        given = listeners.take_given()
    except ValueError as error:
        leave(2, f"LISTEN_FDS: {error}")
    if "GUNICORN_FD" not in os.environ:  # unless a master replaces another, and inherits its listeners
        _try_listeners(settings, given)
    os.environ.pop("WEB_CONCURRENCY", None)  # gunicorn reads it on import; ours is REDIRECT_WORKERS

    # gunicorn reads this on import, too, and knows no `unix:`; a master that replaces this one needs ours.
    proxies = os.environ.pop("FORWARDED_ALLOW_IPS", None)

    _report_to_sentry(is_masked=(settings.log_query, settings.log_client_ip) != ("keep", "keep"))

    from redirect.processes import master  # importing it takes half a second

    if proxies is not None:
        os.environ["FORWARDED_ALLOW_IPS"] = proxies
    master.serve(settings, config, loader, given)


def _report_to_sentry(*, is_masked: bool) -> None:
    """Where `SENTRY_DSN` is set, which may be there for other programs, too."""
    dsn = os.environ.get("SENTRY_DSN")
    if not dsn:
        return
    try:
        from redirect.telemetry import sentry
    except ImportError:
        said = "SENTRY_DSN is set, but errors go to the log only: pip install 'redirect[sentry]'"
        click.echo(f"warning: {said}", err=True)
        return
    try:
        sentry.begin(dsn, is_masked=is_masked)
    except ValueError as error:
        leave(2, f"SENTRY_DSN: {error}; it has the form https://KEY@HOST/PROJECT")


def _fill_descriptors() -> set[int]:
    """Where standard input, output or error is closed, the next file or socket would get its number, and logs and
    messages would go there. Returns those that were closed."""
    closed = {descriptor for descriptor in (_STDIN, _STDOUT, _STDERR) if not _is_open(descriptor)}
    if closed:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in closed:
            os.dup2(null, descriptor)
        if null not in closed:
            os.close(null)
    return closed


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _check_descriptors() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < LEAST_DESCRIPTORS:
        leave(1, f"a process may have {most} open files (ulimit -Hn); allow at least {LEAST_DESCRIPTORS}")


def _try_listeners(settings: Settings, given: listeners.Given) -> None:
    """Checks the addresses at once; gunicorn would try five times, and give no reason."""
    with contextlib.ExitStack() as both:  # the first still listens while the second is tried, in case they are the same
        for name, address in listeners.addresses(settings, given).items():
            try:
                both.enter_context(listeners.bound(address)).listen(1)
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or "no host name"
                leave(1, f"cannot listen on {address}: {reason}; choose another with {_CHOSEN_WITH[name]}")
