"""Answers for the bad day: what a route with `cache` answers where its origins do not.

The rule: whatever an origin answers passes, and nothing is answered from here in its place (there are no fresh hits).
Kept is what any client may have: a whole 200 to a GET without Authorization, that neither sets a cookie nor forbids it
(RFC 9111, section 3). Used is it only where a 502, 503 or 504 of ours would be the answer, and where the origin has not
forbidden what is stale (section 4.2.4).

Each worker has its own. What is kept and what is being gathered is limited in bytes; what was used or kept last stays.
"""

import re
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from math import inf
from time import monotonic, time
from typing import NamedTuple

from redirect.core.authority import Endpoint
from redirect.core.request import Request
from redirect.core.routes import Route
from redirect.proxy.fields import Field, values

MAX_ENTRIES = 1000
MAX_BYTES = 64 * 1024 * 1024
MAX_BODY_BYTES = 1024 * 1024

# Of all answers that are passed at this moment and may be kept.
MAX_GATHERED_BYTES = 16 * 1024 * 1024

# What an entry takes in memory beside its bytes, roughly.
_ENTRY_BYTES = 1024
_FIELD_BYTES = 150

# Requests whose answer is for one client, or that are more than a head.
_OF_ONE = frozenset((b"authorization", b"content-length", b"transfer-encoding", b"expect", b"upgrade"))
_FORBIDDEN = frozenset("no-store private no-cache must-revalidate proxy-revalidate".split())
_DIRECTIVE = re.compile(r'([^\s=,"]+)(?:=(?:"([^"]*)"|([^\s,"]*)))?')

# Of an origin's answers to GET those after which the one before is wrong.
_REPLACING = (200, 404, 410)
_SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")

# What the origin is asked by a route, as far as its answer depends on it.
_Asked = tuple[Hashable, str | None, str | None, bool, bool | None]


class Key(NamedTuple):
    asked: _Asked
    scheme: str  # a host with a port says nothing of it, and origins are told
    endpoint: Endpoint | None
    target: str
    accept_encoding: bytes | None


class Answer(NamedTuple):
    """What was kept of an answer. `age` is what it had when its request was read, at `since` by `monotonic`; `until` is
    the age up to which the origin allows it."""

    reason: bytes
    fields: tuple[Field, ...]
    body: bytes
    since: float
    age: int
    until: float

    def age_at(self, now: float) -> float:
        return self.age + now - self.since

    def stale_fields(self, now: float, error: str) -> list[Field]:
        """Those of the answer as it is used, with why: the name of RFC 9209, section 2.3."""
        cause = "no origin" if error == "destination_unavailable" else error.replace("_", " ")
        status = f'redirect; hit; detail="{cause}"'.encode()
        length = b"%d" % len(self.body)
        added = [(b"content-length", length), (b"age", b"%d" % self.age_at(now)), (b"cache-status", status)]
        return [*self.fields, *added]


def is_for_all(headers: Iterable[Field]) -> bool:
    """Whether the answer to a GET or HEAD with these fields may be another client's, too."""
    return not any(
        name.lower() in _OF_ONE or (name.lower() == b"cache-control" and "no-store" in _directives([value]))
        for name, value in headers
    )


def accepted_encoding(headers: Iterable[Field]) -> bytes | None:
    """Accept-Encoding, the same for each spelling of the same list; None where it is not said."""
    said = values(b"accept-encoding", headers)
    members = [b";".join(map(bytes.strip, member.split(b";"))) for member in b",".join(said).lower().split(b",")]
    return b",".join(filter(None, members)) if said else None


def allowed_age(status: int, fields: Sequence[Field]) -> float:
    """The age in seconds up to which the answer to a GET may be used; 0 if it must not be kept."""
    varies = {name.strip().lower() for name in b",".join(values(b"vary", fields)).split(b",")}
    directives = _directives(values(b"cache-control", fields))
    if status != 200 or values(b"set-cookie", fields) or not varies <= {b"accept-encoding", b""}:
        return 0
    if not _FORBIDDEN.isdisjoint(directives):
        return 0
    return _seconds(directives["s-maxage"]) if "s-maxage" in directives else inf


def is_usable(answer: Answer, now: float, stale_if_down: float) -> bool:
    return answer.age_at(now) <= min(stale_if_down, answer.until)


def _directives(values: Iterable[bytes]) -> dict[str, str]:
    """Those of Cache-Control; of two of one name the first."""
    found: dict[str, str] = {}
    for name, quoted, plain in _DIRECTIVE.findall(b",".join(values).decode("latin-1")):
        found.setdefault(name.lower(), quoted or plain)
    return found


def _seconds(text: str) -> int:
    return int(text[:10]) if text.isascii() and text.isdigit() else 0


