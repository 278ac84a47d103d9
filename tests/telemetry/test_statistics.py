"""All workers of an instance together: nothing is lost with a worker, and nothing counted twice."""

import json
import os
from collections.abc import Sequence
from random import Random
from time import monotonic_ns, time

import pytest
from support.health import apply, down
from support.logged import HEAD
from support.programs import ended_process
from support.wire import new_recorder

from redirect.admin.view import origin_views
from redirect.config.loader import parse_config
from redirect.core.decision import Decision, Outcome
from redirect.core.health import NO_HEALTH
from redirect.core.pools import Config
from redirect.core.service import new_service
from redirect.telemetry import statistics
from redirect.telemetry.counters import Counters
from redirect.telemetry.recorder import KEPT_LINES, MAX_BATCH_RECORDS, Recorder
from redirect.telemetry.scoreboard import Scoreboard
from redirect.telemetry.snapshot import BOUNDS_US, SECONDS, Count, Loading, Snapshot


def configuration(**weights: int) -> Config:
    origins = ", ".join(f'"{origin}" = {weight}' for origin, weight in weights.items())
    return parse_config(f"[pool]\nis_default = true\nweighted_hosts = {{ {origins} }}\n".encode(), "pools.toml")


CONFIG = configuration(one=2, two=1)


def redirect_to(origin: str) -> Decision:
    return Decision(302, "pool", origin, f"http://{origin}")


def look(scoreboard: Scoreboard, config: Config = CONFIG) -> Snapshot:
    return statistics.snapshot(scoreboard, Loading(0.0, config=config.hash))


def work(
    scoreboard: Scoreboard,
    slot: int,
    origins: Sequence[str],
    config: Config = CONFIG,
    *,
    ends: bool = True,
    target: str = "/",
) -> None:
    """A worker in that slot answers requests."""
    recorder = Recorder(Counters(scoreboard.slots()[slot], config), None)
    for origin in origins:
        recorder.write(redirect_to(origin), HEAD, "id", target, monotonic_ns() - 1500, config.hash)
    recorder.flush()
    if ends:
        recorder.close()


def counts(seen: Snapshot) -> dict[str, tuple[int, int]]:
    """By origin: all redirects, and those under the configuration in force."""
    return {origin or "": count[:2] for (_, origin, _), count in seen.requests.items()}


async def test_workers_add_up(scoreboard: Scoreboard) -> None:
    """What two workers count is one number, and what each counts shows at once."""
    work(scoreboard, 0, ["one", "two"])
    assert counts(look(scoreboard)) == {"one": (1, 1), "two": (1, 1)}
    work(scoreboard, 1, ["one"] * 1000)
    assert counts(look(scoreboard)) == {"one": (1001, 1001), "two": (1, 1)}


async def test_a_worker_that_is_replaced(scoreboard: Scoreboard) -> None:
    """The next worker in a slot counts on, whether the one before it ended in order or was killed."""
    for ends in (True, False, True):
        work(scoreboard, 0, ["one", "two"], ends=ends)
    seen = look(scoreboard)
    assert counts(look(scoreboard)) == {"one": (3, 3), "two": (3, 3)}
    assert sum(seen.answers.buckets) == 6


PROBED = parse_config(
    b'[pool]\nis_default = true\nhealth_check = { path = "/" }\nweighted_hosts = { one = 2, two = 1, three = 1 }\n',
    "pools.toml",
)


@pytest.mark.parametrize("is_one_batch", [False, True])
async def test_what_is_due_follows_the_weights_of_each_pick(is_one_batch: bool, scoreboard: Scoreboard) -> None:
    """Of four picks 2, 1 and 1 are due; while one is down, of four 2 and 2 to the others, as soon as these are counted.
    The next configuration has none of them."""
    service = new_service(PROBED, Random(1))
    recorder = Recorder(Counters(scoreboard.slots()[0], PROBED), None)
    for health in (NO_HEALTH, {"pool": down("one")}):
        if not is_one_batch:
            recorder.flush()
        apply(service, health)
        for _ in range(4):
            recorder.write(service.decide(None, "http", None), HEAD, "id", "/", monotonic_ns(), PROBED.hash)
    recorder.flush()
    seen = look(scoreboard, PROBED)
    assert seen.dues == {"pool": {None: 4, "two": 2, "three": 2}}
    views = origin_views(PROBED.pools["pool"].shares(), seen.picks()["pool"], seen.dues["pool"])
    assert [(view.origin.name, view.due, view.observed) for view in views] == [
        ("one", 0.25, 0.25),
        ("two", 0.375, 0.375),
        ("three", 0.375, 0.375),
    ]
    work(scoreboard, 0, ["one"])
    assert look(scoreboard).dues == {}


