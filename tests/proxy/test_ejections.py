"""What a worker reports of origins that may be ejected: which failures count, and which do not."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
from support.gateway import Forwarding, Gateway
from support.health import apply, down
from support.origin import Behaviour, Call, answer, close_at_once, hang, head, in_turn, reset_at_once, says
from support.wire import head as request

from redirect.core.ejections import words_of
from redirect.core.health import HealthStatus
from redirect.proxy import ejections
from redirect.telemetry.scoreboard import KINDS

POOL = "eject = { fails = 2 }"
ROUTE = "retries = 0\ntimeouts = { answer = 0.1, idle = 0.2 }"

OK = says(answer(b"ok"))
CUT = says(head("200 OK", "content-length: 5") + b"ab", close=True)


def outcomes(gateway: Gateway) -> dict[str, int]:
    """What was reported of the first origin."""
    slot, names = gateway.handler.recorder.slot, KINDS["outcomes"].numbers
    for labels, index in slot.series("outcomes"):
        if labels == ("origins", gateway.origin.name):
            return dict(zip(names, slot.counts[index : index + len(names)], strict=True))
    return dict.fromkeys(names, 0)


def put_on_trial(gateway: Gateway, since: float, *others: str) -> None:
    """The first origin; `others` are down."""
    statuses = {gateway.origin.name: HealthStatus(True, 0.0, since, "on trial", 1)}
    apply(gateway.handler.service, {"origins": statuses | down(*others)}, since)


async def fail(gateway: Gateway, count: int, behaviour: Behaviour = close_at_once) -> None:
    gateway.origin.default = behaviour
    for _ in range(count):
        await gateway.ask("GET / HTTP/1.1")


FAILURES: dict[str, tuple[Behaviour, str]] = {
    "closed": (close_at_once, "it closed the connection before its answer was complete"),
    "reset": (reset_at_once, "it closed the connection before its answer was complete"),
    "no HTTP": (says(b"SSH-2.0-OpenSSH_9.9\r\n"), "what it sent is no HTTP"),
    "late": (hang, "its answer was late"),
    "502": (says(answer(status="502 Bad")), "it answered 502"),
    "503": (says(answer(status="503 Busy")), "it answered 503"),
    "504": (says(answer(status="504 Late")), "it answered 504"),
    "cut": (CUT, "it closed the connection before its answer was complete"),
}


@pytest.mark.parametrize(("behaviour", "words"), FAILURES.values(), ids=FAILURES)
async def test_so_many_failures_in_a_row_are_reported(behaviour: Behaviour, words: str, forwarding: Forwarding) -> None:
    """With the last one; the next ones begin another row."""
    async with forwarding(ROUTE, pool=POOL) as gateway:
        for count, rows in ((1, 0), (1, 1), (1, 1), (1, 2)):
            await fail(gateway, count, behaviour)
            assert outcomes(gateway)["failed_in_a_row"] == rows
        assert words_of(outcomes(gateway)["failure"]) == words
        assert outcomes(gateway)["failed_on_trial"] == 0


async def test_an_origin_without_a_connection_fails(forwarding: Forwarding) -> None:
    async with forwarding(ROUTE, pool=POOL) as gateway:
        await gateway.origin.stop()
        for _ in range(2):
            assert (await gateway.ask("GET / HTTP/1.1")).error == "connection_refused"
        assert outcomes(gateway)["failed_in_a_row"] == 1
        assert words_of(outcomes(gateway)["failure"]) == "it refused the connection"


async def test_an_answer_ends_the_row(forwarding: Forwarding) -> None:
    """Of whatever status but those three."""
    async with forwarding(ROUTE, pool=POOL) as gateway:
        for status in ("200 OK", "404 Not Found", "500 Odd"):
            await fail(gateway, 1)
            await fail(gateway, 1, says(answer(status=status)))
        await fail(gateway, 1)
        assert outcomes(gateway)["failed_in_a_row"] == 0


async def test_the_head_of_an_answer_that_is_cut_does_not_end_the_row(forwarding: Forwarding) -> None:
    async with forwarding(ROUTE, pool="eject = { fails = 4 }") as gateway:
        await fail(gateway, 4, in_turn(close_at_once, CUT, close_at_once, CUT))
        assert outcomes(gateway)["failed_in_a_row"] == 1


async def test_without_the_key_nothing_is_reported(forwarding: Forwarding) -> None:
    async with forwarding(ROUTE) as gateway:
        await fail(gateway, 6)
        assert gateway.handler.recorder.slot.series("outcomes") == []


async def test_each_try_counts_for_its_origin(forwarding: Forwarding) -> None:
    async with forwarding("retries = 1", pool=POOL, origins=2) as gateway:
        first, second = gateway.origins
        first.default = close_at_once
        for _ in range(8):
            assert (await gateway.ask("GET / HTTP/1.1")).status == 200
        assert outcomes(gateway)["failed_in_a_row"] == 1  # from then on it is held back
        assert [labels for labels, _ in gateway.handler.recorder.slot.series("outcomes")] == [("origins", first.name)]
        assert len(second.asked) == 8


# What is no failure


async def closes_a_connection_that_rested(gateway: Gateway) -> None:
    """Each second request finds a connection that its origin has just closed."""
    gateway.origin.default = in_turn(OK, close_at_once, OK, close_at_once, OK)
    client = await gateway.client()
    for _ in range(3):
        assert (await client.ask("GET / HTTP/1.1")).status == 200


async def closes_a_connection_that_rested_before_a_post(gateway: Gateway) -> None:
    gateway.origin.default = in_turn(OK, close_at_once)
    client = await gateway.client()
    assert (await client.ask("GET / HTTP/1.1")).status == 200
    assert (await client.ask("POST / HTTP/1.1", "Content-Length: 0")).status == 502


async def has_clients_that_leave(gateway: Gateway) -> None:
    gateway.origin.default = hang
    for count in (1, 2, 3):
        client = await gateway.begun("GET / HTTP/1.1")
        client.reset()
        await gateway.origin.until_ended(count - 1)


async def has_clients_that_leave_in_the_answer(gateway: Gateway) -> None:
    gateway.origin.default = says(head("200 OK", "content-length: 5") + b"ab")
    for count in (1, 2, 3):
        client = await gateway.sent("GET / HTTP/1.1")
        await client.head()
        client.reset()
        await gateway.origin.until_ended(count - 1)


async def has_clients_whose_body_does_not_go_on(gateway: Gateway) -> None:
    for _ in range(3):
        client = await gateway.sent("POST / HTTP/1.1", "Content-Length: 5", body=b"a")
        assert (await client.answer("POST")).status == 408


async def stops_in_an_answer(gateway: Gateway) -> None:
    """As a stream in which nothing happens for a while."""
    gateway.origin.default = says(head("200 OK", "content-length: 5") + b"ab")
    for _ in range(3):
        assert (await gateway.ask("GET / HTTP/1.1")).is_cut


NO_FAILURES: list[Callable[[Gateway], Awaitable[None]]] = [
    closes_a_connection_that_rested,
    closes_a_connection_that_rested_before_a_post,
    has_clients_that_leave,
    has_clients_that_leave_in_the_answer,
    has_clients_whose_body_does_not_go_on,
    stops_in_an_answer,
]


@pytest.mark.parametrize("what", NO_FAILURES, ids=[each.__name__ for each in NO_FAILURES])
async def test_what_is_no_failure_of_the_origin(
    what: Callable[[Gateway], Awaitable[None]], forwarding: Forwarding
) -> None:
    async with forwarding("timeouts = { idle = 0.3 }", pool="eject = { fails = 1 }") as gateway:
        await what(gateway)
        assert outcomes(gateway)["failed_in_a_row"] == 0


async def later(call: Call) -> None:
    await asyncio.sleep(0.5)
    await call.write(answer(b"ok"))


@pytest.mark.parametrize("waits", ["for a limit", "for its turn"])
async def test_an_origin_is_not_ejected_for_the_time_that_a_request_waited(waits: str, forwarding: Forwarding) -> None:
    """Waiting for a limit counts as `total`, and waiting for its turn on its connection does not."""
    limit = "limit = { in_flight = 1, queue = 1, wait = 3 }" if waits == "for a limit" else ""
    async with forwarding(f"{limit}\ntimeouts = {{ total = 0.6 }}", pool="eject = { fails = 1 }") as gateway:
        gateway.origin.default = later
        first = await gateway.begun("GET / HTTP/1.1")
        second = await gateway.client() if limit else first
        await second.send(request("GET / HTTP/1.1"))
        assert [(await client.answer()).status for client in (first, second)] == [200, 504 if limit else 200]
        assert outcomes(gateway)["failed_in_a_row"] == 0
        gateway.origin.default = hang
        assert (await gateway.ask("GET / HTTP/1.1")).status == 504
        assert outcomes(gateway)["failed_in_a_row"] == 1


async def test_an_origin_that_is_about_to_be_ejected_is_held_back(
    forwarding: Forwarding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as the controller takes to decide; then it is asked again, if that did not eject it."""
    monkeypatch.setattr(ejections, "HOLD_SECONDS", 0.3)
    async with forwarding(ROUTE, pool="eject = { fails = 2 }", origins=2) as gateway:
        gateway.origin.default = close_at_once
        for _ in range(20):
            await gateway.ask("GET / HTTP/1.1")
        assert len(gateway.origin.asked) == 2
        await asyncio.sleep(0.35)
        for _ in range(4):
            await gateway.ask("GET / HTTP/1.1")
        assert len(gateway.origin.asked) == 4


