"""Ends with 0 if the worker of this container showed a heartbeat in redis within the last 30 s."""

import socket
import sys
from datetime import UTC, datetime

from redis import Redis

MAX_AGE_SECONDS = 30

redis = Redis("redis", socket_timeout=2, decode_responses=True)
heartbeats = {}
for key in redis.smembers("rq:workers"):
    host, heartbeat = redis.hmget(key, "hostname", "last_heartbeat")
    heartbeats[host] = heartbeat
heartbeat = heartbeats.get(socket.gethostname())
if heartbeat is None:
    sys.exit("there is no worker of this container")
age = (datetime.now(UTC) - datetime.fromisoformat(heartbeat)).total_seconds()
if age > MAX_AGE_SECONDS:
    sys.exit(f"the last heartbeat was {age:.0f} s ago")
