"""Answers for the bad day: what is kept, when it is used, and what a client then gets."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from email.utils import formatdate
from math import inf
from pathlib import Path
from time import time
from typing import Any

import pytest
from support.gateway import Answer, Forwarding, Gateway
from support.origin import Behaviour, answer, chunks, close_at_once, hang, head, in_turn, reset_at_once, says

from redirect.core.request import Head, Request
from redirect.core.routes import Caching, Route
from redirect.proxy import cache
from redirect.proxy.cache import Cache, Copy, accepted_encoding, allowed_age, initial_age, is_for_all, is_usable
from redirect.proxy.fields import Field

CACHE = "cache = { stale_if_down = 300 }"
ROUTE = Route(path_prefix="/", forward_to="origins", cache=Caching(300))


def fields(*lines: str) -> list[Field]:
    pairs = (line.partition(":") for line in lines)
    return [(name.encode(), value.strip().encode()) for name, _, value in pairs]


# What is kept


@pytest.mark.parametrize(
    ("status", "lines", "age"),
    [
        pytest.param(200, [], inf, id="nothing said"),
        pytest.param(200, ["Cache-Control: max-age=5, public"], inf, id="how long it is fresh"),
        pytest.param(200, ["Vary: Accept-Encoding"], inf, id="varies by coding"),
        pytest.param(200, ["vary: accept-encoding", "Vary: Accept-Encoding,"], inf, id="said twice"),
        pytest.param(200, ["X: no-store"], inf, id="in another field"),
        pytest.param(200, ['Cache-Control: x="no-store, private"'], inf, id="in another value"),
        pytest.param(200, ["Cache-Control: s-maxage=60"], 60, id="shared caches must ask again after a while"),
        pytest.param(200, ["Cache-Control: s-maxage=0"], 0, id="at once"),
        pytest.param(200, ["Cache-Control: s-maxage=x"], 0, id="after what is no number"),
        pytest.param(201, [], 0, id="another status"),
        pytest.param(206, [], 0, id="a part"),
        pytest.param(200, ["Set-Cookie: a=b"], 0, id="a cookie"),
        pytest.param(200, ["Vary: Cookie"], 0, id="varies by another field"),
        pytest.param(200, ["Vary: Accept-Encoding", "Vary: Origin"], 0, id="varies by another field too"),
        pytest.param(200, ["Vary: *"], 0, id="varies by anything"),
        pytest.param(200, ["cache-control: no-store"], 0, id="no-store"),
        pytest.param(200, ["Cache-Control: max-age=5", "Cache-Control: Private"], 0, id="private"),
        pytest.param(200, ['Cache-Control: private="x-a"'], 0, id="private but for"),
        pytest.param(200, ["Cache-Control: no-cache"], 0, id="no-cache"),
        pytest.param(200, ["Cache-Control: max-age=5,must-revalidate"], 0, id="must-revalidate"),
        pytest.param(200, ["Cache-Control: proxy-revalidate"], 0, id="proxy-revalidate"),
    ],
)
def test_up_to_which_age_an_answer_may_be_used(status: int, lines: list[str], age: float) -> None:
    assert allowed_age(status, fields(*lines)) == age


@pytest.mark.parametrize(
    ("lines", "is_so"),
    [
        pytest.param(["Cookie: a=b", "Accept-Encoding: gzip", "Cache-Control: no-cache"], True, id="usual"),
        pytest.param(["Authorization: Basic YTpi"], False, id="authorized"),
        pytest.param(["Cache-Control: max-age=0, no-store"], False, id="no-store"),
        pytest.param(["Content-Length: 1"], False, id="a body"),
        pytest.param(["Transfer-Encoding: chunked"], False, id="a body of unknown length"),
        pytest.param(["Upgrade: websocket"], False, id="another protocol"),
    ],
)
def test_which_requests_have_answers_for_all(lines: list[str], is_so: bool) -> None:
    assert is_for_all(fields(*lines)) is is_so


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([b"gzip;q=0.5,br"], id="without blanks"),
        pytest.param([b"gzip ;\tq=0.5 ,\tbr \t"], id="with blanks"),
        pytest.param([b"GZip;Q=0.5, BR"], id="in capitals"),
        pytest.param([b",gzip;q=0.5,, br,"], id="with empty members"),
        pytest.param([b"gzip;q=0.5", b"br"], id="in two fields"),
    ],
)
def test_the_same_codings_are_the_same_however_they_are_spelled(values: list[bytes]) -> None:
    assert accepted_encoding([(b"Accept-Encoding", value) for value in values]) == b"gzip;q=0.5,br"


@pytest.mark.parametrize(
    ("lines", "codings"),
    [
        pytest.param([], None, id="none said: any will do"),
        pytest.param(["Accept-Encoding: , "], b"", id="none taken"),
        pytest.param(["Accept-Encoding: gzi p"], b"gzi p", id="no list"),
        pytest.param(["Accept-Encoding: gzip;q=0"], b"gzip;q=0", id="none of this one"),
    ],
)
def test_other_codings_are_others(lines: list[str], codings: bytes | None) -> None:
    assert accepted_encoding(fields(*lines)) == codings


@pytest.mark.parametrize(
    ("lines", "age"),
    [
        pytest.param(["Age: 50"], 50, id="as it says"),
        pytest.param([f"Date: {formatdate(time() - 3600, usegmt=True)}"], 3600, id="by its date"),
        pytest.param([f"Date: {formatdate(time() - 3600, usegmt=True)}", "Age: 4000"], 4000, id="the larger one"),
        pytest.param([f"Date: {formatdate(time() + 3600, usegmt=True)}"], 0, id="a date that is to come"),
        pytest.param(["Date: yesterday", "Age: x"], 0, id="neither is one"),
        pytest.param([f"Date: Mon, 20 Nov 1995 {'9' * 20}:12:08 GMT", "Age: 7"], 7, id="a date beyond all numbers"),
        pytest.param([f"Date: Mon, 20 Nov {'9' * 20} 19:12:08 GMT"], 0, id="a year beyond all numbers"),
    ],
)
def test_how_old_an_answer_is_when_it_comes(lines: list[str], age: int) -> None:
    """RFC 9111, section 4.2.3."""
    assert initial_age(fields(*lines)) == pytest.approx(age, abs=900)


@pytest.mark.parametrize(
    ("age", "until", "seconds", "is_so"),
    [
        pytest.param(0, inf, 300, True, id="as old as the route allows"),
        pytest.param(0, inf, 301, False, id="older"),
        pytest.param(250, inf, 50, True, id="with the age that it came with"),
        pytest.param(250, inf, 51, False, id="older with the age that it came with"),
        pytest.param(0, 60, 60, True, id="as old as the origin allows"),
        pytest.param(0, 60, 61, False, id="older than the origin allows"),
    ],
)
def test_how_old_an_answer_may_be(age: int, until: float, seconds: float, is_so: bool) -> None:
    kept = cache.Answer(b"OK", (), b"", 1000.0, age, until)
    assert is_usable(kept, 1000.0 + seconds, 300) is is_so


# Its size


def copy(kept: Cache, target: str = "/", route: Route = ROUTE) -> Copy:
    asked = Request("GET", target, Head(None, "http", ("a", 80), "a", None, None, None, None))
    found = kept.copy(route, asked, [])
    assert found is not None
    return found


def keep(kept: Cache, target: str, body: bytes = b"x", route: Route = ROUTE) -> None:
    passed = copy(kept, target, route)
    passed.begin(200, b"OK", [], None, has_end=True)
    passed.keep(body)


def used(kept: Cache, target: str, route: Route = ROUTE) -> bytes | None:
    found = copy(kept, target, route).stale("connection_refused")
    return None if found is None else found[2]


@pytest.fixture
def kept() -> Cache:
    kept = Cache()
    kept.use([ROUTE])
    return kept


def test_what_was_used_longest_ago_makes_room(kept: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """In entries and in bytes."""
    monkeypatch.setattr(cache, "MAX_ENTRIES", 2)
    for target in ("/1", "/2"):
        keep(kept, target)
    assert used(kept, "/1") == b"x"
    keep(kept, "/3")
    assert [used(kept, target) for target in ("/1", "/2", "/3")] == [b"x", None, b"x"]
    monkeypatch.setattr(cache, "MAX_BYTES", 10_000)
    keep(kept, "/4", bytes(8_000))
    assert [used(kept, target) for target in ("/1", "/3", "/4")] == [None, None, bytes(8_000)]
    keep(kept, "/5", bytes(20_000))
    assert (len(kept._answers), kept._bytes) == (0, 0)


def test_a_large_answer_is_not_gathered(kept: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that becomes large, nor one for which too many others are being gathered."""
    monkeypatch.setattr(cache, "MAX_BODY_BYTES", 10)
    monkeypatch.setattr(cache, "MAX_GATHERED_BYTES", 15)
    passed = copy(kept)
    passed.begin(200, b"OK", [], 10, has_end=True)
    passed.add(b"x")
    assert kept.gathered == 0
    passed.begin(200, b"OK", [], None, has_end=True)
    passed.add(b"123456789")
    assert kept.gathered == 9
    other = copy(kept, "/other")
    other.begin(200, b"OK", [], None, has_end=True)
    other.add(b"1234567")
    assert kept.gathered == 9
    passed.add(b"x")
    assert kept.gathered == 0
    for each in (passed, other):
        each.keep(b"")
    assert not kept._answers