async def test_at_most_half_of_the_origins_are_held_back(forwarding: Forwarding) -> None:
    """Where all fail, the cause is elsewhere."""
    async with forwarding(ROUTE, pool="eject = { fails = 1 }", origins=3) as gateway:
        for origin in gateway.origins:
            origin.default = close_at_once
        for _ in range(12):
            await gateway.ask("GET / HTTP/1.1")
        asked = sorted(len(origin.asked) for origin in gateway.origins)
        assert asked[0] == 1
        assert asked[1] > 3


# On trial


async def test_the_first_failure_on_trial_is_reported(forwarding: Forwarding) -> None:
    async with forwarding(ROUTE, pool="eject = { fails = 9 }") as gateway:
        put_on_trial(gateway, 5.0)
        await fail(gateway, 1, says(answer(status="503 Busy")))
        assert outcomes(gateway)["failed_on_trial"] == 1
        assert words_of(outcomes(gateway)["failure"]) == "it answered 503"


async def test_the_first_answer_on_trial_is_reported(forwarding: Forwarding) -> None:
    """Once its head is there: it may be a long one."""
    async with forwarding(pool=POOL) as gateway:
        put_on_trial(gateway, 5.0)
        gateway.origin.default = says(head("200 OK", "content-length: 5") + b"ab")
        client = await gateway.sent("GET / HTTP/1.1")
        await client.head()
        assert outcomes(gateway)["passed_on_trial"] == 1


