"""What a recorder counts of a batch, and what it keeps of decisions."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.wire import new_recorder

from redirect.config.loader import parse_config
from redirect.core.decision import Decision, Outcome
from redirect.core.due import Due, Weights
from redirect.core.request import Head
from redirect.telemetry.record import Record, logged_head

CONFIG = parse_config(
    b"[[routes]]\npath_prefix = '/api'\nforward_to = 'inner'\n"
    b"[[routes]]\npath_prefix = '/old'\nredirect_to = 'p'\n"
    b"[p]\nis_default = true\nweighted_hosts = { a = 1 }\n[inner]\nweighted_hosts = { b = 1 }\n",
    "pools.toml",
)
BY_HEADER = Decision(302, "p", "a", "http://a")


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
        asked = logged_head("GET", Head(named, "http", None, "a", None, None, None, None))
        recorder._records.append((decision, asked, "id", "/", 0, 1, CONFIG.hash, None))
        recorder.flush()
    assert recorder.numbers.unknown_pool == 2 * is_unknown


def test_nothing_is_kept_of_decisions_that_will_not_be_made_again(tmp_path: Path) -> None:
    """Discovery finds other origins again and again, under the same hash of the file."""
    recorder = new_recorder(CONFIG, str(tmp_path / "log"))
    decision = Decision(302, "p", "found-1", "http://found-1")
    before = sys.getrefcount(decision)
    asked = logged_head("GET", Head(None, "http", None, "a", None, None, None, None))
    recorder._records.append((decision, asked, "id", "/", 0, 1, CONFIG.hash, None))
    recorder.flush()
    assert sys.getrefcount(decision) > before
    recorder.use(CONFIG)
    assert sys.getrefcount(decision) == before


def test_a_forward_that_ends_under_another_configuration_is_none_of_its_picks(tmp_path: Path) -> None:
    """It is counted, for its origin was picked by the one before."""
    recorder = new_recorder(CONFIG, str(tmp_path / "log"))
    asked = logged_head("GET", Head(None, "http", None, "a", None, None, None, None))
    decision = Decision(200, "inner", "b", route="/api", is_forward=True)
    for config in (CONFIG.hash, "0" * 12, CONFIG.hash):
        recorder._records.append((decision, asked, "id", "/", 0, 1, config, Outcome(200, 1, 1, 0, 0)))
    recorder.flush()
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
    recorder = new_recorder(CONFIG, str(tmp_path / "log"))
    asked = logged_head("GET", Head(None, "http", None, "a", None, None, None, None))
    decision = Decision(200, "p", "a", route="/api", is_forward=True)
    late, new = (replace(decision, due=Due(each, 1.0)) for each in weights)
    records: list[Record] = [
        (new, asked, "id", "/", 0, 1, CONFIG.hash, Outcome(200, 1, 1, 0, 0)),
        (late, asked, "id", "/", 0, 1, "0" * 12, Outcome(200, 1, 1, 0, 0)),
    ]
    recorder._records += records[::order]
    recorder.flush()
    for _ in recorder.dues.share_out():
        pass
    assert recorder.slot.series("due") == []
