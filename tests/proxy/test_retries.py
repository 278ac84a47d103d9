"""Which failures are tried again, and for whom: counted at the origins."""

import asyncio
from collections import Counter

import pytest
from support.gateway import Forwarding, Gateway
from support.origin import Behaviour, Call, answer, chunks, close_at_once, hang, head, in_turn, reset_at_once, says

CHUNKED = "Transfer-Encoding: chunked"
LENGTH = "Content-Length: 4"

# Requests that may be sent again, and those that may not.
REPEATABLE = {
    "GET": ("GET", [], b""),
    "HEAD": ("HEAD", [], b""),
    "OPTIONS": ("OPTIONS", [], b""),
    "TRACE": ("TRACE", [], b""),
    "DELETE": ("DELETE", [], b""),
    "PUT": ("PUT", [LENGTH], b"body"),
    "PUT in chunks": ("PUT", [CHUNKED], chunks(b"bo", b"dy")),
    "POST with a key": ("POST", [LENGTH, "Idempotency-Key: 1"], b"body"),
    "POST with the older key": ("POST", [LENGTH, "X-Idempotency-Key: 1"], b"body"),
}
SENT_ONCE = {
    "POST": ("POST", [LENGTH], b"body"),
    "POST without a body": ("POST", ["Content-Length: 0"], b""),
    "POST in chunks": ("POST", [CHUNKED], chunks(b"body")),
    "PATCH": ("PATCH", [LENGTH], b"body"),
    "PUT over 64 KiB": ("PUT", ["Content-Length: 65537"], b"b" * 65537),
    "PUT over 64 KiB in chunks": ("PUT", [CHUNKED], chunks(b"b" * 65537)),
}
ALL = {**REPEATABLE, **SENT_ONCE}


def counts(gateway: Gateway) -> list[int]:
    return [len(origin.asked) for origin in gateway.origins]


def be(gateway: Gateway, behaviour: Behaviour) -> None:
    """What all origins do, together in turn."""
    for origin in gateway.origins:
        origin.default = behaviour


async def stops_to_listen(call: Call) -> None:
    """Closes a connection that was used before, and takes no other one."""
    call.origin.close_listener()
    call.close()


async def test_a_used_connection_that_is_lost_is_replaced_once_for_each_origin(forwarding: Forwarding) -> None:
    """The first one takes no other connection here, so it is the second's turn, whose used one is lost as well."""
    async with forwarding("retries = 1", origins=2) as gateway:
        first, second = gateway.origins
        client = await gateway.client()
        for _ in range(2):
            await client.ask("GET / HTTP/1.1")
        first.default, second.default = stops_to_listen, in_turn(close_at_once, says(answer(b"ok")))
        for _ in range(2):
            assert (await client.ask("GET / HTTP/1.1")).body == b"ok"
        assert sorted(record["tries"] for record in (await gateway.records(4))[2:]) == [1, 2]


# No connection


@pytest.mark.parametrize(("method", "fields", "body"), ALL.values(), ids=ALL)
async def test_where_nothing_was_sent_another_origin_is_asked(
    method: str, fields: list[str], body: bytes, forwarding: Forwarding
) -> None:
    """Whatever the method. A body that is too long to be kept is still unread then."""
    async with forwarding("retries = 1", origins=2) as gateway:
        await gateway.origins[0].stop()
        client = await gateway.client()
        for _ in range(2):  # each origin is picked first once
            got = await client.ask(f"{method} / HTTP/1.1", *fields, body=body)
            assert got.status == 200
            if method == "HEAD":  # it takes nothing from the cycle
                await client.ask("GET / HTTP/1.1")
        records = await gateway.records(4 if method == "HEAD" else 2)
        assert counts(gateway) == [0, len(records)]
        assert {record["tries"] for record in records} == {1, 2}
        assert {record["origin"] for record in records} == {gateway.origins[1].name}


async def test_never_the_same_origin_twice(forwarding: Forwarding) -> None:
    """However many retries there are."""
    async with forwarding("retries = 10", origins=3) as gateway:
        be(gateway, close_at_once)
        assert (await gateway.ask("GET / HTTP/1.1")).status == 502
        assert counts(gateway) == [1, 1, 1]
        assert (await gateway.record())["tries"] == 3


@pytest.mark.parametrize(("retries", "tries"), [(0, 1), (1, 2), (2, 3)])
async def test_at_most_so_many_retries(retries: int, tries: int, forwarding: Forwarding) -> None:
    async with forwarding(f"retries = {retries}", origins=4) as gateway:
        for origin in gateway.origins:
            await origin.stop()
        got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.error) == (503, "connection_refused")
        assert (await gateway.record())["tries"] == tries


