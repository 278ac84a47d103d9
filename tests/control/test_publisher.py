"""The publisher: a file that changed is published, one with faults changes nothing, the next controller goes on."""

import asyncio
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from redirect.config.loader import Loader, content_hash, parse_config
from redirect.control import file_provider
from redirect.control import publisher as module
from redirect.control.limits import LimitState
from redirect.control.publisher import (
    HUNG_SECONDS,
    MAX_ERROR_CHARACTERS,
    Publisher,
    changed_since,
    go_on,
    loading,
    publish_loading,
    published,
)
from redirect.control.transfer import pack, unpack
from redirect.core.overrides import Override
from redirect.core.overrides import pack as pack_overrides
from redirect.core.pools import Config
from redirect.telemetry.scoreboard import Scoreboard
from redirect.telemetry.snapshot import Loading

OLD = b'[p]\nweighted_hosts = { "old" = 1 }\nis_default = true\n'
NEW = b'[p]\nweighted_hosts = { "new" = 1 }\nis_default = true\n[q]\nweighted_hosts = { "old" = 1 }\n'
FOUND = b"""
[p]
is_default = true
weighted_hosts = { "old" = 1, "new" = 0 }
[f]
discover = { name = "f", port = 80 }
"""
BAD = b'[p]\nweighted_hosts = { "new" = -1 }\nis_default = true\n'


def configuration(**weights: int) -> Config:
    origins = ", ".join(f'"{origin}" = {weight}' for origin, weight in weights.items())
    return parse_config(f"[pool]\nis_default = true\nweighted_hosts = {{ {origins} }}\n".encode(), "pools.toml")


FIRST = parse_config(OLD, "pools.toml")


@pytest.fixture
def scoreboard() -> Scoreboard:
    scoreboard = Scoreboard()
    publish_loading(scoreboard, Loading(1.0, None, None, FIRST.hash, 0))
    return scoreboard


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "pools.toml"
    file.write_bytes(OLD)
    return file


