"""The mix of requests that are forwarded, and which answers are good: those of the origin to that very request.

The rule: each request has an id of its own, which an origin notes and repeats, with the length and the checksum of the
body that it got. A POST that an origin had got when it ended the connection is lost, and nothing else may be: it must
not be sent twice.
"""

import re
import secrets
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple
from zlib import crc32

# What becomes of a POST whose origin ended the connection: told apart from failures.
LOST = "502 for a POST, as its origin had ended the connection"

_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n(.*?)\r\n\r\n", re.DOTALL)
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_ERROR = re.compile(rb"\r\nproxy-status: redirect; error=(\w+)", re.IGNORECASE)
_ENDED = {b"connection_terminated", b"http_response_incomplete"}

# By turns: bodies of these sizes, none for a GET, and how much more is asked for. One in 32 of each does not fit into
# what is kept to be sent again, or into a buffer of the kernel.
SIZES = [0, 100, 0, 2000] * 16
SIZES[1], SIZES[33] = 100_000, 60_000
MORE = [0, 0, 1000, 0] * 16
MORE[2], MORE[34] = 100_000, 60_000
_BYTES = bytes(range(256)) * 500


class Request(NamedTuple):
    id: bytes
    body: bytes
    more: int

    def head(self) -> bytes:
        """The request as a whole."""
        line = b"POST" if self.body else b"GET"
        length = b"Content-Length: %d\r\n" % len(self.body) if self.body else b""
        return b"%b /%d HTTP/1.1\r\nHost: go.example.com\r\nX-Request-ID: %b\r\n%b\r\n%b" % (
            *(line, self.more, self.id, length),
            self.body,
        )

    def is_whole(self, answer: bytes) -> bool:
        found = _ANSWER.match(answer)
        if found is None:
            return b"\r\n\r\n" in answer
        length = _LENGTH.search(found[0])
        return length is None or len(answer) - found.end() >= int(length[1])

    def fault_of(self, answer: bytes) -> str | None:
        """What is wrong with an answer, or None where it is as it should be."""
        found = _ANSWER.match(answer)
        if found is None:
            return "no HTTP"
        if found[1] != b"200":
            error = _ERROR.search(found[0])
            if found[1] == b"502" and self.body and error and error[1] in _ENDED:
                return LOST
            return f"status {found[1].decode()}, {error[1].decode() if error else 'no Proxy-Status'}"
        return None if answer[found.end() :] == answer_to(self.id, self.body, self.more) else "another answer"


def answer_to(request_id: bytes, body: bytes, more: int) -> bytes:
    """The body of the answer of an origin."""
    return b"%b %d %d\n" % (request_id, len(body), crc32(body)) + b"." * more


def requests() -> Iterator[Request]:
    """Requests without end: by turns GET and POST."""
    mark = secrets.token_hex(4).encode()
    for number in count():
        turn = number % len(SIZES)
        yield Request(b"%b-%d" % (mark, number), _BYTES[: SIZES[turn]], MORE[turn])
