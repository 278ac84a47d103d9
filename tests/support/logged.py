"""An access log of a day: the service's own decisions, for clients, times and durations that are made up."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from redirect.core.service import new_service
from redirect.telemetry import access_log
from redirect.telemetry.record import LoggedHead
from support.service import ROOT
from support.toml import load

# What is logged of the head of a GET for the host a.
HEAD: LoggedHead = None, "GET", "a", None, None, None, None

KEYS = [key.name for key in access_log.KEYS]

_BEGIN = datetime(2026, 11, 20, tzinfo=UTC)
_HOSTS = ["www.example.com"] * 19 + ["origin-4"]
_TARGETS = ["/", "/docs/install", "/docs/install", "/releases/4.2/app.tar.gz", "/releases/4.1/app.tar.gz"]


def write_log(path: Path, count: int = 20_000) -> None:
    """Writes records of `count` requests, spread over the day, the same at each call."""
    random = Random(1)
    config = load(ROOT / "redirect_pools_config.toml")
    service = new_service(config, random)
    with path.open("w") as file:
        for n in range(count):
            pool = random.choice([None, "pool-a", "pool-a", "pool-b", "pool-c"])
            host, target = random.choice(_HOSTS), random.choice(_TARGETS)
            decision = service.decide(pool, "https", (host, 443))
            time = (_BEGIN + timedelta(days=n / count)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            record = {
                "time": time,
                "level": "info" if decision.status < 400 else "warning",
                "pool_requested": pool,
                "pool": decision.pool,
                "origin": decision.origin,
                "location": decision.location(target),
                "status": decision.status,
                "method": "GET",
                "host": host,
                "path": target,
                "query": "",
                "client_ip": f"192.0.2.{random.randrange(1, 255)}",
                "user_agent": "curl/8.14.1",
                "referer": None,
                "request_id": f"{n:032x}",
                "duration_us": int(random.lognormvariate(2.3, 0.5)),
                "instance": "web-1",
                "worker": 28378,
                "config": config.hash,
                "due": decision.due and decision.due.share,
                "weights": decision.due and decision.due.weights.id,
            }
            file.write(json.dumps(record, separators=(",", ":")) + "\n")
