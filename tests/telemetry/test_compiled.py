"""The compiled modules by themselves: what they are given is read within its bounds, refused, or left to Python."""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from redirect.core.decision import Decision
from redirect.core.due import Certain, Due
from redirect.telemetry import access_log, batch

# None where they were not built.
LINES: Any = vars(access_log).get("_lines")
BATCH: Any = vars(batch).get("_batch")

# What a decision determines of a line, and a head: both usual.
PART = ("info", ',"pool":"p","location":"http://a', True, '","status":302,', ("}\n",), None)
HEAD = ("p", "GET", "a.example.com", "192.0.2.1", "curl/8", "/", f"00-{'a' * 32}-{'b' * 16}-01")

LINE = (
    b'{"time":"1970-01-01T00:00:00.005Z","level":"info","pool_requested":"p","pool":"p","location":"http://a/x?y",'
    b'"status":302,"method":"GET","host":"a.example.com","path":"/x","query":"y","client_ip":"192.0.2.1",'
    b'"user_agent":"curl/8","referer":"/","trace_id":"%b","request_id":"i","duration_us":4000,"config":"c"}\n'
) % (b"a" * 32)

LEFT = b"left to line\n"

STRANGE: list[Any] = [None, 1, -1, 2**70, 1.5, "x", "\u4e2d", "", b"x", (), (None,), [], [1], {}, object()]
REFUSALS = (TypeError, ValueError, OverflowError, AttributeError, BufferError, IndexError)


def decided(part: Any = PART, counted_at: Any = None) -> Decision:
    decision = Decision(302, "p", "a", "http://a")
    decision.line_part = part
    decision.counted_at = counted_at
    return decision


def recorded(decision: Any = None, **other: Any) -> Any:
    values = {
        "head": HEAD,
        "request_id": "i",
        "target": "/x?y",
        "started": 1_000_000,
        "ended": 5_000_000,
        "config": "c",
        "outcome": None,
    }
    return (decision or decided(), *(values | other).values())


def formatter(**other: Any) -> Any:
    """A formatter as the compiled module knows it."""
    return SimpleNamespace(**{"parts": {}, "tail": ',"config":"', "line": lambda *_: LEFT} | other)


def make(*records: Any, of: Any = None, to_wall: Any = 0, max_bytes: Any = 4096) -> Any:
    """The lines of `records`, made by the compiled module."""
    return LINES.make(of or formatter(), [*records], to_wall, max_bytes)


def add_up(records: Any, bounds: Any = (1000,), counts: Any = None, use: Any = None, now_ms: Any = 7) -> Any:
    return BATCH.add_up(records, bounds, bytearray(64) if counts is None else counts, use, now_ms)


def with_each(values: tuple[Any, ...], place: int, others: list[Any]) -> list[tuple[Any, ...]]:
    return [(*values[:place], other, *values[place + 1 :]) for other in others]


def test_a_usual_line_is_made_where_it_fits() -> None:
    if access_log.IS_COMPILED:
        assert make(recorded()) == LINE
        made = [make(recorded(), max_bytes=size) for size in range(len(LINE) + 2)]
        assert made == [LEFT] * len(LINE) + [LINE] * 2


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(
            recorded(decided((*PART[:4], (), None)), outcome=[1]), id="no end and an outcome that is no tuple"
        ),
        pytest.param(recorded(outcome=[1]), id="an outcome that is no tuple"),
        pytest.param(recorded(outcome=(1, 2)), id="an outcome with more numbers than there are ends"),
        pytest.param(recorded(decided((*PART[:4], (), None))), id="no end"),
        pytest.param(recorded(decided((*PART[:4], ["}\n"], None))), id="ends that are no tuple"),
        pytest.param(recorded(decided((*PART[:4], (1,), None))), id="an end that is no text"),
        pytest.param(recorded(decided(PART[:5])), id="a part that is too short"),
        pytest.param(recorded(head=HEAD[:6]), id="a head that is too short"),
        pytest.param(recorded(target=""), id="no target"),
        pytest.param(recorded()[:7], id="a record that is too short"),
        pytest.param(recorded(ended=2**63 - 1), id="a time that is too late"),
        pytest.param(recorded(started=-(2**63)), id="a time that took too long"),
        pytest.param(recorded(started=5_000_001), id="a time that took less than nothing"),
        pytest.param(recorded(started=-10_000_000, ended=-2_500_000), id="a time before 1970"),
    ],
)
def test_what_is_not_as_expected_is_left_to_line(record: Any) -> None:
    if access_log.IS_COMPILED:
        assert make(record, recorded(), to_wall=10**6) == LEFT + LINE.replace(b".005Z", b".006Z")


