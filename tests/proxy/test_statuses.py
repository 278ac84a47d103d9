"""What a client is told where no origin's answer is passed, and what the log is."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable

import pytest
from support.gateway import Answer, Forwarding, Gateway
from support.origin import Behaviour, answer, close_at_once, hang, head, reset_at_once, says

from redirect.proxy.connections import Connections
from redirect.proxy.descriptors import Descriptors
from redirect.proxy.ejections import Outcomes
from redirect.proxy.exchange import Exchange
from redirect.proxy.limits import Limits

LONG = "a" * 33 * 1024
# An origin's failure before the head of its answer is whole: the status, and the name of RFC 9209.
FAILURES: dict[str, tuple[Behaviour, int, str]] = {
    "closed": (close_at_once, 502, "http_response_incomplete"),
    "reset": (reset_at_once, 502, "http_response_incomplete"),
    "closed in the head": (says(b"HTTP/1.1 200 OK\r\nX:", close=True), 502, "http_response_incomplete"),
    "no HTTP": (says(b"SSH-2.0-OpenSSH_9.9\r\n"), 502, "http_protocol_error"),
    "a long field": (says(head("200 OK", f"X: {LONG}")), 502, "http_response_header_section_size"),
    "many fields": (
        says(head("200 OK", *["X: y"] * 101, "Content-Length: 0")), 502, "http_response_header_section_size"
    ),
    "late": (hang, 504, "http_response_timeout"),
}  # fmt: skip


async def refusal(gateway: Gateway, *fields: str) -> tuple[Answer, dict[str, object]]:
    """The answer to a GET, which is one of ours, and its record."""
    got = await gateway.ask("GET /x HTTP/1.1", *fields)
    record = await gateway.record()
    assert got.detail == record["detail"]
    assert record["status"] == got.status
    assert record["origin_status"] is None
    return got, record


async def test_a_fault_of_this_program_is_answered_and_logged(
    forwarding: Forwarding, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With its traceback; the client does not wait for good."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Connections, "connect", broken)
    async with forwarding() as gateway:
        got, record = await refusal(gateway)
        assert (got.status, got.error, record["tries"]) == (500, "proxy_internal_error", 1)
    assert "ZeroDivisionError" in caplog.text


async def test_a_fault_in_a_check_of_one_request_is_none_of_the_others(
    own: Forwarding, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def check(exchange: Exchange, now: int, whole: Callable[[Exchange, int], None] = Exchange.check) -> None:
        if exchange.target == "/broken":
            raise ZeroDivisionError
        whole(exchange, now)

    monkeypatch.setattr(Exchange, "check", check)
    async with own("timeouts = { answer = 0.3 }") as gateway:
        gateway.origin.default = hang
        for _ in range(3):
            await gateway.sent("GET /broken HTTP/1.1")
        assert (await gateway.ask("GET /late HTTP/1.1")).status == 504
    assert caplog.messages == ["a request that is forwarded is not checked any more"] * 3


async def test_a_fault_in_a_check_of_limits_does_not_end_the_checks(
    own: Forwarding, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [ZeroDivisionError()]

    def check(limits: Limits, now: int) -> None:
        if faults:
            raise faults.pop()

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    monkeypatch.setattr(Limits, "check", check)
    async with own("timeouts = { answer = 0.3 }") as gateway:
        gateway.origin.default = hang
        assert (await gateway.ask("GET / HTTP/1.1")).status == 504
    assert not faults


@pytest.mark.parametrize("code", [None, errno.EMFILE, errno.ENFILE])
async def test_a_worker_without_descriptors_blames_no_origin(
    code: int | None, forwarding: Forwarding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it keeps the last ones back or the system has none: the request is refused, and nothing is ejected."""

    async def fails(*_: object) -> None:
        assert code is not None
        raise OSError(code, os.strerror(code))

    if code is None:
        monkeypatch.setattr(Descriptors, "allow_origin", lambda _: False)
    else:
        monkeypatch.setattr(Connections, "_connect", fails)
    reported: list[object] = []
    monkeypatch.setattr(Outcomes, "report", lambda *what: reported.append(what))
    async with forwarding(pool="eject = { fails = 1 }") as gateway:
        got, _ = await refusal(gateway)
        assert (got.status, got.error, got.all("retry-after")) == (503, "proxy_internal_error", ["5"])
        assert got.detail in (
            "no connection to an origin of origins: too many open files here",
            "no connection to an origin of origins: too many open files in system here",
        )
        assert (reported, gateway.origin.asked) == ([], [])


