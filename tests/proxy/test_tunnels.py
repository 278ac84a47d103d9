"""Upgrades: on 101 both sides become a pipe."""

import asyncio

import pytest
from support.gateway import Client, Forwarding, Gateway
from support.origin import SWITCH, UPGRADE, Behaviour, Call, Gate, answer, head, says, tunnel
from support.wire import head as request


async def switched(gateway: Gateway, *fields: str, behind: bytes = b"") -> Client:
    """A client whose connection is a tunnel."""
    client = await gateway.sent("GET /chat HTTP/1.1", *(fields or UPGRADE), body=behind)
    assert await client.switched() == 101
    return client


CONNECTIONS = ["Upgrade", "upgrade", "keep-alive, Upgrade", "Upgrade , keep-alive", "x,upgrade"]


@pytest.mark.parametrize("connection", CONNECTIONS)
async def test_an_upgrade_passes_and_both_sides_become_a_pipe(connection: str, own: Forwarding) -> None:
    async with own() as gateway:
        gateway.origin.default = tunnel
        client = await switched(gateway, f"Connection: {connection}", *UPGRADE[1:])
        asked = gateway.origin.asked[0]
        assert [value.lower() for value in asked.all("Connection")] == ["upgrade"]
        assert asked.all("Upgrade") == ["echo"]
        assert ("Sec-WebSocket-Key", "dGhl") in asked.fields
        assert ("sec-websocket-version", "13") in asked.fields
        answered = {name.lower(): value for name, value in client.fields}
        assert (answered["connection"].lower(), answered["upgrade"]) == ("upgrade", "echo")
        assert ("Sec-WebSocket-Accept", "x=") in client.fields
        for data in (b"\x81\x05hello", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256))):
            await client.send(data)
            assert await client.raw(len(data)) == data


async def test_bytes_behind_the_heads_are_passed(own: Forwarding) -> None:
    async def early(call: Call) -> None:
        await call.write(SWITCH + b"early-")
        call.closed = True
        await call.write(await call.peer.exactly(6))
        await call.until_ended()

    async with own() as gateway:
        gateway.origin.default = early
        client = await switched(gateway, behind=b"behind")
        assert await client.raw(12) == b"early-behind"


async def test_bytes_before_the_switch_are_passed_behind_it(own: Forwarding) -> None:
    """The client did not wait; an origin that answers without a switch never gets them as a request."""
    async with own() as gateway:
        gateway.origin.default = gate = Gate(tunnel)
        client = await gateway.begun("GET / HTTP/1.1", *UPGRADE)
        await client.send(b"not waiting")
        await asyncio.sleep(0.02)
        gate.open()
        assert await client.switched() == 101
        assert await client.raw(11) == b"not waiting"


@pytest.mark.parametrize("how", ["close", "reset", "write_eof"])
async def test_the_end_of_the_client_ends_the_origin(how: str, own: Forwarding) -> None:
    async with own() as gateway:
        gateway.origin.default = tunnel
        client = await switched(gateway)
        await client.send(b"x")
        assert await client.raw(1) == b"x"
        getattr(client, how)()
        await gateway.origin.until_ended()
        record = await gateway.record()
        assert (record["status"], record["origin_status"], record["action"]) == (101, 101, "forward")


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_the_end_of_the_origin_ends_the_client(how: str, own: Forwarding) -> None:
    """Behind what it said last."""

    async def say_bye(call: Call) -> None:
        await call.write(SWITCH)
        await call.peer.exactly(1)
        await call.write(b"bye")
        if how == "reset":
            await call.peer.exactly(1)
        getattr(call, how)()

    async with own() as gateway:
        gateway.origin.default = say_bye
        client = await switched(gateway)
        await client.send(b"1")
        assert await client.raw(3) == b"bye"
        await client.send(b"2")
        assert await client.is_ended()
        record = await gateway.record()
        assert (record["status"], record["bytes_out"]) == (101, 3)


async def test_much_passes_both_ways_at_once(own: Forwarding) -> None:
    whole = bytes(range(256)) * 8192
    async with own() as gateway:
        gateway.origin.default = tunnel
        client = await switched(gateway)
        sending = asyncio.create_task(client.send(whole))
        assert await client.raw(len(whole)) == whole
        await sending