async def test_one_retry_without_a_word_about_it(forwarding: Forwarding) -> None:
    async with forwarding(origins=3) as gateway:
        be(gateway, close_at_once)
        assert (await gateway.ask("GET / HTTP/1.1")).status == 502
        assert sum(counts(gateway)) == 2


# A connection that was used before is closed without a byte of an answer

LOST = {"closed": close_at_once, "reset": reset_at_once}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
@pytest.mark.parametrize(("method", "fields", "body"), REPEATABLE.values(), ids=REPEATABLE)
async def test_a_used_connection_that_is_lost_is_replaced_once(
    method: str, fields: list[str], body: bytes, lost: Behaviour, forwarding: Forwarding
) -> None:
    """At the same origin, on a fresh connection; it is no retry."""
    async with forwarding() as gateway:
        gateway.origin.default = in_turn(says(answer(b"")), lost, says(answer(b"")))
        client = await gateway.client()
        assert (await client.ask("GET /first HTTP/1.1")).status == 200
        got = await client.ask(f"{method} / HTTP/1.1", *fields, body=body)
        assert got.status == 200
        asked = [(asked.method, asked.connection, asked.nth) for asked in gateway.origin.asked]
        assert asked == [("GET", 0, 1), (method, 0, 2), (method, 1, 1)]
        assert gateway.origin.asked[2].body == gateway.origin.asked[1].body
        record = (await gateway.records(2))[1]
        assert (record["tries"], record["status"], record["detail"]) == (1, 200, None)


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
@pytest.mark.parametrize(("method", "fields", "body"), REPEATABLE.values(), ids=REPEATABLE)
async def test_without_retries_nothing_is_sent_twice(
    method: str, fields: list[str], body: bytes, lost: Behaviour, forwarding: Forwarding
) -> None:
    """Also not where it is safe, nor on a fresh connection."""
    async with forwarding("retries = 0") as gateway:
        gateway.origin.default = in_turn(says(answer(b"")), lost, says(answer(b"")))
        client = await gateway.client()
        assert (await client.ask("GET /first HTTP/1.1")).status == 200
        got = await client.ask(f"{method} / HTTP/1.1", *fields, body=body)
        assert got.status == 502
        assert counts(gateway) == [2]


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
@pytest.mark.parametrize(("method", "fields", "body"), SENT_ONCE.values(), ids=SENT_ONCE)
async def test_what_may_have_had_an_effect_is_never_sent_twice(
    method: str, fields: list[str], body: bytes, lost: Behaviour, forwarding: Forwarding
) -> None:
    async with forwarding("retries = 5", origins=2) as gateway:
        be(gateway, in_turn(says(answer(b"")), says(answer(b"")), lost))
        client = await gateway.client()
        for _ in range(2):  # both origins have a connection that was used
            assert (await client.ask("GET /first HTTP/1.1")).status == 200
        assert counts(gateway) == [1, 1]
        got = await client.ask(f"{method} / HTTP/1.1", *fields, body=body)
        assert got.status == 502
        assert sorted(counts(gateway)) == [1, 2]
        assert (await gateway.records(3))[2]["tries"] == 1


async def test_a_used_connection_that_is_lost_behind_a_byte_is_not_replaced(forwarding: Forwarding) -> None:
    async with forwarding("retries = 0") as gateway:
        gateway.origin.default = in_turn(says(answer(b"")), says(b"HTTP/1.1 200", close=True))
        client = await gateway.client()
        await client.ask("GET / HTTP/1.1")
        got = await client.ask("GET / HTTP/1.1")
        assert (got.status, got.error) == (502, "http_response_incomplete")
        assert len(gateway.origin.asked) == 2


async def test_the_replacement_that_is_lost_is_a_failure(forwarding: Forwarding) -> None:
    """It is a fresh connection: another origin may be asked, this one is not again."""
    async with forwarding() as gateway:
        gateway.origin.default = in_turn(says(answer(b"")), close_at_once, close_at_once, says(answer(b"late")))
        client = await gateway.client()
        await client.ask("GET / HTTP/1.1")
        assert (await client.ask("GET / HTTP/1.1")).status == 502
        assert len(gateway.origin.asked) == 3


