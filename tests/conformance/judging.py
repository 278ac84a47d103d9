"""Holds what became of a connection against what its bytes are by the RFC.

The rule: what is answered as a request is one, the next one, to the byte; what is no request is refused and ends the
connection. A request that is one is answered, but for what this service documents to refuse: `may_refuse`.
"""

import re
from typing import Any, NamedTuple

from support.wire import Answer

from conformance.recording import Asked
from conformance.strict import End, Message, Reading
from redirect.edge import limits

# How a route answers a request: its status, and whether it waits for the body.
ROUTES = {"redirect": 302, "respond": 200, "forward": 200}

REFUSALS = {400, 414, 431, 501, 505}

# The methods that the parser knows. CONNECT is one, and refused.
METHODS = (
    b"ACL BIND CHECKOUT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY OPTIONS "
    b"PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SUBSCRIBE TRACE UNBIND UNLINK UNLOCK "
    b"UNSUBSCRIBE"
).split()

_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]+)(.*)")
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]|\.*[A-Za-z0-9_~!$&'()*+;=-][A-Za-z0-9._~!$&'()*+;=-]*)(?::([0-9]{0,5}))?"
)
_DOTS = re.compile(rb"/(?:\.|%2e){1,2}(?:[/;?#]|$)", re.IGNORECASE)
_FRAMING = {b"content-length", b"transfer-encoding"}
_PROTECTED = {*_FRAMING, b"host", b"authorization", b"cookie", b"forwarded", b"via"}


class Seen(NamedTuple):
    """What became of a connection: the answers, whether it was ended, the access records, what the origin got."""

    answers: list[Answer]
    ended: bool
    records: list[dict[str, Any]]
    asked: Asked


def path_of(target: bytes) -> bytes:
    """What is left of a target where its authority is cut."""
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        return target
    return found[2] if found[2].startswith(b"/") else b"/" + found[2]


def may_refuse(message: Message, route: str) -> bool:
    absolute = _ABSOLUTE.fullmatch(message.target)
    hosts = [*message.all(b"host"), *([absolute[1]] if absolute else [])]
    line = len(message.method) + len(message.target) + len("  HTTP/1.1")
    head = sum(len(name) + len(value) + len(": \r\n") for name, value in message.fields)
    return (
        bool(message.oddities)
        or message.method not in METHODS
        or not (message.target.startswith(b"/") or absolute)
        or not all(map(_is_host, hosts))
        or [value.lower() for value in message.all(b"transfer-encoding")] not in ([], [b"chunked"])
        or line > limits.MAX_REQUEST_LINE_BYTES
        or head > limits.MAX_HEADER_BYTES
        or max(len(message.fields), len(message.trailers)) > limits.MAX_HEADER_FIELDS
        or not _FRAMING.isdisjoint(name.lower() for name, _ in message.trailers)
        or bool(_DOTS.search(path_of(message.target).partition(b"?")[0]))
        or (route == "forward" and not _PROTECTED.isdisjoint(message.options(b"connection")))
    )


def _is_host(value: bytes) -> bool:
    found = _HOST.fullmatch(value)
    return found is not None and len(value) <= 1024 and (not found[1] or 0 < int(found[1]) < 2**16)


def may_close(message: Message) -> bool:
    """Whether the connection may end with the answer though the request does not say so."""
    expects = b"100-continue" in b",".join(message.all(b"expect")).lower()
    upgrades = b"upgrade" in message.options(b"connection")
    trailers = {name.lower() for name, _ in message.trailers}
    ends = bool(trailers & {b"connection", b"proxy-connection"} or message.all(b"proxy-connection"))
    return message.is_last or expects or upgrades or ends or len(message.body) > limits.MAX_BODY_BYTES


class Judge:
    """Of one connection."""

    def __init__(self, route: str, reading: Reading, seen: Seen) -> None:
        self.route = route
        self.reading = reading
        self.seen = seen
        self.accepted: list[Message] = []
        self.faults = list(seen.asked.faults)

    def judge(self) -> list[str]:
        """What is wrong; nothing where all is as it should be."""
        is_closed = False
        for number, answer in enumerate(self.seen.answers):
            if is_closed:
                self.faults.append(f"status {answer.status} behind the last answer")
            is_closed = answer.headers.get("connection") == "close"
            self._judge_answer(number, answer, closes=is_closed)
        if not is_closed:
            missing = len(self.reading.messages) - len(self.seen.answers)
            if missing > 0 or (self.reading.end is End.INVALID and missing == 0):
                self.faults.append("no answer")
        if self.seen.ended != is_closed:
            self.faults.append("the connection ends without saying so" if self.seen.ended else "it does not end")
        self._judge_records()
        self._judge_origin()
        return self.faults

    def _judge_answer(self, number: int, answer: Answer, *, closes: bool) -> None:
        messages = self.reading.messages
        message = messages[number] if number < len(messages) else None
        begun = self.reading.begun if number == len(messages) else None
        is_asterisk = message is not None and (message.method, message.target) == (b"OPTIONS", b"*")
        if answer.status == (204 if is_asterisk else ROUTES[self.route]):
            self._judge_accepted(message, begun, answer, closes=closes)
        elif answer.status not in REFUSALS:
            self.faults.append(f"status {answer.status}")
        elif message is not None and not may_refuse(message, self.route):
            self.faults.append(f"refuses a request: {answer.body!r:.200}")
        elif not closes and message is None:
            self.faults.append(f"status {answer.status}, and the connection goes on")

    def _judge_accepted(self, message: Message | None, begun: Message | None, answer: Answer, *, closes: bool) -> None:
        found = message or begun
        if found is None:
            self.faults.append("answers what is no request")
            return
        if message is None and (self.route == "forward" or (self.reading.end is End.INVALID and not closes)):
            self.faults.append("answers a request without its end")
        if closes and message is not None and not may_close(message):
            self.faults.append("the connection ends with a good request")
        if not closes and found.is_last:
            self.faults.append("the connection goes on behind its last request")
        if answer.location and not answer.location.encode("latin-1").endswith(path_of(found.target)):
            self.faults.append(f"another target: {answer.location}")
        if answer.status != 204:
            self.accepted.append(found)

    def _judge_records(self) -> None:
        """One for each answer; a forward without its end has one, too, of a client that left."""
        records = [record for record in self.seen.records if record["status"] != 499]
        if [record["status"] for record in records] != [answer.status for answer in self.seen.answers]:
            self.faults.append(f"records of {[record['status'] for record in self.seen.records]}")
        if len(self.seen.records) > len(records) + (self.reading.end is End.WITHIN and self.route == "forward"):
            self.faults.append("more records than requests")
        paths = [record["path"] for record in records if record["status"] == ROUTES[self.route]]
        asked = [path_of(message.target).partition(b"?")[0].decode("latin-1")[:1000] for message in self.accepted]
        if [path[:1000] for path in paths] != asked:
            self.faults.append(f"records of {paths}")

    def _judge_origin(self) -> None:
        """It may have been asked on several connections."""
        asked = [(each.method, each.target, each.body) for each in self.seen.asked.messages]
        accepted = [(each.method, path_of(each.target), each.body) for each in self.accepted]
        if self.route == "forward" and sorted(asked) != sorted(accepted):
            self.faults.append(f"the origin was asked {asked}")
