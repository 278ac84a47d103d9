"""An admin listener, asked: which processes an instance has, and which configuration."""

import contextlib
import http.client
import json
from typing import Any, NamedTuple


class Admin(NamedTuple):
    host: str
    port: int
    token: str = ""

    def workers(self) -> dict[int, dict[str, Any]]:
        """What is told of each worker, by process id; none where nobody answers."""
        text = self._get("/status")
        return {worker["pid"]: worker for worker in json.loads(text)["workers"]} if text else {}

    def busiest(self) -> int:
        """The process that has the most connections: what becomes of it is seen by most clients."""
        workers = self.workers()
        return max(workers, key=lambda pid: workers[pid]["connections"])

    def configurations(self) -> set[str]:
        """The hashes of the configurations that the workers have."""
        return {worker["config"] for worker in self.workers().values()}

    def requests(self) -> int:
        """How many requests the workers that live have answered."""
        return sum(worker["requests"] for worker in self.workers().values())

    def is_ready(self) -> bool:
        return bool(self._get("/readyz"))

    def is_last_reload_good(self) -> bool | None:
        """Whether the last configuration is in force; None where nobody answers."""
        text = self._get("/metrics")
        return "\nredirect_config_last_reload_successful 1.0\n" in text if text else None

    def _get(self, path: str) -> str:
        """The answer's text, or "" where there is none with status 200."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with contextlib.closing(http.client.HTTPConnection(self.host, self.port, timeout=2)) as connection:
            try:
                connection.request("GET", path, headers=headers)
                response = connection.getresponse()
                text = response.read().decode()
            except (OSError, http.client.HTTPException):
                return ""
        return text if response.status == 200 else ""
