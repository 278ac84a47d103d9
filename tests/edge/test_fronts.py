"""Two fronts, one truth: whatever comes in, and however it is cut, both say and log the same.

The requests are generated, from a seed that stays: good ones of many kinds and ones that were damaged, one
behind the other in every way a network may deliver them.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from support.corpus import ANSWERED_AND_CLOSED, ANSWERED_AND_OPEN
from support.wire import FRONTS, NEXT, Conversation, Wire, delivered, head

SEED = 20261120
REQUESTS = 24_000

POOLS = b"""
[pool-a]
weighted_hosts = { "origin-1" = 3, "asked.example" = 2, "origin-2" = 1 }
is_default = true

[pool-b]
weighted_hosts = { "b\xc3\xbccher.example" = 1, "origin-3:8443" = 2 }
status = 307
"""

METHODS = ["GET"] * 8 + ["HEAD", "POST", "PUT", "OPTIONS", "CONNECT", "TRACE", "BREW", "SOURCE"]
PATHS = ["/"] * 4 + ["/a?b=c&d", "//x", "/%0d%0a", '/"\\', "/a#b", "/?"]
TARGETS = [*PATHS, "*", "http://Asked.example:80/z", "http://u@h/", ""]
VERSIONS = ["HTTP/1.1"] * 12 + ["HTTP/1.0", "HTTP/1.2", "HTTP/2.0"]
HOSTS = ["asked.example"] * 4 + ["ASKED.example.:80", "b\xc3\xbccher.example", "origin-2", "u@h", "", "[::1]:80", None]
FIELDS = [
    "User-Agent: Mozilla/5.0 (\xe9)",
    'Referer: http://here/"',
    "X-Redirect-Pool-ID: pool-b",
    "x-redirect-pool-id: nope",
    "X-Request-ID: abc-1",
    "X-Forwarded-For: 192.0.2.1, 10.0.0.1",
    "X-Forwarded-Proto: https",
    "Connection: keep-alive",
    "Connection: close",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "Content-Length: 0",
    "Host: second.example",
    "Accept: */* \t",
    "X: " + "x" * 200,
    "X-Forwarded-Host: origin-2",
]
BODIES = [
    ("Content-Length: 4", "body"),
    ("Content-Length: 70000", "b" * 70000),
    ("Transfer-Encoding: chunked", "4\r\nbody\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "4\r\nbody\r\n0\r\nX-Redirect-Pool-ID: pool-b\r\n\r\n"),
    ("Transfer-Encoding: chunked", "zz\r\n"),
    ("Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
]
DAMAGES = [b"", b"\r", b"\n", b"\0", b" ", b":", b"\t", b"\xff", b"%", b"0", b"\r\n", b"\r\n\r\n", NEXT, NEXT[:16]]


def conversations(random: Random, requests: int) -> Iterator[list[bytes]]:
    """Connections with `requests` requests in all: each a list of pieces as the network delivers them."""
    while requests > 0:
        sent = [*some_requests(random)][: min(requests, 8)]
        requests -= len(sent)
        yield delivered(random, sent)


def some_requests(random: Random) -> Iterator[bytes]:
    """The requests of one connection. Clients mostly repeat themselves."""
    usual = some_head(random)
    for _ in range(random.randint(1, 12)):
        request = (
            some_request(random)
            if random.random() < 0.2
            else head(f"GET {random.choice(TARGETS)} HTTP/1.1")[:-2] + usual
            if random.random() < 0.3
            else usual_request(random, usual)
        )
        yield damaged(random, request) if random.random() < 0.08 else request


def some_head(random: Random) -> bytes:
    """Fields that say nothing odd, as a browser sends them."""
    fields = random.sample(FIELDS[:8], random.randint(0, 5))
    return head("", *fields).removeprefix(b"\r\n")


def usual_request(random: Random, usual: bytes) -> bytes:
    target = f"/{random.choice('abc')}{random.choice(PATHS)}"
    return f"GET {target} HTTP/1.1\r\n".encode() + usual


def some_request(random: Random) -> bytes:
    """One of any kind, now and then with a body."""
    line = f"{random.choice(METHODS)} {random.choice(TARGETS)} {random.choice(VERSIONS)}"
    fields = random.sample(FIELDS, random.randint(0, 4))
    framing, body = random.choice(BODIES) if random.random() < 0.3 else (None, "")
    return head(line, *fields, *([framing] if framing else []), host=random.choice(HOSTS)) + body.encode()


def damaged(random: Random, request: bytes) -> bytes:
    """The request with a few bytes lost, doubled or replaced by ones that mean something."""
    data = bytearray(request)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(data))
        data[at : at + random.randint(0, 2)] = random.choice(
            [
                b"",
                b"\r",
                b"\n",
                b"\0",
                b" ",
                b":",
                b"\t",
                b"\xff",
                b"\r\n",
                b"\r\n\r\n",
                b"0",
                b"GET / HTTP/1.1\r\n",
                b"%",
            ]
        )
    return bytes(data)


def both(tmp_path: Path, asked: list[list[bytes]]) -> list[tuple[Conversation, Conversation]]:
    """What the two fronts make of the same conversations, with the same pools, from a trusted peer."""
    seen = [
        Wire(front, tmp_path / f"{front}.jsonl").converse_often(asked, POOLS, peer="10.0.0.9", trusted="10.0.0.0/8")
        for front in FRONTS
    ]
    return list(zip(*seen, strict=True))


@pytest.mark.generated
@pytest.mark.slow
def test_generated_requests(tmp_path: Path) -> None:
    """Both fronts answer generated conversations with the same bytes, the same records and the same end."""
    asked = [*conversations(Random(SEED), REQUESTS)]
    statuses = set()
    for pieces, (one, other) in zip(asked, both(tmp_path, asked), strict=True):
        assert one.essence == other.essence, pieces
        statuses |= {record["status"] for record in one.records}
    assert statuses == {204, 302, 307, 400, 422, 501, 505}


@pytest.mark.generated
@pytest.mark.slow
@pytest.mark.parametrize("name", [*ANSWERED_AND_OPEN, *ANSWERED_AND_CLOSED])
def test_split_at_every_byte(name: str, tmp_path: Path) -> None:
    """So they do when a request comes in two parts, wherever the cut is, before and behind usual ones."""
    sent, _ = (ANSWERED_AND_OPEN | ANSWERED_AND_CLOSED)[name]
    # In a long one the cuts that matter are near its ends.
    cuts = [cut for cut in range(1, len(sent)) if len(sent) < 1000 or min(cut, len(sent) - cut) < 60]
    asked = [[NEXT, NEXT, sent[:cut], sent[cut:] + NEXT, NEXT] for cut in cuts] + [[NEXT, sent, sent + NEXT, NEXT]]
    for pieces, (one, other) in zip(asked, both(tmp_path, asked), strict=True):
        assert one.essence == other.essence, pieces


@pytest.mark.slow
@pytest.mark.parametrize(
    "before", [b"/", b"/a", b"/a?b", b"/a#b", b""], ids=["path", "name", "query", "fragment", "start"]
)
def test_every_byte_of_a_target(before: bytes, tmp_path: Path) -> None:
    """So they do for every byte that a target may hold, or may not, where the request repeats the one before."""
    usual = head("", "Accept: */*")[2:]
    asked = [
        [b"GET / HTTP/1.1\r\n" + usual, b"GET " + before + bytes([byte]) + b"x HTTP/1.1\r\n" + usual, NEXT]
        for byte in range(256)
    ]
    for pieces, (one, other) in zip(asked, both(tmp_path, asked), strict=True):
        assert one.essence == other.essence, pieces