def test_an_answer_that_becomes_large_takes_the_place_of_an_older_one(
    kept: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(kept, "/x", b"old")
    monkeypatch.setattr(cache, "MAX_BODY_BYTES", 10)
    passed = copy(kept, "/x")
    passed.begin(200, b"OK", [], None, has_end=True)
    passed.add(bytes(11))
    assert used(kept, "/x") is None


def test_a_reload_drops_the_answers_of_routes_that_are_gone(kept: Cache) -> None:
    """A route that is asked in the same way keeps them; one that asks elsewhere, or caches no more, does not."""
    keep(kept, "/")
    kept.use([Route(path_prefix="/", forward_to="origins", cache=Caching(60), retries=3)])
    assert used(kept, "/") == b"x"
    under_way = copy(kept)
    under_way.begin(200, b"OK", [], None, has_end=True)
    kept.use([Route(path_prefix="/", forward_to="origins")])
    under_way.keep(b"late")
    kept.use([ROUTE])
    assert used(kept, "/") is None
    keep(kept, "/")
    kept.use([Route(path_prefix="/", forward_to="others", cache=Caching(300))])
    kept.use([ROUTE])
    assert used(kept, "/") is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({"host": "Shop.example"}, {"host": "shop.example."}, id="host"),
        pytest.param({"methods": ("GET", "POST")}, {"methods": ("POST", "GET")}, id="methods"),
        pytest.param({"path_prefix": "/%7edata/"}, {"path_prefix": "/~data"}, id="path"),
    ],
)
def test_a_reload_that_only_spells_a_route_in_another_way_keeps_its_answers(
    before: dict[str, Any], after: dict[str, Any], kept: Cache
) -> None:
    old, new = replace(ROUTE, **before), replace(ROUTE, **after)
    kept.use([old])
    keep(kept, "/", b"x", old)
    kept.use([new])
    assert used(kept, "/", new) == b"x"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("destination_unavailable", "no origin"),
        ("dns_error", "dns error"),
        ("http_response_timeout", "http response timeout"),
    ],
)
def test_the_cause_is_named(error: str, cause: str) -> None:
    """As a cache that answers without going forward does (RFC 9211, section 2.1)."""
    answer = cache.Answer(b"OK", (), b"body", 1000.0, 7, inf)
    assert answer.stale_fields(1002.9, error) == fields(
        "content-length: 4", "age: 9", f'cache-status: redirect; hit; detail="{cause}"'
    )


