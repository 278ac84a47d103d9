"""`redirect reload`: asks the running service to load its TOML now."""

import contextlib
import http.client
import json
import socket
from time import monotonic, sleep
from typing import Any

import click

from redirect.commands.loading import leave, read_settings, setting
from redirect.config.settings import UNIX, Settings

# Seconds for which a request is repeated while the worker that got it ends; another worker takes the next.
RELOAD_PATIENCE = 10

REPLY_SECONDS = 30


@click.command()
@setting("admin_bind")
def reload(admin_bind: str | None) -> None:
    """Have the running service load its TOML now.

    Returns once it is in force in every worker. Otherwise prints why not, with exit code 1.
    """
    settings = read_settings("admin_bind", "admin_token", admin_bind=admin_bind)
    if settings.admin_bind == "off":
        leave(2, "REDIRECT_ADMIN_BIND: there is no admin listener to ask, name one")
    try:
        deadline = monotonic() + RELOAD_PATIENCE
        while True:
            answer, said = post(settings, "/reload")
            seconds = answer.headers.get("retry-after", "")
            if answer.status != 503 or not seconds.isdecimal() or monotonic() + int(seconds) >= deadline:
                break
            sleep(int(seconds))
    except (OSError, http.client.HTTPException, ValueError) as error:
        leave(1, f"no answer from the admin listener at {settings.admin_bind}: {error}; does the service run there?")
    try:
        message = f"{said['path']} is in force: {said['hash']}" if answer.status == 200 else str(said["detail"])
    except (KeyError, TypeError):
        leave(
            1, f"what answers at {settings.admin_bind} is not the admin listener of this service; name another address"
        )
    if answer.status != 200:
        leave(1, message)
    click.echo(message)


def post(
    settings: Settings, path: str, body: bytes = b"", method: str = "POST"
) -> tuple[http.client.HTTPResponse, Any]:
    """Asks the admin listener; returns the response and its parsed body, which is None if it is no JSON."""
    token = settings.admin_token.get_secret_value() if settings.admin_token else None
    connection = _connection(settings.admin_bind)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers={"Authorization": f"Bearer {token}".encode()} if token else {})
        answer = connection.getresponse()
        content = answer.read()
    try:
        return answer, json.loads(content)
    except ValueError:
        return answer, None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=REPLY_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(bind: str) -> http.client.HTTPConnection:
    if bind.startswith(UNIX):
        return _UnixConnection(bind.removeprefix(UNIX))
    return http.client.HTTPConnection(_reachable(bind), timeout=REPLY_SECONDS)


def _reachable(bind: str) -> str:
    """Returns the address of a listener as a client on this host connects to it."""
    host, _, port = bind.rpartition(":")
    loopback = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  not to listen on
    return f"{loopback.get(host, host)}:{port}"
