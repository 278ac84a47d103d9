"""Prometheus, as Debian has it: its rules hold, and it raises an alert of a service that runs."""

import json
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from ruamel.yaml import YAML
from support.programs import started
from support.service import ROOT, free_port, running, wait_for

MONITORING = ROOT / "misc/monitoring"


@pytest.mark.parametrize("what", ["check config prometheus.yml", "test rules alerts_test.yml"])
def test_prometheus_takes_the_configuration(what: str) -> None:
    """And each alert fires where its cases say so, and nowhere else."""
    done = subprocess.run(["promtool", *what.split()], cwd=MONITORING, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_origin_that_is_down_is_an_alert(tmp_path: Path) -> None:
    """Nothing listens at one of two origins, so one alert fires, and no other; asked and judged each half a second,
    without delay."""
    good, down, port = free_port(), free_port(), free_port()
    pool = {
        "weighted_hosts": {f"127.0.0.1:{good}": 1, f"127.0.0.1:{down}": 1},
        "health_check": {"path": "/", "interval": 0.5, "timeout": 0.4, "fails": 1},
    }
    yaml = YAML()
    prometheus, alerts = (yaml.load(MONITORING / name) for name in ("prometheus.yml", "alerts.yml"))
    prometheus["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    (scrape,) = prometheus["scrape_configs"]
    for rule in alerts["groups"][0]["rules"]:
        rule.pop("for", None)

    def firing() -> set[tuple[str, str | None]]:
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/v1/alerts", timeout=5) as answer:
                found = json.load(answer)["data"]["alerts"]
        except HTTPError:  # it listens before it is ready
            return set()
        labels = [alert["labels"] for alert in found if alert["state"] == "firing"]
        return {(each["alertname"], each.get("origin")) for each in labels}

    files = [
        sys.executable,
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "--directory",
        str(tmp_path / "empty"),
        str(good),
    ]
    (tmp_path / "empty").mkdir()
    with started(files, good), running(tmp_path, pools={"pool": {**pool, "is_default": True}}) as service:
        scrape.pop("dns_sd_configs")
        scrape["static_configs"] = [{"targets": [service.admin_url.removeprefix("http://")]}]
        yaml.dump(prometheus, tmp_path / "prometheus.yml")
        yaml.dump(alerts, tmp_path / "alerts.yml")
        command = [
            "prometheus",
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
        with started(command, port):
            wait_for(lambda: bool(firing()))
            assert firing() == {("RedirectOriginDown", f"127.0.0.1:{down}")}
