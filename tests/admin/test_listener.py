"""The connections of the admin listener, over sockets."""

import asyncio
import socket
from contextlib import suppress
from typing import Any

import pytest
from support.wire import head

from redirect.admin.listener import answering


async def slow_app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the path, but not at once, and only when it has the body."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(0.02)
    body = scope["path"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def answers(sent: bytes) -> bytes:
    """All that a client gets that sends this, and that it sends no more."""
    listener = socket.create_server(("127.0.0.1", 0))
    async with answering(slow_app, listener):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(sent)
        writer.write_eof()
        got = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return got


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_client_that_sends_no_more_gets_its_answer(version: str) -> None:
    assert (await answers(head(f"GET /stats HTTP/{version}"))).endswith(b"\r\n\r\n/stats")


async def test_a_client_that_sends_no_more_gets_all_its_answers() -> None:
    """But none to a request that was not read to its end."""
    got = await answers(b"".join(head(f"GET /{number} HTTP/1.1") for number in (1, 2, 3)) + b"GET /4")
    assert [answer.rpartition(b"\r\n\r\n")[2] for answer in got.split(b"HTTP/1.1 ")[1:]] == [b"/1", b"/2", b"/3"]


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    assert await answers(head("POST /reload HTTP/1.1", "Content-Length: 5") + b"body") == b""


async def test_a_head_without_end_is_not_kept() -> None:
    """A body of that size may come."""
    listener = socket.create_server(("127.0.0.1", 0))
    async with answering(slow_app, listener):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(head("POST /body HTTP/1.1", "Content-Length: 300000") + bytes(300_000))
        assert (await reader.readuntil(b"/body")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        sent = 0
        with suppress(ConnectionError):
            while not reader.at_eof() and sent < 20_000_000:
                writer.write(b"X: " + b"a" * 9_995 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.001)
                sent += 10_000
        writer.close()
    assert sent < 10_000_000  # most of it in the kernel


async def test_a_client_that_reads_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redirect.admin.listener.MAX_UNREAD_SECONDS", 0.1)

    async def large_app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})

    listener = socket.create_server(("127.0.0.1", 0))
    async with answering(large_app, listener):
        reader, writer = await asyncio.open_connection(*listener.getsockname(), limit=1000)
        writer.write(head("GET / HTTP/1.1"))
        await asyncio.sleep(0.5)
        read = 0
        async with asyncio.timeout(10):
            while data := await reader.read(100_000):
                read += len(data)
        assert read < 100_000_000
        writer.close()
