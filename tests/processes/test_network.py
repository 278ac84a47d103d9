"""Requests over the network: the service that runs does what a connection does in the tests of the edge."""

import http.client
import re
import socket
from pathlib import Path

import pytest
from support.corpus import ANSWERED_LAST, READ_AS_BODY, REFUSED
from support.service import Running, running
from support.wire import Answer, head, read_answers

pytestmark = pytest.mark.processes


def asked(port: int, sent: bytes) -> list[Answer]:
    """What the service at `port` answers to all of it, read until it ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    method = "HEAD" if sent.startswith(b"HEAD") else "GET"
    return read_answers(received, [method] * len(re.findall(rb"HTTP/1.1 \d\d\d ", received)))


def test_no_request_is_smuggled(tmp_path: Path) -> None:
    """The service that runs does the same: one answer each, the connection ended, nothing smuggled in its log."""
    last = head("GET /last HTTP/1.1", "Connection: close")
    with running(tmp_path) as service:
        for name, sent in (REFUSED | ANSWERED_LAST).items():
            assert len(asked(service.port, sent)) == 1, name
        bodies = [sent for name, sent in READ_AS_BODY.items() if not sent.startswith(b"HEAD")]
        assert len(asked(service.port, b"".join(bodies) + last)) == len(bodies) + 1
        records = service.records(len(REFUSED | ANSWERED_LAST) + len(bodies) + 1)
    assert not [record for record in records if "smuggled" in str(record["path"])]
    assert service.stderr().count("Traceback") == 0


@pytest.mark.parametrize("target", ["//x//y?", "/a%2Fb?c=%20&c=d", "/endpoint/path?x=1&y=2"])
def test_location_has_the_bytes_of_the_target(service: Running, target: str) -> None:
    """The service that runs does the same as the one in this process."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    connection.request("GET", target, headers={"X-Redirect-Pool-ID": "pool-c"})
    response = connection.getresponse()
    connection.close()
    assert (response.status, response.headers["location"]) == (307, f"http://origin-7{target}")
