"""DNS as a source of origins: the addresses of a name.

The rule: a name that does not exist, or has no address, has no origins. Where DNS itself fails, what was found last
stays, and it is known since when. Names are asked for every two seconds, each on its own, so that one that is slow
holds no other up.

An origin is an address, IPv4 alone where the name has both: the two would be one host, found twice. In which order DNS
has them does not matter.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from time import monotonic, time

from redirect.core.authority import Authority
from redirect.core.discovery import Discover, Found, Member, Trouble

ASK_SECONDS = 2.0

# Seconds until a lookup counts as failed. It goes on, and a later one waits for the same answer.
LOOKUP_SECONDS = 5.0

# There is no such name, or it has no address.
_NONE = {
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)
}  # fmt: skip

_logger = logging.getLogger("gunicorn.error")


class DnsProvider:
    """Asks the event loop. `changed` is called when `found`, which is by pool, or a trouble differs."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.found: dict[str, Found] = {}
        self._changed = changed
        self._wanted: Mapping[str, Discover] = {}
        self._troubles: dict[str, Trouble] = {}  # by name
        self._lookups: dict[str, asyncio.Task[None]] = {}
        self._is_due = asyncio.Event()

    def use(self, wanted: Mapping[str, Discover]) -> None:
        """Finds the origins of these pools from now on."""
        self.found = {pool: found for pool, found in self.found.items() if self._wanted[pool] == wanted.get(pool)}
        self._wanted = wanted
        self._troubles = {name: trouble for name, trouble in self._troubles.items() if name in self._names()}
        self._is_due.set()

    def trouble_of(self, pool: str) -> Trouble | None:
        return self._troubles.get(self._wanted[pool].name or "")

    def _names(self) -> set[str]:
        return {discover.name for discover in self._wanted.values() if discover.name is not None}

    async def run(self) -> None:
        while True:
            self._is_due.clear()
            for name in self._names() - self._lookups.keys():
                self._lookups[name] = asyncio.create_task(self._ask(name))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_due.wait(), ASK_SECONDS)

    async def look(self) -> None:
        """Asks for each name once."""
        await asyncio.gather(*map(self._ask, self._names()))

    async def _ask(self, name: str) -> None:
        try:
            addresses = await asyncio.wait_for(_addresses(name), LOOKUP_SECONDS)
        except TimeoutError:
            self._note_trouble(name, f"no answer within {LOOKUP_SECONDS:g} s")
        except OSError as error:
            self._note_trouble(name, error.strerror or str(error))
        except Exception:  # a fault of this program
            _logger.exception("%s was not looked up", name)
            self._note_trouble(name, "the lookup met a fault of this service; its log tells more")
        else:
            self._note(name, addresses)
        finally:
            self._lookups.pop(name, None)

    def _note(self, name: str, addresses: list[str]) -> None:
        trouble = self._troubles.pop(name, None)
        if trouble is not None:
            _logger.info("DNS can be asked for %s again, after %.1f s", name, monotonic() - trouble.since_monotonic)
        before = self.found
        asking = {pool: discover for pool, discover in self._wanted.items() if discover.name == name}
        self.found = before | {pool: _found(name, addresses, each.port or 0) for pool, each in asking.items()}
        if trouble or self.found != before:
            self._changed()

    def _note_trouble(self, name: str, reason: str) -> None:
        if name not in self._names():
            return
        before = self._troubles.get(name)
        self._troubles[name] = before._replace(reason=reason) if before else Trouble(time(), reason, monotonic())
        if before is None:
            _logger.warning("DNS cannot be asked for %s: %s", name, reason)
            self._changed()


async def _addresses(name: str) -> list[str]:
    """Those of the name, in their order as numbers; none if it has none. Raises OSError. Each family is asked for by
    itself: an answer for one would hide that the other cannot be had."""
    return await _of_family(name, socket.AF_INET) or await _of_family(name, socket.AF_INET6)


async def _of_family(name: str, family: socket.AddressFamily) -> list[str]:
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(name, None, family=family, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _NONE:
            return []
        raise
    # An address with a zone has a meaning on one link only.
    found = {str(address[0]) for *_, address in answers if "%" not in str(address[0])}
    return sorted(found, key=ip_address)


def _found(name: str, addresses: list[str], port: int) -> Found:
    hosts = [f"[{address}]" if ":" in address else address for address in addresses]
    members = tuple([Member(host, Authority(host, port), 1) for host in hosts])
    return Found(members, (), None if members else f"DNS has no address of {name}")
