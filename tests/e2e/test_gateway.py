"""Forwarding as it is deployed: nginx.gateway.conf, three replicas, two origins, all in containers.

The rule: through nginx a client gets what it gets without it, piece by piece and whole, and what may have had an
effect reaches the origins at most once, whatever dies.
"""

import hashlib
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from random import Random
from uuid import uuid4

import pytest
from support.compose import until
from support.wire import head
from websockets.sync.client import connect as connect_websocket

from .gateway import GatewayStack
from .origin import MIB, PIECES

BODY = Random(1).randbytes(5_000_000)


def said(method: str, target: str, body: bytes) -> bytes:
    """What an origin says of a request that reached it whole."""
    return f"{method} {target} HTTP/1.1\n{len(body)}\n{hashlib.sha256(body).hexdigest()}\n".encode()


@pytest.mark.parametrize("method", ["GET", "DELETE", "PROPFIND"])
def test_requests_without_a_body_are_answered_by_the_origin(gateway: GatewayStack, method: str) -> None:
    with gateway.connect() as connection:
        for target in ("/x%2Fy//z?q=%20&&", "/"):
            connection.request(method, target)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, said(method, target, b""))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "PROPPATCH"])
@pytest.mark.parametrize("size", [0, 1, 65_537, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_reach_the_origin_whole(gateway: GatewayStack, method: str, size: int, chunked: bool) -> None:
    """And only behind chunks, an odd length, and odd methods nginx ends the connection."""
    body = BODY[:size]
    with gateway.connect() as connection:
        for number in range(2):
            pieces = (body[at : at + 50_000] for at in range(0, size, 50_000))
            connection.request(method, f"/{number}", pieces if chunked else body, encode_chunked=chunked)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, said(method, f"/{number}", body))
            is_last = chunked or not size or method == "PROPPATCH"
            assert response.headers["connection"] == ("close" if is_last else "keep-alive")


def test_an_upload_is_passed_on_while_it_comes(gateway: GatewayStack) -> None:
    """The second half is sent when the origin has got the first one."""
    half = BODY[:MIB]
    before = int(gateway.get("/a/received"))
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=15) as client:
        client.sendall(head("POST /a/x HTTP/1.1", f"Content-Length: {2 * MIB}", "Connection: close") + half)
        until(lambda: int(gateway.get("/a/received")), lambda now: now >= before + MIB, "the first half at the origin")
        client.sendall(half)
        response = HTTPResponse(client)
        response.begin()
        assert response.read() == said("POST", "/x", 2 * half)


def test_a_download_is_whole(gateway: GatewayStack) -> None:
    size = 64
    with gateway.connect() as connection:
        connection.request("GET", f"/a/download?{size}")
        response = connection.getresponse()
        found, expected = hashlib.sha256(), hashlib.sha256()
        assert response.headers["content-length"] == str(size * MIB)
        while piece := response.read(MIB):
            found.update(piece)
        for number in range(size):
            expected.update(bytes([number]) * MIB)
        assert found.digest() == expected.digest()


def test_events_arrive_as_they_are_sent(gateway: GatewayStack) -> None:
    """The origin sends the next one when the client has read the one before."""
    mark = uuid4().hex
    with gateway.connect() as connection:
        connection.request("GET", f"/a/events?{mark}")
        response = connection.getresponse()
        assert response.headers["content-type"] == "text/event-stream"
        for number in range(PIECES):
            assert response.readline() + response.readline() == b"data: %d\n\n" % number
            gateway.get(f"/a/release?{mark}-{number}")
        assert response.read() == b""


def test_a_websocket_passes(gateway: GatewayStack) -> None:
    with connect_websocket(f"ws://127.0.0.1:{gateway.port}/a/chat") as websocket:
        for message in ("x", b"\0\xff" * 1000, "y" * 100_000):
            websocket.send(message)
            assert websocket.recv(timeout=15) == message


def test_an_upgrade_that_connection_does_not_list_is_none(gateway: GatewayStack) -> None:
    with gateway.connect() as connection:
        connection.request("GET", "/a/fields", headers={"Upgrade": "websocket", "Connection": "keep-alive"})
        assert b"\r\nupgrade:" not in connection.getresponse().read().lower()


def test_100_continue_comes_before_the_body(gateway: GatewayStack) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=15) as client:
        client.sendall(head("POST /x HTTP/1.1", "Content-Length: 4", "Expect: 100-continue", "Connection: close"))
        assert client.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"body")
        response = HTTPResponse(client)
        response.begin()
        assert response.read() == said("POST", "/x", b"body")