def test_whatever_stands_in_a_record_is_refused_left_or_made() -> None:
    decision, *others = recorded()
    parts = [part for place in range(len(PART)) for part in with_each(PART, place, STRANGE)]
    heads = [head for place in range(len(HEAD)) for head in with_each(HEAD, place, STRANGE)]
    records = [record for place in range(8) for record in with_each((decision, *others), place, STRANGE)]
    records += [
        recorded(decided(part), outcome=outcome) for part in [*STRANGE, *parts] for outcome in (None, (), (1,), [1])
    ]
    records += [recorded(head=head) for head in heads]
    for record in [*STRANGE, *records] * access_log.IS_COMPILED:
        with suppress(*REFUSALS):
            assert make(record, recorded()).endswith(LINE)


@pytest.mark.parametrize("place", range(4))
def test_whatever_is_an_argument_of_make_is_refused_or_taken(place: int) -> None:
    arguments = with_each((formatter(), [recorded()], 0, 4096), place, [*STRANGE, 2**63 - 1, -(2**63)])
    for each in [*arguments, (), (formatter(),)] * access_log.IS_COMPILED:
        with suppress(*REFUSALS):
            assert isinstance(LINES.make(*each), bytes)


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        pytest.param(
            lambda: make(recorded(decided(None)), of=formatter(parts=[])), TypeError, id="parts that are no dict"
        ),
        pytest.param(lambda: make((), of=formatter(line=lambda *_: None)), TypeError, id="a line that is none"),
        pytest.param(lambda: make((), of=formatter(line=lambda *_: "x")), TypeError, id="a line that is text"),
        pytest.param(lambda: make((), of=formatter(line=lambda *_: 1 // 0)), ZeroDivisionError, id="an error of line"),
        pytest.param(lambda: make(max_bytes=-1), ValueError, id="lines of less than nothing"),
        pytest.param(lambda: make(max_bytes=2**62), ValueError, id="lines that are too long"),
        pytest.param(lambda: make(to_wall=2**63), OverflowError, id="a wall clock that is too late"),
    ],
)
def test_what_make_refuses(refused: Callable[[], object], error: type[Exception]) -> None:
    if access_log.IS_COMPILED:
        with pytest.raises(error):
            refused()


def test_nothing_is_kept_of_what_is_refused() -> None:
    due = Due(Certain("p", "a"), 1.0)
    decision = replace(decided(), due=due)
    decision.line_part = (*PART[:5], due)
    held = sys.getrefcount(due), sys.getrefcount(decision), sys.getrefcount(HEAD)
    for started in (2**70, None, "x", 0) * 10 * access_log.IS_COMPILED:
        with suppress(*REFUSALS):
            make(recorded(decision, started=started))
    assert (sys.getrefcount(due), sys.getrefcount(decision), sys.getrefcount(HEAD)) == held


class Emptying:
    """Empties `records` whenever something of it is asked for, and has each attribute made for who asks."""

    def __init__(self, records: list[Any]) -> None:
        self._records = records

    def __getattr__(self, name: str) -> Any:
        self._records.clear()
        return {"line_part": (*PART,), "due": None, "counted_at": (object(), 1)}[name]

    def __index__(self) -> int:
        self._records.clear()
        return 1_000_000

    def line(self, *_: Any) -> bytes:
        self._records.clear()
        return LEFT


def test_a_list_that_is_emptied_meanwhile_is_formatted_whole() -> None:
    records: list[Any] = []
    emptying = Emptying(records)
    for first, made in [
        (recorded(emptying), LINE),
        (recorded(started=emptying), LINE),
        ((), LEFT),
    ] * access_log.IS_COMPILED:
        records[:] = [first, recorded()]
        assert LINES.make(formatter(line=emptying.line), records, 0, 4096) == made + LINE


def test_a_list_that_is_emptied_meanwhile_is_added_up_whole() -> None:
    records: list[Any] = []
    emptying = Emptying(records)
    for first in [recorded(emptying), recorded(started=emptying)] * batch.IS_COMPILED:
        other = decided()
        records[:] = [first, recorded(other)]
        decisions, _, durations, *_ = add_up(records)
        assert [(id(each), count) for each, count in decisions] == [(id(first[0]), 1), (id(other), 1)]
        assert durations == (8_000_000, [(1, 2)])


def test_whatever_stands_in_a_batch_is_refused_or_counted() -> None:
    use = object()
    records = [record for place in range(8) for record in with_each(recorded(), place, STRANGE)]
    places = [
        (use, request, route, True) for request in [0, 5, 6, 2**63 - 1, *STRANGE] for route in [None, 7, 8, *STRANGE]
    ]
    for record in [
        *STRANGE,
        *records,
        *[recorded(decided(PART, each)) for each in [*STRANGE, *places]],
    ] * batch.IS_COMPILED:
        with suppress(*REFUSALS):
            assert add_up([record, recorded()], use=use)[1] >= {"p"}


@pytest.mark.parametrize("place", range(4))
def test_whatever_is_an_argument_of_add_up_is_refused_or_taken(place: int) -> None:
    good = [recorded()], (1000,), bytearray(64), object(), 7
    for each in [*with_each(good, place, [*STRANGE, (1,) * 65, 2**64, b"x" * 64]), (), good[:4]] * batch.IS_COMPILED:
        with suppress(*REFUSALS):
            assert len(BATCH.add_up(*each)) == 5