# Its use


Down = Callable[[Gateway], Awaitable[None]]


def becomes(behaviour: Behaviour) -> Down:
    async def down(gateway: Gateway) -> None:
        gateway.origin.default = behaviour

    return down


async def stops(gateway: Gateway) -> None:
    await gateway.origin.stop()


DOWN: dict[str, tuple[Down, str]] = {
    "refused": (stops, "connection refused"),
    "late": (becomes(hang), "http response timeout"),
    "closed": (becomes(close_at_once), "http response incomplete"),
    "reset": (becomes(reset_at_once), "http response incomplete"),
    "no HTTP": (becomes(says(b"SSH-2.0-OpenSSH_9.9\r\n")), "http protocol error"),
}
PAGE = answer(b"<h1>then</h1>", "Content-Type: text/html", "ETag: x", "Age: 7")


async def fetched_then_down(gateway: Gateway, page: bytes, *lines: str, close: bool = False) -> Answer:
    """The answer to a GET, which the origin gave before it went down."""
    gateway.origin.default = says(page, close=close)
    got = await gateway.ask("GET /x HTTP/1.1", *lines)
    await gateway.origin.stop()
    return got


@pytest.mark.parametrize(("down", "cause"), DOWN.values(), ids=DOWN)
async def test_the_answer_from_before_is_used(down: Down, cause: str, forwarding: Forwarding, tmp_path: Path) -> None:
    """Its fields say how old it is and why it is used; the access log and the error log tell what happened."""
    errors = tmp_path / "errors"
    async with forwarding(f'{CACHE}\nerror_log = "{errors}"\ntimeouts = {{ answer = 0.1 }}') as gateway:
        gateway.origin.default = says(PAGE)
        before = await gateway.ask("GET /x HTTP/1.1")
        await down(gateway)
        client = await gateway.client()
        for _ in range(2):
            got = await client.ask("GET /x HTTP/1.1")
            assert (got.status, got.body, got.is_cut) == (200, before.body, False)
            assert (got.one("content-type"), got.one("etag"), got.all("date")) == ("text/html", "x", before.all("date"))
            assert 7 <= int(got.one("age")) < 60
            assert got.one("cache-status") == f'redirect; hit; detail="{cause}"'
        first, record, _ = await gateway.records(3)
        assert (first["served_from"], first["detail"]) == (None, None)
        assert (record["served_from"], record["status"], record["origin_status"]) == ("cache", 200, None)
        assert (record["bytes_out"], record["level"], record["action"]) == (len(got.body), "info", "forward")
        assert record["detail"].startswith("no answer from origins: ")
        assert {json.loads(line)["detail"] for line in errors.read_text().splitlines()} == {record["detail"]}


