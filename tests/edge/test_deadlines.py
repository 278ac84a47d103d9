"""Deadlines: what becomes of clients that are late, on a clock that passes when a test lets it, and in numbers."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.timed import A_LITTLE, CHUNKED, KEEP_ALIVE, NEXT, On, Timed, clock_in_place, runs_on
from support.wire import FRONTS, Clock, head

from redirect.edge.limits import CLIENT_TIMEOUT_SECONDS, LATE_SECONDS, READ_CHECK_SECONDS

# Those of whose request something has come and nothing was answered: what came, and what the record knows of it.
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

# Those to whom nothing is owed: what came, and after how long the connection ends.
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
def test_a_late_request_is_answered_with_408(sent: bytes, method: str | None, path: str, on_a_connection: On) -> None:
    """What does not end in time is answered with 408, logged like any other, and ends the connection for good."""

    async def test(connection: Timed) -> None:
        before = await connection.say(sent)
        assert await connection.passes(CLIENT_TIMEOUT_SECONDS - A_LITTLE) == []
        (answer,) = await connection.passes(A_LITTLE, method or "GET")
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert answer.headers["content-type"] == "application/problem+json"
        assert not connection.is_open
        record = connection.records()[len(before)]
        assert (record["status"], record["method"], record["path"]) == (408, method, path)
        assert await connection.say(sent) == []
        assert not connection.transport.closed
        await connection.passes(LATE_SECONDS)
        assert connection.transport.closed

    on_a_connection(test)


@pytest.mark.parametrize(("sent", "seconds"), QUIET.values(), ids=QUIET)
def test_a_client_that_is_owed_nothing(sent: bytes, seconds: float, on_a_connection: On) -> None:
    """An idle connection is closed without a word, and so is one whose answer has gone before its body."""

    async def test(connection: Timed) -> None:
        answered = await connection.say(sent)
        await connection.passes(seconds - A_LITTLE)
        assert connection.is_open
        assert await connection.passes(A_LITTLE) == []
        assert connection.transport.closed
        assert not connection.transport.aborted
        assert len(connection.records()) == len(answered)

    on_a_connection(test)


@pytest.mark.parametrize("keep_alive", [5, 3600])
def test_the_first_byte_has_the_time_of_a_head(keep_alive: int, on_a_connection: On) -> None:
    """However long connections are kept between requests, a new one that says nothing is closed as a late head is."""

    async def test(connection: Timed) -> None:
        await connection.passes(CLIENT_TIMEOUT_SECONDS - A_LITTLE)
        assert connection.is_open
        await connection.passes(A_LITTLE)
        assert connection.transport.closed

    on_a_connection(test, timeout_keep_alive=keep_alive)


@pytest.mark.parametrize("keep_alive", [1, 9, 3600])
def test_the_idle_time_is_the_keep_alive_time(keep_alive: int, on_a_connection: On) -> None:
    """Between two requests a connection is kept for exactly as long as the setting says."""

    async def test(connection: Timed) -> None:
        await connection.say(NEXT)
        await connection.passes(keep_alive - A_LITTLE)
        assert connection.is_open
        await connection.passes(A_LITTLE)
        assert connection.transport.closed

    on_a_connection(test, timeout_keep_alive=keep_alive)


def test_dripping_does_not_prolong_a_head(on_a_connection: On) -> None:
    """The time of a head begins with its first byte, and no later one begins it anew."""

    async def test(connection: Timed) -> None:
        await connection.say(NEXT)
        await connection.passes(30)
        for at in range(int(CLIENT_TIMEOUT_SECONDS)):
            assert await connection.say(NEXT[at : at + 1]) == []
            assert connection.is_open
            answers = await connection.passes(1)
        assert [answer.status for answer in answers] == [408]

    on_a_connection(test)


@pytest.mark.parametrize("framing", ["Content-Length: 12", "Transfer-Encoding: chunked"])
def test_a_body_may_be_slow(framing: str, on_a_connection: On) -> None:
    """A body has its time from each byte to the next, so one that goes on is read to its end."""

    async def test(connection: Timed) -> None:
        answers = await connection.say(head("POST / HTTP/1.1", framing))
        for _ in range(12):
            await connection.passes(CLIENT_TIMEOUT_SECONDS - A_LITTLE)
            answers += await connection.say(b"b" if "Length" in framing else b"1\r\nb\r\n")
        answers += await connection.say(b"" if "Length" in framing else b"0\r\n\r\n")
        answers += await connection.say(NEXT)
        assert [answer.status for answer in answers] == [302, 302]
        assert connection.is_open

    on_a_connection(test)


def test_what_is_around_a_body_is_no_body(on_a_connection: On) -> None:
    """The lengths of chunks, however many digits they have, do not prolong the time of a body."""

    async def test(connection: Timed) -> None:
        await connection.say(CHUNKED)
        for _ in range(int(CLIENT_TIMEOUT_SECONDS)):
            assert await connection.say(b"0") == []
            answers = await connection.passes(1)
        assert [answer.status for answer in answers] == [408]

    on_a_connection(test)


def test_an_answer_begins_the_idle_time(on_a_connection: On) -> None:
    """Each request begins it anew: one like that before it, another, and one that the app answers."""

    async def test(connection: Timed) -> None:
        for sent in (NEXT, NEXT, NEXT, head("GET / HTTP/1.1", "X: 1"), head("OPTIONS * HTTP/1.1")):
            assert len(await connection.say(sent)) == 1
            await connection.passes(KEEP_ALIVE - A_LITTLE)
            assert connection.is_open
        await connection.passes(A_LITTLE)
        assert connection.transport.closed

    on_a_connection(test)


def test_a_client_that_waits_is_not_late(on_a_connection: On) -> None:
    """While the app works on a request, it is not the client's turn, whatever of the next one has come."""

    async def test(connection: Timed) -> None:
        connection.send(head("OPTIONS * HTTP/1.1") + NEXT[:-2])
        connection.clock.now += 2 * KEEP_ALIVE
        assert [answer.status for answer in await connection.say(b"")] == [204]
        await connection.passes(CLIENT_TIMEOUT_SECONDS - A_LITTLE)
        assert [answer.status for answer in await connection.say(NEXT[-2:])] == [302]

    on_a_connection(test)