def test_an_early_answer_passes(gateway: GatewayStack) -> None:
    """The origin refuses a body that it has not read."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=15) as client:
        client.sendall(head("POST /a/refuse HTTP/1.1", f"Content-Length: {100 * MIB}") + BODY[:1000])
        response = HTTPResponse(client)
        response.begin()
        assert (response.status, response.read()) == (413, b"too large")


def test_a_refusal_of_the_service_passes(gateway: GatewayStack) -> None:
    with gateway.connect() as connection:
        for method, body in (("GET", None), ("POST", b"body")):
            connection.request(method, "/nowhere", body)
            response = connection.getresponse()
            assert json.loads(response.read())["status"] == response.status == 503
            assert int(response.headers["retry-after"]) > 0
            assert response.headers["proxy-status"] == "redirect; error=connection_refused"


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", b"body"), ("POST", BODY)])
def test_redirects_stay_redirects(gateway: GatewayStack, method: str, body: bytes | None) -> None:
    with gateway.connect() as connection:
        connection.request(method, "/moved/x?y", body)
        response = connection.getresponse()
        response.read()
        assert (response.status, response.headers["location"]) == (302, "http://moved.example.com/moved/x?y")


def test_what_clients_say_of_their_way_is_replaced(gateway: GatewayStack) -> None:
    """The service believes nginx, so nginx must not pass it on."""
    forged = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "for=203.0.113.9",
        "Host": "asked.example",
    }
    with gateway.connect() as connection:
        connection.request("GET", "/a/fields", headers=forged)
        told = connection.getresponse().read().decode().lower()
    assert "203.0.113.9" not in told
    assert "\r\nforwarded:" not in told
    assert "\r\nx-forwarded-proto: http\r\n" in told
    assert "\r\nx-forwarded-host: asked.example\r\n" in told


def ask(gateway: GatewayStack, method: str, target: str, request_id: str) -> int:
    """The status of the answer, on a connection of its own."""
    with gateway.connect() as connection:
        connection.request(method, target, b"body" if method == "POST" else None, {"X-Request-ID": request_id})
        response = connection.getresponse()
        response.read()
        return response.status


def test_a_client_that_leaves_ends_the_work_of_its_origin(gateway: GatewayStack) -> None:
    """nginx closes its connection to the replica, as one would that only stops to send."""
    request_id = uuid4().hex
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=15) as client:
        client.sendall(head(f"GET /a/hold?{request_id} HTTP/1.1", f"X-Request-ID: {request_id}"))
        until(gateway.asked, lambda asked: request_id in asked, "the request at the origin")
    (record,) = gateway.records(request_id, 1)
    assert (record["status"], record["origin_status"], record["detail"]) == (499, None, "the client left")


@pytest.fixture
def started_again(gateway: GatewayStack) -> Iterator[None]:
    """Whatever a test has killed runs again behind it."""
    yield
    gateway.up()


@pytest.mark.usefixtures("started_again")
def test_an_origin_that_dies_gets_a_post_once(gateway: GatewayStack) -> None:
    request_id = uuid4().hex
    assert ask(gateway, "POST", "/die", request_id) == 502
    assert gateway.asked()[request_id] == ["POST /die"]


@pytest.mark.usefixtures("started_again")
def test_a_replica_that_dies_loses_no_get_and_repeats_no_other(gateway: GatewayStack) -> None:
    """What it had sent is answered with 502; GETs are asked again elsewhere."""
    mark = uuid4().hex
    ids = {f"{mark}-{method}-{number}": method for method in ("GET", "POST", "PROPPATCH") for number in range(12)}
    with ThreadPoolExecutor(len(ids)) as executor:
        answers = {each: executor.submit(ask, gateway, ids[each], f"/a/hold?{mark}", each) for each in ids}
        until(gateway.asked, lambda asked: ids.keys() <= asked.keys(), "all requests at the origin")
        gateway.docker("kill", gateway.containers("redirect")[0])
        gateway.get(f"/a/release?{mark}")
        statuses = {each: answer.result() for each, answer in answers.items()}
    times = {each: len(requests) for each, requests in gateway.asked().items()}
    for method in ("GET", "POST", "PROPPATCH"):
        of_it = [each for each in ids if ids[each] == method]
        assert {statuses[each] for each in of_it} == ({200} if method == "GET" else {200, 502})
        assert {times[each] for each in of_it} == ({1, 2} if method == "GET" else {1})