async def test_there_are_no_fresh_hits(forwarding: Forwarding) -> None:
    """An origin that answers is asked, and its answer passes, also where it is an error."""
    async with forwarding(CACHE) as gateway:
        gateway.origin.default = in_turn(
            *[says(answer(body, "Cache-Control: max-age=60")) for body in (b"1", b"2")],
            says(answer(b"busy", status="503 Busy")),
        )
        assert [(await gateway.ask("GET /x HTTP/1.1")).body for _ in range(3)] == [b"1", b"2", b"busy"]
        await gateway.origin.stop()
        assert (await gateway.ask("GET /x HTTP/1.1")).body == b"2"


async def test_a_head_is_answered_from_a_get(forwarding: Forwarding) -> None:
    async with forwarding(CACHE) as gateway:
        await fetched_then_down(gateway, PAGE)
        client = await gateway.client()
        for _ in range(2):
            got = await client.ask("HEAD /x HTTP/1.1")
            assert (got.status, got.body, got.one("content-length")) == (200, b"", "13")
        assert [record["bytes_out"] for record in await gateway.records(3)] == [13, 0, 0]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_answer_in_chunks_has_a_length_then(version: str, forwarding: Forwarding) -> None:
    async with forwarding(CACHE) as gateway:
        page = head("200 OK", "Transfer-Encoding: chunked", "Trailer: X") + chunks(b"a", b"b" * 20, trailers="X: y\r\n")
        await fetched_then_down(gateway, page)
        got = await gateway.ask(f"GET /x HTTP/{version}")
        assert (got.status, got.body, got.one("content-length")) == (200, b"a" + b"b" * 20, "21")
        assert not got.has("transfer-encoding")


@pytest.mark.parametrize(
    ("request_line", "lines", "host"),
    [
        pytest.param("GET /x?y HTTP/1.1", [], "asked.example", id="another target"),
        pytest.param("GET /x HTTP/1.1", [], "other.example", id="another host"),
        pytest.param("GET /x HTTP/1.1", ["Accept-Encoding: gzip"], "asked.example", id="another coding"),
        pytest.param("GET /x HTTP/1.1", ["Authorization: Basic YTpi"], "asked.example", id="another user"),
        pytest.param("OPTIONS /x HTTP/1.1", [], "asked.example", id="another method"),
        pytest.param("POST /x HTTP/1.1", ["Content-Length: 0"], "asked.example", id="an unsafe method"),
    ],
)
async def test_other_requests_are_refused_as_ever(
    request_line: str, lines: list[str], host: str, forwarding: Forwarding
) -> None:
    async with forwarding(CACHE) as gateway:
        await fetched_then_down(gateway, PAGE)
        got = await gateway.ask(request_line, *lines, host=host)
        assert (got.status, got.error, got.has("age")) == (503, "connection_refused", False)
        assert (await gateway.records(2))[1]["served_from"] is None


@pytest.mark.parametrize(
    ("page", "close"),
    [
        pytest.param(answer(b"x", "Cache-Control: must-revalidate"), False, id="that must be validated"),
        pytest.param(head("200 OK", "Content-Length: 9") + b"part", True, id="that was cut"),
        pytest.param(head("200 OK", "Transfer-Encoding: chunked") + b"4\r\npart\r\n", True, id="cut between chunks"),
        pytest.param(head("200 OK") + b"part", True, id="whose end is that of its connection"),
        pytest.param(answer(bytes(cache.MAX_BODY_BYTES)), False, id="of a MiB"),
    ],
)
async def test_an_answer_is_not_kept(page: bytes, close: bool, forwarding: Forwarding) -> None:
    async with forwarding(CACHE) as gateway:
        await fetched_then_down(gateway, page, close=close)
        assert (await gateway.ask("GET /x HTTP/1.1")).status == 503


