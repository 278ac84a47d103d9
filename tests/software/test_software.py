"""Programs that are not ours, in front of the gateway and behind it: what they say to each other passes.

`make software` installs those that are missing, on Debian.
"""

import hashlib
import subprocess
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from uuid import uuid4

import httpx
import pytest
from support.app import EVENTS, MIB
from support.service import Running
from support.wire import head
from websockets import Subprotocol
from websockets.sync.client import connect

BODY = Random(1).randbytes(5_000_000)
APPS = pytest.mark.parametrize("app", ["starlette", "node"])
SECONDS = 30


def says(body: bytes, method: str = "POST") -> dict[str, object]:
    """What an app says of a request with that body."""
    return {"method": method, "length": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def repeated(mib: int) -> str:
    """The SHA-256 of what each origin has to be downloaded."""
    found = hashlib.sha256()
    for number in range(mib):
        found.update(bytes([number]) * MIB)
    return found.hexdigest()


def curl(*arguments: str, stdin: bytes = b"") -> tuple[bytes, str]:
    """What curl has got, and what it says of the way."""
    command = ["curl", "--silent", "--show-error", "--verbose", "--max-time", str(SECONDS), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=2 * SECONDS, check=False)
    told = done.stderr.decode("latin-1")
    assert done.returncode == 0, told
    return done.stdout, told


@APPS
@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 5_000_000])
def test_uploads_with_a_length_and_in_chunks(app: str, size: int, gateway: Running) -> None:
    body = BODY[:size]
    pieces = (body[at : at + 40_000] for at in range(0, size, 40_000))
    with httpx.Client(timeout=SECONDS) as client:
        url = f"{gateway.url}/{app}/digest"
        assert client.post(url, content=body).json() == says(body)
        assert client.put(url, content=pieces).json() == says(body, "PUT")
        assert client.get(url).json() == says(b"", "GET")


@APPS
def test_an_upload_that_is_larger_than_any_buffer(app: str, gateway: Running) -> None:
    pieces = (bytes([number]) * MIB for number in range(64))
    told = httpx.post(f"{gateway.url}/{app}/digest", content=pieces, timeout=SECONDS).json()
    assert told == {"method": "POST", "length": 64 * MIB, "sha256": repeated(64)}


@pytest.mark.parametrize("target", ["starlette/download?64", "node/download?64", "nginx/large"])
def test_downloads(target: str, gateway: Running) -> None:
    found = hashlib.sha256()
    with httpx.stream("GET", f"{gateway.url}/{target}", timeout=SECONDS) as response:
        for piece in response.iter_raw():
            found.update(piece)
    assert found.hexdigest() == repeated(64)


@APPS
def test_events_arrive_as_they_are_sent(app: str, gateway: Running) -> None:
    """The origin sends the next one when the client has read the one before."""
    mark = uuid4().hex
    connection = HTTPConnection("127.0.0.1", gateway.port, timeout=SECONDS)
    connection.request("GET", f"/{app}/events?{mark}")
    response = connection.getresponse()
    for number in range(EVENTS):
        assert response.readline() + response.readline() == b"data: %d\n\n" % number
        assert httpx.get(f"{gateway.url}/{app}/release?{mark}-{number}").text == "released"
    assert response.read() == b""
    connection.close()


def test_websockets(gateway: Running) -> None:
    """Text and bytes, small and large, compressed on their way, with pings and a close that passes."""
    with connect(f"ws://127.0.0.1:{gateway.port}/websockets/", max_size=None) as websocket:
        assert websocket.protocol.extensions, "no compression was agreed on"
        for message in ("x", "\N{SNOWMAN}" * 1000, b"", BODY):
            websocket.send(message)
            assert websocket.recv(timeout=SECONDS) == message
        assert websocket.ping().wait(SECONDS)
    assert (websocket.close_code, websocket.protocol.close_rcvd) == (1000, websocket.protocol.close_sent)


