"""The access record: complete, in order, on one line, valid whatever the client sent."""

import json
import os
import re
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import generated
from support.logged import KEYS
from support.timed import clock_in_place
from support.wire import FRONTS, Wire, head

from redirect.config.loader import parse_config
from redirect.core.decision import Decision, Outcome
from redirect.core.due import Certain, Due
from redirect.core.service import new_service
from redirect.telemetry.access_log import IS_COMPILED, LineFormatter, fit
from redirect.telemetry.log_writer import MAX_LINE_BYTES
from redirect.telemetry.record import Record


def recorded(decision: Decision, target: str = "/", outcome: Outcome | None = None, **head: str | None) -> Record:
    """The record of an answer; `head` is what is logged of its head."""
    fields = ["pool_requested", "method", "host", "client_ip", "user_agent", "referer", "traceparent"]
    logged: Any = tuple([head.get(field) for field in fields])
    return decision, logged, head.get("request_id") or "id", target, 0, 1500, "0" * 12, outcome


def test_the_record_of_a_redirect(wire: Wire) -> None:
    """It has the client, the request and the location."""
    sent = head(
        "POST /a%20b//?x=1&y= HTTP/1.1",
        "X-Redirect-Pool-ID: pool-b",
        "User-Agent: curl/8",
        "Referer: http://here/",
        "X-Request-ID: abc.DEF-1_2",
    )
    _, _, (record,) = wire.exchange(sent)
    assert list(record) == KEYS
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.pop("time"))
    assert record.pop("duration_us") >= 0
    assert record.pop("instance") == os.uname().nodename
    assert record.pop("worker") == os.getpid()
    assert re.fullmatch("[0-9a-f]{12}", record.pop("config"))
    assert re.fullmatch("[0-9a-f]{8}", record.pop("weights"))
    assert record == {
        "level": "info",
        "pool_requested": "pool-b",
        "pool": "pool-b",
        "origin": "origin-2.example.com",
        "location": "http://origin-2.example.com/a%20b//?x=1&y=",
        "status": 307,
        "method": "POST",
        "host": "asked.example",
        "path": "/a%20b//",
        "query": "x=1&y=",
        "client_ip": "192.0.2.7",
        "user_agent": "curl/8",
        "referer": "http://here/",
        "trace_id": None,
        "request_id": "abc.DEF-1_2",
        "route": None,
        "action": "redirect",
        **dict.fromkeys(
            ["origin_status", "origin_us", "tries", "bytes_in", "bytes_out", "served_from", "detail", "fallback_for"]
        ),
        "due": 1,
    }


@pytest.mark.parametrize(
    ("key", "is_by_shares"),
    [('pick = "random"', True), ('pick = "hash"', False), ('on_loop = "next"', False), ("status = 301", True)],
)
def test_weights_are_null_where_they_alone_do_not_decide(key: str, is_by_shares: bool) -> None:
    """The share that is due stands there all the same."""
    toml = f"[p]\nis_default = true\n{key}\nweighted_hosts = {{ a = 1, b = 1 }}\n"
    service = new_service(parse_config(toml.encode(), "pools.toml"), Random(1))
    decision = service.decide(None, "http", None, "GET", b"192.0.2.7")
    record = json.loads(LineFormatter().format([recorded(decision)]))
    assert (record["due"], record["weights"] is None) == (0.5, not is_by_shares)


def test_time_is_the_wall_clock_s(wire: Wire) -> None:
    """The time of a record is when its answer was sent, by the wall clock."""
    before = datetime.now(UTC)
    _, _, records = wire.exchange([head("GET / HTTP/1.1")] * 150)
    times = [datetime.fromisoformat(record["time"]) for record in records]
    assert times == sorted(times)
    # The record has whole milliseconds, and two clocks are read one after the other.
    assert before - timedelta(milliseconds=2) <= times[0] <= times[-1] <= datetime.now(UTC) + timedelta(milliseconds=1)


ABSENT = {"pool_requested": None, "user_agent": None, "referer": None, "query": ""}

