"""Request smuggling through nginx: whatever it makes of the bytes of a client, the replicas make the same of it.

nginx reads more than we do: bare line feeds, fields with odd names (which it leaves out), chunks that are nearly some.
What it reads it passes on in its own words, without any body, so that a replica never has two ways to read it, and
what has chunks is the last request of its connection. The rule: what a replica logs is what one client was answered, in
the order in which that client sent it, and a request that is hidden in another one's body is neither answered nor
logged. Where nginx takes what lies behind a head for the same client's next request, it is that: it is answered and
logged as such, and nobody else's.
"""

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from threading import Event
from urllib.parse import urljoin, urlsplit
from uuid import uuid4

import pytest
from support.compose import until
from support.corpus import (
    ANSWERED_LAST,
    CHUNKED,
    FIELDS,
    LAST_CHUNK,
    NO_TARGETS,
    READ_AS_BODY,
    REFUSED,
    TARGETS,
    long,
    post,
    raw,
)
from support.wire import head

from .sending import CONNECTIONS, CORPUS, Seen, Sending, sent_to
from .stack import POOLS, Stack, ask

pytestmark = pytest.mark.usefixtures("load_test")  # the others do not begin before it ends: it takes all the CPU

ORIGINS = {origin for pool in POOLS.values() for origin in pool["weighted_hosts"]}

SEED = 20261121
ROUNDS = 100

# What an answer may have, nginx's own fields included.
OUR_FIELDS = {
    *"server date location content-length content-type vary connection allow retry-after x-request-id".split()
}


def paths(stack: Stack) -> list[str]:
    """The targets of all redirects that the replicas have logged."""
    lines = [line for replica in stack.containers("redirect") for line in stack.log_lines(replica)]
    records = [json.loads(line) for line in lines]
    return [record["path"] for record in records if record.get("status") == 302]


@contextmanager
def others_ask(stack: Stack) -> Iterator[None]:
    """Other clients meanwhile, on connections that nginx passes on over the same ones to the replicas; each gets the
    answer to its own request, and so does the one that comes last."""
    ended = Event()

    def own_answers() -> int:
        count = 0
        with stack.connect() as connection:
            while not ended.is_set() or not count:
                target = f"/o{uuid4()}"
                answer = ask(connection, target)
                assert answer.status == 302
                assert str(answer.location).endswith(target)
                count += 1
        return count

    with ThreadPoolExecutor(4) as executor:
        clients = [executor.submit(own_answers) for _ in range(4)]
        try:
            yield
        finally:
            ended.set()
        assert all(client.result() for client in clients)

    def last(n: int) -> bool:
        with stack.connect() as connection:
            return str(ask(connection, f"/after/{n}").location).endswith(f"/after/{n}")

    with ThreadPoolExecutor(CONNECTIONS) as executor:  # so many at once that they use all connections that were kept
        assert all(executor.map(last, range(10 * CONNECTIONS)))


def check(stack: Stack, sendings: Sequence[Sending]) -> None:
    """Sends them all, and holds what the clients got against what the replicas logged."""
    with others_ask(stack), ThreadPoolExecutor(CONNECTIONS) as executor:
        seen = list(executor.map(lambda sending: sent_to(stack.port, sending.sent), sendings))
    answered = {sending.mark: sending.own(found.targets) for sending, found in zip(sendings, seen, strict=True)}

    def logged() -> dict[str, list[str]]:
        """By mark; who is answered has been logged within 100 ms."""
        found: dict[str, list[str]] = {sending.mark: [] for sending in sendings}
        for path in paths(stack):
            if (match := re.match("/[scn](.....)-", path)) and match[1] in found:
                found[match[1]].append(path)
        return found

    total = sum(map(len, answered.values()))
    records = until(logged, lambda found: sum(map(len, found.values())) >= total, f"{total} records of what was sent")
    for sending, found in zip(sendings, seen, strict=True):
        assert sending.own(found.targets) == [target for target in found.targets if target != "/"], "somebody else's"
        assert len(found.targets) <= len(found.statuses)
        assert sorted(records[sending.mark]) == sorted(answered[sending.mark]), sending.names
        assert len({*answered[sending.mark]}) == len(answered[sending.mark]), "an answer twice"
        order = [sending.sent.find(target.encode()) for target in answered[sending.mark]]
        assert order == sorted(order), "out of order"
        assert sending.hidden(answered[sending.mark]) == []
        assert not [target for target in answered[sending.mark][:-1] if target.startswith("/n")], "behind the last one"


def test_every_row_of_the_corpus(stack: Stack) -> None:
    """Each by itself: a hidden request is neither answered nor logged, and nobody gets another one's answer."""
    check(stack, [Sending.of([name], CORPUS) for name in CORPUS])


def test_behind_each_other(stack: Stack) -> None:
    """The same where they are pipelined: what is read as bodies, and behind it what ends the connection or not."""
    random = Random(SEED)
    bodies, others = [*READ_AS_BODY], [*REFUSED, *ANSWERED_LAST]
    check(stack, [Sending.of([*random.sample(bodies, 4), *random.sample(others, 3)], CORPUS) for _ in range(ROUNDS)])