@pytest.mark.parametrize("high_water", [100, 100_000], ids=["too much", "little"])
def test_a_client_that_reads_nothing_is_cut(high_water: int, on_a_connection: On) -> None:
    """Answers that wait for a client that reads none of them wait no longer than that. Where they are few it may
    take as long until that is noticed."""

    async def test(connection: Timed) -> None:
        connection.transport.high_water = high_water
        connection.send(NEXT * 2)
        await connection.passes(CLIENT_TIMEOUT_SECONDS - A_LITTLE)
        assert connection.is_open
        await connection.passes(A_LITTLE + READ_CHECK_SECONDS + (0 if high_water == 100 else CLIENT_TIMEOUT_SECONDS))
        assert connection.transport.aborted

    on_a_connection(test)


def test_a_slow_reader_lives(on_a_connection: On) -> None:
    """Whoever reads a byte now and then, and asks for more, gets all of it; nothing but his idleness ends it."""

    async def test(connection: Timed) -> None:
        connection.transport.high_water = 100
        connection.send(NEXT * 2)
        for _ in range(12):
            await connection.passes(CLIENT_TIMEOUT_SECONDS - READ_CHECK_SECONDS)
            connection.transport.be_read(10)
        connection.transport.be_read()
        await connection.passes(2 * CLIENT_TIMEOUT_SECONDS)
        assert not connection.transport.aborted

    on_a_connection(test)


def test_whoever_only_asks_is_cut(on_a_connection: On) -> None:
    """To ask on is not to read."""

    async def test(connection: Timed) -> None:
        connection.transport.high_water = 100_000
        latest = connection.clock.now + 2 * CLIENT_TIMEOUT_SECONDS + READ_CHECK_SECONDS
        while connection.is_open:
            await connection.say(NEXT)
            await connection.passes(3)
        assert connection.transport.aborted
        assert connection.clock.now < latest + 3

    on_a_connection(test)


def test_whoever_asks_more_than_he_reads_lives(on_a_connection: On) -> None:
    """Nor has one who reads a little read nothing, though what waits for him becomes more and more."""

    async def test(connection: Timed) -> None:
        connection.transport.high_water = 100_000
        for _ in range(12):
            await connection.say(NEXT * 3)
            connection.transport.be_read(1)
            await connection.passes(CLIENT_TIMEOUT_SECONDS - READ_CHECK_SECONDS)
        assert connection.is_open
        await connection.passes(CLIENT_TIMEOUT_SECONDS + READ_CHECK_SECONDS)
        assert connection.transport.aborted

    on_a_connection(test)


def test_a_closed_connection_does_not_wait_for_ever(on_a_connection: On) -> None:
    """Nor does a connection that is closed already, and kept by what its client does not read."""

    async def test(connection: Timed) -> None:
        connection.transport.high_water = 100_000
        await connection.say(head("GET / HTTP/1.1", "Connection: close"))
        await connection.passes(2 * CLIENT_TIMEOUT_SECONDS + READ_CHECK_SECONDS)
        assert connection.transport.aborted

    on_a_connection(test)


def test_all_of_a_connection_reads_one_clock(on_a_connection: On) -> None:
    """A connection and its record read the same clock, also at the moment at which a machine starts: a request takes
    no time if none passes, and the record has the wall clock's time."""

    async def test(connection: Timed) -> None:
        for _ in range(2):
            await connection.say(NEXT)
            await connection.passes(KEEP_ALIVE / 2)
        for record in connection.records():
            assert record["duration_us"] == 0
            assert abs(datetime.fromisoformat(record["time"]) - datetime.now(UTC)) < timedelta(minutes=5)

    on_a_connection(test)


def test_requests_start_no_timers(on_a_connection: On, clock: Clock) -> None:
    """A connection has one timer, however much it is asked, and none once it is gone."""

    async def test(connection: Timed) -> None:
        timers = clock.timers()
        assert len(timers) == 1
        for _ in range(10):
            await connection.say(NEXT + NEXT[:9])
            await connection.say(NEXT[9:] + head("POST / HTTP/1.1", "Content-Length: 1") + b"b")
        assert clock.timers() == timers
        connection.protocol.connection_lost(None)
        assert clock.timers() == []

    on_a_connection(test)
