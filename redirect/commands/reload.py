"""`redirect reload`: asks the running service to load its TOML now."""

import contextlib
import http.client
import json
from time import monotonic, sleep
from typing import Any

import click

from redirect.commands.loading import leave, read_settings
from redirect.config.settings import Settings

# Seconds within which a reload is asked for again, where the worker that was asked ends: others take its place.
RELOAD_PATIENCE = 10


@click.command()
@click.option("--admin-bind", help="host:port of the admin listener; REDIRECT_ADMIN_BIND, 127.0.0.1:9000.")
def reload(admin_bind: str | None) -> None:
    """Have the running service load its TOML now.

    Returns once it is in force in every worker, or says why it is not, with exit code 1.
    """
    settings = read_settings(admin_bind=admin_bind)
    if settings.admin_bind == "off":
        leave(2, "REDIRECT_ADMIN_BIND: there is no admin listener to ask, name one")
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
        leave(1, f"no answer from the admin listener at {settings.admin_bind}: {error}; does the service run there?")
    try:
        told = f"{said['path']} is in force: {said['hash']}" if answer.status == 200 else str(said["detail"])
    except (KeyError, TypeError):
        leave(
            1, f"what answers at {settings.admin_bind} is not the admin listener of this service; name another address"
        )
    if answer.status != 200:
        leave(1, told)
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


def _reachable(bind: str) -> str:
    """Where a listener that is bound so can be asked from here."""
    host, _, port = bind.rpartition(":")
    loopback = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  not to listen on
    return f"{loopback.get(host, host)}:{port}"