async def test_a_request_that_was_sent_before_the_trial_tells_nothing_of_it(forwarding: Forwarding) -> None:
    async with forwarding(ROUTE, pool="eject = { fails = 1 }") as gateway:
        gateway.origin.default = hang
        asking = asyncio.create_task(gateway.ask("GET / HTTP/1.1"))
        await gateway.origin.until_asked()
        put_on_trial(gateway, 5.0)
        assert (await asking).status == 504
        assert set(outcomes(gateway).values()) == {0}


async def test_one_request_at_a_time_reaches_an_origin_on_trial(forwarding: Forwarding) -> None:
    """The others go where it is safe."""
    async with forwarding("timeouts = { answer = 5 }", pool=f'{POOL}\npick = "random"', origins=2) as gateway:
        put_on_trial(gateway, 5.0)
        gateway.origin.default = hang
        for _ in range(12):
            await gateway.sent("GET / HTTP/1.1")
        await gateway.origins[1].until_asked(11)
        assert len(gateway.origin.asked) == 1


async def test_after_a_failure_on_trial_no_request_follows_until_the_next_trial(forwarding: Forwarding) -> None:
    """Though the controller has not said yet what becomes of the origin."""
    async with forwarding(ROUTE, pool=POOL, origins=2) as gateway:
        gateway.origin.default = close_at_once
        for trial in (1, 2):
            put_on_trial(gateway, 5.0 * trial)
            for _ in range(6):
                await gateway.ask("GET / HTTP/1.1")
            assert len(gateway.origin.asked) == trial
            assert outcomes(gateway)["failed_on_trial"] == trial


async def test_an_origin_on_trial_that_is_the_only_one_left_gets_all(forwarding: Forwarding) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        name = f"127.0.0.1:{other.getsockname()[1]}"
        async with forwarding(pool=POOL, hosts=f'{{}}, "{name}" = 1') as gateway:
            put_on_trial(gateway, 5.0, name)
            gateway.origin.default = hang
            for _ in range(3):
                await gateway.sent("GET / HTTP/1.1")
            await gateway.origin.until_asked(3)