async def test_a_reload_says_what_it_does_to_traffic(
    scoreboard: Scoreboard, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log and in what the admin listener shows, until the next change."""
    with caplog.at_level("INFO", "gunicorn.error"):
        publisher = Publisher(scoreboard, str(file), FIRST, Loader(str(file)))
        file.write_bytes(NEW)
        await publisher.look()
        lines = ["pool q is new: old: 0 % -> 100 %", "pool p: old: 100 % -> 0 %, new: 0 % -> 100 %"]
        assert loading(scoreboard).changes == lines
        assert all(line in caplog.text for line in lines)
        await publisher.look(force=True)
        assert loading(scoreboard).changes == lines
        file.write_bytes(OLD)
        await publisher.look()
        assert (
            loading(scoreboard).changes[0] == "warning: pool q is gone: requests that name it get p, the default pool"
        )


async def test_a_changed_file_is_published_whole_and_as_a_difference(scoreboard: Scoreboard, file: Path) -> None:
    publisher = Publisher(scoreboard, str(file), FIRST, Loader(str(file)))
    assert not await publisher.look()
    assert (scoreboard.change.number, published(scoreboard, FIRST)) == (0, (FIRST, {}))
    file.write_bytes(NEW)
    assert await publisher.look()
    new = parse_config(NEW, str(file))
    assert published(scoreboard, FIRST)[0] == publisher.config == new
    head, pieces = unpack(scoreboard.change.read())
    assert (head.base, head.version) == ((FIRST.hash, 0), (new.hash, 1))
    assert sum(len(piece) for piece in pieces) == 2
    assert loading(scoreboard).config == new.hash


def test_the_next_controller_ends_what_the_one_before_began(scoreboard: Scoreboard, file: Path) -> None:
    """It was killed when it had published all of a configuration, and workers were not told yet."""
    new = replace(parse_config(NEW, str(file)), change=1)
    scoreboard.configuration.publish(pack(new, {}))
    file.write_bytes(NEW)
    assert Publisher(scoreboard, str(file), FIRST, Loader(str(file))).config == new
    head, _ = unpack(scoreboard.change.read())
    assert (head.version, head.base) == (new.version, None)
    Publisher(scoreboard, str(file), FIRST, Loader(str(file)))
    assert scoreboard.change.number == 1


async def test_a_route_keeps_the_tokens_of_its_limit(scoreboard: Scoreboard, file: Path) -> None:
    """They are as many as the file says before workers have it."""
    route = b'[[routes]]\npath = "/%b"\nforward_to = "p"\nlimit = %d\n'
    first = parse_config(OLD + route % (b"a", 3) + route % (b"b", 4), "pools.toml")
    publisher = Publisher(scoreboard, str(file), first, Loader(str(file)))
    file.write_bytes(OLD + route % (b"b", 5) + route % (b"c", 6))
    assert await publisher.look()
    config, _ = published(scoreboard, first)
    assert [route.limit.index for route in config.routes if route.limit] == [1, 2]
    assert publisher.config == config
    assert publisher.limits.states() == {"/b": LimitState(5, 0), "/c": LimitState(6, 0)}
    assert [os.eventfd_read(scoreboard.tokens[index]) for index in (*[1] * 5, *[2] * 6)] == [1] * 11
    file.write_bytes(BAD)
    await publisher.look()
    assert publisher.limits.states() == {"/b": LimitState(5, 0), "/c": LimitState(6, 0)}


async def test_a_bad_file_changes_nothing_but_the_error(scoreboard: Scoreboard, file: Path) -> None:
    publisher = Publisher(scoreboard, str(file), FIRST, Loader(str(file)))
    file.write_bytes(BAD)
    assert not await publisher.look()
    assert (publisher.config, scoreboard.change.number) == (FIRST, 0)
    state = loading(scoreboard)
    assert "pools.toml:2:28" in (state.error or "")
    assert (state.loaded_at, state.config) == (1.0, FIRST.hash)
    file.write_bytes(OLD)
    assert await publisher.look()
    assert loading(scoreboard).error is None
    assert scoreboard.change.number == 0  # the workers have it


async def test_a_forced_look_loads_what_did_not_change(scoreboard: Scoreboard, file: Path) -> None:
    publisher = Publisher(scoreboard, str(file), FIRST, Loader(str(file)))
    assert await publisher.look(force=True)
    assert (loading(scoreboard).loaded_at > 1.0, scoreboard.change.number) == (True, 0)


async def test_a_fault_of_this_program_changes_nothing(
    scoreboard: Scoreboard, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("boom")

    publisher = Publisher(scoreboard, str(file), FIRST, Loader(str(file)))
    file.write_bytes(NEW)
    with monkeypatch.context() as patched:
        patched.setattr(Loader, "parse", fail)
        assert not await publisher.look()
    assert "a fault of this service" in (loading(scoreboard).error or "")
    assert publisher.config is FIRST
    assert "KeyError: 'boom'" in caplog.text


async def test_the_next_controller_goes_on(scoreboard: Scoreboard, file: Path) -> None:
    """A publisher that takes the place of one that died has its configuration, and loads nothing again but a file that
    was bad, since it may be good by now."""
    first = Publisher(scoreboard, str(file), FIRST, Loader(str(file)))
    file.write_bytes(NEW)
    assert await first.look()
    second = Publisher(scoreboard, str(file), FIRST, Loader(str(file)))
    assert (second.config, second.since) == (first.config, first.since)
    assert not await second.look()
    file.write_bytes(BAD)
    assert not await second.look()
    file.write_bytes(NEW)
    third = Publisher(scoreboard, str(file), FIRST, Loader(str(file)))
    assert await third.look()
    assert loading(scoreboard).error is None


async def test_a_look_that_hangs_holds_up_the_next_look_and_nothing_else(
    scoreboard: Scoreboard, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a network mount stalls. It is logged and counted once, and once more when it ends."""
    now, begins, ends = [100.0], threading.Event(), threading.Event()
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    config = parse_config(FOUND, str(file))

    def hang(path: Path, *, waits: bool) -> bytes:
        begins.set()
        ends.wait()
        return path.read_bytes()

    monkeypatch.setattr(file_provider, "read_config", hang)
    try:
        with caplog.at_level("INFO", "gunicorn.error"):
            publisher = Publisher(scoreboard, str(file), config, Loader(str(file)))
            file.write_bytes(FOUND + b"# another")
            looks = [asyncio.create_task(publisher.look()) for _ in range(2)]
            await asyncio.to_thread(begins.wait)
            assert (publisher.note_hang(), publisher.trouble) == (False, None)
            now[0] += HUNG_SECONDS + 1
            assert publisher.note_hang()
            assert not publisher.note_hang()
            trouble = publisher.trouble
            assert trouble is not None
            assert trouble.reason == f"{file}: not read, as its file system has not answered for 5 s"
            assert not publisher.is_busy
            async with asyncio.timeout(10):
                await publisher.override({"pool": "p", "origin": "new", "to": 20})
                await publisher.step()
                await publisher.use_found([replace(config.pools["f"], origins=config.pools["p"].origins)])
                assert await publisher.end_override("p", "new")
            assert [origin.name for origin in publisher.config.pools["f"].origins] == ["old", "new"]
            ends.set()
            assert [await look for look in looks] == [True, False]
            assert (publisher.trouble, publisher.note_hang()) == (None, False)
            assert publisher.config.hash == content_hash(FOUND + b"# another")
            assert [origin.name for origin in publisher.config.pools["f"].origins] == ["old", "new"]
    finally:
        ends.set()
    assert caplog.text.count("has not answered for 5 s") == 1
    assert caplog.text.count(f"the look at {file} ended after 6.0 s") == 1


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        pytest.param("x" * MAX_ERROR_CHARACTERS, "x" * MAX_ERROR_CHARACTERS, id="as long as may be"),
        pytest.param("\n".join(["x" * 399] * 3), "\n".join(["x" * 399] * 2 + ["and 1 more, LOG"]), id="whole lines"),
        pytest.param("\n".join(["x" * 24] * 200), "\n".join(["x" * 24] * 40 + ["and 160 more, LOG"]), id="many"),
        pytest.param("x" * 2000, "x" * MAX_ERROR_CHARACTERS + "…", id="a long line"),
        pytest.param("x" * 2000 + "\ny", "x" * MAX_ERROR_CHARACTERS + "…\nand 1 more, LOG", id="a long line, another"),
    ],
)
async def test_of_many_faults_some_are_shown(error: str, shown: str, scoreboard: Scoreboard, file: Path) -> None:
    """Of a long list of faults as many as there is space for are shown, each whole, and how many more there are."""
    publisher = Publisher(scoreboard, str(file), FIRST, Loader(str(file)))
    publisher._report_error(error)
    assert loading(scoreboard).error == shown.replace("LOG", "see the error log")


