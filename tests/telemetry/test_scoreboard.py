"""Memory that workers share: what one writes all read, and what it leaves stays."""

import os
from collections.abc import Callable
from functools import partial

import pytest

from redirect.telemetry.scoreboard import KINDS, RING_BYTES, Kind, Labels, Scoreboard, Slot
from redirect.telemetry.snapshot import Counted


@pytest.fixture
def slot(scoreboard: Scoreboard) -> Slot:
    return scoreboard.slots()[0]


def in_another_process(what: Callable[[], object]) -> None:
    """Does it in a child of this process."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            what()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_what_one_process_writes_another_reads(scoreboard: Scoreboard) -> None:
    """Numbers, series and lines of a worker are there for the others, also when it is gone."""

    def work() -> None:
        slot = scoreboard.slots()[0]
        slot.counts[slot.add_series("requests", ("p", "o", 302))] = 7
        slot.keep_lines(b"a line\n")

    in_another_process(work)
    slot = scoreboard.slots()[0]
    ((key, index),) = slot.series("requests")
    assert (key, slot.counts[index]) == (("p", "o", 302), 7)
    assert slot.kept_lines(0) == (b"a line\n", 7)


def test_a_slot_that_is_free_holds_no_tokens(slot: Slot) -> None:
    """Whether a worker ended in order or was killed in the middle of a step."""
    slot.numbers.pid, slot.numbers.held[3].tokens, slot.numbers.held[3].steps = 7, 2, 5
    slot.numbers.requests = 9
    slot.free()
    assert (slot.numbers.pid, slot.numbers.held[3].tokens, slot.numbers.held[3].steps % 2) == (0, 0, 0)
    assert slot.numbers.requests == 9


def test_slots_are_apart(scoreboard: Scoreboard) -> None:
    """Each slot has its own series."""
    scoreboard.make_slot(2)
    assert len(scoreboard.slots()) == 3
    scoreboard.slots()[2].add_series("requests", ("p", "o", 302))
    assert scoreboard.slots()[0].series("requests") == scoreboard.slots()[1].series("requests") == []


def test_a_slot_that_is_there_stays(scoreboard: Scoreboard) -> None:
    """Making a slot that is there changes nothing."""
    scoreboard.make_slot(1)
    scoreboard.slots()[1].add_series("requests", ("p", "o", 302))
    scoreboard.make_slot(0)
    assert len(scoreboard.slots()) == 2
    assert len(scoreboard.slots()[1].series("requests")) == 1


def test_kinds_of_series_are_apart(scoreboard: Scoreboard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Series of each kind are found by it, with as many numbers as it has, in whichever order they were added."""
    monkeypatch.setitem(KINDS, "wide", Kind((), tuple("abcdefghi")))
    monkeypatch.setitem(KINDS, "narrow", Kind((), ("a",)))
    slot = Scoreboard().make_slot(0)
    added: dict[str, list[tuple[Labels, int]]] = {"wide": [], "requests": [], "narrow": []}
    for labels in ((), ("p",), ("p", "o", 302), ("a longer label",)):
        for kind, series in added.items():
            series.append((labels, slot.add_series(kind, labels)))
    indices = [index + at for kind in added for _, index in added[kind] for at in range(len(KINDS[kind].numbers))]
    for value, index in enumerate(indices):
        slot.counts[index] = value
    assert {kind: slot.series(kind) for kind in added} == added
    assert [slot.counts[index] for index in indices] == [*range(len(indices))]


def test_what_a_worker_left_half_written_is_no_count(slot: Slot) -> None:
    """A series begins at 0 where a worker was killed while it added one with a longer key."""
    slot.add_series("requests", ("a longer name", "o" * 100, 302))
    slot.numbers.series_bytes = 0
    index = slot.add_series("requests", ("p", "o", 302))
    assert [*slot.counts[index : index + len(KINDS["requests"].numbers)]] == [0, 0, 0, 0]


def test_series_grow(slot: Slot) -> None:
    """There is room for many series, of whatever names, and a reader finds those that came since it looked."""
    keys: list[Counted] = [(None, None, 400), ("p", None, 503), ("é\u2028", 'o"', 302)]
    keys += [("pool", f"origin-{n}", 302) for n in range(5000)]

    def add(keys: list[Counted]) -> None:
        for key in keys:
            slot.counts[slot.add_series("requests", key)] = 1

    for begin, end in ((0, 3), (3, 5003)):
        in_another_process(partial(add, keys[begin:end]))
        assert [key for key, _ in slot.series("requests")] == keys[:end]
        assert sum(slot.counts[index] for _, index in slot.series("requests")) == end


def test_a_slot_that_is_full(slot: Slot) -> None:
    """A slot that has no room for another series says so, and has what it had."""
    slot.add_series("requests", ("p", "o", 302))
    used, slot.numbers.series_bytes = slot.numbers.series_bytes, 2**30 - RING_BYTES - 64
    with pytest.raises(ValueError, match="no space"):
        slot.add_series("requests", ("p", "o" * 300_000, 302))
    slot.numbers.series_bytes = used
    assert [key for key, _ in slot.series("requests")] == [("p", "o", 302)]


