"""Health: the status of origins as values, and as the bytes that processes share."""

from redirect.core.health import HealthStatus, decode, encode


def test_health_survives_the_way_to_another_process() -> None:
    health = {
        "p": {"bücher.example": HealthStatus(False, 1.5, 0.25, "refused"), "b": HealthStatus(True, 2.0, 3.0, "ok")},
        "q": {"b": HealthStatus(False, 1e9, 1e6, 'odd "reason"\n')},
    }
    assert decode(encode(health)) == health


def test_no_bytes_are_no_health() -> None:
    assert decode(b"") == decode(encode({})) == {}