@pytest.mark.parametrize(("behaviour", "status", "error"), FAILURES.values(), ids=FAILURES)
async def test_a_failure_of_the_origin_is_named(
    behaviour: Behaviour, status: int, error: str, forwarding: Forwarding
) -> None:
    async with forwarding("timeouts = { answer = 0.1 }\nretries = 0") as gateway:
        gateway.origin.default = behaviour
        got, record = await refusal(gateway)
        assert (got.status, got.error) == (status, error)
        assert (record["action"], record["route"], record["pool"]) == ("forward", "/*", "origins")
        assert (record["origin"], record["tries"], record["level"]) == (gateway.origin.name, 1, "error")


async def test_an_origin_that_refuses_connections_is_503(forwarding: Forwarding) -> None:
    with socket.socket() as held:  # which does not listen, and keeps others from the port
        held.bind(("127.0.0.1", 0))
        async with forwarding(hosts=f'"127.0.0.1:{held.getsockname()[1]}" = 1') as gateway:
            got, _ = await refusal(gateway)
            assert (got.status, got.error) == (503, "connection_refused")
            assert int(got.one("Retry-After")) > 0


async def test_a_name_that_is_not_resolved_is_503(forwarding: Forwarding) -> None:
    async with forwarding(hosts='"nowhere.invalid" = 1') as gateway:
        got, _ = await refusal(gateway)
        assert (got.status, got.error) == (503, "dns_error")
        assert got.has("Retry-After")


async def test_an_origin_without_tls_is_503(forwarding: Forwarding) -> None:
    async with forwarding(pool='scheme = "https"') as gateway:
        gateway.origin.greeting = answer(b"no TLS", status="400 Bad Request")
        got, _ = await refusal(gateway)
        assert got.status == 503
        assert str(got.error).startswith("tls_")
        assert got.has("Retry-After")
        assert gateway.origin.asked == []


@pytest.mark.parametrize("status", ["500 Oops", "502 Theirs", "503 Theirs", "504 Theirs", "404 No", "299 Odd"])
@pytest.mark.parametrize("body", [b"", b"<h1>theirs</h1>"], ids=["empty", "with a body"])
async def test_an_origins_own_answer_passes_untouched(status: str, body: bytes, forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        gateway.origin.default = says(answer(body, "Content-Type: text/html", status=status))
        got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.body) == (int(status[:3]), body)
        assert (got.all("content-type"), got.error) == (["text/html"], None)
        record = await gateway.record()
        assert (record["status"], record["origin_status"]) == (got.status, got.status)


async def test_a_status_of_no_class_passes_too(own: Forwarding) -> None:
    async with own() as gateway:
        gateway.origin.default = says(answer(b"theirs", status="999 Odd"))
        got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.body) == (999, b"theirs")


async def test_no_route_is_404(forwarding: Forwarding) -> None:
    async with forwarding(conditions='path_prefix = "/api"') as gateway:
        got = await gateway.ask("GET /apix HTTP/1.1")
        assert (got.status, got.error) == (404, None)
        assert got.detail
        record = await gateway.record()
        assert (record["action"], record["route"], record["pool"]) == ("refuse", None, None)
        assert gateway.origin.asked == []


async def test_a_method_that_no_route_takes_is_405(forwarding: Forwarding) -> None:
    async with forwarding('methods = ["GET", "POST"]') as gateway:
        client = await gateway.client()
        got = await client.ask("DELETE /x HTTP/1.1")
        assert got.status == 405
        assert {method.strip() for method in got.one("Allow").split(",")} == {"GET", "HEAD", "POST"}
        assert gateway.origin.asked == []
        assert (await client.ask("HEAD /x HTTP/1.1")).status == 200


async def test_a_client_keeps_its_connection_after_a_failure(forwarding: Forwarding) -> None:
    async with forwarding("retries = 0") as gateway:
        gateway.origin.on("/bad", close_at_once)
        client = await gateway.client()
        for _ in range(2):
            assert (await client.ask("GET /bad HTTP/1.1")).status == 502
            assert (await client.ask("GET /good HTTP/1.1")).body == b"ok"


async def test_a_failure_is_answered_to_head_without_a_body(forwarding: Forwarding) -> None:
    async with forwarding("retries = 0") as gateway:
        gateway.origin.on("/bad", close_at_once)
        client = await gateway.client()
        got = await client.ask("HEAD /bad HTTP/1.1")
        assert (got.status, got.body) == (502, b"")
        assert (await client.ask("GET /good HTTP/1.1")).body == b"ok"


async def test_a_browser_gets_a_page_in_place_of_an_origins_answer(forwarding: Forwarding) -> None:
    async with forwarding(hosts='"127.0.0.1:1" = 1') as gateway:
        got = await gateway.ask("GET / HTTP/1.1", "Accept: text/html, */*;q=0.8")
        assert (got.status, got.one("Content-Type"), got.one("Retry-After")) == (503, "text/html; charset=utf-8", "5")
        assert (await gateway.ask("GET / HTTP/1.1")).error == "connection_refused"