def test_the_ring_keeps_the_last_lines(slot: Slot) -> None:
    """Lines are read once each, whole, in their order; of more than the ring holds the oldest are gone."""
    lines = [b"%06d" % n + b"." * (n % 90) + b"\n" for n in range(30_000)]
    read: list[bytes] = []
    cursor = 0
    for n, line in enumerate(lines):
        slot.keep_lines(line)
        if n % 1000 == 999:
            found, cursor = slot.kept_lines(cursor)
            read += found.splitlines(keepends=True)
    assert read == lines
    assert slot.kept_lines(cursor) == (b"", cursor)

    found, _ = slot.kept_lines(0)
    last = found.splitlines(keepends=True)
    assert last == lines[-len(last) :]
    assert RING_BYTES - 200 < len(found) <= RING_BYTES


@pytest.mark.parametrize("length", [7, 8, 1000, RING_BYTES - 1, RING_BYTES])
def test_more_at_once_than_the_ring_holds(length: int, slot: Slot) -> None:
    """Of a batch that is longer than the ring its last lines are kept, as many as there is room for, whole."""
    slot.keep_lines(b"before\n")
    lines = [b"%06d" % n + b"." * (length - 7) + b"\n" for n in range(RING_BYTES // length + 2)]
    slot.keep_lines(b"".join(lines))
    assert slot.kept_lines(7)[0].splitlines(keepends=True) == lines[-(RING_BYTES // length) :]


def test_a_line_that_the_ring_does_not_hold(slot: Slot) -> None:
    """A line that is longer than the ring is not kept, and what comes after it is."""
    slot.keep_lines(b"." * RING_BYTES + b"\n")
    assert slot.kept_lines(0) == (b"", 0)
    slot.keep_lines(b"a line\n")
    assert slot.kept_lines(0) == (b"a line\n", 7)


@pytest.mark.slow
def test_lines_that_are_overwritten_while_they_are_read(scoreboard: Scoreboard) -> None:
    """A reader that is overtaken by the writer misses lines, and sees no part of one."""
    count = 20_000

    def write() -> None:
        slot = scoreboard.slots()[0]
        for n in range(count):
            slot.keep_lines(b"".join(b"%09d %s\n" % (n, b"." * (n % 50)) for _ in range(20)))

    child = os.fork()
    if child == 0:
        write()
        os._exit(0)
    slot, cursor, seen = scoreboard.slots()[0], 0, [-1]
    while seen[-1] < count - 1:
        found, cursor = slot.kept_lines(cursor)
        for line in found.splitlines():
            number, dots = line.split(b" ")
            assert len(dots) == int(number) % 50
            seen.append(int(number))
    os.waitpid(child, 0)
    assert seen == sorted(seen)


def test_a_notice_is_read_whole(scoreboard: Scoreboard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is published replaces what was there, in every process; what is too long is refused and changes nothing."""
    notice = scoreboard.health
    assert (notice.number, notice.read()) == (0, b"")
    for number, content in enumerate((b"x" * 3_000_000, b"y"), 1):
        in_another_process(partial(notice.publish, content))
        assert (notice.number, notice.read()) == (number, content)
    with monkeypatch.context() as small:
        small.setattr("redirect.telemetry.scoreboard._STRIDE", 1000)
        with pytest.raises(ValueError, match="space for 1000 bytes"):
            notice.publish(b"z" * 1001)
    assert (notice.number, notice.read()) == (2, b"y")


def test_notices_are_apart(scoreboard: Scoreboard) -> None:
    """Each notice has its own content."""
    names = ("configuration", "change", "loading", "health", "ejections")
    for name in names:
        getattr(scoreboard, name).publish(name.encode())
    assert [getattr(scoreboard, name).read().decode() for name in names] == [*names]


def test_a_notice_that_is_overwritten_while_it_is_read(scoreboard: Scoreboard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader has one of the contents that are published meanwhile, whole."""
    read, more, notice = os.pread, iter(range(1, 6)), scoreboard.configuration

    def pread(file: int, length: int, at: int) -> bytes:
        half = read(file, length // 2, at)
        for number in more:
            notice.publish(bytes([number]) * 1000)
            if number in (2, 5):
                break
        return half + read(file, length - len(half), at + len(half))

    notice.publish(bytes(1000))
    monkeypatch.setattr("os.pread", pread)
    assert notice.read() == bytes([5]) * 1000


def test_common_numbers_are_shared(scoreboard: Scoreboard) -> None:
    """A number of the instance that one process writes the others read."""

    def stop() -> None:
        scoreboard.common.is_stopping = 1

    assert scoreboard.common.is_stopping == 0
    in_another_process(stop)
    assert scoreboard.common.is_stopping == 1
