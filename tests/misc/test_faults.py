"""The faults: which answers count, how they are counted, and what is told of them. No engine is needed here."""

import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from support.service import ROOT, free_port

sys.path.insert(0, str(ROOT / "misc" / "bench"))  # scripts beside each other, as `python misc/bench/bench.py` has them
sys.path.insert(0, str(ROOT / "misc" / "faults"))  # and these know those

import bare
import behind_nginx
import configuration
import forwarding
import forwards
import processes
from fault import Fault, FaultError, Injected, Outcome, idleness, outcome, until
from mix import BODY, Request, requests
from report import MADE, SEEN, Report, made_row, page, seen_row
from traffic import POOLS, Failure, Seen, Target, traffic

from redirect.config.loader import ConfigError, parse_config

MIX = list(islice(requests(POOLS.read_text()), 20))


def answer(request: Request, *, origin: bytes | None = None, status: bytes | None = None, target: bytes = b"") -> bytes:
    """The redirect that is due, but for what is named."""
    return (
        b"HTTP/1.1 " + (status or request.kind.status) + b" Found\r\nLocation: http://"
        b"" + (origin or min(request.kind.origins)) + (target or request.target) + b"\r\nContent-Length: 0\r\n\r\n"
    )


def test_the_mix() -> None:
    """GET and POST, POST with a body, for each pool, an unknown one and none; no target comes twice."""
    heads = [request.head() for request in MIX]
    asked = {
        (head.split(b" ")[0], *re.findall(rb"X-Redirect-Pool-ID: (\S+)", head), head.endswith(b"\r\n\r\n" + BODY))
        for head in heads
    }
    assert asked == {
        (*how[:1], *named, how[1])
        for how in ((b"GET", False), (b"POST", True))
        for named in ((), (b"pool-a",), (b"pool-b",), (b"pool-c",), (b"no-such-pool",))
    }
    assert len({request.target for request in MIX}) == len(MIX)
    assert {request.kind.status for request in MIX} == {b"302", b"307"}


@pytest.mark.parametrize("request_", MIX[:10])
def test_good_answers(request_: Request) -> None:
    """The redirect that is due is good, whichever origin of the pool it names."""
    assert [request_.fault_of(answer(request_, origin=origin)) for origin in request_.kind.origins] == [None] * 3


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        pytest.param(answer(MIX[0], status=b"307"), "status 307 instead of 302", id="the status of another pool"),
        pytest.param(answer(MIX[0], origin=b"origin-9"), "an origin of another pool", id="another origin"),
        pytest.param(answer(MIX[0], origin=b"origin-1:81"), "an origin of another pool", id="another port"),
        pytest.param(answer(MIX[1]), "another target", id="the answer to another request"),
        pytest.param(answer(MIX[0], target=MIX[0].target + b"&"), "another target", id="a byte more"),
        pytest.param(b"HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\n\r\n", "status 502", id="a failure of nginx"),
        pytest.param(b"HTTP/1.1 302 Found\r\nX: y\r\n\r\n", "status 302", id="no Location"),
        pytest.param(b"SSH-2.0\r\n\r\n", "no HTTP", id="no HTTP"),
    ],
)
def test_bad_answers(given: bytes, fault: str) -> None:
    """All else is a failed request, and it is said why."""
    assert MIX[0].fault_of(given) == fault


@contextmanager
def serving(answers: Iterator[bytes | None], closes: bool) -> Iterator[Target]:
    """A server that gives each request the next answer, with `@` for the target that was asked for. It `closes` a
    connection after each, and says so: without a word the next request may be on its way. None closes it without."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(client: socket.socket) -> None:
            with client:
                while head := client.recv(4096):
                    given = next(answers)
                    told = (given or b"").replace(
                        b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n" if closes else b"\r\n\r\n"
                    )
                    client.sendall(told.replace(b"@", head.split(b" ")[1]))
                    if closes or given is None:
                        return

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(client,)).start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield Target("127.0.0.1", listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()


def answers(*given: bytes | None) -> Iterator[bytes | None]:
    """The default pool's redirect, again and again, but for the answers that come first."""
    yield from given
    while True:
        yield b"HTTP/1.1 302 Found\r\nlocation: http://origin-1@\r\n\r\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "closes", "faults"),
    [
        pytest.param((), False, [], id="good ones"),
        pytest.param((), True, [], id="a connection for each"),
        pytest.param((b"HTTP/1.1 502 Bad\r\n\r\n",), False, ["status 502"], id="another status"),
        pytest.param((None, None), False, ["connection closed without an answer"] * 2, id="closed without an answer"),
        pytest.param((b"HTTP/1.1 302 ",), True, ["connection closed after half an answer"], id="half an answer"),
    ],
)
def test_what_counts_as_failed(
    first: tuple[bytes | None, ...], closes: bool, faults: list[str], tmp_path: Path
) -> None:
    """A request fails if its answer is bad or does not come, and no other does: connections may end between two."""
    (tmp_path / "pools.toml").write_text('[p]\nis_default = true\nweighted_hosts = { "origin-1" = 1 }\n')
    with (
        serving(answers(*first), closes) as target,
        traffic(target, 500, at_least=100, pools=tmp_path / "pools.toml") as asked,
    ):
        seen = asked.end()
    assert [failure.fault for failure in seen.faults] == faults
    assert seen.requests == 100
    assert seen.failed == len(faults)
    assert (seen.connections > 100) is closes


