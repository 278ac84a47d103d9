"""How many connections a worker accepts."""

import resource

import pytest

from redirect.edge.connection_limit import WARNING_INTERVAL_SECONDS, ConnectionLimit


def limit_of(descriptors: int, monkeypatch: pytest.MonkeyPatch) -> ConnectionLimit:
    monkeypatch.setattr("resource.getrlimit", lambda _: (descriptors, descriptors))
    return ConnectionLimit()


@pytest.mark.parametrize(
    ("descriptors", "most"), [(512, 384), (1024, 896), (1_048_576, 1_048_448), (256, 128), (100, 50), (20, 10)]
)
def test_clients_get_all_descriptors_but_the_reserved_and_at_least_half(
    descriptors: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = limit_of(descriptors, monkeypatch)
    assert limit.allows(most)
    assert not limit.allows(most + 1)


def test_without_a_limit_of_the_system_every_connection_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limit_of(resource.RLIM_INFINITY, monkeypatch).allows(10**9)


@pytest.mark.parametrize("uptime", [0.0, 1000.0])
def test_a_warning_a_minute_has_the_number_of_closed_connections(
    uptime: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first one comes at once, also on a machine that has been up for less than a minute."""
    now = uptime
    monkeypatch.setattr("redirect.edge.connection_limit.monotonic", lambda: now)
    limit = limit_of(256, monkeypatch)
    for _ in range(1000):
        limit.allows(129)
    assert len(caplog.messages) == 1
    now += WARNING_INTERVAL_SECONDS
    limit.allows(129)
    limit.allows(129)
    assert len(caplog.messages) == 2
    assert caplog.messages[1].endswith("last warning: 1000")
