"""DNS as a source of origins: the addresses of a name, and what stays while DNS cannot be asked."""

import asyncio
import logging
import re
import socket

import pytest

from redirect.control.dns_provider import DnsProvider
from redirect.control.prober import Loop
from redirect.core.authority import Authority
from redirect.core.discovery import Discover, Found, Member

A = Discover("a", port=80)


class Names:
    """A resolver: by name its addresses, or the error with which a lookup fails; for IPv6 alone with a 6 behind the
    name."""

    def __init__(self) -> None:
        self.of: dict[str, list[str] | int] = {}
        self.asked: list[str] = []
        self.hanging: dict[str, asyncio.Event] = {}  # names whose lookups wait

    async def getaddrinfo(self, host: str, port: None, *, family: int, type: int) -> list[object]:  # noqa: A002  as asyncio's
        is_6 = family == socket.AF_INET6
        if not is_6:
            self.asked.append(host)
        if host in self.hanging:
            await self.hanging[host].wait()
        found = self.of.get(f"{host}6", self.of[host]) if is_6 else self.of[host]
        if isinstance(found, int):
            raise socket.gaierror(found, "it failed")
        addresses = [address for address in found if (":" in address) == is_6]
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "there is none")
        return [(family, type, 6, "", (address, 0)) for address in addresses]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(Loop, "getaddrinfo", names.getaddrinfo)
    return names


@pytest.fixture
def changes() -> list[None]:
    """Grows with each call of `changed`."""
    return []


@pytest.fixture
def provider(changes: list[None]) -> DnsProvider:
    return DnsProvider(lambda: changes.append(None))


def found(*hosts: str, port: int = 80) -> Found:
    return Found(tuple(Member(host, Authority(host, port), 1) for host in hosts))


async def test_addresses_are_origins(names: Names, provider: DnsProvider, changes: list[None]) -> None:
    """In whatever order DNS has them; each pool has its own port."""
    names.of = {"a": ["192.0.2.10", "192.0.2.9"]}
    provider.use({"p": A, "q": Discover("a", port=81)})
    await provider.look()
    expected = {"p": found("192.0.2.9", "192.0.2.10"), "q": found("192.0.2.9", "192.0.2.10", port=81)}
    assert (provider.found, len(changes), names.asked) == (expected, 1, ["a"])
    names.of = {"a": ["192.0.2.9", "192.0.2.10"]}
    await provider.look()
    assert (provider.found, len(changes)) == (expected, 1)


async def test_ipv4_before_ipv6(names: Names, provider: DnsProvider) -> None:
    """Both of one host would be two origins. An address of one link only is none."""
    names.of = {"a": ["2001:db8::1", "192.0.2.1"], "b": ["2001:db8::1", "fe80::1%eth0"]}
    provider.use({"p": A, "q": Discover("b", port=80)})
    await provider.look()
    assert provider.found == {"p": found("192.0.2.1"), "q": found("[2001:db8::1]")}


@pytest.mark.parametrize("error", [socket.EAI_NONAME, socket.EAI_NODATA])
async def test_a_name_without_addresses_has_no_origins(error: int, names: Names, provider: DnsProvider) -> None:
    names.of = {"a": error}
    provider.use({"p": A})
    await provider.look()
    assert provider.found == {"p": Found((), (), "DNS has no address of a")}
    assert provider.trouble_of("p") is None


async def test_what_was_found_stays_while_dns_fails(names: Names, provider: DnsProvider, changes: list[None]) -> None:
    """And of the other names nothing is lost."""
    names.of = {"a": ["192.0.2.1"], "b": ["192.0.2.2"]}
    provider.use({"p": A, "q": Discover("b", port=80)})
    await provider.look()
    names.of = {"a": socket.EAI_AGAIN, "b": ["192.0.2.3"]}
    await provider.look()
    await provider.look()
    assert provider.found == {"p": found("192.0.2.1"), "q": found("192.0.2.3")}
    trouble = provider.trouble_of("p")
    assert trouble is not None
    assert (trouble.reason, provider.trouble_of("q")) == ("it failed", None)
    assert len(changes) == 2 + 2  # one for each name at first, then one for the trouble and one for the other
    names.of["a"] = ["192.0.2.1"]
    await provider.look()
    assert (provider.trouble_of("p"), len(changes)) == (None, 5)


@pytest.mark.parametrize(
    ("ipv4", "ipv6"), [(socket.EAI_AGAIN, ["2001:db8::1"]), (socket.EAI_NONAME, socket.EAI_AGAIN)], ids=["IPv4", "IPv6"]
)
async def test_half_an_answer_is_none(ipv4: int, ipv6: list[str] | int, names: Names, provider: DnsProvider) -> None:
    """Where one family cannot be asked for, it is not known what the name has."""
    names.of = {"a": ["192.0.2.1"]}
    provider.use({"p": A})
    await provider.look()
    names.of = {"a": ipv4, "a6": ipv6}
    await provider.look()
    assert provider.found == {"p": found("192.0.2.1")}
    assert provider.trouble_of("p") is not None


async def test_what_is_not_wanted_any_more_is_forgotten(names: Names, provider: DnsProvider) -> None:
    """A pool that asks for something else has nothing until that is known."""
    names.of = {"a": ["192.0.2.1"]}
    provider.use({"p": A, "q": A})
    await provider.look()
    provider.use({"p": A, "q": Discover("b", port=80)})
    assert provider.found == {"p": found("192.0.2.1")}


async def test_names_are_asked_for_again_and_at_once_if_they_are_new(
    monkeypatch: pytest.MonkeyPatch, names: Names, provider: DnsProvider, changes: list[None]
) -> None:
    """A lookup that takes long holds no other up, and is not begun twice."""
    monkeypatch.setattr("redirect.control.dns_provider.ASK_SECONDS", 0.001)
    hangs = names.hanging["slow"] = asyncio.Event()
    names.of = {"a": ["192.0.2.1"], "slow": ["192.0.2.2"]}
    provider.use({"q": Discover("slow", port=80)})
    running = asyncio.create_task(provider.run())
    while not names.asked:
        await asyncio.sleep(0)
    provider.use({"p": A, "q": Discover("slow", port=80)})
    while names.asked.count("a") < 3:
        await asyncio.sleep(0.001)
    assert (provider.found, names.asked.count("slow")) == ({"p": found("192.0.2.1")}, 1)
    hangs.set()
    while "q" not in provider.found:
        await asyncio.sleep(0.001)
    running.cancel()


async def test_a_lookup_that_does_not_end(monkeypatch: pytest.MonkeyPatch, names: Names, provider: DnsProvider) -> None:
    monkeypatch.setattr("redirect.control.dns_provider.LOOKUP_SECONDS", 0.01)
    names.hanging["a"] = asyncio.Event()
    provider.use({"p": A})
    await provider.look()
    trouble = provider.trouble_of("p")
    assert trouble is not None
    assert trouble.reason == "no answer within 0.01 s"


async def test_how_long_a_name_could_not_be_asked_for_is_told_whatever_the_wall_clock_says(
    monkeypatch: pytest.MonkeyPatch, names: Names, provider: DnsProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gunicorn.error")
    names.of = {"a": socket.EAI_AGAIN}
    provider.use({"p": A})
    await provider.look()
    monkeypatch.setattr("redirect.control.dns_provider.time", lambda: 0.0)  # it is set back
    names.of = {"a": ["192.0.2.1"]}
    await provider.look()
    assert re.fullmatch(r"DNS can be asked for a again, after \d\.\d s", caplog.messages[-1])