async def test_idle_ends_a_tunnel(own: Forwarding) -> None:
    async with own("timeouts = { idle = 0.1, answer = 5 }") as gateway:
        gateway.origin.default = tunnel
        client = await switched(gateway)
        assert await client.is_ended()
        await gateway.origin.until_ended()


async def test_answer_and_idle_do_not_end_a_tunnel_that_is_used(own: Forwarding) -> None:
    async with own("timeouts = { idle = 0.2, answer = 0.1 }") as gateway:
        gateway.origin.default = tunnel
        client = await switched(gateway)
        for _ in range(6):
            await asyncio.sleep(0.06)
            await client.send(b"x")
            assert await client.raw(1) == b"x"


REFUSALS: dict[str, tuple[Behaviour, int, bytes]] = {
    "200": (says(answer(b"no")), 200, b"no"),
    "426": (says(answer(b"no", "Upgrade: other", status="426 Upgrade Required")), 426, b"no"),
    "400 and a close": (says(answer(b"no", "Connection: close", status="400 No"), close=True), 400, b"no"),
    "in chunks": (says(head("403 No", "Transfer-Encoding: chunked") + b"2\r\nno\r\n0\r\n\r\n"), 403, b"no"),
}


@pytest.mark.parametrize(("behaviour", "status", "body"), REFUSALS.values(), ids=REFUSALS)
async def test_a_refused_upgrade_is_an_ordinary_answer(
    behaviour: Behaviour, status: int, body: bytes, own: Forwarding
) -> None:
    async with own() as gateway:
        gateway.origin.default = behaviour
        got = await gateway.ask("GET / HTTP/1.1", *UPGRADE)
        assert (got.status, got.body, got.is_cut) == (status, body, False)
        assert (await gateway.record())["status"] == status


async def test_bytes_behind_a_refused_upgrade_are_no_request_to_the_origin(own: Forwarding) -> None:
    """They may have been meant for the other protocol: the connection ends."""
    async with own() as gateway:
        client = await gateway.client()
        await client.send(request("GET / HTTP/1.1", *UPGRADE) + request("GET /smuggled HTTP/1.1"))
        assert (await client.answer()).status == 200
        assert await client.is_ended()
        assert gateway.origin.targets == ["/"]


async def test_a_switch_to_another_protocol_is_a_fault(own: Forwarding) -> None:
    async with own() as gateway:
        gateway.origin.default = says(head("101 Switching Protocols", "Connection: upgrade") + b"x")
        got = await gateway.ask("GET / HTTP/1.1", *UPGRADE)
        assert (got.status, got.error) == (502, "http_protocol_error")


async def test_an_upgrade_with_a_body_is_a_request_without_it(own: Forwarding) -> None:
    """It would not be known where the other protocol begins."""
    async with own() as gateway:
        client = await gateway.client()
        for framed, body in (("Content-Length: 4", b"body"), ("Transfer-Encoding: chunked", b"4\r\nbody\r\n0\r\n\r\n")):
            await client.send(request("POST / HTTP/1.1", *UPGRADE, framed) + body + request("GET /next HTTP/1.1"))
            assert (await client.answer()).status == 200
            assert (await client.answer()).status == 200
        assert [(asked.target, asked.all("Upgrade"), asked.body) for asked in gateway.origin.asked] == 2 * [
            ("/", [], b"body"),
            ("/next", [], b""),
        ]


async def test_clients_of_http_1_0_do_not_upgrade(own: Forwarding) -> None:
    async with own() as gateway:
        got = await gateway.ask("GET / HTTP/1.0", *UPGRADE)
        assert got.status == 200
        assert gateway.origin.asked[0].all("Upgrade") == []


async def test_an_upgrade_without_connection_is_none(own: Forwarding) -> None:
    async with own() as gateway:
        client = await gateway.client()
        for _ in range(2):
            assert (await client.ask("GET / HTTP/1.1", "Upgrade: echo")).status == 200
        assert [asked.all("Upgrade") for asked in gateway.origin.asked] == [[], []]


async def test_asgi_does_not_upgrade(forwarding: Forwarding) -> None:
    if forwarding.is_own:
        return
    async with forwarding() as gateway:
        gateway.origin.default = tunnel
        got = await gateway.ask("GET / HTTP/1.1", *UPGRADE)
        assert got.status == 501
        assert got.detail
        assert gateway.origin.asked == []
