"""The running service, asked over its admin listener."""

import contextlib
import http.client
import json
import socket
from typing import Any

from redirect.commands.loading import leave, read_settings
from redirect.config.settings import UNIX

REPLY_SECONDS = 30


def ask(
    admin_bind: str | None, method: str, path: str, body: bytes = b"", *, key: str, otherwise: str = "",
    refused: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """Returns the object, which has `key`, of the answer. Leaves with the reason if there is none, or if it is refused,
    which is exit code `refused`; `otherwise` is what to do where there is no listener."""
    settings = read_settings("admin_bind", "admin_token", admin_bind=admin_bind)
    bind = settings.admin_bind
    if bind == "off":
        leave(2, f"REDIRECT_ADMIN_BIND: there is no admin listener to ask, name one{otherwise}")
    token = settings.admin_token.get_secret_value() if settings.admin_token else None
    try:
        with contextlib.closing(_connection(bind)) as connection:
            fields = {"Authorization": f"Bearer {token}".encode()} if token else {}
            connection.request(method, path, body, headers=fields)
            answer = connection.getresponse()
            content = answer.read()
    except (OSError, http.client.HTTPException, ValueError) as error:
        leave(1, f"no answer from the admin listener at {bind}: {error}; does the service run there?")
    said = None
    with contextlib.suppress(ValueError):
        said = json.loads(content)
    if answer.status != 200 or not isinstance(said, dict) or key not in said:
        detail = isinstance(said, dict) and said.get("detail")
        other = f"what answers at {bind} is not the admin listener of this service; name another address"
        leave(refused if detail else 1, str(detail or other))
    return said


def _connection(bind: str) -> http.client.HTTPConnection:
    if not bind.startswith(UNIX):
        return http.client.HTTPConnection(_reachable(bind), timeout=REPLY_SECONDS)
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(REPLY_SECONDS)
    connection.sock.connect(bind.removeprefix(UNIX))
    return connection


def _reachable(bind: str) -> str:
    """Returns the address of a listener as a client on this host connects to it."""
    host, _, port = bind.rpartition(":")
    loopback = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  not to listen on
    return f"{loopback.get(host, host)}:{port}"
