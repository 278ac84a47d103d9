"""How many connections a worker has: of clients, and to origins."""

import resource

import pytest

from redirect.proxy.descriptors import WARNING_INTERVAL_SECONDS, Descriptors


def limited(descriptors: int, monkeypatch: pytest.MonkeyPatch) -> Descriptors:
    monkeypatch.setattr("resource.getrlimit", lambda _: (descriptors, descriptors))
    return Descriptors()


def suffices(of: Descriptors, clients: int, origins: int = 0, *, forwards: bool = False) -> bool:
    of.clients, of.origins, of.forwards = clients, origins, forwards
    return of.allow_client()


@pytest.mark.parametrize(
    ("descriptors", "most"), [(512, 384), (1024, 896), (1_048_576, 1_048_448), (256, 128), (100, 50), (20, 10)]
)
def test_connections_get_all_descriptors_but_the_reserved_and_at_least_half(
    descriptors: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = limited(descriptors, monkeypatch)
    assert suffices(of, most)
    assert not suffices(of, most + 1)
    assert suffices(of, most - 5, 5)
    assert not suffices(of, most - 5, 6)
    assert suffices(of, most // 2, most - most // 2, forwards=True)
    assert not suffices(of, most // 2 + 1, forwards=True)


def test_clients_that_were_there_before_requests_were_forwarded_leave_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reload may bring the first route that forwards: no other client is accepted, and requests are forwarded."""
    of = limited(256, monkeypatch)
    assert not suffices(of, 100, 28, forwards=True)
    assert of.allow_origin()
    of.origins += 1
    assert not of.allow_origin()


def test_without_a_limit_of_the_system_every_connection_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert suffices(limited(resource.RLIM_INFINITY, monkeypatch), 10**9)


@pytest.mark.parametrize("uptime", [0.0, 1000.0])
def test_a_warning_a_minute_has_the_number_of_those_refused(
    uptime: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first one comes at once, also on a machine that has been up for less than a minute."""
    now = uptime
    monkeypatch.setattr("redirect.proxy.descriptors.monotonic", lambda: now)
    of = limited(256, monkeypatch)
    for _ in range(1000):
        suffices(of, 129)
    assert len(caplog.messages) == 1
    now += WARNING_INTERVAL_SECONDS
    suffices(of, 129)
    suffices(of, 129)
    assert len(caplog.messages) == 2
    assert caplog.messages[1].endswith("last warning: 1000")