async def test_connections_closed_while_they_rest_are_not_used(forwarding: Forwarding) -> None:
    async with forwarding("retries = 0") as gateway:
        gateway.origin.default = says(answer(b"ok"), close=True)
        client = await gateway.client()
        for _ in range(3):
            assert (await client.ask("POST / HTTP/1.1", LENGTH, body=b"body")).body == b"ok"
            await gateway.origin.until(lambda: True)
            await asyncio.sleep(0.01)  # the close arrives at the gateway
        assert [asked.nth for asked in gateway.origin.asked] == [1, 1, 1]


# A fresh connection is lost before the head


@pytest.mark.parametrize(
    "lost", [*LOST.values(), says(b"HTTP/1.1 200 OK\r\nX:", close=True)], ids=[*LOST, "in the head"]
)
@pytest.mark.parametrize(("method", "fields", "body"), REPEATABLE.values(), ids=REPEATABLE)
async def test_a_fresh_connection_that_is_lost_leads_to_another_origin(
    method: str, fields: list[str], body: bytes, lost: Behaviour, forwarding: Forwarding
) -> None:
    async with forwarding("retries = 1", origins=2) as gateway:
        be(gateway, in_turn(lost, says(answer(b""))))
        assert (await gateway.ask(f"{method} / HTTP/1.1", *fields, body=body)).status == 200
        assert counts(gateway) == [1, 1]
        assert gateway.origins[0].asked[0].body == gateway.origins[1].asked[0].body
        record = await gateway.record()
        assert (record["tries"], record["status"]) == (2, 200)


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
@pytest.mark.parametrize(("method", "fields", "body"), SENT_ONCE.values(), ids=SENT_ONCE)
async def test_a_fresh_connection_that_is_lost_ends_what_is_sent_once(
    method: str, fields: list[str], body: bytes, lost: Behaviour, forwarding: Forwarding
) -> None:
    async with forwarding("retries = 5", origins=2) as gateway:
        be(gateway, lost)
        got = await gateway.ask(f"{method} / HTTP/1.1", *fields, body=body)
        assert (got.status, got.error) == (502, "http_response_incomplete")
        assert sorted(counts(gateway)) == [0, 1]


# Late heads


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_late_head_is_not_tried_again(method: str, forwarding: Forwarding) -> None:
    async with forwarding("retries = 5\ntimeouts = { answer = 0.1 }", origins=2) as gateway:
        be(gateway, hang)
        assert (await gateway.ask(f"{method} / HTTP/1.1", "Content-Length: 0")).status == 504
        assert sorted(counts(gateway)) == [0, 1]


# Answers with a status


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_statuses_pass_unless_the_route_names_them(status: int, forwarding: Forwarding) -> None:
    async with forwarding("retries = 5", origins=2) as gateway:
        be(gateway, says(answer(b"theirs", status=f"{status} X")))
        got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.body, got.error) == (status, b"theirs", None)
        assert sorted(counts(gateway)) == [0, 1]


async def test_a_status_that_the_route_names_leads_to_another_origin(forwarding: Forwarding) -> None:
    async with forwarding("retries = 1\nretry_on = [503]", origins=2) as gateway:
        be(gateway, in_turn(says(answer(b"busy", status="503 Busy")), says(answer(b"ok"))))
        client = await gateway.client()
        assert (await client.ask("GET / HTTP/1.1")).body == b"ok"
        assert counts(gateway) == [1, 1]
        record = await gateway.record()
        assert (record["status"], record["origin_status"], record["tries"]) == (200, 200, 2)
        assert (await client.ask("GET / HTTP/1.1")).body == b"ok"


@pytest.mark.parametrize("body", [b"", b"second", b"s" * 100_000], ids=["empty", "short", "long"])
async def test_the_last_answer_is_passed_on(body: bytes, forwarding: Forwarding) -> None:
    """Ours does not replace it."""
    async with forwarding("retries = 1\nretry_on = [502, 503]", origins=3) as gateway:
        first = says(answer(b"first", status="503 Busy"))
        be(
            gateway,
            in_turn(first, says(answer(body, "Retry-After: 9", "X-A: b", status="502 Odd")), says(answer(b"ok"))),
        )
        got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.body, got.is_cut) == (502, body, False)
        assert (got.all("Retry-After"), got.all("X-A"), got.error) == (["9"], ["b"], None)
        assert sorted(counts(gateway)) == [0, 1, 1]