def test_a_websocket_of_an_app(gateway: Running) -> None:
    url = f"ws://127.0.0.1:{gateway.port}/starlette/chat"
    with connect(url, subprotocols=[Subprotocol("chat.v1")]) as websocket:
        assert websocket.subprotocol == "chat.v1"
        websocket.send("hello")
        assert websocket.recv(timeout=SECONDS) == "hello"


def test_an_upgrade_of_node(gateway: Running) -> None:
    """To a protocol of its own, which begins behind the request."""
    asked = head("GET /node/ HTTP/1.1", "Connection: keep-alive, Upgrade", "Upgrade: echo")
    connection = HTTPConnection("127.0.0.1", gateway.port, timeout=SECONDS)
    connection.connect()
    connection.sock.sendall(asked + b"first ")
    connection.sock.sendall(b"second")
    received = b""
    while not received.endswith(b"second"):
        piece = connection.sock.recv(4096)
        assert piece, received
        received += piece
    assert received.startswith(b"HTTP/1.1 101 ")
    assert received.endswith(b"\r\n\r\nfirst second")
    connection.close()


@APPS
def test_curl_waits_for_100_continue(app: str, gateway: Running, tmp_path: Path) -> None:
    """It would wait for longer than it may take as a whole."""
    (tmp_path / "body").write_bytes(BODY)
    waiting = ("--expect100-timeout", str(10 * SECONDS), "--header", "Expect: 100-continue")
    got, told = curl(*waiting, "--data-binary", f"@{tmp_path / 'body'}", f"{gateway.url}/{app}/digest")
    assert b'"POST"' in got
    assert hashlib.sha256(BODY).hexdigest().encode() in got
    assert "< HTTP/1.1 100 Continue" in told


@APPS
def test_curl_uploads_in_chunks(app: str, gateway: Running) -> None:
    got, told = curl("--upload-file", "-", f"{gateway.url}/{app}/digest", stdin=BODY)
    assert "> Transfer-Encoding: chunked" in told
    assert hashlib.sha256(BODY).hexdigest().encode() in got


@APPS
def test_clients_of_http_1_0(app: str, gateway: Running) -> None:
    """An answer of unknown length ends with the connection, as it does where the client asks for more of it."""
    for fields in ((), ("--header", "Connection: keep-alive")):
        got, told = curl("--http1.0", *fields, f"{gateway.url}/{app}/download?3")
        assert hashlib.sha256(got).hexdigest() == repeated(3)
        assert "> GET" in told
        assert "HTTP/1.0" in told
        assert "transfer-encoding" not in told.lower()
    got, _ = curl("--http1.0", "--data-binary", "@-", f"{gateway.url}/{app}/digest", stdin=b"body")
    assert hashlib.sha256(b"body").hexdigest().encode() in got


def test_ranges_and_conditions_of_nginx(gateway: Running) -> None:
    url = f"{gateway.url}/nginx/large"
    with httpx.Client() as client:
        whole = client.head(url)
        assert whole.headers["content-length"] == str(64 * MIB)
        part = client.get(url, headers={"range": f"bytes={MIB - 1}-{MIB}"})
        assert (part.status_code, part.content) == (206, b"\0\1")
        same = client.get(url, headers={"if-none-match": whole.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        missing = client.get(f"{gateway.url}/nginx/missing")
        assert (missing.status_code, missing.headers["server"]) == (404, whole.headers["server"])
        assert client.post(url, content=b"body").status_code == 405
        assert client.post(url, content=BODY).status_code == 413, "said before the body was read"


def test_node_and_curl_keep_their_connections(gateway: Running) -> None:
    """Two requests on a connection of curl's, and behind them both on one to the origin or another."""
    urls = [f"{gateway.url}/node/digest"] * 3
    got, told = curl(*urls)
    assert got.count(b'"GET"') == 3
    assert told.count("Re-using existing") == 2
