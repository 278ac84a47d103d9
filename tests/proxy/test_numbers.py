"""What is counted of forwards: failures by cause, retries, responses, and what is under way."""

import asyncio
from math import inf

import pytest
from support.gateway import Forwarding, Gateway
from support.health import apply, down
from support.origin import (
    SWITCH,
    UPGRADE,
    Behaviour,
    Call,
    answer,
    begins,
    chunk,
    close_at_once,
    hang,
    head,
    in_turn,
    says,
)
from support.wire import head as request

from redirect.core import balancer
from redirect.telemetry.snapshot import Connections, OriginNumbers


def of(gateway: Gateway, origin: int = 0) -> OriginNumbers:
    """The numbers of an origin; there are none before it was forwarded to."""
    return gateway.numbers().origins.get(("origins", gateway.origins[origin].name), OriginNumbers())


async def drop(call: Call) -> None:
    """Begins an answer that has no end."""
    await call.write(head("200 OK", "Content-Length: 9") + b"part")
    await asyncio.sleep(0.01)
    call.close()


FAILURES: dict[str, tuple[Behaviour, str]] = {
    "closed": (close_at_once, "http_response_incomplete"),
    "no HTTP": (says(b"SSH-2.0-OpenSSH_9.9\r\n"), "http_protocol_error"),
    "no answer in time": (hang, "http_response_timeout"),
    "cut in the answer": (drop, "http_response_incomplete"),
    "late in the answer": (begins(head("200 OK", "Transfer-Encoding: chunked") + chunk(b"d")), "http_response_timeout"),
}


@pytest.mark.parametrize(("behaviour", "error"), FAILURES.values(), ids=FAILURES)
async def test_a_failure_is_counted_by_its_cause(behaviour: Behaviour, error: str, forwarding: Forwarding) -> None:
    """Before the head of an answer and behind it."""
    async with forwarding("retries = 0\ntimeouts = { answer = 0.1, idle = 0.1 }") as gateway:
        gateway.origin.default = behaviour
        await gateway.ask("GET / HTTP/1.1")
        await gateway.record()
        assert (of(gateway).failures, of(gateway).retries) == ({error: 1}, 0)


async def test_the_record_has_what_was_due_at_the_pick(forwarding: Forwarding) -> None:
    """Whatever became of the origins' health until the answer came."""
    async with forwarding("", pool="eject = {}", origins=2) as gateway:

        async def other_health(call: Call) -> None:
            apply(gateway.handler.service, {"origins": down(gateway.origin.name)})
            await call.write(answer())

        for origin in gateway.origins:
            origin.default = other_health
        await gateway.ask("GET / HTTP/1.1")
        await gateway.ask("GET / HTTP/1.1")
        first, second = await gateway.records(2)
        assert (first["due"], second["due"]) == (0.5, 1)
        assert first["weights"] != second["weights"]


async def test_each_try_that_failed_is_counted_and_each_retry(forwarding: Forwarding) -> None:
    """At the origin that failed. That there is no other one left is no failure more."""
    async with forwarding("retries = 5", origins=2) as gateway:
        for origin in gateway.origins:
            await origin.stop()
        await gateway.ask("GET / HTTP/1.1")
        numbers = [of(gateway, 0), of(gateway, 1)]
        assert [each.failures for each in numbers] == [{"connection_refused": 1}] * 2
        assert sorted(each.retries for each in numbers) == [0, 1]


async def test_that_no_origin_is_eligible_is_counted_for_the_pool(
    forwarding: Forwarding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balancer, "effective_weights", lambda pool, *_: ([0] * len(pool.origins), inf))
    async with forwarding() as gateway:
        assert (await gateway.ask("GET / HTTP/1.1")).status == 503
        assert gateway.numbers().origins["origins", None].failures == {"destination_unavailable": 1}


async def test_a_used_connection_that_was_closed_is_no_failure(forwarding: Forwarding) -> None:
    """Where the request is sent again. What may not be sent again fails."""
    async with forwarding() as gateway:
        gateway.origin.default = in_turn(says(answer(b"")), close_at_once, says(answer(b"")), close_at_once)
        client = await gateway.client()
        for _ in range(2):
            assert (await client.ask("GET / HTTP/1.1")).status == 200
        assert (of(gateway).failures, of(gateway).retries) == ({}, 0)
        assert (await client.ask("POST / HTTP/1.1", "Content-Length: 0")).status == 502
        assert of(gateway).failures == {"connection_terminated": 1}