async def test_an_origin_that_says_when_to_come_again_is_not_helped_by_another_try(forwarding: Forwarding) -> None:
    """Its 503 with Retry-After passes, whatever `retry_on` has."""
    async with forwarding("retries = 1\nretry_on = [503]", origins=2) as gateway:
        be(gateway, says(answer(b"busy", "Retry-After: 9", status="503 Busy")))
        got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.body, got.all("Retry-After")) == (503, b"busy", ["9"])
        assert sorted(counts(gateway)) == [0, 1]


async def test_an_only_origin_is_not_asked_again_for_a_status(forwarding: Forwarding) -> None:
    async with forwarding("retries = 5\nretry_on = [503]") as gateway:
        gateway.origin.default = says(answer(b"busy", status="503 Busy"))
        got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.body) == (503, b"busy")
        assert len(gateway.origin.asked) == 1


@pytest.mark.parametrize(("method", "fields", "body"), SENT_ONCE.values(), ids=SENT_ONCE)
async def test_a_status_never_repeats_what_is_sent_once(
    method: str, fields: list[str], body: bytes, forwarding: Forwarding
) -> None:
    async with forwarding("retries = 5\nretry_on = [503]", origins=2) as gateway:
        be(gateway, says(answer(b"busy", status="503 Busy")))
        got = await gateway.ask(f"{method} / HTTP/1.1", *fields, body=body)
        assert (got.status, got.body) == (503, b"busy")
        assert sorted(counts(gateway)) == [0, 1]


# An answer that has begun


@pytest.mark.parametrize("sent", [head("200 OK", LENGTH) + b"b", head("200 OK", CHUNKED) + b"1\r\nb\r\n"])
async def test_an_answer_that_has_begun_is_never_tried_again(sent: bytes, forwarding: Forwarding) -> None:
    async with forwarding("retries = 5", origins=2) as gateway:
        be(gateway, says(sent, close=True))
        client = await gateway.sent("GET / HTTP/1.1")
        assert (await client.answer()).is_cut
        assert sorted(counts(gateway)) == [0, 1]


# The budget


async def test_retries_under_way_have_a_budget(forwarding: Forwarding) -> None:
    """At most 3, or a fifth of the requests under way: where all origins fail, they are not asked twice as often."""
    arrived, release = 0, asyncio.Event()

    async def fail_together(call: Call) -> None:
        nonlocal arrived
        arrived += 1
        if arrived >= 10:
            release.set()
        await release.wait()
        if arrived > 10:  # a retry holds its place in the budget
            await asyncio.sleep(0.05)
        call.close()

    async with forwarding("retries = 1", origins=2) as gateway:
        be(gateway, fail_together)
        answers = await asyncio.gather(*(gateway.ask("GET / HTTP/1.1") for _ in range(10)))
        assert {got.status for got in answers} == {502}
        assert 11 <= sum(counts(gateway)) <= 13


async def test_connections_that_are_refused_take_nothing_from_the_budget(forwarding: Forwarding) -> None:
    """They are no load to any origin: where one of two is down, half of all requests are tried again."""
    arrived, release = 0, asyncio.Event()

    async def answer_together(call: Call) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == 20:
            release.set()
        await release.wait()
        await call.write(answer(b"ok"))

    async with forwarding("retries = 1", hosts='{}, "127.0.0.1:1" = 1') as gateway:
        gateway.origin.default = answer_together
        answers = await asyncio.gather(*(gateway.ask("GET / HTTP/1.1") for _ in range(20)))
        assert {got.status for got in answers} == {200}
        assert Counter(record["tries"] for record in await gateway.records(20)) == {1: 10, 2: 10}


async def test_a_key_picks_the_origin_of_a_forward_and_the_next_one(forwarding: Forwarding) -> None:
    """Always the same second origin where the first does not answer, so that a client's session moves once."""
    async with forwarding("retries = 1", origins=3, pool='pick = "hash"\nhash_on = "header:x-user"') as gateway:
        first = gateway.origins[0]
        users = [f"X-User: {user}" for user in range(60)]  # so many that each origin gets some, whatever its port
        for user in users:
            await gateway.ask("GET / HTTP/1.1", user)
        chosen = dict(zip(users, [record["origin"] for record in await gateway.records(60)], strict=True))
        assert {*chosen.values()} == {origin.name for origin in gateway.origins}
        await first.stop()
        for user in users * 2:
            assert (await gateway.ask("GET / HTTP/1.1", user)).status == 200
        after = [record["origin"] for record in (await gateway.records(180))[60:]]
        assert after[:60] == after[60:]
        for user, origin in zip(users, after, strict=False):
            assert origin == chosen[user] if chosen[user] != first.name else origin != first.name
