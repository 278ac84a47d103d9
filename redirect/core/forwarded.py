"""`X-Forwarded-Proto` and `X-Forwarded-For`: the scheme and the client's address behind trusted proxies.

The rule: the header fields count only if the peer is trusted, and only where they are valid. The scheme is http or
https, else the connection's own. X-Forwarded-For is read from the right, where the nearest proxy wrote: past addresses
of trusted proxies, to the first that is not one. Reading stops at an entry that is no address.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from redirect.core.authority import DEFAULT_PORTS

_ADDRESS = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]*)?|([0-9.]+)(?::[0-9]*)?|([0-9A-Fa-f:.]+)")

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}").fullmatch
_MAX_IPV6_CHARACTERS = 39


class TrustedProxies:
    """The peers that FORWARDED_ALLOW_IPS lists: addresses and CIDR ranges, separated by commas.

    `*` trusts every peer, and then only the last address of X-Forwarded-For: the peer may not have checked those
    before it. Raises ValueError, naming the entry, for anything else.
    """

    def __init__(self, text: str) -> None:
        entries = [entry.strip() for entry in text.split(",") if entry.strip()]
        self._trusts_all = entries == ["*"]
        self._networks = () if self._trusts_all else tuple(_network(entry) for entry in entries)
        self._is_listed = lru_cache(maxsize=4096)(self._find)

    def trusts(self, peer: str | None) -> bool:
        return self._trusts_all or (peer is not None and self._is_listed(peer))

    def resolve(
        self, peer: str | None, scheme: str, proto: str | None, forwarded_for: str | None
    ) -> tuple[str, str | None]:
        """The scheme and the client's address, given those of the connection and the two fields' values."""
        if (proto is None and forwarded_for is None) or not self.trusts(peer):
            return scheme, peer
        if proto in DEFAULT_PORTS:
            scheme = proto
        elif proto is not None and (named := proto.strip().lower()) in DEFAULT_PORTS:
            scheme = named
        if forwarded_for is None:
            return scheme, peer
        # One address is the client's, listed or not: this is what most proxies send.
        return scheme, forwarded_for if _is_canonical(forwarded_for) else self._client(peer, forwarded_for)

    def _client(self, nearest: str | None, forwarded_for: str) -> str | None:
        for entry in reversed(forwarded_for.split(",")):
            address = _address(entry.strip())
            if address is None:
                break
            nearest = str(address)
            if not self._is_listed(nearest):
                break
        return nearest

    def _find(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._networks)


def _is_canonical(text: str) -> bool:
    """Whether `text` is one address as `ipaddress` spells it."""
    return _IPV4(text) is not None or (len(text) <= _MAX_IPV6_CHARACTERS and _is_canonical_ipv6(text))


@lru_cache(maxsize=16_384)
def _is_canonical_ipv6(text: str) -> bool:
    return ":" in text and str(_address(text)) == text


def _network(entry: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(entry)
    except ValueError as error:
        raise ValueError(f"{entry!r} is no address or CIDR range ({error})") from None
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