async def test_an_answer_is_used_for_another_spelling_of_its_request(forwarding: Forwarding) -> None:
    async with forwarding(CACHE) as gateway:
        await fetched_then_down(gateway, PAGE, "Accept-Encoding: gzip, br")
        for lines in (["Accept-Encoding: GZIP,br "], ["Accept-Encoding: gzip", "Accept-Encoding: br"]):
            assert (await gateway.ask("GET /x HTTP/1.1", *lines)).status == 200


async def test_an_answer_over_one_scheme_is_not_used_for_the_other(forwarding: Forwarding) -> None:
    """A client could have one kept that was made for http, by the port of https in its Host."""
    async with forwarding(CACHE, trusted="127.0.0.1") as gateway:
        gateway.origin.default = says(PAGE)
        await gateway.ask("GET /x HTTP/1.1", "X-Forwarded-Proto: http", host="asked.example:443")
        await gateway.origin.stop()
        assert (await gateway.ask("GET /x HTTP/1.1", "X-Forwarded-Proto: https")).status == 503
        got = await gateway.ask("GET /x HTTP/1.1", "X-Forwarded-Proto: http", host="ASKED.example.:443")
        assert got.status == 200


async def test_an_answer_of_almost_a_mib_is_kept(forwarding: Forwarding) -> None:
    async with forwarding(CACHE) as gateway:
        before = await fetched_then_down(gateway, answer(b"x" * (cache.MAX_BODY_BYTES - 1)))
        got = await gateway.ask("GET /x HTTP/1.1")
        assert (got.status, got.body == before.body) == (200, True)


@pytest.mark.parametrize(
    ("request_line", "later"),
    [
        pytest.param("GET /x HTTP/1.1", answer(status="404 Not Found"), id="it is gone"),
        pytest.param("GET /x HTTP/1.1", answer(b"mine", "Cache-Control: private"), id="it is not for all any more"),
        pytest.param("DELETE /x HTTP/1.1", answer(status="204 No Content"), id="a client removed it"),
    ],
)
async def test_what_is_known_to_be_wrong_is_dropped(request_line: str, later: bytes, forwarding: Forwarding) -> None:
    async with forwarding(CACHE) as gateway:
        gateway.origin.default = in_turn(says(PAGE), says(later))
        for line in ("GET /x HTTP/1.1", request_line):
            await gateway.ask(line, "Accept-Encoding: gzip")
        await gateway.origin.stop()
        assert (await gateway.ask("GET /x HTTP/1.1", "Accept-Encoding: gzip")).status == 503


async def test_a_request_by_another_route_drops_an_answer(forwarding: Forwarding) -> None:
    writing = f'[[routes]]\npath_prefix = "/"\nmethods = ["PUT"]\nforward_to = "origins"\n{CACHE}\n'
    async with forwarding(CACHE, more=writing) as gateway:
        gateway.origin.default = says(PAGE)
        for line in ("GET /x HTTP/1.1", "GET /y HTTP/1.1", "PUT /x HTTP/1.1"):
            await gateway.ask(line)
        await gateway.origin.stop()
        assert (await gateway.ask("GET /x HTTP/1.1")).status == 503
        assert (await gateway.ask("GET /y HTTP/1.1")).status == 200


async def test_an_answer_is_not_used_beyond_its_age(forwarding: Forwarding, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(cache, "monotonic", lambda: clock)
    async with forwarding(CACHE) as gateway:
        await fetched_then_down(gateway, answer(b"x"))
        clock += 300
        got = await gateway.ask("GET /x HTTP/1.1")
        assert (got.status, got.one("age")) == (200, "300")
        clock += 1
        assert (await gateway.ask("GET /x HTTP/1.1")).status == 503


async def test_what_was_gathered_is_let_go_where_a_client_leaves(forwarding: Forwarding) -> None:
    """Neither kept, nor counted."""
    async with forwarding(CACHE) as gateway:
        gateway.origin.default = says(head("200 OK", "Content-Length: 9") + b"part")
        client = await gateway.sent("GET /x HTTP/1.1")
        await client.head()
        client.reset()
        await gateway.records(1)
        await gateway.origin.stop()
        assert (await gateway.ask("GET /x HTTP/1.1")).status == 503


async def test_a_route_without_a_cache_keeps_nothing(forwarding: Forwarding) -> None:
    async with forwarding("retries = 0") as gateway:
        await fetched_then_down(gateway, PAGE)
        assert (await gateway.ask("GET /x HTTP/1.1")).status == 503