def initial_age(fields: Sequence[Field]) -> int:
    """Seconds since an answer was made that came now: what it says, or its date (RFC 9111, section 4.2.3)."""
    date_said, age_said = ([*values(name, fields), b""][0].decode("latin-1") for name in (b"date", b"age"))
    try:
        date = parsedate_to_datetime(date_said)
        apparent = int(time() - (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):  # it has none
        apparent = 0
    return max(apparent, _seconds(age_said))


class Cache:
    """The answers that a worker keeps."""

    def __init__(self) -> None:
        self.gathered = 0  # bytes
        self._answers: OrderedDict[Key, Answer] = OrderedDict()
        self._bytes = 0
        self._asked: frozenset[_Asked] = frozenset()

    def use(self, routes: Iterable[Route]) -> None:
        """Drops the answers of routes that are gone, or ask for something else now."""
        self._asked = frozenset([_asked(route) for route in routes if route.cache is not None])
        for key in [key for key in self._answers if key.asked not in self._asked]:
            self.drop(key)

    def copy(self, route: Route, request: Request, headers: Sequence[Field]) -> "Copy | None":
        """What the cache has to do with a request; None if nothing."""
        if route.cache is None or (request.method in _SAFE and not is_for_all(headers)):
            return None
        head = request.head
        key = Key(_asked(route), head.scheme, head.endpoint, request.target, accepted_encoding(headers))
        return Copy(self, key, request.method, route.cache.stale_if_down)

    def find(self, key: Key) -> Answer | None:
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    def keep(self, key: Key, answer: Answer) -> None:
        self.drop(key)
        if key.asked not in self._asked:
            return
        self._answers[key] = answer
        self._bytes += _size(key, answer)
        while self._bytes > MAX_BYTES or len(self._answers) > MAX_ENTRIES:
            self.drop(next(iter(self._answers)))

    def drop(self, key: Key) -> None:
        answer = self._answers.pop(key, None)
        if answer is not None:
            self._bytes -= _size(key, answer)

    def drop_all_of(self, key: Key) -> None:
        """Whatever the encoding, and the route: one may be for GET, and another for PUT."""
        for each in [each for each in self._answers if each[1:-1] == key[1:-1]]:
            self.drop(each)


class Copy:
    """The cache's side of an exchange: the copy of the answer that passes, or the one that is used in its place."""

    __slots__ = ("_cache", "_head", "_key", "_method", "_pieces", "_since", "_size", "_stale_if_down")

    def __init__(self, cache: Cache, key: Key, method: str, stale_if_down: float) -> None:
        self._cache = cache
        self._key = key
        self._method = method
        self._stale_if_down = stale_if_down
        self._since = monotonic()
        self._head: Answer | None = None  # without its body, which is gathered
        self._pieces: list[bytes] = []
        self._size = 0

    def begin(self, status: int, reason: bytes, fields: Sequence[Field], length: int | None, *, has_end: bool) -> None:
        """The head of an answer passes; `has_end` says whether its end will be told from its being cut."""
        if self._method == "GET":
            until = allowed_age(status, fields)
            if until and has_end and (length or 0) < MAX_BODY_BYTES:
                kept = [field for field in fields if field[0].lower() not in (b"age", b"content-length")]
                self._head = Answer(reason, tuple(kept), b"", self._since, initial_age(fields), until)
            elif status in _REPLACING:
                self._cache.drop(self._key)
        elif self._method not in _SAFE and 200 <= status < 400:  # RFC 9111, section 4.4
            self._cache.drop_all_of(self._key)

    def add(self, data: bytes) -> None:
        if self._head is None:
            return
        self._pieces.append(data)
        self._size += len(data)
        self._cache.gathered += len(data)
        if self._size >= MAX_BODY_BYTES or self._cache.gathered > MAX_GATHERED_BYTES:
            self._cache.drop(self._key)  # it is older
            self.end()

    def keep(self, data: bytes) -> None:
        """The answer ends with `data`."""
        self.add(data)
        if self._head is not None:
            self._cache.keep(self._key, self._head._replace(body=b"".join(self._pieces)))
            self.end()

    def end(self) -> None:
        """Nothing more is gathered, for whatever reason."""
        self._cache.gathered -= self._size
        self._head, self._pieces, self._size = None, [], 0

    def stale(self, error: str) -> tuple[bytes, list[Field], bytes] | None:
        """Reason, fields and body to answer with where the origins failed with `error`."""
        if self._method not in ("GET", "HEAD"):
            return None
        answer, now = self._cache.find(self._key), monotonic()
        if answer is None or not is_usable(answer, now, self._stale_if_down):
            return None
        return answer.reason, answer.stale_fields(now, error), answer.body


@lru_cache(maxsize=1024)
def _asked(route: Route) -> _Asked:
    return route.key, route.forward_to, route.target, route.strip_prefix, route.pass_host


def _size(key: Key, answer: Answer) -> int:
    fields = sum([len(name) + len(value) + _FIELD_BYTES for name, value in answer.fields])
    return len(key.target) + len(key.accept_encoding or b"") + fields + len(answer.body) + _ENTRY_BYTES
