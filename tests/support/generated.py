"""Requests made of the corpus: cut, doubled, swapped, spliced and split, the same ones for the same seed."""

from collections.abc import Iterator
from random import Random

from support.corpus import CODINGS, CORPUS, NO_CODINGS, NO_LENGTHS, NO_NAMES
from support.wire import NEXT, delivered

ENTRIES = [*CORPUS.values()]
TOKENS = [
    *[b"\r\n", b"\r", b"\n", b"\n\n", b"\r\n\r\n", b"\r\n ", b"\0", b" ", b"\t", b"\x0b", b"\x7f", b"\x80", b"\xff"],
    *b': , ; = " \\ / // ? # @ * % %00 %0d%0a .. [::1]'.split(),
    *b"0 -1 +1 0x1 ff ffffffffffffffff 99999999999999999999".split(),
    *[b"0\r\n\r\n", b"1\r\na\r\n", b"0;a", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n"],
    *[b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"X: y\r\n"],
    *[b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"X-Redirect-Pool-ID: pool-b\r\n"],
    *[b"X-Forwarded-Proto: https\r\n", b"X-Forwarded-For: ::1\r\n", b"chunked", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1"],
    *[b"GET ", b"HEAD ", b"CONNECT ", b"OPTIONS * ", b"http://b", b"//evil.example", NEXT, b"a" * 300, b" " * 300],
]

# Lines that say where a request ends, or what the connection becomes, in spellings that are it and that are not.
FRAMING = [
    *[f"Content-Length: {length}\r\n".encode("latin-1") for length in ("0", "5", "47", *NO_LENGTHS)],
    *[f"Transfer-Encoding: {coding}\r\n".encode("latin-1") for coding in (*CODINGS, *NO_CODINGS)],
    *[f"{name.format('Transfer-Encoding')}: chunked\r\n".encode("latin-1") for name in NO_NAMES],
    *[f"{name.format('Content-Length')}: 5\r\n".encode("latin-1") for name in NO_NAMES],
    *[b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: Content-Length\r\n"],
    *[b"Expect: 100-continue\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Proxy-Connection: close\r\n"],
]


def cut(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + data[at + random.choice((1, 1, 2, 5, 20, len(data))) :]


def double(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    end = at + random.choice((1, 1, 2, 5, 20, 100))
    return data[:end] + data[at:end] * random.choice((1, 1, 1, 3, 50)) + data[end:]


def swap(random: Random, data: bytes) -> bytes:
    one, other = sorted((random.randrange(len(data) + 1), random.randrange(len(data) + 1)))
    return data[:one] + data[other : other + 1] + data[one + 1 : other] + data[one : one + 1] + data[other + 1 :]


def swap_lines(random: Random, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def double_line(random: Random, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
    return b"".join(lines)


def insert(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(TOKENS) + data[at:]


def replace(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice((random.choice(TOKENS), random.randbytes(1))) + data[at + 1 :]


def splice(random: Random, data: bytes) -> bytes:
    other = random.choice(ENTRIES)
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def frame(random: Random, data: bytes) -> bytes:
    """A line of framing behind one of the lines, or in its place."""
    lines = data.splitlines(keepends=True) or [b""]
    at = random.randrange(len(lines))
    lines[at] = random.choice((lines[at], b"")) + random.choice(FRAMING)
    return b"".join(lines)


def append(random: Random, data: bytes) -> bytes:
    return data + random.choice(ENTRIES)


MUTATIONS = [cut, double, swap, swap_lines, double_line, frame, frame, insert, insert, replace, replace, splice, append]


def generated(random: Random, count: int) -> Iterator[list[bytes]]:
    """So many requests, each as the pieces in which the network delivers it, some behind usual ones."""
    for _ in range(count):
        request = random.choice(ENTRIES)
        for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3, 5))):
            request = random.choice(MUTATIONS)(random, request)
        before = [NEXT] * random.choice((0, 0, 0, 2))
        yield [piece for piece in [*before, *delivered(random, [request or b"\0"])] if piece]
