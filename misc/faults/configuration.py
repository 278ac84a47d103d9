"""The configuration as a fault: a file that is replaced all the time, and one that is bad.

The rule: whatever is done to the file, the pools keep their origins, so that the same answers stay good; what changes
are the weights, and with them the turns.
"""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from admin import Admin
from fault import FaultError, Injected, until
from traffic import POOLS

from redirect.config.loader import content_hash

PER_SECOND = 20
SECONDS = 5.0  # of replacing it
BAD_SECONDS = 1.0  # of leaving it bad

GOOD = POOLS.read_bytes()
BAD: dict[str, bytes | None] = {
    "no TOML": b"[pool-a\n",
    "a weight below 0": GOOD.replace(b" = 5", b" = -5", 1),
    "empty": b"",
    "half of it": GOOD[: len(GOOD) // 2],
    "none": None,
}


class PoolsFile(NamedTuple):
    """The TOML of a site, replaced as a whole, as editors and deployments do it. `good` is what it begins with."""

    path: Path
    good: bytes = GOOD

    def put(self, content: bytes | None) -> None:
        """Makes the file hold that; None removes it."""
        if content is None:
            self.path.unlink()
            return
        aside = self.path.with_suffix(".aside")
        aside.write_bytes(content)
        aside.replace(self.path)


class Configured(Protocol):
    """A site whose configuration can be changed."""

    @property
    def pools(self) -> PoolsFile: ...

    def admins(self) -> Sequence[Admin]:
        """Of all instances that there are now."""
        ...


def version(number: int, good: bytes = GOOD) -> bytes:
    """Another configuration for each number, with the same origins."""

    def weight(found: re.Match[bytes]) -> bytes:
        return b'" = %d' % (1 + (int(found[1]) + number) % 50)

    return re.sub(rb'" = (\d+)', weight, good) + b"# version %d\n" % number


def replace_all_the_time(site: Configured) -> Injected:
    """Replaces the file by other ones that are good. The last one has to be in force everywhere in the end, and others
    before it."""
    admins, seen = site.admins(), set[str]()
    begun = time.monotonic()
    written = 0
    while written < SECONDS * PER_SECOND:
        written += 1
        content = version(written, site.pools.good)
        site.pools.put(content)
        if written % PER_SECOND == 0:
            seen |= admins[0].configurations()
        time.sleep(max(0.0, begun + written / PER_SECOND - time.monotonic()))
    replaced = time.monotonic()
    until(lambda: _in_force(admins), {content_hash(content)}.__eq__, "the last configuration is in force everywhere")
    if len(seen) < 3:
        raise FaultError(f"only {len(seen)} configurations were in force while the file was replaced")
    return Injected(time.monotonic() - replaced)


def break_and_mend(site: Configured) -> Injected:
    """Puts bad files in the place of the good one, each for a while, and then the good one again."""
    admins = site.admins()
    before = _in_force(admins)
    for name, content in BAD.items():
        site.pools.put(content)
        until(lambda: _verdicts(admins), {False}.__eq__, f"the bad configuration ({name}) is told")
        time.sleep(BAD_SECONDS)
        if (now := _in_force(admins)) != before:
            raise FaultError(f"a bad configuration ({name}) is in force: {now} instead of {before}")
    site.pools.put(GOOD)
    mended = time.monotonic()
    until(lambda: _verdicts(admins), {True}.__eq__, "the good configuration is told")
    until(lambda: _in_force(admins), {content_hash(GOOD)}.__eq__, "the good configuration is in force again")
    return Injected(time.monotonic() - mended)


def _in_force(admins: Sequence[Admin]) -> set[str]:
    return {found for admin in admins for found in admin.configurations()}


def _verdicts(admins: Sequence[Admin]) -> set[bool | None]:
    return {admin.is_last_reload_good() for admin in admins}