async def test_a_client_that_leaves_is_no_failure_of_the_origin(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        gateway.origin.default = hang
        client = await gateway.begun("GET / HTTP/1.1")
        client.reset()
        assert (await gateway.record())["status"] == 499
        assert (of(gateway).failures, of(gateway).in_flight) == ({}, 0)


async def test_a_body_of_the_client_that_stops_is_no_failure_of_the_origin(own: Forwarding) -> None:
    async with own("timeouts = { idle = 0.1 }") as gateway:
        client = await gateway.sent("POST / HTTP/1.1", "Content-Length: 9", body=b"part")
        assert (await client.answer("POST")).status == 408
        assert of(gateway).failures == {}


@pytest.mark.parametrize("timeout", ["idle = 0.2", "total = 0.3"])
async def test_an_answer_that_the_client_does_not_take_is_no_failure_of_the_origin(
    timeout: str, forwarding: Forwarding
) -> None:
    async with forwarding(f"timeouts = {{ {timeout} }}", buffer=64 * 1024) as gateway:
        gateway.origin.default = begins(answer(b"d" * 2**24))
        client = await gateway.client(buffer=64 * 1024)
        await client.send(request("GET / HTTP/1.1"))
        record = await gateway.record()
        assert (record["status"], of(gateway).failures) == (200, {})
        assert "the answer was cut" in record["detail"]


async def test_a_tunnel_that_rests_is_no_failure_of_the_origin(own: Forwarding) -> None:
    async with own("timeouts = { idle = 0.1 }") as gateway:
        gateway.origin.default = begins(SWITCH)
        client = await gateway.sent("GET / HTTP/1.1", *UPGRADE)
        assert await client.switched() == 101
        assert await client.is_ended()
        assert (await gateway.record())["status"] == 101
        assert of(gateway).failures == {}


async def test_responses_are_timed_at_each_origin(forwarding: Forwarding) -> None:
    """Also where another origin is asked because of its status; the record is of the one that answered last."""

    async def late(call: Call) -> None:
        await asyncio.sleep(0.05)
        await call.write(answer(b"busy", status="503 Busy"))

    async with forwarding("retries = 1\nretry_on = [503]", origins=2) as gateway:
        gateway.origins[0].default = late
        client = await gateway.client()
        for _ in range(2):  # each origin is picked first once
            assert (await client.ask("GET / HTTP/1.1")).status == 200
        busy, other = of(gateway, 0), of(gateway, 1)
        assert (sum(busy.responses), busy.retries, busy.failures) == (1, 1, {})
        assert (sum(other.responses), other.retries) == (2, 0)
        assert busy.response_sum > 0.04 > other.response_sum
        for record in await gateway.records(2):
            assert (record["origin"], record["origin_status"]) == (gateway.origins[1].name, 200)


async def test_the_record_of_a_try_that_failed_has_no_answer_of_another_origin(forwarding: Forwarding) -> None:
    async with forwarding("retries = 1\nretry_on = [503]", origins=2) as gateway:
        for origin in gateway.origins:
            origin.default = in_turn(says(answer(b"busy", status="503 Busy")), close_at_once)
        await gateway.origins[1].stop()
        client = await gateway.client()
        answers = [await client.ask("GET / HTTP/1.1") for _ in range(2)]
        assert {got.status for got in answers} <= {502, 503}
        for record in await gateway.records(2):
            is_answered = record["origin"] == gateway.origins[0].name and record["status"] == 503
            assert (record["origin_status"] is not None) == is_answered


async def test_what_is_under_way_is_told(forwarding: Forwarding) -> None:
    """Requests by origin, and connections, which rest behind an answer."""
    async with forwarding(origins=2) as gateway:
        gateway.origins[0].default = gateway.origins[1].default = hang
        clients = [await gateway.sent("GET / HTTP/1.1") for _ in range(4)]
        for origin in gateway.origins:
            await origin.until_asked(2)
        names = [origin.name for origin in gateway.origins]
        assert [of(gateway, origin).in_flight for origin in (0, 1)] == [2, 2]
        assert gateway.numbers().connections == {name: Connections(0, 2) for name in names}
        for client in clients:
            client.reset()
        await gateway.records(4)
        assert [of(gateway, origin).in_flight for origin in (0, 1)] == [0, 0]
        gateway.origins[0].default = gateway.origins[1].default = says(answer(b""))
        await gateway.ask("GET / HTTP/1.1")
        counted = gateway.numbers().connections
        assert sorted(counted[name] for name in names) == [Connections(0, 0), Connections(1, 0)]


async def test_bytes_of_both_bodies_are_added_up(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        gateway.origin.default = says(answer(b"a" * 1000))
        client = await gateway.client()
        for _ in range(3):
            await client.ask("POST / HTTP/1.1", "Content-Length: 10", body=b"b" * 10)
        await gateway.records(3)
        numbers = gateway.handler.recorder.numbers
        assert (numbers.bytes_in, numbers.bytes_out) == (30, 3000)


async def test_tunnels_are_counted_while_they_are_open(own: Forwarding) -> None:
    async with own() as gateway:
        gateway.origin.default = begins(SWITCH)
        client = await gateway.sent("GET / HTTP/1.1", *UPGRADE)
        assert await client.switched() == 101
        assert (gateway.numbers().tunnels, of(gateway).in_flight) == (1, 1)
        client.close()
        await gateway.record()
        assert (gateway.numbers().tunnels, of(gateway).in_flight) == (0, 0)


async def test_durations_are_those_of_the_log(forwarding: Forwarding) -> None:
    """Until the last byte."""

    async def drip(call: Call) -> None:
        await call.write(head("200 OK", "Content-Length: 2") + b"1")
        await asyncio.sleep(0.1)
        await call.write(b"2")

    async with forwarding() as gateway:
        gateway.origin.default = drip
        await gateway.ask("GET / HTTP/1.1")
        record = await gateway.record()
        durations = gateway.numbers().durations
        assert durations.requests == 1
        assert durations.sum == pytest.approx(record["duration_us"] / 1e6, abs=1e-5)
        assert of(gateway).response_sum == record["origin_us"] / 1e6 < durations.sum - 0.09


async def test_an_origin_has_no_part_in_how_long_its_client_sends(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        gateway.origin.default = says(answer(b"ok"))
        client = await gateway.client()
        await client.send(request("POST / HTTP/1.1", "Content-Length: 2") + b"1")
        await gateway.origin.until_asked()
        await asyncio.sleep(0.1)
        await client.send(b"2")
        assert (await client.answer("POST")).body == b"ok"
        record = await gateway.record()
        assert record["origin_us"] < record["duration_us"] - 90_000
        assert of(gateway).response_sum == record["origin_us"] / 1e6