FORWARDS = list(islice(forwards.requests(), 64))
GET, POST = FORWARDS[:2]


def forwarded(request: forwards.Request, status: str = "200 OK", fields: str = "", body: bytes | None = None) -> bytes:
    """The answer of the origin, but for what is named."""
    if body is None:
        body = forwards.answer_to(*request)
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


def test_the_mix_of_forwards() -> None:
    """By turns GET and POST, each with an id of its own, some larger than what is kept to be sent again."""
    assert [request.head().split(b" ")[0] for request in FORWARDS] == [b"GET", b"POST"] * 32
    assert len({request.id for request in FORWARDS}) == 64
    assert {len(request.body) for request in FORWARDS} == {0, 100, 2000, 60_000, 100_000}
    assert {request.more for request in FORWARDS} == {0, 1000, 60_000, 100_000}
    for request in FORWARDS:
        assert request.fault_of(forwarded(request)) is None
        assert [request.is_whole(forwarded(request)[:end]) for end in (-1, None)] == [False, True]


ENDED = "Proxy-Status: redirect; error=http_response_incomplete\r\n"
REFUSED = "Proxy-Status: redirect; error=connection_refused\r\n"


@pytest.mark.parametrize(
    ("request_", "given", "fault"),
    [
        pytest.param(POST, forwarded(POST, "502 x", ENDED), forwards.LOST, id="a POST that was lost"),
        pytest.param(GET, forwarded(GET, "502 x", ENDED), "status 502, http_response_incomplete", id="a GET"),
        pytest.param(POST, forwarded(POST, "503 x", REFUSED), "status 503, connection_refused", id="was not sent"),
        pytest.param(POST, forwarded(POST, "502 x"), "status 502, no Proxy-Status", id="no reason"),
        pytest.param(POST, forwarded(GET), "another answer", id="the answer to another request"),
        pytest.param(POST, forwarded(POST._replace(body=b"x")), "another answer", id="another body"),
        pytest.param(GET, b"SSH-2.0\r\n\r\n", "no HTTP", id="no HTTP"),
    ],
)
def test_bad_answers_to_forwards(request_: forwards.Request, given: bytes, fault: str) -> None:
    """Only a POST whose origin ended the connection may be lost."""
    assert request_.fault_of(given) == fault


def keep_asking(client: socket.socket) -> None:
    while True:
        client.sendall(POST.head())
        assert client.recv(2**20), "closed, not reset"


@pytest.mark.processes
def test_the_origin_of_forwards(tmp_path: Path) -> None:
    """It notes the POSTs, answers as it must, does as it is told, and ends in order."""
    port = free_port()
    origin = forwarding.Origin(tmp_path, port)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            for request in FORWARDS[:4]:
                client.sendall(request.head())
                received = b""
                while not request.is_whole(received):
                    received += client.recv(65536)
                assert request.fault_of(received) is None
            origin.tell("reset", 1)
            with pytest.raises(ConnectionError):
                keep_asking(client)
        assert [*dict.fromkeys(origin.posts())] == [request.id for request in FORWARDS[:4] if request.body]
        assert forwarding.repeated([origin]) == 1
    finally:
        origin.end(signal.SIGTERM)
    assert origin.process.returncode == 0


CALM = Seen(60_000, 10.0, 0, [], 1.5, 9.0, 80.0, 3.0, 2.0, 32)
KILL = Fault[None]("kill", lambda _: Injected(), 100)


def counted(*faults: Failure) -> Outcome:
    injected = [Injected(0.5, 100.0, frozenset({1, 2})), Injected(0.7, 200.0, frozenset({3}))]
    return outcome("nginx", KILL, 9000.0, injected, CALM._replace(failed=len(faults), faults=list(faults)), 0.25)


def test_what_was_cut_counts_apart() -> None:
    """Requests on the connections of a process, at the time when it was killed, were cut; all others failed."""
    reset = "connection reset without an answer"
    at_once = [Failure(100.01, 1, reset), Failure(100.02, 2, reset), Failure(200.1, 3, reset)]
    others = [Failure(100.01, 3, reset), Failure(102.0, 1, reset), Failure(99.9, 1, reset), Failure(100.01, 4, reset)]
    found = counted(*at_once, *others)
    assert (found.times, found.cut, found.failed, found.recovered_s) == (2, 3, 4, 0.7)
    assert found.faults == {reset: 7}


