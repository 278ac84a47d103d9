"""`X-Forwarded-Proto`, `-For` and `-Host`: the scheme, the client and the host asked for behind trusted proxies.

The rule: the header fields count only if the peer is trusted, and only where they are valid. Each proxy writes at the
right end, the nearest last, so a list is read from the right: X-Forwarded-For past addresses of trusted proxies, to the
first that is not one; the other fields as far as trusted proxies wrote them. Reading stops at what is not valid, and
where nothing counts, the connection's own value does, or Host.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import AF_INET, inet_pton

from redirect.core.authority import DEFAULT_PORTS, parse_raw

_ADDRESS = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]*)?|([0-9.]+)(?::[0-9]*)?|([0-9A-Fa-f:.]+)")

_MAX_IPV6_CHARACTERS = 39


# What a proxy may name: some do so by the scheme of a WebSocket.
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


class Problems:
    """Is told of fields that do not count; does nothing, unless a subclass does."""

    def untrusted(self, peer: str | None) -> None: ...

    def malformed(self, peer: str | None, field: str, value: str) -> None: ...


class TrustedProxies:
    """The peers that FORWARDED_ALLOW_IPS lists: addresses and CIDR ranges, separated by commas, and `unix:` for those
    of a unix socket, which have no address.

    `*` trusts every peer, and then only the last entry of a list: the peer may not have checked those before it.
    Raises ValueError, naming the entry, for anything else.
    """

    def __init__(self, text: str) -> None:
        self.problems = Problems()
        entries = [entry.strip() for entry in text.split(",") if entry.strip()]
        self._trusts_all = entries == ["*"]
        self._trusts_unix = "unix:" in entries
        networks = [entry for entry in entries if entry != "unix:"]
        self._networks = () if self._trusts_all else tuple(_network(entry) for entry in networks)
        self._is_listed = lru_cache(maxsize=4096)(self._find)

    def trusts(self, peer: str | None) -> bool:
        return self._trusts_all or self._is_listed(peer)

    def resolve(
        self, peer: str | None, scheme: str, proto: str | None, forwarded_for: str | None
    ) -> tuple[str, str | None]:
        """The scheme and the client's address, given those of the connection and the two fields' values."""
        if not (self._trusts_all or self._is_listed(peer)):  # without the call, at each request behind a proxy
            self.problems.untrusted(peer)
            return scheme, peer
        if proto is None or proto in DEFAULT_PORTS:
            # One address is the client's, listed or not: this is what most proxies send.
            if forwarded_for is None or _is_canonical(forwarded_for):
                return proto or scheme, forwarded_for or peer
            return proto or scheme, self._way(peer, forwarded_for)[0]
        client, hops = self._way(peer, forwarded_for)
        return self._scheme(peer, scheme, proto, hops), client

    def host(self, peer: str | None, forwarded_for: str | None, forwarded_host: str) -> str | None:
        """The host that was asked for, as X-Forwarded-Host says; None if Host counts. What is untrusted was told."""
        found = None
        if self.trusts(peer):
            for entry in reversed(_entries(forwarded_host)[-self._way(peer, forwarded_for)[1] :]):
                try:
                    parse_raw(entry)
                except ValueError:
                    self.problems.malformed(peer, "X-Forwarded-Host", forwarded_host)
                    break
                found = entry
        return found

    def _way(self, peer: str | None, forwarded_for: str | None) -> tuple[str | None, int]:
        """The client's address, and how many trusted proxies the request came through."""
        nearest, hops = peer, 1
        for entry in reversed(_entries(forwarded_for)):
            address = _address(entry)
            if address is None:
                if entry != "unknown" and not entry.startswith("_"):  # as a proxy says that it does not tell
                    self.problems.malformed(peer, "X-Forwarded-For", forwarded_for or "")
                break
            nearest = str(address)
            if not self._is_listed(nearest):
                break
            hops += 1
        return nearest, hops

    def _scheme(self, peer: str | None, scheme: str, proto: str, hops: int) -> str:
        for entry in reversed(_entries(proto)[-hops:]):
            named = _SCHEMES.get(entry.lower())
            if named is None:
                self.problems.malformed(peer, "X-Forwarded-Proto", proto)
                break
            scheme = named
        return scheme

    def _find(self, text: str | None) -> bool:
        if text is None:
            return self._trusts_unix
        address = _address(text)
        return address is not None and any(address in network for network in self._networks)


def _entries(value: str | None) -> list[str]:
    """Without the blanks around them alone: a character is a byte, and UTF-8 has some that are spaces in Unicode."""
    return [entry.strip(" \t") for entry in value.split(",")] if value and value.strip(" \t") else []


def _is_canonical(text: str) -> bool:
    """Whether `text` is one address as `ipaddress` spells it."""
    if ":" in text:
        return len(text) <= _MAX_IPV6_CHARACTERS and _is_canonical_ipv6(text)
    try:
        inet_pton(AF_INET, text)  # a third of the time of a regular expression, and as strict
    except (OSError, ValueError):
        return False
    return True


@lru_cache(maxsize=16_384)
def _is_canonical_ipv6(text: str) -> bool:
    return str(_address(text)) == text


def _network(entry: str) -> IPv4Network | IPv6Network:
    if entry == "*":
        raise ValueError("'*' trusts every peer, and stands alone")
    try:
        network = ip_network(entry, strict=False)
    except ValueError as error:
        raise ValueError(f"{entry!r} is no address or CIDR range, nor unix: or * ({error})") from None
    if ip_address(entry.partition("/")[0]) != network.network_address:
        raise ValueError(f"{entry!r} is an address within {str(network)!r}; write that, or the address alone")
    if isinstance(network, IPv6Network) and (mapped := network.network_address.ipv4_mapped) and network.prefixlen >= 96:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address that `text` spells, with or without a port; None if it spells none."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return None
    bracketed, dotted, bare = match.groups()
    try:
        address = IPv6Address(bracketed) if bracketed else ip_address(dotted or bare)
    except ValueError:
        return None
    # A dual-stack socket shows IPv4 peers as ::ffff:a.b.c.d.
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
