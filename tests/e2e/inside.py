"""Runs in a container of the stack, with the standard library alone: asks nginx, follows the redirect, tells both.

Its argument is a JSON list of [target, headers]. It prints a JSON object: `address`, this container's own, and
`answers`, for each request the status, the Location and the first line that the origin answered there.
"""

import json
import socket
import sys
from http.client import HTTPConnection
from urllib.parse import urlsplit


def get(connection: HTTPConnection, target: str, headers: dict[str, str]) -> tuple[int, str, str]:
    connection.request("GET", target, headers=headers)
    response = connection.getresponse()
    body = response.read().decode()
    return response.status, response.headers["location"], body.partition("\n")[0]


def follow(location: str) -> str:
    there = urlsplit(location)
    connection = HTTPConnection(there.netloc, timeout=10)
    status, _, name = get(connection, f"{there.path}?{there.query}", {})
    connection.close()
    return name if status == 200 else f"{location} answered {status}"


nginx = HTTPConnection("nginx", 8080, timeout=10)
answers = []
for target, headers in json.loads(sys.argv[1]):
    status, location, _ = get(nginx, target, headers)
    answers.append((status, location, follow(location)))
print(json.dumps({"address": socket.gethostbyname(socket.gethostname()), "answers": answers}))
