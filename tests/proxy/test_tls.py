"""Origins over TLS: what has to be right of a certificate, and what goes through."""

import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from support.gateway import Forwarding, Gateway
from support.origin import echo, started

from redirect.core.authority import Authority
from redirect.core.discovery import Discover
from redirect.core.pools import Origin

SECURE = 'scheme = "https"'
LARGE = bytes(range(256)) * 4096


def have_found(gateway: Gateway, port: int) -> None:
    """Has the pool the address that DNS found for localhost."""
    found = Origin("127.0.0.1", Authority("127.0.0.1", port), 1)
    pool = gateway.handler.service.config.pools["origins"]
    gateway.use(replace(pool, discover=Discover("localhost", port=port), origins=(found,)))


@pytest.mark.parametrize(("route", "host"), [("", "localhost:{}"), ("pass_host = true", "asked.example")])
async def test_the_certificate_is_that_of_the_origin(
    forwarding: Forwarding, trusted: ssl.SSLContext, route: str, host: str
) -> None:
    """Whatever `Host` has; and one connection serves several requests."""
    async with started(tls=trusted) as origin:
        hosts = f'"localhost:{origin.port}" = 1'
        async with forwarding(route, pool=SECURE, origins=0, hosts=hosts) as gateway:
            assert [(await gateway.ask("GET /a HTTP/1.1")).status for _ in range(3)] == [200] * 3
        assert {asked.one("host") for asked in origin.asked} == {host.format(origin.port)}
        assert len(origin.peers) == 1


async def test_bodies_go_through_both_ways(forwarding: Forwarding, trusted: ssl.SSLContext) -> None:
    async with (
        started(echo, trusted) as origin,
        forwarding(pool=SECURE, origins=0, hosts=f'"localhost:{origin.port}" = 1') as gateway,
    ):
        got = await gateway.ask("POST / HTTP/1.1", f"Content-Length: {len(LARGE)}", body=LARGE)
        assert got.body == LARGE


async def test_a_certificate_of_another_name_is_refused(forwarding: Forwarding, trusted: ssl.SSLContext) -> None:
    """Nothing of the request is sent there."""
    async with started(tls=trusted) as origin:
        async with forwarding(pool=SECURE, origins=0, hosts=f'"127.0.0.1:{origin.port}" = 1') as gateway:
            got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.error) == (503, "tls_certificate_error")
        assert "IP address mismatch" in got.detail
        assert not origin.asked


async def test_a_certificate_that_is_not_trusted_is_refused(
    forwarding: Forwarding, trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "none.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    async with started(tls=trusted) as origin:
        async with forwarding(pool=SECURE, origins=0, hosts=f'"localhost:{origin.port}" = 1') as gateway:
            got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.error) == (503, "tls_certificate_error")
        assert "self-signed certificate" in got.detail


async def test_an_origin_that_does_not_speak_tls_is_told_from_one_with_a_wrong_certificate(
    forwarding: Forwarding, trusted: ssl.SSLContext
) -> None:
    async with started() as origin:
        origin.greeting = b"HTTP/1.1 400 Bad Request\r\n\r\n"
        async with forwarding(pool=SECURE, origins=0, hosts=f'"localhost:{origin.port}" = 1') as gateway:
            got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.error) == (503, "tls_protocol_error")


async def test_an_address_that_dns_found_has_the_certificate_of_the_name(
    forwarding: Forwarding, trusted: ssl.SSLContext
) -> None:
    """The name is in `Host` as well."""
    async with started(tls=trusted) as origin:
        async with forwarding(pool=SECURE) as gateway:
            have_found(gateway, origin.port)
            assert (await gateway.ask("GET / HTTP/1.1")).status == 200
        assert origin.asked[0].one("host") == f"localhost:{origin.port}"