CASES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "what is absent is null": (head("GET / HTTP/1.1"), ABSENT),
    "an unknown pool is recorded": (
        head("GET / HTTP/1.1", "X-Redirect-Pool-ID: nope"),
        {"pool_requested": "nope", "pool": "pool-a", "level": "info"},
    ),
    "an absolute target's host was asked for": (
        head("GET http://Other.example:80/x HTTP/1.1"),
        {"host": "Other.example:80", "path": "/x"},
    ),
    "a loop": (
        head("GET / HTTP/1.1", host="origin-1"),
        {
            "level": "warning",
            "status": 422,
            "pool": "pool-a",
            "origin": "origin-1",
            "location": None,
            "action": "refuse",
        },
    ),
    "a refusal": (
        head("GET /x?y HTTP/1.1", host="a b"),
        {"level": "warning", "status": 400, "pool": None, "origin": None, "host": "a b", "path": "/x", "query": "y"},
    ),
    "no HTTP at all": (b"\x16\x03\x01", {"status": 400, "method": None, "path": None, "query": "", "host": None}),
    "HTTP/1.0 without Host": (head("GET / HTTP/1.0", host=None), {"status": 302, "host": None}),
}


@pytest.mark.parametrize(("sent", "expected"), CASES.values(), ids=CASES)
def test_records(sent: bytes, expected: dict[str, Any], wire: Wire) -> None:
    """Every answer has its record, with all keys in their order, whatever became of the request."""
    _, _, (record,) = wire.exchange(sent)
    assert list(record) == KEYS
    assert {key: record[key] for key in expected} == expected


@pytest.mark.parametrize("sent", ["", "a b", "é", "a" * 129, "a,b", 'a"b'])
def test_request_id_is_made_up(sent: str, wire: Wire) -> None:
    """An X-Request-ID that is not 1 to 128 of A-Za-z0-9._- is replaced by one of ours."""
    _, _, (record,) = wire.exchange(head("GET / HTTP/1.1", f"X-Request-ID: {sent}"))
    assert re.fullmatch("[0-9a-f]{32}", record["request_id"])


TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        pytest.param(f"00-{TRACE}-{PARENT}-01", TRACE, id="valid"),
        pytest.param(f"00-{TRACE}-{PARENT}-ff", TRACE, id="any flags"),
        pytest.param(f"00-{TRACE}-{PARENT}-01-x", None, id="version 00 ends with its flags"),
        pytest.param(f"00-{TRACE}-{PARENT}-01-", None, id="version 00 with a dash behind"),
        pytest.param(f"cc-{TRACE}-{PARENT}-01", TRACE, id="a later version"),
        pytest.param(f"cc-{TRACE}-{PARENT}-01-what.comes", TRACE, id="a later version with more"),
        pytest.param(f"cc-{TRACE}-{PARENT}-01.what", None, id="more that is no part"),
        pytest.param(f"cc-{TRACE}-{PARENT}-01-a, cc-{TRACE}-{PARENT}-01-b", None, id="a list"),
        pytest.param(f"ff-{TRACE}-{PARENT}-01", None, id="version ff"),
        pytest.param(f"0-{TRACE}-{PARENT}-01", None, id="a short version"),
        pytest.param(f"00-{'0' * 32}-{PARENT}-01", None, id="a trace of zeros"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", None, id="a parent of zeros"),
        pytest.param(f"00-{TRACE[:-1]}-{PARENT}-01", None, id="a short trace"),
        pytest.param(f"00-{TRACE}0-{PARENT}-01", None, id="a long trace"),
        pytest.param(f"00-{TRACE}-{PARENT}0-01", None, id="a long parent"),
        pytest.param(f"00-{TRACE.upper()}-{PARENT}-01", None, id="capitals"),
        pytest.param(f"00-{TRACE}-{PARENT}-1", None, id="short flags"),
        pytest.param(f"00-{TRACE}-{PARENT}-0g", None, id="flags that are no number"),
        pytest.param(f'00-{TRACE}-{PARENT}-"', None, id="a quote"),
        pytest.param("", None, id="empty"),
    ],
)
def test_the_trace_is_that_of_a_valid_traceparent(traceparent: str, trace_id: str | None, wire: Wire) -> None:
    _, _, (record,) = wire.exchange(head("GET / HTTP/1.1", f"Traceparent: {traceparent}"))
    assert record["trace_id"] == trace_id


def test_two_traceparents_are_no_trace(wire: Wire) -> None:
    """They differ in nothing by which one could be believed."""
    fields = [f"traceparent: 00-{TRACE}-{PARENT}-01", f"Traceparent: 00-{TRACE}-{PARENT}-01"]
    _, _, (record,) = wire.exchange(head("GET / HTTP/1.1", *fields))
    assert record["trace_id"] is None


values = st.binary(max_size=6000).map(lambda value: bytes(byte for byte in value if byte >= 0x20 and byte != 0x7F))