async def test_a_head_shifts_nothing_between_observed_and_due(scoreboard: Scoreboard) -> None:
    """However many come before the GET: nothing else was due to them."""
    service = new_service(PROBED, Random(1))
    recorder = Recorder(Counters(scoreboard.slots()[0], PROBED), None)
    for method in ["HEAD"] * 50 + ["GET"] * 4:
        recorder.write(service.decide(None, "http", None, method), HEAD, "id", "/", monotonic_ns(), PROBED.hash)
    recorder.close()
    seen = look(scoreboard, PROBED)
    views = origin_views(PROBED.pools["pool"].shares(), seen.picks()["pool"], seen.dues["pool"])
    assert sum(view.counted.total for view in views) == 54
    assert all(view.due == view.observed for view in views)


async def test_another_configuration(scoreboard: Scoreboard) -> None:
    """What was counted under another configuration stays in the total, and is told from the rest."""
    other = configuration(one=1, two=9, three=1)
    work(scoreboard, 0, ["one", "one"])
    work(scoreboard, 1, ["two"])
    work(scoreboard, 0, ["two", "three"], other)
    assert counts(look(scoreboard, other)) == {"one": (2, 0), "two": (2, 1), "three": (1, 1)}
    assert counts(look(scoreboard)) == {"one": (2, 0), "two": (2, 1), "three": (1, 0)}


async def test_a_configuration_that_comes_back(scoreboard: Scoreboard) -> None:
    """A configuration that is in force again begins anew: what was counted when it was before is not told as its own,
    neither of an origin that was picked meanwhile nor of one that was not, in one slot as in another."""
    other = configuration(one=1, two=9)
    work(scoreboard, 0, ["one", "two"])
    work(scoreboard, 0, ["one"], other)
    work(scoreboard, 1, ["one", "two"], other)
    work(scoreboard, 0, [])
    assert counts(look(scoreboard)) == {"one": (3, 0), "two": (2, 0)}
    work(scoreboard, 0, ["one"])
    work(scoreboard, 0, ["two", "one"])  # the next worker of the slot, with the same configuration
    assert counts(look(scoreboard)) == {"one": (5, 2), "two": (3, 1)}


async def test_the_last_hit(scoreboard: Scoreboard) -> None:
    """Of each series the time of the last request is known."""
    before = int(time() * 1000)
    work(scoreboard, 0, ["one"])
    (count,) = look(scoreboard).requests.values()
    assert before <= count.last_ms <= time() * 1000
    assert count == Count(1, 1, count.last_ms)


async def test_durations_and_seconds(scoreboard: Scoreboard) -> None:
    """Durations are counted in buckets, for ever and for each of the last sixty seconds."""
    work(scoreboard, 0, ["one"] * 3)
    seen = look(scoreboard)
    assert sum(seen.answers.buckets) == 3
    assert sum(seen.answers.buckets[: BOUNDS_US.index(1)]) == 0  # none was shorter than it said
    assert seen.answers.sum >= 3 * 1.5e-6
    assert len(seen.answers.seconds) == SECONDS


async def test_forwards_are_counted_apart(scoreboard: Scoreboard) -> None:
    """Their durations are no durations of answers; all are requests."""
    forwarded, outcome = Decision(200, "pool", "one", is_forward=True), Outcome(200, 1, 1, 0, 0)
    recorder = Recorder(Counters(scoreboard.slots()[0], CONFIG), None)
    began = monotonic_ns() - 20_000_000_000
    for _ in range(2):
        recorder.write(forwarded, HEAD, "id", "/", began, CONFIG.hash, outcome)
        recorder.write(redirect_to("one"), HEAD, "id", "/", began, CONFIG.hash)
        recorder.write(forwarded, HEAD, "id", "/", began, CONFIG.hash, outcome)
    recorder.flush()
    seen = look(scoreboard)
    assert (seen.answers.requests, seen.forwards.durations.requests) == (2, 4)
    assert 80 < seen.forwards.durations.sum < 90
    assert {key[2]: count.total for key, count in seen.requests.items()} == {302: 2, 200: 4}


