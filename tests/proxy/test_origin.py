"""The scripted origin and the client of these tests, against each other: what they say of the gateway is true."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support.gateway import Client, connect
from support.origin import (
    Behaviour,
    Origin,
    answer,
    chunk,
    chunks,
    close_at_once,
    hang,
    head,
    reset_at_once,
    says,
    started,
)
from support.wire import head as request


@asynccontextmanager
async def served(behaviour: Behaviour | None = None) -> AsyncIterator[tuple[Origin, Client]]:
    async with started(behaviour) as origin:
        client = await connect(origin.port)
        yield origin, client
        client.close()


async def test_requests_are_kept_as_they_came() -> None:
    async with served() as (origin, client):
        for _ in range(2):
            assert (await client.ask("GET /x?y HTTP/1.1", "X-MiXed:  1", "x-mixed: 2")).body == b"ok"
        assert origin.asked[0].head == b"GET /x?y HTTP/1.1\r\nHost: asked.example\r\nX-MiXed:  1\r\nx-mixed: 2\r\n\r\n"
        assert origin.asked[0].all("X-Mixed") == ["1", "2"]
        assert [(asked.connection, asked.nth) for asked in origin.asked] == [(0, 1), (0, 2)]
        assert bytes(origin.peers[0].received) == origin.asked[0].head * 2


@pytest.mark.parametrize(
    ("fields", "body"),
    [(["Content-Length: 4"], b"body"), (["Transfer-Encoding: chunked"], chunks(b"bo", b"dy", trailers="x: y\r\n"))],
    ids=["length", "chunked"],
)
async def test_bodies_are_read_to_their_end(fields: list[str], body: bytes) -> None:
    async with served() as (origin, client):
        await client.ask("POST / HTTP/1.1", *fields, body=body)
        await client.ask("GET / HTTP/1.1")
        assert [asked.body for asked in origin.asked] == [b"body", b""]


async def test_answers_are_read_with_their_interim_ones_and_trailers() -> None:
    early = head("103 Early Hints", "Link: </a>")
    whole = head("200 OK", "Transfer-Encoding: chunked", "X-A: 1") + chunks(b"a", b"b", trailers="X-Sum: 7\r\n")
    async with served(says(early + whole)) as (_, client):
        read = await client.ask("GET / HTTP/1.1")
        assert (read.status, read.body, read.is_cut) == (200, b"ab", False)
        assert read.interim == [(103, [("Link", "</a>")])]
        assert read.trailers == [("X-Sum", "7")]
        assert (await client.ask("GET / HTTP/1.1")).body == b"ab"


async def test_the_head_is_read_before_the_body_and_each_piece_as_it_comes() -> None:
    async with served(says(head("200 OK", "Transfer-Encoding: chunked"), chunk(b"1"), chunk(b"2"))) as (_, client):
        await client.send(request("GET / HTTP/1.1"))
        assert (await client.head()).status_code == 200
        assert await client.piece() + await client.piece() == b"12"


async def test_answers_to_head_have_no_body() -> None:
    async with served(says(head("200 OK", "content-length: 5"))) as (_, client):
        assert (await client.ask("HEAD / HTTP/1.1")).body == b""
        assert (await client.ask("HEAD / HTTP/1.1")).one("Content-Length") == "5"


@pytest.mark.parametrize(
    "cut",
    [
        head("200 OK", "content-length: 5") + b"x",
        head("200 OK", "transfer-encoding: chunked") + chunk(b"x"),
        head("200 OK", "transfer-encoding: chunked") + b"5\r\nx",
    ],
    ids=["length", "chunk", "in a chunk"],
)
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_cut_answers_are_seen_as_cut(cut: bytes, how: str) -> None:
    async with served(says(cut, close=how == "close", reset=how == "reset")) as (_, client):
        await client.send(request("GET / HTTP/1.1"))
        response = await client.head()
        assert response.status_code == 200
        assert (await client.body())[1] is None


async def test_a_close_ends_an_answer_without_a_length_and_a_reset_cuts_it() -> None:
    async with served(says(head("200 OK") + b"x", close=True)) as (_, client):
        assert (await client.ask("GET / HTTP/1.0")).is_cut is False
    async with served(says(head("200 OK") + b"x")) as (origin, client):
        await client.send(request("GET / HTTP/1.0"))
        await client.head()
        origin.peers[0].reset()
        assert (await client.body())[1] is None


@pytest.mark.parametrize("behaviour", [close_at_once, reset_at_once], ids=["closed", "reset"])
async def test_connections_without_an_answer_are_ended(behaviour: Behaviour) -> None:
    async with served(behaviour) as (_, client):
        await client.send(request("GET / HTTP/1.1"))
        assert await client.is_ended()


@pytest.mark.parametrize(("how", "seen"), [("close", "eof"), ("reset", "reset")])
async def test_the_end_of_a_connection_is_seen_while_the_origin_hangs(how: str, seen: str) -> None:
    async with served(hang) as (origin, client):
        await client.send(request("GET / HTTP/1.1"))
        await origin.until_asked()
        getattr(client, how)()
        await origin.until_ended(0)
        assert origin.peers[0].ended == seen


async def test_bytes_of_a_tunnel_are_read_behind_the_head() -> None:
    switch = head("101 Switching Protocols", "Connection: upgrade", "Upgrade: echo")
    async with served(says(switch + b"early", b"late")) as (_, client):
        await client.send(request("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: echo"))
        assert await client.switched() == 101
        assert await client.raw(9) == b"earlylate"


async def test_other_answers_are_read_in_one_go() -> None:
    async with served(says(answer(b"1", "set-cookie: a", "set-cookie: b", status="404 Not Found"))) as (_, client):
        read = await client.ask("GET / HTTP/1.1")
        assert (read.status, read.all("Set-Cookie")) == (404, ["a", "b"])