@pytest.mark.slow
@generated(200)
@given(front=st.sampled_from([*FRONTS]), agent=values, referer=values, pool=values)
def test_whatever_the_client_sends(front: str, agent: bytes, referer: bytes, pool: bytes) -> None:
    """A line is ASCII JSON of at most 4,096 bytes, with one line end, whatever bytes the fields hold."""
    fields = [b"User-Agent: " + agent, b"Referer: " + referer, b"X-Redirect-Pool-ID: " + pool]
    sent = head("GET / HTTP/1.1")[:-2] + b"\r\n".join(fields) + b"\r\n\r\n"
    with tempfile.TemporaryDirectory() as folder:
        wire = Wire(front, Path(folder, "access.jsonl"))
        seen = wire.converse(sent)
    (record,), written = seen.records, seen.log
    assert written.isascii()
    assert len(written) <= MAX_LINE_BYTES
    assert written.count(b"\n") == 1
    stripped = agent.strip(b" ").decode("latin-1")
    if "truncated" in record:
        assert list(record) == [*KEYS, "truncated"]
        assert stripped.startswith(record["user_agent"] or "")
    else:
        assert list(record) == KEYS
        assert (record["user_agent"] or "") == stripped


def test_long_values_are_cut() -> None:
    """A record too long for a line loses the ends of long values, keeps short ones, and says so."""
    path = "/" + "\xff" * 8000
    record: dict[str, Any] = {**dict.fromkeys(KEYS), "path": path, "pool_requested": "x" * 20, "status": 302}
    cut = json.loads(fit(record))
    assert len(fit(record)) <= MAX_LINE_BYTES
    assert cut["truncated"] is True
    assert cut["path"] == path[: len(cut["path"])]
    assert len(cut["path"]) >= 256
    assert (cut["pool_requested"], cut["status"]) == ("x" * 20, 302)


@pytest.mark.parametrize("key", ["origin", "client_ip", "method", "host"])
@pytest.mark.parametrize("value", ["x" * 5000, "\xff" * 5000, "\x00" * 100_000])
def test_any_long_value_is_cut(key: str, value: str) -> None:
    """Whichever value is too long, a line comes out, and fits."""
    record: dict[str, Any] = {**dict.fromkeys(KEYS, ""), key: value}
    assert len(fit(record)) <= MAX_LINE_BYTES
    assert value.startswith(json.loads(fit(record))[key])


def test_everything_is_too_long() -> None:
    """With all that can be long at its longest, what is short by its nature stays whole."""
    short = {"pool": '"' * 128, "request_id": "i" * 128, "instance": "n" * 64, "time": "t" * 24, "config": "c" * 12}
    short |= {"trace_id": "a" * 32, "weights": "w" * 8, "served_from": "cache", "fallback_for": '"' * 128}
    record: dict[str, Any] = dict.fromkeys(KEYS, "\x00" * 9000) | dict.fromkeys(
        "level status duration_us worker action origin_status origin_us tries bytes_in bytes_out due".split(), 99_999
    )
    cut = json.loads(fit(record | short))
    assert len(fit(record | short)) <= MAX_LINE_BYTES
    assert {key: cut[key] for key in short} == short


def test_a_line_just_fits() -> None:
    """A line of exactly 4,096 bytes is written whole."""
    empty: dict[str, Any] = {**dict.fromkeys(KEYS), "path": ""}
    record = {**empty, "path": "x" * (MAX_LINE_BYTES - len(fit(empty)))}
    assert len(fit(record)) == MAX_LINE_BYTES
    assert "truncated" not in json.loads(fit(record))


