"""Health: the status of origins as values, and as the bytes that processes share."""

import pytest

from redirect.core.health import LINE_STATUSES, HealthStatus, decode, decoding, encode, worst

# What probes found, and what came of ejections.
UP, DOWN = HealthStatus(True, 1.0, 10.0, "answered 200"), HealthStatus(False, 1.0, 10.0, "answered 500")
EJECTED, ON_TRIAL, PASSED = (
    HealthStatus(up, 1.0, since, "ejected", times)
    for up, since, times in ((False, 5.0, 2), (True, 5.0, 2), (True, 20.0, 0))
)


def test_health_survives_the_way_to_another_process() -> None:
    health = {
        "p": {"bücher.example": HealthStatus(False, 1.5, 0.25, "refused"), "b": HealthStatus(True, 2.0, 3.0, "ok")},
        "q": {"b": HealthStatus(False, 1e9, 1e6, 'odd "reason"\n', 3)},
    }
    assert decode(encode(health)) == health


def test_no_bytes_are_no_health() -> None:
    assert decode(b"") == decode(encode({})) == {}


def test_a_step_decodes_a_few_statuses_however_many_a_pool_has() -> None:
    """Requests wait meanwhile."""
    health = {"p": {str(number): DOWN for number in range(3 * LINE_STATUSES)}, "q": {"b": UP}}
    decoded: dict[str, dict[str, HealthStatus]] = {}
    sizes = [sum(map(len, decoded.values())) for _ in decoding(encode(health), decoded)]
    assert sizes == [*range(LINE_STATUSES, 3 * LINE_STATUSES + 1, LINE_STATUSES), 3 * LINE_STATUSES + 1]
    assert decoded == health


@pytest.mark.parametrize(
    ("probed", "ejected", "counts"),
    [
        (None, EJECTED, EJECTED),
        (UP, None, UP),
        (UP, EJECTED, EJECTED),
        (DOWN, EJECTED, DOWN),
        (UP, ON_TRIAL, ON_TRIAL),
        (DOWN, ON_TRIAL, DOWN),
        (DOWN, PASSED, DOWN),
        (UP, PASSED, PASSED),
        (UP._replace(since_monotonic=30.0), PASSED, UP._replace(since_monotonic=30.0)),
    ],
)
def test_the_worst_of_both_counts(
    probed: HealthStatus | None, ejected: HealthStatus | None, counts: HealthStatus
) -> None:
    """With its reason; of two that are up the later one, as slow starts begin then."""
    health = worst({"p": {"a": probed}} if probed else {}, {"p": {"a": ejected}} if ejected else {})
    assert health == {"p": {"a": counts}}


def test_pools_and_origins_of_both_count() -> None:
    assert worst({"p": {"a": DOWN}}, {"p": {"b": EJECTED}, "q": {"a": EJECTED}}) == {
        "p": {"a": DOWN, "b": EJECTED},
        "q": {"a": EJECTED},
    }


def test_only_one_that_was_ejected_is_on_trial() -> None:
    assert [status.is_on_trial for status in (UP, DOWN, EJECTED, ON_TRIAL, PASSED)] == [False] * 3 + [True, False]
