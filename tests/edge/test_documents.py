"""What the admin listener shows, on the public one: asked of a controller, whichever front faces the client."""

import asyncio

import pytest
from support.controller import Controller, answered
from support.gateway import Answer, Forwarding
from support.wire import head

from redirect.edge import documents

pytestmark = pytest.mark.slow  # they speak over sockets, in three ways

ROUTES = """
[[routes]]
path = "/numbers"
show = "metrics"

[[routes]]
path = "/state"
methods = ["GET", "POST"]
show = "status"
"""
NOT_ANSWERED = "the controller does not answer"


def fields(answer: Answer) -> list[tuple[str, str]]:
    """Those of the document, not of the connection and the request."""
    return [(name, value) for name, value in answer.fields if name not in ("date", "connection", "x-request-id")]


async def test_a_document_passes_as_the_controller_answers(forwarding: Forwarding) -> None:
    """Its status, its fields and its body; the record has the route, and no pool."""
    said = "content-type: text/plain", "vary: accept", "content-encoding: gzip"
    controller = Controller(answered(b"\x1f\x8b", *said, status="503 Service Unavailable"))
    async with forwarding(more=ROUTES, controller=controller) as gateway:
        answer = await gateway.ask("GET /numbers HTTP/1.1")
        assert (answer.status, answer.body) == (503, b"\x1f\x8b")
        assert fields(answer) == [("content-length", "2"), *((name, value) for name, _, value in map(parts, said))]
        record = await gateway.record()
        assert {key: record[key] for key in ("route", "action", "status", "pool", "origin", "detail", "tries")} == {
            "route": "/numbers", "action": "show", "status": 503, "pool": None, "origin": None, "detail": None,
            "tries": None,
        }  # fmt: skip


def parts(field: str) -> tuple[str, str, str]:
    return field.partition(": ")


async def test_the_controller_is_asked_for_the_document_with_the_query_and_what_is_accepted(
    forwarding: Forwarding,
) -> None:
    """It gets nothing else of the client, and a GET for a HEAD, whose answer has the same fields."""
    controller = Controller(*[answered(b"{}", "x: y")] * 3)
    async with forwarding(more=ROUTES, controller=controller) as gateway:
        client = await gateway.client()
        sent = "Accept: a/b, c/d", "accept-encoding: gzip", "Cookie: secret", "Authorization: Bearer x"
        assert (await client.ask("GET /numbers?a=%2f&b HTTP/1.1", *sent)).body == b"{}"
        asked = await client.ask("HEAD /state? HTTP/1.1")
        assert (asked.status, fields(asked), asked.body) == (200, [("content-length", "2"), ("x", "y")], b"")
        posted = await client.ask("POST /state HTTP/1.1", "Content-Length: 4", body=b"body")
        assert posted.status == 200
        assert [request.decode().lower().split("\r\n") for request in controller.asked] == [
            ["get /metrics?a=%2f&b http/1.1", "host: localhost", "connection: close", "accept: a/b, c/d",
             "accept-encoding: gzip", "", ""],
            ["get /status" + ("?" if forwarding.is_own else "") + " http/1.1", "host: localhost", "connection: close",
             "", ""],
            ["get /status http/1.1", "host: localhost", "connection: close", "", ""],
        ]  # fmt: skip


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_client_that_sends_no_more_gets_all_its_answers(version: str, own: Forwarding) -> None:
    """Its end comes while the controller is asked, and ends no request but one that was not read to its end."""
    controller = Controller(*[answered(b"{}")] * 2)
    async with own(more=ROUTES, controller=controller) as gateway:
        client = await gateway.client()
        asked = [f"GET /numbers HTTP/{version}", "GET /state HTTP/1.1", "GET / HTTP/1.1"]
        count = len(asked) if version == "1.1" else 1  # nothing behind a request that ends its connection is answered
        await client.send(b"".join(map(head, asked)) + b"GET /numb")
        client.write_eof()
        assert [(await client.answer()).status for _ in range(count)] == [200] * count
        assert await client.is_ended()
        assert len(controller.asked) == min(count, 2)


async def test_another_method_is_405_without_the_controller(forwarding: Forwarding) -> None:
    controller = Controller()
    async with forwarding(more=ROUTES, controller=controller) as gateway:
        answer = await gateway.ask("POST /numbers HTTP/1.1", "Content-Length: 0")
        assert (answer.status, answer.one("allow")) == (405, "GET, HEAD")
        assert (await gateway.record())["action"] == "refuse"
    assert controller.asked == []


async def test_a_long_document_is_whole_and_requests_keep_their_order(forwarding: Forwarding) -> None:
    """On one connection, before and behind requests that an origin answers."""
    long = bytes(range(256)) * 4000
    controller = Controller(*[answered(long)] * 2)
    async with forwarding(more=ROUTES, controller=controller) as gateway:
        client = await gateway.client()
        targets = ["/a", "/numbers", "/b", "/state", "/c"]
        await client.send(b"".join(head(f"GET {target} HTTP/1.1") for target in targets))
        assert [(await client.answer()).body for _ in targets] == [b"ok", long, b"ok", long, b"ok"]
        assert [record["path"] for record in await gateway.records(5)] == targets