@pytest.mark.parametrize("up", [0, 3, 1000])
async def test_the_second_that_is_over(up: int, scoreboard: Scoreboard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second shows once it is over, and is gone a minute later; its row is taken again. This holds from
    the first second of a machine's uptime on, when the clock has no time yet for a minute ago."""

    def shown(now: float) -> dict[int, int]:
        monkeypatch.setattr("redirect.telemetry.statistics.monotonic", lambda: up + now)
        seconds = look(scoreboard).answers.seconds
        assert len(seconds) == SECONDS
        begin = int(now) - SECONDS
        return {begin + nth: sum(buckets) for nth, buckets in enumerate(seconds) if any(buckets)}

    assert shown(0.0) == {}
    for now in (0.5, 0.7, 1.2, 120.0):
        monkeypatch.setattr("redirect.telemetry.counters.monotonic", lambda now=now: up + now)
        work(scoreboard, 0, ["one"])
        if now == 1.2:
            assert shown(1.9) == {0: 2}
            assert shown(60.0) == {0: 2, 1: 1}
            assert shown(61.0) == {1: 1}
    assert shown(121.0) == {120: 1}


@pytest.mark.slow
@pytest.mark.parametrize("jump", [-3600, -30, 30, 3600])
async def test_seconds_after_the_clock_was_set(
    jump: int, scoreboard: Scoreboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the wall clock is set to, the last seconds are those that passed, and each has its own requests."""
    now, wall = 1000.0, 1_800_000_000.0
    for module in ("counters", "statistics"):
        monkeypatch.setattr(f"redirect.telemetry.{module}.monotonic", lambda: now)
        monkeypatch.setattr(f"redirect.telemetry.{module}.time", lambda: wall)
    for _ in range(SECONDS):
        work(scoreboard, 0, ["one"])
        now, wall = now + 1, wall + 1
        wall += jump if now == 1030 else 0
    seen = look(scoreboard)
    assert [sum(buckets) for buckets in seen.answers.seconds] == [1] * SECONDS
    assert seen.time == wall


async def test_workers_that_live(scoreboard: Scoreboard) -> None:
    """A worker is told as long as its process lives: not if it ended, and not if it was killed."""
    work(scoreboard, 0, ["one"])
    work(scoreboard, 1, ["one"], ends=False)
    (worker,) = look(scoreboard).workers
    assert (worker.pid, worker.requests, worker.config) == (os.getpid(), 1, CONFIG.hash)
    scoreboard.slots()[1].numbers.pid = ended_process()
    assert look(scoreboard).workers == []


async def test_the_last_lines(scoreboard: Scoreboard) -> None:
    """Who comes to look sees all of small batches, a few of full ones; who goes on looking sees all, once, by time."""
    sizes = [50, MAX_BATCH_RECORDS, 1]
    for size in sizes:
        work(scoreboard, 0, ["one"] * size, target=f"/before/{size}")
    lines, cursor = statistics.lines(scoreboard, None)
    kept = [size if size < MAX_BATCH_RECORDS else KEPT_LINES for size in sizes]
    assert [json.loads(line)["path"] for line in lines] == [
        f"/before/{size}" for size, count in zip(sizes, kept, strict=True) for _ in range(count)
    ]
    for n in range(16):
        work(scoreboard, n % 2, ["one"] * 50, target=f"/{n}")
    lines, cursor = statistics.lines(scoreboard, cursor)
    records = [json.loads(line) for line in lines]
    assert len(records) == 800
    assert [record["time"] for record in records] == sorted(record["time"] for record in records)
    assert statistics.lines(scoreboard, cursor)[0] == []


async def test_lines_after_the_clock_was_set_back(scoreboard: Scoreboard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the clock was set back, lines stay behind those that the same worker wrote before: the last are last."""
    for n, wall in enumerate((7200, 7300, 3600, 3700)):
        monkeypatch.setattr("redirect.telemetry.access_log.time_ns", lambda wall=wall: monotonic_ns() + wall * 10**9)
        for slot in range(2):
            work(scoreboard, slot, ["one"], target=f"/{n}?{slot}")
    records = [json.loads(line) for line in statistics.lines(scoreboard, None)[0]]
    for worker in "01":
        assert [record["path"] for record in records if record["query"] == worker] == ["/0", "/1", "/2", "/3"]
    assert records[-1]["path"] == "/3"


async def test_lines_without_a_log(scoreboard: Scoreboard, tmp_path: object) -> None:
    """There are lines to look at whether they are logged or not."""
    config = parse_config(b'[pool]\nweighted_hosts = { "one" = 1 }\nis_default = true\n', "p")
    for target in ("off", f"{tmp_path}/log"):
        recorder = new_recorder(config, target, scoreboard)
        recorder.write(redirect_to("one"), HEAD, "id", "/", monotonic_ns(), config.hash)
        recorder.close()
    assert len(statistics.lines(scoreboard, None)[0]) == 2
