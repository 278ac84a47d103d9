"""The health of origins, as a service is told it."""

from redirect.core.health import Health, HealthStatus
from redirect.core.service import Service


def down(*origins: str) -> dict[str, HealthStatus]:
    return {origin: HealthStatus(False, 0.0, 0.0, "refused") for origin in origins}


def apply(service: Service, health: Health, now: float = 0.0) -> None:
    for _ in service.updates(health, now):
        pass