async def test_a_body_is_discarded_and_the_next_request_read(own: Forwarding) -> None:
    controller = Controller(*[answered(b"shown")] * 2)
    async with own(more=ROUTES, controller=controller) as gateway:
        client = await gateway.client()
        chunked = await client.ask("POST /state HTTP/1.1", "Transfer-Encoding: chunked", body=b"1\r\na\r\n0\r\n\r\n")
        known = await client.ask("POST /state HTTP/1.1", "Content-Length: 9", body=b"GET / HTT")
        assert [chunked.body, known.body, (await client.ask("GET /a HTTP/1.1")).body] == [b"shown", b"shown", b"ok"]


ANSWERED = answered(b"body")


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(ANSWERED[:-1], id="not to its end"),
        pytest.param(b"no HTTP\r\n\r\n", id="no HTTP"),
    ],
)
async def test_a_controller_that_does_not_answer(said: bytes, forwarding: Forwarding) -> None:
    """It may be being replaced: 503, with the seconds after which to try again. The next request is answered."""
    async with forwarding(more=ROUTES, controller=Controller(said, ANSWERED)) as gateway:
        client = await gateway.client()
        answer = await client.ask("GET /numbers HTTP/1.1")
        assert (answer.status, answer.detail, answer.one("retry-after")) == (503, NOT_ANSWERED, "5")
        assert (await client.ask("GET /numbers HTTP/1.1")).body == b"body"
        refused, _ = await gateway.records(2)
        assert [refused[key] for key in ("route", "action", "detail")] == ["/numbers", "show", NOT_ANSWERED]


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 503)])
async def test_a_document_that_is_longer_than_what_is_kept(
    size: int, status: int, forwarding: Forwarding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MAX_BODY_BYTES", 1000)
    async with forwarding(more=ROUTES, controller=Controller(answered(b"x" * size))) as gateway:
        answer = await gateway.ask("GET /numbers HTTP/1.1")
        assert answer.status == status
        assert status == 200 or answer.detail == "metrics has over 1,000 bytes"


async def test_a_controller_that_cannot_be_reached_or_is_not_there(forwarding: Forwarding) -> None:
    controller = Controller()
    controller.is_gone = True
    for there, detail in ((controller, NOT_ANSWERED), (None, "there is no controller")):
        async with forwarding(more=ROUTES, controller=there) as gateway:
            answer = await gateway.ask("GET /state HTTP/1.1")
            assert (answer.status, answer.detail) == (503, detail)


async def test_a_controller_without_a_heartbeat_is_not_waited_for(forwarding: Forwarding) -> None:
    controller = Controller(None)
    async with forwarding(more=ROUTES, controller=controller) as gateway:
        client = await gateway.client()
        await client.send(head("GET /numbers HTTP/1.1"))
        while not controller.asked:
            await asyncio.sleep(0.001)
        controller.late = True
        assert (await client.answer()).detail == NOT_ANSWERED
        while controller.under_way:
            await asyncio.sleep(0.001)


async def test_an_answer_that_takes_too_long(forwarding: Forwarding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "ANSWER_SECONDS", 0.05)
    async with forwarding(more=ROUTES, controller=Controller(None)) as gateway:
        assert (await gateway.ask("GET /numbers HTTP/1.1")).detail == NOT_ANSWERED


async def test_more_requests_for_a_document_than_a_worker_asks_at_once(
    forwarding: Forwarding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those over the limit are refused, and those for another document are not; a client that left counts no more."""
    monkeypatch.setattr(documents, "MAX_AT_ONCE", 2)
    monkeypatch.setattr(documents, "ANSWER_SECONDS", 0.1)
    controller = Controller(None, None, answered(b"state"), answered(b"numbers"))
    async with forwarding(more=ROUTES, controller=controller) as gateway:
        for client in [await gateway.client() for _ in range(2)]:
            await client.send(head("GET /numbers HTTP/1.1"))
        while len(controller.asked) < 2:
            await asyncio.sleep(0.001)
        refused = await gateway.ask("GET /numbers HTTP/1.1")
        assert (refused.status, refused.detail) == (503, "2 requests for metrics are under way")
        assert refused.one("retry-after") == "5"
        assert (await gateway.ask("GET /state HTTP/1.1")).body == b"state"
        for client in gateway.clients[:2]:
            client.close()
        while controller.under_way:
            await asyncio.sleep(0.001)
        assert (await gateway.ask("GET /numbers HTTP/1.1")).body == b"numbers"


async def test_a_document_is_under_way_until_its_client_has_read_it(
    forwarding: Forwarding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept for clients that read slowly is limited."""
    monkeypatch.setattr(documents, "MAX_AT_ONCE", 1)
    long = b"x" * 2**24
    async with forwarding(more=ROUTES, controller=Controller(answered(long), answered(b"short"))) as gateway:
        slow = await gateway.client(buffer=4096)
        await slow.send(head("GET /numbers HTTP/1.1"))
        assert (await slow.head()).status_code == 200
        assert (await gateway.ask("GET /numbers HTTP/1.1")).status == 503
        assert len((await slow.body())[0]) == len(long)
        assert (await gateway.ask("GET /numbers HTTP/1.1")).body == b"short"
