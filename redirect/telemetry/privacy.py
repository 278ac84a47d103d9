"""What the access log leaves out of what clients send, for those who must not keep what they need not.

The rule: a record is changed before it becomes a line, so nothing else knows. Where all is kept, nothing of this runs.
Query strings are those of targets, Locations and referers; an address is that of the client.
"""

from functools import lru_cache
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Literal

from redirect.telemetry.access_log import LineFormatter
from redirect.telemetry.record import Record

KeptQuery = Literal["keep", "mask", "drop"]
KeptClientIp = Literal["keep", "truncate", "drop"]

# Bits of an address that are left: of a network, and not of a household.
IPV4_BITS, IPV6_BITS = 24, 48

MASK = "*"


def formatter(query: KeptQuery, client_ip: KeptClientIp) -> LineFormatter:
    return LineFormatter() if query == client_ip == "keep" else _PrivateFormatter(query, client_ip)


class _PrivateFormatter(LineFormatter):
    def __init__(self, query: KeptQuery, client_ip: KeptClientIp) -> None:
        super().__init__()
        self._kept_query = query
        self._kept_client_ip = client_ip

    def format(self, records: list[Record]) -> bytes:
        return super().format([self._private(record) for record in records])

    def _private(self, record: Record) -> Record:
        decision, (pool, method, host, client_ip, agent, referer, trace), request_id, target, *others = record
        client_ip = shortened(client_ip, self._kept_client_ip)
        referer = None if referer is None else self._url(referer)
        head = pool, method, host, client_ip, agent, referer, trace
        return (decision, head, request_id, self._url(target), *others)  # type: ignore[return-value]

    def _url(self, url: str) -> str:
        path, mark, query = url.partition("?")
        if not mark or self._kept_query == "keep":
            return url
        return path if self._kept_query == "drop" else f"{path}?{masked(query)}"


def masked(query: str) -> str:
    """The query with a mask in place of each value, and of parameters that have no name."""
    return "&".join([_masked(parameter) for parameter in query.split("&")])


def _masked(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    if not equals:
        return parameter and MASK
    return f"{name}={value and MASK}"


@lru_cache(maxsize=1024)
def shortened(address: str | None, kept: KeptClientIp) -> str | None:
    if address is None or kept == "keep":
        return address
    if kept == "drop":
        return None
    try:
        bits = IPV4_BITS if isinstance(ip_address(address), IPv4Address) else IPV6_BITS
        return str(ip_network(f"{address}/{bits}", strict=False).network_address)
    except ValueError:  # no address, from another server
        return None
