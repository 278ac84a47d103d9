"""Lines: a block of the log, read into rows.

The rule: a line is read as what `json.loads` makes of it. But nearly every line has the one shape that
the access log writes, so a block is first read by one regular expression, which knows the order of the
keys and takes just the values that are asked for; ten times as fast. If that leaves a line of the
block over, the whole block is read as JSON.

That bytes tell the truth: in a line of JSON `,"pool":` is the key and nothing else. Its first quote is
bare, and within a string each quote has a backslash; so the quote begins or ends a string, and if it ended
one, what follows were no JSON. So a value ends where the next key is, whatever a client wrote into it. The same
holds for `{"time":"`, which therefore begins a line: one that has it twice is two, the first of which was torn.

    a record  an object with a time and a status
    a marker  says how many lines the service lost: an object with `lost`, without a status
    broken    anything else, but for blank lines and a last line that is still being written
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, NamedTuple

from redirect.commands.logs.where import Where

# In the order of a line, see `redirect.access_log`.
KEYS = (
    "time level pool_requested pool origin location status method host path query client_ip user_agent referer "
    "request_id duration_us instance worker config"
).split()
NUMBERS = ("status", "duration_us", "worker")

# Parts of the time that can be asked for: so many characters of it.
PERIODS = {"day": 10, "hour": 13, "minute": 16}

# What a row can hold, in the order in which it does. `line` is the line itself; times have no quotes.
_ORDER = ("line", "time", *PERIODS, *KEYS[1:])

_BEGIN = b'{"time":"'

# As many keys that nobody asked for are read one by one; of more the end is sought from the end of the line.
_FEW = 5

# What is skipped so: anything but the begin of another line. To look for `{` alone is faster, and mostly enough.
_NO_BRACE, _ANYTHING = rb"[^{]*", rb".*"

Row = tuple[bytes, ...]


class Found(NamedTuple):
    """What is in a block: rows; before which of them how many lines were lost; how many lines are broken."""

    rows: list[Row]
    lost: list[tuple[int, int]]
    broken: int


class Lines:
    """Reads what the records that are meant by `where` hold in `fields`, as it stands in the log.

    `fields` of the instance are those of a row, in its order.
    """

    def __init__(self, fields: Iterable[str], where: Where) -> None:
        self.fields = tuple(sorted(fields, key=_ORDER.index))
        self._where = where
        self._since = where.since.encode() if where.since else b""
        captured = {*self.fields, *(["time"] if self._since else [])}
        self._time = sorted(captured, key=_ORDER.index).index("time") if self._since else 0
        tokens = where.tokens()
        self._is_filtered = bool(tokens or self._since)
        # A line that is not meant is taken too, and yields an empty row.
        choices = [(captured, tokens), (set(), {})] if tokens else [(captured, {})]
        self._pattern, self._careful = [
            re.compile(b"|".join(_pattern(captured | tokens.keys(), *choice, skip) for choice in choices), re.MULTILINE)
            for skip in (_NO_BRACE, _ANYTHING)
        ]

    def read(self, block: bytes) -> Found:
        """What is in `block`: whole lines, but for the last one of a file."""
        cut = block.rfind(b"\n") + 1
        whole, torn = (block[:cut], block[cut:]) if cut < len(block) else (block, b"")
        count = whole.count(b"\n")
        rows: list[Row] = self._pattern.findall(whole)
        if len(rows) != count and whole.count(_BEGIN) == count:
            rows = self._careful.findall(whole)
        if len(rows) != count or not whole.isascii():
            return self._read_json([*whole.splitlines(keepends=True), torn])
        if self._is_filtered:
            rows = self._meant(rows)
        if torn:
            rows += self._read_json([torn]).rows
        return Found(rows, [], 0)

    def read_all(self, blocks: Iterable[bytes]) -> Found:
        """What is in all of the blocks."""
        rows: list[Row] = []
        lost: list[tuple[int, int]] = []
        broken = 0
        for block in blocks:
            found = self.read(block)
            lost += [(len(rows) + index, number) for index, number in found.lost]
            rows += found.rows
            broken += found.broken
        return Found(rows, lost, broken)

    def _meant(self, rows: list[Row]) -> list[Row]:
        """Without the rows that are empty, since their line is not meant, and those that are too old."""
        if not self._since:
            return [row for row in rows if row[0]]
        since, at = self._since, self._time
        if "time" in self.fields:
            return [row for row in rows if row[at] >= since]
        return [row[:at] + row[at + 1 :] for row in rows if row[at] >= since]

    def _read_json(self, lines: list[bytes]) -> Found:
        rows: list[Row] = []
        lost: list[tuple[int, int]] = []
        broken = 0
        for line in lines:
            record = _parsed(line)
            if "lost" in record and "status" not in record:
                if isinstance(record["lost"], int) and str(record.get("time", "")) >= (self._where.since or ""):
                    lost.append((len(rows), record["lost"]))
            elif isinstance(record.get("time"), str) and isinstance(record.get("status"), int):
                if self._where.takes(record):
                    rows.append((*self._tokens(line, record), b""))
            elif line.endswith(b"\n") and not line.isspace():
                broken += 1
        return Found(rows, lost, broken)

    def _tokens(self, line: bytes, record: dict[str, Any]) -> Iterator[bytes]:
        for field in self.fields:
            if field == "line":
                yield line if line.endswith(b"\n") else line + b"\n"
            elif field == "time" or field in PERIODS:
                yield json.dumps(record["time"][: PERIODS.get(field)])[1:-1].encode()
            else:
                yield json.dumps(record.get(field)).encode()


def value(field: str, token: bytes) -> Any:
    """What `token`, of a row, means; what no JSON is is itself, since the bytes between two keys are not looked at."""
    if field == "time" or field in PERIODS:
        return token.decode("ascii")
    try:
        return json.loads(token)
    except ValueError:
        return token.decode("ascii")


def _parsed(line: bytes) -> dict[str, Any]:
    """The object in the line; an empty one if there is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _pattern(keys: Set[str], captured: Set[str], tokens: Mapping[str, bytes], skip: bytes) -> bytes:
    """An expression for a line, which looks at `keys`; `tokens` say what must stand behind some of them.

    What is `captured` is a group; so that a row is a tuple always, there is an empty one behind.
    """
    parts = [rb'^\{"time":"', _time_pattern(captured)]
    last = 0
    for index, key in enumerate(KEYS[1:], 1):
        # The last key is always looked at: a line that has it is a record, and has come to its end.
        if key not in keys and key != KEYS[-1]:
            continue
        between = KEYS[last + 1 : index]
        parts += [_after(each, _token(each)) for each in between] if len(between) <= _FEW else [skip]
        parts.append(_after(key, _group(key, tokens.get(key) or _token(key), captured)))
        last = index
    line = b"".join(parts) + rb'(?:,"truncated":true)?\}\n'
    return _group("line", line, captured) + (b"()" if captured else b"")


def _after(key: str, pattern: bytes) -> bytes:
    return b',"%s":%s' % (key.encode(), pattern)


def _group(field: str, pattern: bytes, captured: Set[str]) -> bytes:
    return b"(%s)" % pattern if field in captured else pattern


def _time_pattern(captured: Set[str]) -> bytes:
    """The time and its quote; one of its parts can be captured."""
    part = next((period for period in PERIODS if period in captured), "day")
    begin = _group(part, rb'[^"\\]{%d}' % PERIODS[part], captured)
    return _group("time", begin + rb'[^"\\]*+', captured) + b'"'


def _token(key: str) -> bytes:
    """A value: a number, or text as far as the quote before the next key, or null."""
    if key in NUMBERS:
        return b"[0-9]++"
    if key == KEYS[-1]:
        return rb'(?:"[^"\\]*+"|null)'
    following = KEYS[KEYS.index(key) + 1].encode()
    return rb'(?:"[^"]*+(?:"(?!,"%s":)[^"]*+)*+"|null)' % following
