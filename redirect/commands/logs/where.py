"""Which records are meant: a value, the same whether a record is met as bytes or as an object.

The rule: a filter compares with what the log holds, to the letter. The log's times are RFC 3339, UTC,
with milliseconds, so text compares as time does; its paths are the bytes that came, as latin-1.
"""

import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

_AGO = re.compile(r"([0-9]+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_STATUS = re.compile(r"[1-5](?:[0-9][0-9]|xx)")


@dataclass(frozen=True, slots=True)
class Where:
    """A record is meant if all that is not None holds. `statuses` are like 422 and 4xx, any of which will do."""

    pool: str | None = None
    origin: str | None = None
    statuses: tuple[str, ...] | None = None
    since: str | None = None
    path_prefix: str | None = None

    def takes(self, record: dict[str, Any]) -> bool:
        """Whether `record` is meant."""
        return (
            (self.pool is None or record.get("pool") == self.pool)
            and (self.origin is None or record.get("origin") == self.origin)
            and (self.statuses is None or any(_is(record["status"], status) for status in self.statuses))
            and (self.since is None or record["time"] >= self.since)
            and (self.path_prefix is None or (record.get("path") or "").startswith(_raw(self.path_prefix)))
        )

    def tokens(self) -> dict[str, bytes]:
        """Expressions for what is written behind the keys of a record that is meant, if `since` is left aside."""
        found: dict[str, bytes] = {}
        if self.pool is not None:
            found["pool"] = re.escape(_json(self.pool))
        if self.origin is not None:
            found["origin"] = re.escape(_json(self.origin))
        if self.statuses is not None:
            found["status"] = b"(?:%s)" % "|".join(self.statuses).replace("x", "[0-9]").encode()
        if self.path_prefix:  # an empty one is a prefix of no path at all, too
            begin = re.escape(_json(_raw(self.path_prefix))[:-1])
            found["path"] = begin + rb'[^"]*+(?:"(?!,"query":)[^"]*+)*+"'
        return found


EVERYTHING = Where()


def since(text: str, now: datetime) -> str:
    """The time that 90s, 15m, 1h or 2d before `now`, or a date or a time of RFC 3339 mean, as the log writes it.

    A time that does not say where is UTC. Raises ValueError.
    """
    try:
        ago = _AGO.fullmatch(text)
        if ago:
            time = now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            time = datetime.fromisoformat(text)
            time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is neither a time ago, such as 90s, 15m, 1h or 2d, "
            "nor a date or a time, such as 2026-11-20 or 2026-11-20T19:43:07Z"
        ) from None
    return f"{time.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def statuses(text: str) -> tuple[str, ...]:
    """The statuses and classes of statuses that `text` lists. Raises ValueError."""
    parts = tuple(text.split(","))
    if not all(map(_STATUS.fullmatch, parts)):
        raise ValueError(f"{text!r} is no status, such as 422, no class, such as 4xx, and no list of them: 302,4xx")
    return parts


def _is(status: int, wanted: str) -> bool:
    return str(status) == wanted or f"{status // 100}xx" == wanted


def _json(text: str) -> bytes:
    return json.dumps(text).encode()


def _raw(path: str) -> str:
    return os.fsencode(path).decode("latin-1")
