"""What a recorder counts of a batch, and what it keeps of decisions."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.logged import HEAD
from support.wire import new_recorder

from redirect.config.loader import parse_config
from redirect.core.decision import Decision, Outcome
from redirect.core.due import Due, Weights
from redirect.telemetry.record import Record
from redirect.telemetry.recorder import Recorder

CONFIG = parse_config(
    b"[[routes]]\npath_prefix = '/api'\nforward_to = 'inner'\n"
    b"[[routes]]\npath_prefix = '/old'\nredirect_to = 'p'\n"
    b"[p]\nis_default = true\nweighted_hosts = { a = 1 }\n[inner]\nweighted_hosts = { b = 1 }\n",
    "pools.toml",
)
BY_HEADER = Decision(302, "p", "a", "http://a")
FORWARDED = Outcome(200, 1, 1, 0, 0)


def record(decision: Decision, outcome: Outcome | None = None, config: str = CONFIG.hash) -> Record:
    return decision, HEAD, "id", "/", 0, 1, config, outcome


def recorded(folder: Path, *records: Record) -> Recorder:
    """A recorder that has counted and logged these together."""
    recorder = new_recorder(CONFIG, str(folder / "log"))
    recorder._records += records
    recorder.flush()
    return recorder


@pytest.mark.parametrize(
    ("named", "decision", "is_unknown"),
    [
        pytest.param(None, BY_HEADER, False, id="none"),
        pytest.param("p", BY_HEADER, False, id="a pool"),
        pytest.param("q", BY_HEADER, True, id="no pool"),
        pytest.param("inner", BY_HEADER, True, id="a pool that requests are forwarded to"),
        pytest.param("q", replace(BY_HEADER, route="/old"), False, id="where a route redirects"),
        pytest.param("q", Decision(200, "inner", "b", route="/api", is_forward=True), False, id="where one forwards"),
        pytest.param("q", Decision(404), True, id="without a default pool"),
        pytest.param("q", Decision(400), False, id="refused"),
    ],
)
def test_a_pool_is_unknown_where_the_header_was_to_name_one_and_did_not(
    named: str | None, decision: Decision, is_unknown: bool, tmp_path: Path
) -> None:
    recorder = new_recorder(CONFIG, str(tmp_path / "log"))
    for _ in range(2):
        recorder._records.append((decision, (named, *HEAD[1:]), "id", "/", 0, 1, CONFIG.hash, None))
        recorder.flush()
    assert recorder.numbers.unknown_pool == 2 * is_unknown


def test_nothing_is_kept_of_decisions_that_will_not_be_made_again(tmp_path: Path) -> None:
    """Discovery finds other origins again and again, under the same hash of the file."""
    decision = Decision(302, "p", "found-1", "http://found-1")
    before = sys.getrefcount(decision)
    recorder = recorded(tmp_path, record(decision))
    assert sys.getrefcount(decision) > before
    recorder.use(CONFIG)
    assert sys.getrefcount(decision) == before


def test_a_forward_that_ends_under_another_configuration_is_none_of_its_picks(tmp_path: Path) -> None:
    """It is counted, for its origin was picked by the one before."""
    decision = Decision(200, "inner", "b", route="/api", is_forward=True)
    configs = (CONFIG.hash, "0" * 12, CONFIG.hash)
    recorder = recorded(tmp_path, *[record(decision, FORWARDED, config) for config in configs])
    (((_, index),)) = recorder.slot.series("requests")
    total, before, _, _ = recorder.slot.counts[index : index + 4]
    assert (total, total - before) == (3, 2)


@pytest.mark.parametrize("others", [0, 20], ids=["few", "many"])
@pytest.mark.parametrize("order", [1, -1], ids=["new first", "late first"])
def test_what_is_due_counts_the_picks_of_the_configuration_in_force(order: int, others: int, tmp_path: Path) -> None:
    """Equal decisions may be due to other weights, and what is late to weights of which nothing was counted."""
    pool = CONFIG.pools["p"]
    origins = [*pool.origins, *(replace(pool.origins[0], name=f"b{n}") for n in range(others + 1))]
    pool = replace(pool, origins=tuple(origins))
    weights = [Weights(pool, [1, *[0] * (others + 1)]), Weights(pool, pool.configured_weights)]
    assert [each.is_configured for each in weights] == [False, True]
    decision = Decision(200, "p", "a", route="/api", is_forward=True)
    late, new = (replace(decision, due=Due(each, 1.0)) for each in weights)
    records = [record(new, FORWARDED), record(late, FORWARDED, "0" * 12)]
    recorder = recorded(tmp_path, *records[::order])
    for _ in recorder.dues.share_out():
        pass
    assert recorder.slot.series("due") == []
