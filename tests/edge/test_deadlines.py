"""Deadlines: a client that is late is cut off, on a clock that the tests move."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.timed import A_LITTLE, CHUNKED, KEEP_ALIVE, On, Timed, clock_in_place, runs_on
from support.wire import FRONTS, NEXT, Clock, head

from redirect.edge.limits import CLIENT_TIMEOUT_SECONDS, LATE_SECONDS, LINGER_SECONDS, READ_CHECK_SECONDS

# Requests of which a part has come and nothing was answered: what came, and the method and path of its record.
LATE = {
    "one byte": (b"G", None, None),
    "half a target": (b"HEAD /lat", "HEAD", "/lat"),
    "half a head": (NEXT[:-2], "GET", "/next"),
    "half a head behind a request": (NEXT + NEXT[:-2], "GET", "/next"),
    "a head behind blank lines": (b"\r\n\r\nG", None, None),
    "a chunked body": (CHUNKED, "POST", "/late"),
    "half a chunked body": (CHUNKED + b"4\r\nbo", "POST", "/late"),
    "trailers": (CHUNKED + b"0\r\nX: 1\r\n", "POST", "/late"),
}

# Connections that are closed without an answer: what came, and after how long.
QUIET = {
    "nothing": (b"", CLIENT_TIMEOUT_SECONDS),
    "blank lines": (b"\r\n\r\n", CLIENT_TIMEOUT_SECONDS),
    "a request": (NEXT, KEEP_ALIVE),
    "a request that the app answers": (head("OPTIONS * HTTP/1.1"), KEEP_ALIVE),
    "blank lines behind a request": (NEXT + b"\r\n", KEEP_ALIVE),
    "half a body that was answered": (head("POST / HTTP/1.1", "Content-Length: 9") + b"body", CLIENT_TIMEOUT_SECONDS),
}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return clock_in_place(monkeypatch)


@pytest.fixture(params=FRONTS)
def on_a_connection(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> On:
    return runs_on(FRONTS[request.param], clock, tmp_path / "log")


@pytest.mark.parametrize(("sent", "method", "path"), LATE.values(), ids=LATE)
def test_a_late_request_is_answered_with_408_and_the_connection_ends(
    sent: bytes, method: str | None, path: str, on_a_connection: On
) -> None:

    async def test(connection: Timed) -> None:
        before = await connection.ask(sent)
        assert await connection.passes(CLIENT_TIMEOUT_SECONDS - A_LITTLE) == []
        (answer,) = await connection.passes(A_LITTLE, method or "GET")
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert answer.headers["content-type"] == "application/problem+json"
        assert not connection.is_open
        record = connection.records()[len(before)]
        assert (record["status"], record["method"], record["path"]) == (408, method, path)
        assert await connection.ask(sent) == []
        assert not connection.transport.closed
        await connection.passes(LATE_SECONDS)
        assert connection.transport.closed

    on_a_connection(test)


@pytest.mark.parametrize(("sent", "seconds"), QUIET.values(), ids=QUIET)
def test_a_connection_without_an_open_request_is_closed_without_an_answer(
    sent: bytes, seconds: float, on_a_connection: On
) -> None:
    """So is one whose answer was sent before the body had come."""

    async def test(connection: Timed) -> None:
        answered = await connection.ask(sent)
        await connection.passes(seconds - A_LITTLE)
        assert connection.is_open
        assert await connection.passes(A_LITTLE) == []
        assert connection.transport.closed
        assert not connection.transport.aborted
        assert len(connection.records()) == len(answered)

    on_a_connection(test)


@pytest.mark.parametrize("keep_alive", [5, 3600])
def test_the_first_byte_must_come_within_the_time_of_a_head(keep_alive: int, on_a_connection: On) -> None:
    """However long connections are kept between requests."""

    async def test(connection: Timed) -> None:
        await connection.passes(CLIENT_TIMEOUT_SECONDS - A_LITTLE)
        assert connection.is_open
        await connection.passes(A_LITTLE)
        assert connection.transport.closed

    on_a_connection(test, timeout_keep_alive=keep_alive)


@pytest.mark.parametrize("keep_alive", [1, 9, 3600])
def test_an_idle_connection_is_kept_for_the_keep_alive_time(keep_alive: int, on_a_connection: On) -> None:

    async def test(connection: Timed) -> None:
        await connection.ask(NEXT)
        await connection.passes(keep_alive - A_LITTLE)
        assert connection.is_open
        await connection.passes(A_LITTLE)
        assert connection.transport.closed

    on_a_connection(test, timeout_keep_alive=keep_alive)


def test_sending_byte_by_byte_does_not_extend_the_time_of_a_head(on_a_connection: On) -> None:

    async def test(connection: Timed) -> None:
        await connection.ask(NEXT)
        await connection.passes(30)
        for at in range(int(CLIENT_TIMEOUT_SECONDS)):
            assert await connection.ask(NEXT[at : at + 1]) == []
            assert connection.is_open
            answers = await connection.passes(1)
        assert [answer.status for answer in answers] == [408]

    on_a_connection(test)


@pytest.mark.parametrize("framing", ["Content-Length: 3", "Transfer-Encoding: chunked"])
def test_each_byte_of_a_body_extends_its_time(framing: str, on_a_connection: On) -> None:

    async def test(connection: Timed) -> None:
        answers = await connection.ask(head("POST / HTTP/1.1", framing))
        for _ in range(3):
            await connection.passes(CLIENT_TIMEOUT_SECONDS - A_LITTLE)
            answers += await connection.ask(b"b" if "Length" in framing else b"1\r\nb\r\n")
        answers += await connection.ask(b"" if "Length" in framing else b"0\r\n\r\n")
        answers += await connection.ask(NEXT)
        assert [answer.status for answer in answers] == [302, 302]
        assert connection.is_open

    on_a_connection(test)


@pytest.mark.parametrize(
    ("framing", "piece", "status"),
    [("Content-Length: 900", b"b", None), ("Transfer-Encoding: chunked", b"1\r\nb\r\n", 408)],
)
def test_a_body_that_trickles_has_an_end(framing: str, piece: bytes, status: int | None, on_a_connection: On) -> None:
    """Answered or not, whatever its client sends meanwhile."""

    async def test(connection: Timed) -> None:
        await connection.ask(head("POST / HTTP/1.1", framing) + piece)
        for _ in range(5):
            assert await connection.passes(5) == []
            await connection.ask(piece)
        assert await connection.passes(5 - A_LITTLE) == []
        assert connection.is_open
        answers = await connection.passes(A_LITTLE)
        assert [(answer.status, b"within 30 seconds" in answer.body) for answer in answers] == [(408, True)] * bool(
            status
        )
        assert not connection.is_open

    on_a_connection(test)


def test_a_body_gets_its_time_from_its_own_first_byte(on_a_connection: On) -> None:
    async def test(connection: Timed) -> None:
        for _ in range(9):
            await connection.ask(head("POST / HTTP/1.1", "Content-Length: 2") + b"b")
            await connection.passes(9)
            await connection.ask(b"b")
        assert connection.is_open

    on_a_connection(test)


def test_a_last_answer_lingers_while_bytes_come(on_a_connection: On) -> None:
    """A client that uploads reads the answer when it has sent all; it gets half a minute for that."""

    async def test(connection: Timed) -> None:
        (answer,) = await connection.ask(head("POST / HTTP/1.1", "Content-Length: 8000000"))
        assert answer.headers["connection"] == "close"
        for _ in range(19):
            await connection.passes(1.5)
            assert not connection.transport.closed
            await connection.ask(b"b" * 4000)
        await connection.passes(1.5 - A_LITTLE)
        assert not connection.transport.closed
        await connection.passes(A_LITTLE)
        assert connection.transport.closed

    on_a_connection(test)


def test_a_last_answer_that_lingers_ends_when_no_more_comes(on_a_connection: On) -> None:
    async def test(connection: Timed) -> None:
        await connection.ask(head("POST / HTTP/1.1", "Content-Length: 8000000") + b"b")
        await connection.passes(1)
        await connection.ask(b"b")
        await connection.passes(LINGER_SECONDS - A_LITTLE)
        assert not connection.transport.closed
        await connection.passes(A_LITTLE)
        assert connection.transport.closed

    on_a_connection(test)


def test_the_digits_of_a_chunk_length_do_not_extend_the_time_of_a_body(on_a_connection: On) -> None:

    async def test(connection: Timed) -> None:
        await connection.ask(CHUNKED)
        for _ in range(int(CLIENT_TIMEOUT_SECONDS)):
            assert await connection.ask(b"0") == []
            answers = await connection.passes(1)
        assert [answer.status for answer in answers] == [408]

    on_a_connection(test)


def test_each_answer_restarts_the_idle_time(on_a_connection: On) -> None:
    """That of a request like the one before it, of another, and of one that the app answers."""

    async def test(connection: Timed) -> None:
        for sent in (NEXT, NEXT, NEXT, head("GET / HTTP/1.1", "X: 1"), head("OPTIONS * HTTP/1.1")):
            assert len(await connection.ask(sent)) == 1
            await connection.passes(KEEP_ALIVE - A_LITTLE)
            assert connection.is_open
        await connection.passes(A_LITTLE)
        assert connection.transport.closed

    on_a_connection(test)


def test_a_client_is_not_late_while_the_app_works(on_a_connection: On) -> None:
    """Even if a part of the next request has come."""

    async def test(connection: Timed) -> None:
        connection.send(head("OPTIONS * HTTP/1.1") + NEXT[:-2])
        connection.clock.now += 2 * KEEP_ALIVE
        assert [answer.status for answer in await connection.ask(b"")] == [204]
        await connection.passes(CLIENT_TIMEOUT_SECONDS - A_LITTLE)
        assert [answer.status for answer in await connection.ask(NEXT[-2:])] == [302]

    on_a_connection(test)


@pytest.mark.parametrize("high_water", [200, 100_000], ids=["too much", "little"])
def test_a_client_that_reads_nothing_is_cut_off(high_water: int, on_a_connection: On) -> None:
    """Where few bytes wait it may take as long again until that is noticed."""

    async def test(connection: Timed) -> None:
        connection.transport.high_water = high_water
        connection.send(NEXT * 2)
        await connection.passes(CLIENT_TIMEOUT_SECONDS - A_LITTLE)
        assert connection.is_open
        await connection.passes(A_LITTLE + READ_CHECK_SECONDS + (0 if high_water == 200 else CLIENT_TIMEOUT_SECONDS))
        assert connection.transport.aborted

    on_a_connection(test)


def test_a_client_that_reads_slowly_gets_everything(on_a_connection: On) -> None:

    async def test(connection: Timed) -> None:
        connection.transport.high_water = 200
        connection.send(NEXT * 2)
        for _ in range(3):
            await connection.passes(CLIENT_TIMEOUT_SECONDS - READ_CHECK_SECONDS)
            connection.transport.be_read(10)
        connection.transport.be_read()
        await connection.passes(2 * CLIENT_TIMEOUT_SECONDS)
        assert not connection.transport.aborted

    on_a_connection(test)


def test_sending_requests_does_not_count_as_reading(on_a_connection: On) -> None:

    async def test(connection: Timed) -> None:
        connection.transport.high_water = 100_000
        latest = connection.clock.now + 2 * CLIENT_TIMEOUT_SECONDS + READ_CHECK_SECONDS
        while connection.is_open:
            await connection.ask(NEXT)
            await connection.passes(3)
        assert connection.transport.aborted
        assert connection.clock.now < latest + 3

    on_a_connection(test)


def test_a_client_that_reads_less_than_it_asks_for_is_not_cut_off(on_a_connection: On) -> None:
    """As long as it reads anything."""

    async def test(connection: Timed) -> None:
        connection.transport.high_water = 100_000
        for _ in range(3):
            await connection.ask(NEXT * 3)
            connection.transport.be_read(1)
            await connection.passes(CLIENT_TIMEOUT_SECONDS - READ_CHECK_SECONDS)
        assert connection.is_open
        await connection.passes(CLIENT_TIMEOUT_SECONDS + READ_CHECK_SECONDS)
        assert connection.transport.aborted

    on_a_connection(test)


def test_a_closed_connection_whose_client_does_not_read_is_cut_off(on_a_connection: On) -> None:

    async def test(connection: Timed) -> None:
        connection.transport.high_water = 100_000
        await connection.ask(head("GET / HTTP/1.1", "Connection: close"))
        await connection.passes(2 * CLIENT_TIMEOUT_SECONDS + READ_CHECK_SECONDS)
        assert connection.transport.aborted

    on_a_connection(test)


def test_all_of_a_connection_reads_one_clock(on_a_connection: On) -> None:
    """A connection and its record read the same clock, also at the moment at which a machine starts: a request takes
    no time if none passes, and the record has the wall clock's time."""

    async def test(connection: Timed) -> None:
        for _ in range(2):
            await connection.ask(NEXT)
            await connection.passes(KEEP_ALIVE / 2)
        for record in connection.records():
            assert record["duration_us"] == 0
            assert abs(datetime.fromisoformat(record["time"]) - datetime.now(UTC)) < timedelta(minutes=5)

    on_a_connection(test)


def test_a_connection_has_one_timer_and_requests_start_none(on_a_connection: On, clock: Clock) -> None:

    async def test(connection: Timed) -> None:
        timers = clock.timers()
        assert len(timers) == 1
        for _ in range(10):
            await connection.ask(NEXT + NEXT[:9])
            await connection.ask(NEXT[9:] + head("POST / HTTP/1.1", "Content-Length: 1") + b"b")
        assert clock.timers() == timers
        connection.protocol.connection_lost(None)
        assert clock.timers() == []

    on_a_connection(test)
