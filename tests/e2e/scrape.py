"""Runs in a container of the stack: finds the replicas by DNS, as Prometheus does, and prints what their admin
listeners answer: a JSON object, by address the status of each path and the requests that `/metrics` counts."""

import json
import re
import socket
from http.client import HTTPConnection

found: dict[str, dict[str, int]] = {}
for *_, there in socket.getaddrinfo("redirect", 9000, socket.AF_INET, socket.SOCK_STREAM):
    address = str(there[0])
    answers: dict[str, int] = {}
    for path in ("/metrics", "/readyz", "/status", "/"):
        connection = HTTPConnection(address, 9000, timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        answers[path] = response.status
        body = response.read().decode()
        if path == "/metrics":
            counts = re.findall(r"^redirect_requests_total.* (\S+)$", body, re.MULTILINE)
            answers["requests"] = int(sum(map(float, counts)))
    found[address] = answers
print(json.dumps(found))