def hidden(mark: str) -> dict[str, bytes]:
    """Requests that hide another one, which has the mark in target, host and id."""
    inner = head(f"GET /{mark} HTTP/1.1", f"X-Request-ID: {mark}", host="origin-1")
    chunks = b"%x\r\n%b\r\n" % (len(inner), inner) + LAST_CHUNK
    begun = f"GET /{mark} HTTP/1.1\r\nX-Request-ID: {mark}\r\nX: ".encode()
    return {
        "CL.0": post(long(inner), body=inner),
        "CL.0, and the next request's line is a value": post(long(begun), body=begun),
        "TE.0": post(CHUNKED, body=chunks),
        "CL.TE": post(long(LAST_CHUNK + inner), CHUNKED, body=LAST_CHUNK + inner),
        "TE.CL": post(CHUNKED, f"Content-Length: {len(f'{len(inner):x}') + 2}", body=chunks),
        "TE.TE": post(CHUNKED, "Transfer-Encoding: x", body=LAST_CHUNK + inner),
        "TE.TE, the other way round": post("Transfer-Encoding: x", CHUNKED, body=LAST_CHUNK + inner),
        "TE, folded": post("Transfer-Encoding:\r\n chunked", long(LAST_CHUNK + inner), body=LAST_CHUNK + inner),
        "a length with a line feed": post(f"X: y\nContent-Length: {len(inner)}", body=inner),
        "two lengths": post("Content-Length: 0", long(inner), body=inner),
        "two lengths, the other way round": post(long(inner), "Content-Length: 0", body=inner),
        "a field with a line end that is none": head("GET / HTTP/1.1", f"X: y%0d%0a%0d%0aGET /{mark} HTTP/1.1"),
        "a target with one": head(f"GET /%20HTTP/1.1%0d%0aX-Request-ID:%20{mark}%0d%0a%0d%0a HTTP/1.1"),
        "an upgrade": head("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: h2c", long(inner)) + inner,
    }


def test_a_hidden_request_with_an_id(stack: Stack) -> None:
    """Neither its id nor its host is in any log, and its answer, which would be a loop, nobody gets."""
    mark = uuid4().hex
    with others_ask(stack), ThreadPoolExecutor(CONNECTIONS) as executor:
        sent = [each + head("GET /next HTTP/1.1", "Connection: close") for each in hidden(mark).values()]
        seen = dict(zip(hidden(mark), executor.map(lambda each: sent_to(stack.port, each), sent), strict=True))
    for name, found in seen.items():
        assert len(found.statuses) <= 2, name
        assert f"/{mark}" not in found.targets, name
        assert 422 not in found.statuses, name
    with stack.connect() as connection:
        ask(connection, X_Request_ID=f"behind-{mark}")
    stack.records(f"behind-{mark}", 1)
    records = [json.loads(line) for each in stack.containers("redirect") for line in stack.log_lines(each)]
    assert not [record for record in records if record.get("request_id") == mark]
    assert not [record for record in records if record.get("path") == f"/{mark}"]


def is_harmless(seen: Seen, target: str) -> None:
    """Whoever follows the Location arrives at an origin, and no field is there that is not ours."""
    assert {name for name, _ in seen.fields} <= OUR_FIELDS, target
    if seen.received.startswith(b"{"):  # a line feed behind the target is the end of a request of HTTP/0.9 for nginx,
        assert json.loads(seen.received)["status"] == 400  # and its answers have no head
        return
    locations = [value for name, value in seen.fields if name == "location"]
    for location in locations:
        assert urlsplit(urljoin("http://asked.example/a/b", location)).netloc in ORIGINS, target
        assert location.isascii(), target
        assert location.isprintable(), target
    assert len(seen.statuses) == 1, target
    assert seen.statuses[0] in ((302,) if locations else (400, 405, 414, 505)), target


def every_byte() -> list[bytes]:
    return [raw(target.format(chr(byte))) for byte in range(256) for target in ("/{}x", "/?{}x", "//{}evil.example")]


def test_targets_that_look_like_more(stack: Stack) -> None:
    """Line ends, NUL, other hosts, user names and any byte, written out or escaped, stay in the path or are refused."""
    targets = [*map(raw, TARGETS), *map(raw, NO_TARGETS), *every_byte()]
    with others_ask(stack), ThreadPoolExecutor(CONNECTIONS) as executor:
        sent = [b"GET %b HTTP/1.1\r\nHost: asked.example\r\nConnection: close\r\n\r\n" % target for target in targets]
        seen = list(executor.map(lambda each: sent_to(stack.port, each), sent))
    for target, found in zip(targets, seen, strict=True):
        is_harmless(found, repr(target))


def test_fields_that_look_like_more(stack: Stack) -> None:
    """No field of a request is one of the answer, or another host in it."""
    with others_ask(stack), ThreadPoolExecutor(CONNECTIONS) as executor:
        sent = [head("GET /x HTTP/1.1", field, "Connection: close") for field in FIELDS]
        seen = list(executor.map(lambda each: sent_to(stack.port, each), sent))
    for field, found in zip(FIELDS, seen, strict=True):
        is_harmless(found, repr(field))