def test_what_an_origin_lost_counts_as_cut() -> None:
    """Whenever that was, and whichever connection it came on."""
    found = counted(Failure(1.0, 7, forwards.LOST), Failure(1.0, 8, "status 502, http_response_incomplete"))
    assert (found.cut, found.failed) == (1, 1)


def test_the_clients_of_a_process() -> None:
    """The connections that a process has accepted at a port are found by their clients' ports."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(listener.getsockname()) as client, listener.accept()[0]:
            assert processes.clients_of("self", port) == {client.getsockname()[1]}
        assert processes.clients_of("self", port + 1) == set()


def test_idleness() -> None:
    """Idle is what nobody wanted, in parts of what there was."""
    assert idleness([1, 2, 3, 10, 5, 0, 0, 0], [31, 2, 13, 30, 45, 0, 0, 0]) == 0.2


def test_a_fault_that_leaves_no_trace() -> None:
    """What does not happen in time is an error, which tells what was found instead."""
    assert until(lambda: 3, (3).__eq__, "three") == 3
    with pytest.raises(FaultError, match=r"not within 0 s: four; last found: 3"):
        until(lambda: 3, (4).__eq__, "four", seconds=0)


def test_other_configurations() -> None:
    """Each version is good, and another one, with the same pools and origins: what was a good answer stays one."""
    good = parse_config(configuration.GOOD, "good")
    versions = [parse_config(configuration.version(number), "version") for number in range(100)]
    assert len({version.hash for version in versions}) == 100
    for version in versions:
        assert version.warnings == ()
        assert {
            pool.name: (pool.status, [origin.name for origin in pool.origins]) for pool in version.pools.values()
        } == {pool.name: (pool.status, [origin.name for origin in pool.origins]) for pool in good.pools.values()}


@pytest.mark.parametrize("content", [each for each in configuration.BAD.values() if each is not None])
def test_bad_configurations(content: bytes) -> None:
    """What stands for a bad configuration is one."""
    with pytest.raises(ConfigError):
        parse_config(content, "bad")


def test_the_promises() -> None:
    """Behind nginx a pause costs 1.1 s at worst, and every other fault 100 ms."""
    limits = {fault.name: fault.at_most_ms for fault in behind_nginx.FAULTS if fault.name != "none"}
    assert limits.pop("pause of a replica for 5 s") == 1100
    assert set(limits.values()) == {100}
    assert len(limits) == 7


@pytest.mark.parametrize(("worst_ms", "verdict"), [(99.0, "met"), (100.0, "met"), (101.0, "missed")])
def test_rows(worst_ms: float, verdict: str) -> None:
    """The rows tell what was seen, whether the promise was met, and how it came about."""
    found = replace(counted(), worst_ms=worst_ms)
    assert (seen_row(found)[-2:], len(seen_row(found))) == (("100", verdict), len(SEEN))
    assert dict(zip(MADE, made_row(found), strict=True)) == {
        "in front": "nginx",
        "fault": "kill",
        "times": "2",
        "requests/s": "4,500",
        "idle, %": "25",
        "lag, ms": "2.00",
        "back, s": "0.70",
    }


def test_the_page() -> None:
    """The page says how it was made, and what failed requests met."""
    reset = Failure(1.0, 7, "connection reset without an answer")
    written = page(Report("python faults.py", {"CPU": "a fast one"}, [counted(reset), counted()]))
    assert "Made by `python faults.py`.\n\n- CPU: a fast one\n" in written
    assert "- kill, nginx in front: 1 times connection reset without an answer\n" in written
    assert "What requests met" not in page(Report("python faults.py", {}, [counted()]))


def test_the_documents_show_the_results() -> None:
    """The table of docs/operations.md on faults is of the results that are kept, and no request failed."""
    results = (ROOT / "misc" / "faults" / "results" / "faults.md").read_text()
    section = (ROOT / "docs" / "operations.md").read_text().partition("## What it survives")[2].partition("\n## ")[0]
    (table,) = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table in results
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [tuple(row[:2]) for row in rows] == [
        *(("nginx", fault.name) for fault in behind_nginx.FAULTS),
        *(("nothing", fault.name) for fault in bare.FAULTS),
        *(("nothing", fault.name) for fault in forwarding.FAULTS),
    ]
    assert {row[SEEN.index("failed")] for row in rows} == {"0"}
    numbers = [int(row[SEEN.index("requests")].replace(",", "")) for row in rows]
    assert min(numbers) >= 20_000
    assert min(numbers[: -len(forwarding.FAULTS)]) >= 60_000