def test_lines_around_the_limit(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is cut as soon as it would be longer than 4,096 bytes, and not before."""
    clock_in_place(monkeypatch)  # a duration with more digits would make a line longer than the next one
    asked = [head("GET / HTTP/1.1", f"User-Agent: {'x' * length}") for length in range(3450, 3650)]
    seen = wire.converse(asked)
    lines = seen.log.splitlines(keepends=True)
    assert max(len(line) for line in lines) > MAX_LINE_BYTES - 20
    assert all(len(line) <= MAX_LINE_BYTES for line in lines)
    cut = ["truncated" in record for record in seen.records]
    assert cut == sorted(cut)
    assert 0 < sum(cut) < len(cut)


# Text of latin-1, and some that cannot come from bytes; short, long, and too long for a line.
texts = names = st.none() | st.text(st.characters(max_codepoint=0xFF), max_size=40) | st.text(max_size=5)
texts |= st.sampled_from(["", "?", '"\\', "x" * 1000, "\xff" * 700, "x" * 4000])
traceparents = st.none() | st.sampled_from(
    [
        *(f"{version}-{TRACE}-{PARENT}-01" for version in ("00", "cc", "ff", "0")),
        *(f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{PARENT}-0g", f"00-{TRACE}-{PARENT}"),
        *("x" * 55, "\x00" * 55, "\u4e2d" * 55, f"00-{TRACE}-{PARENT}_01", f"00_{TRACE}-{PARENT}-01"),
    ]
)
ids = st.from_regex(re.compile("[A-Za-z0-9._-]{1,128}", re.ASCII), fullmatch=True)
heads = st.tuples(texts, texts, texts, texts, texts, texts, traceparents)
numbers = st.none() | st.integers(0, 2**63 - 1)
outcomes = st.builds(Outcome, numbers, numbers, st.integers(0, 9), st.integers(0, 2**40), st.integers(0, 2**40))
decisions = st.builds(
    Decision,
    st.sampled_from([302, 404, 422, 503]),
    *(names, texts, texts, texts),
    route=texts,
    served_from=st.sampled_from([None, "cache"]),
    fallback_for=names,
)
dues = st.none() | st.builds(Due, st.builds(Certain, st.just("p"), st.just("o")), st.floats(0, 1))
times = st.integers(0, 2**62)


@st.composite
def records(draw: st.DrawFn) -> Record:
    outcome = draw(st.none() | outcomes)
    decision = replace(draw(decisions), is_forward=outcome is not None, due=draw(dues))
    target = draw(texts.map(lambda text: text or ""))
    started, ended = sorted([draw(times), draw(times)])
    return decision, draw(heads), draw(ids), target, started, ended, draw(st.sampled_from(["0" * 12, ""])), outcome


# Both where the compiled one is there.
FORMATTERS = [False, *[True] * IS_COMPILED]


@pytest.mark.slow
@generated(500)
@given(batch=st.lists(records(), max_size=6), again=st.booleans())
def test_the_compiled_formatter_writes_the_same_lines(batch: list[Record], again: bool) -> None:
    """Whatever is in a record; of decisions that it has seen, and of others."""
    made = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("redirect.telemetry.access_log.time_ns", lambda: 1_900_000_000_123_456_789)
        monkeypatch.setattr("redirect.telemetry.access_log.monotonic_ns", lambda: 1_800_000_000_000_000_000)
        for is_compiled in FORMATTERS:
            formatter = LineFormatter(is_compiled=is_compiled)
            made.append([formatter.format(batch), formatter.format(batch) if again else b""])
    assert made[0] == made[-1]
    assert made[0][0].count(b"\n") == len(batch)


def test_usual_lines_are_formatted_by_the_compiled_formatter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of a decision, with a trace, an outcome or characters to escape, is a usual one."""
    redirected, forwarded = Decision(302, "p", "a", "http://a"), Decision(200, "p", "a", is_forward=True, route="r")
    usual = [
        recorded(redirected, "/x?y", host='a"', request_id="i", traceparent=f"00-{TRACE}-{PARENT}-01"),
        recorded(forwarded, "/\xff", Outcome(200, None, 1, 0, 5)),
    ]
    formatter = LineFormatter()
    formatter.format(usual)
    monkeypatch.setattr(formatter, "line", lambda *_: pytest.fail("was left to Python"))
    if IS_COMPILED:
        assert len(formatter.format(usual * 200).splitlines()) == 400


@pytest.mark.parametrize("is_compiled", FORMATTERS)
def test_a_record_that_is_none_is_an_error(is_compiled: bool) -> None:
    formatter = LineFormatter(is_compiled=is_compiled)
    good = recorded(Decision(302, "p", "a", "http://a"))
    formatter.format([good])
    bad: list[Any] = [(), None, (*good[:4], "started", *good[5:]), (*good[:5], 2**70, *good[6:])]
    for record in bad:
        with pytest.raises((TypeError, ValueError, OverflowError)):
            formatter.format([good, record])


@pytest.mark.parametrize("is_compiled", FORMATTERS)
def test_a_time_has_its_milliseconds_however_late_it_is(is_compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the year 2242 on a float of seconds may be a microsecond below."""
    monkeypatch.setattr("redirect.telemetry.access_log.time_ns", lambda: 9_000_000_000 * 10**9)
    monkeypatch.setattr("redirect.telemetry.access_log.monotonic_ns", lambda: 0)
    begin, end = recorded(Decision(302, "p", "a", "http://a"))[:4], ("0" * 12, None)
    batch: list[Record] = [(*begin, 0, milliseconds * 10**6, *end) for milliseconds in range(1000)]
    lines = LineFormatter(is_compiled=is_compiled).format(batch).splitlines()
    expected = [f"2255-03-14T16:00:00.{milliseconds:03}Z" for milliseconds in range(1000)]
    assert [json.loads(line)["time"] for line in lines] == expected
