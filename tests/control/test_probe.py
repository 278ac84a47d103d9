"""One probe: a request to an origin, and what came of it."""

import asyncio
import socket
import ssl
from typing import Any

import pytest
from support.origins import answering, origin

from redirect.control.probe import Target, probe
from redirect.core.authority import parse
from redirect.core.pools import HealthCheck

CHECK = HealthCheck("/healthz", "http", None, None, 5, 5, 5, 2, 3)


def fault(name: str, prefix: str = "", **keys: Any) -> str | None:
    check = HealthCheck(**{**{key: getattr(CHECK, key) for key in CHECK.__slots__}, **keys})
    return asyncio.run(probe(Target(parse(name), check, prefix)))


def test_what_is_asked() -> None:
    """It is a GET of the path behind the origin's prefix, with the origin's own name as Host."""
    with origin() as there:
        assert fault(there.name, "/mirror") is None
        assert there.asked.pop() == ("/mirror/healthz", there.name)
        assert fault(there.name, path="/up?full=1") is None
        assert there.asked == [("/up?full=1", there.name)]


def test_another_host_and_port() -> None:
    """Health may be told elsewhere than where clients are sent to."""
    with origin() as there:
        assert fault("127.0.0.1:1", port=there.port, host="health.example") is None
        assert there.asked == [("/healthz", "health.example")]


def test_the_status_decides() -> None:
    """A status that is expected is good, or one of a class that is; any other is not."""
    with origin() as there:
        there.status = 204
        assert fault(there.name, expect=(204,)) is None
        assert fault(there.name, expect=(301, "2xx")) is None
        assert fault(there.name, expect=(200, "3xx")) == "answered 204 and not 200 or 3xx"
        assert fault(there.name) == "answered 204 and not 200"
        there.status = 500
        assert fault(there.name) == "answered 500 and not 200"


def test_redirects_are_not_followed() -> None:
    """Where a redirect leads says nothing of the origin."""
    with origin() as there, origin() as elsewhere:
        there.status, there.location = 302, f"http://{elsewhere.name}/"
        assert fault(there.name) == "answered 302 and not 200"
        assert fault(there.name, expect=(302,)) is None
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(b"", "no answer in HTTP: it ends too soon", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: b\r\n", "no answer in HTTP: it ends too soon", id="half a head"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", "no answer in HTTP: Expected HTTP/", id="another protocol"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 15_000,
            "no answer in HTTP: no end of its head within 65536 bytes",
            id="a head without an end",
        ),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\n", None, id="HTTP/1.0"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", None, id="early hints"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk", None, id="a broken body"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000, None, id="a long body"),
    ],
)
def test_answers(answer: bytes, said: str | None) -> None:
    """What comes back need not be HTTP, nor end; its status is all that is read."""
    with answering(answer) as name:
        found = fault(name)
    assert found == said or (said is not None and found is not None and found.startswith(said))


async def request_of(**keys: Any) -> list[str]:
    """The lines of what is sent."""
    heads: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        check = HealthCheck("/x", port=server.sockets[0].getsockname()[1], **keys)
        assert await probe(Target(parse("127.0.0.1"), check)) is None
    return heads.get_nowait().decode("ascii").splitlines()


async def test_a_head_is_asked_for_and_its_length_believed_to_be_that_of_a_get() -> None:
    assert (await request_of(method="HEAD"))[0] == "HEAD /x HTTP/1.1"


async def test_a_probe_has_fields_of_its_own() -> None:
    """They take the place of what it has anyway, by whatever spelling."""
    lines = await request_of(headers=(("Authorization", "Bearer s3cret"), ("USER-AGENT", "mine")))
    assert lines[1:] == [
        "host: 127.0.0.1",
        "user-agent: mine",
        "accept: */*",
        "connection: close",
        "authorization: Bearer s3cret",
        "",
    ]


def test_an_answer_that_goes_on() -> None:
    """A head is enough, whether the connection ends or not."""
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", ends=False) as name:
        assert fault(name) is None


def test_silence() -> None:
    """Who does not answer in time has failed; half an answer is none."""
    with answering(b"HTTP/1.1 20", ends=False) as name:
        assert fault(name, timeout=0.2) == "no answer within 0.2 s"


def test_nobody_there() -> None:
    """The reasons are in words that an operator knows."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert fault(f"127.0.0.1:{port}") == "Connection refused"
    assert str(fault("no-such-host.invalid")).startswith("its name leads nowhere: ")


@pytest.mark.parametrize(
    ("host", "said"),
    [
        pytest.param("localhost", None, id="its name"),
        pytest.param("elsewhere.example", "its certificate is not valid: Hostname mismatch", id="another name"),
    ],
)
async def test_tls(trusted: ssl.SSLContext, host: str, said: str | None) -> None:
    """Over https a certificate has to be valid, for the name that is asked for."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=trusted) as server:
        port = server.sockets[0].getsockname()[1]
        check = HealthCheck("/", "https", host, port, 5, 5, 5, 2, 3)
        found = await probe(Target(parse("127.0.0.1"), check))
    assert found == said or (said is not None and found is not None and found.startswith(said))


def test_no_tls() -> None:
    """A server that does not speak TLS is told from one whose certificate is wrong."""
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as name:
        assert str(fault(name, scheme="https")).startswith("no TLS: ")