def test_since_when_an_origin_is_in_its_state() -> None:
    """An origin is in its state since the start, or since the configuration that changed it or brought it."""
    first, second, third = configuration(a=1, b=1), configuration(a=2, b=0, c=1), configuration(a=2, b=0, c=5)
    since = changed_since({}, first, second, 200.0)
    assert since == {("pool", "b"): 200.0, ("pool", "c"): 200.0}
    assert changed_since(since, second, third, 300.0) == since
    assert changed_since(since, second, first, 300.0) == {("pool", "b"): 300.0}


# Overrides

TWO = b'[p]\nis_default = true\nweighted_hosts = { "old" = 1, "new" = 0 }\n'


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the publisher sees, to be set."""
    now = [1_000_000.0]
    monkeypatch.setattr(module, "time", lambda: now[0])
    return now


def weights(config: Config) -> dict[str, int]:
    return {origin.name: origin.weight for origin in config.pools["p"].origins}


async def test_a_ramp_goes_its_way_beside_the_file_and_ends(
    scoreboard: Scoreboard, file: Path, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """A reload on the way changes what the file says and not the ramp; the log says when the file has to be written."""
    with caplog.at_level("INFO", "gunicorn.error"):
        file.write_bytes(TWO)
        publisher = Publisher(scoreboard, str(file), parse_config(TWO, str(file)), Loader(str(file)))
        await publisher.override({"pool": "p", "origin": "new", "from": 10, "to": 50, "over": 40, "hold": 60})
        assert weights(publisher.config) == {"old": 9, "new": 1}
        assert weights(published(scoreboard, FIRST)[0]) == {"old": 9, "new": 1}
        clock[0] += 20
        await publisher.step()
        assert weights(publisher.config) == {"old": 7, "new": 3}
        file.write_bytes(TWO + b"status = 307\n")
        await publisher.look()
        assert (publisher.config.pools["p"].status, weights(publisher.config)) == (307, {"old": 7, "new": 3})
        assert loading(scoreboard).changes == ["pool p: status 302 -> 307"]
        clock[0] += 25
        await publisher.step()
        assert weights(publisher.config) == {"old": 1, "new": 1}
        assert "write it into the file before" in caplog.text
        assert "write its share there" not in caplog.text
        clock[0] += 49  # 94 of 100
        await publisher.step()
        assert "10 % to 50 % ends at 1970-01-12T13:48:20Z, and then the file counts: write its share" in caplog.text
        number = scoreboard.change.number
        await publisher.step()
        assert scoreboard.change.number == number
        clock[0] += 11
        await publisher.step()
        assert weights(publisher.config) == {"old": 1, "new": 0}
        assert publisher.overrides == []
        assert "the override of new of p: 10 % to 50 % ends: its time is over, and the file counts" in caplog.text


async def test_an_override_outlives_the_controller_and_ends_when_it_is_asked_for(
    scoreboard: Scoreboard, file: Path, clock: list[float]
) -> None:
    file.write_bytes(TWO)
    first = parse_config(TWO, str(file))
    await Publisher(scoreboard, str(file), first, Loader(str(file))).override({"pool": "p", "origin": "new", "to": 20})
    publisher = Publisher(scoreboard, str(file), first, Loader(str(file)))
    await publisher.step()
    assert weights(publisher.config) == {"old": 4, "new": 1}
    assert publisher.compare(TWO) == []
    assert await publisher.end_override("p", "new")
    assert not await publisher.end_override("p", "new")
    assert weights(publisher.config) == {"old": 1, "new": 0}


async def test_an_override_ends_with_its_origin(scoreboard: Scoreboard, file: Path, clock: list[float]) -> None:
    file.write_bytes(TWO)
    publisher = Publisher(scoreboard, str(file), parse_config(TWO, str(file)), Loader(str(file)))
    await publisher.override({"pool": "p", "origin": "new", "to": 20})
    file.write_bytes(OLD)
    await publisher.look()
    await publisher.step()
    assert (publisher.overrides, weights(publisher.config)) == ([], {"old": 1})


async def test_an_override_that_the_run_before_ended_meanwhile_ends(
    scoreboard: Scoreboard, file: Path, clock: list[float]
) -> None:
    """An instance begins with those that are kept; the first master of an upgrade goes on until it is told to stop."""
    file.write_bytes(TWO)
    kept = pack_overrides([Override("p", "new", 200, 200, clock[0], 0, 100)])
    first = go_on(scoreboard, parse_config(TWO, str(file)), kept)
    publisher = Publisher(scoreboard, str(file), first, Loader(str(file)))
    await publisher.step()
    assert weights(publisher.config) == {"old": 4, "new": 1}
    scoreboard.overrides.publish(b"[]")  # as the keeper does
    await publisher.step()
    assert (publisher.overrides, weights(publisher.config)) == ([], {"old": 1, "new": 0})
