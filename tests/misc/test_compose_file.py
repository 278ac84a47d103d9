"""The compose file: no container harms the others or the machine."""

import pytest
from ruamel.yaml import YAML
from support.service import ROOT

SERVICES = YAML(typ="safe").load(ROOT / "docker-compose.yml")["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_has_limits(name: str) -> None:
    """Of memory, of processes, and of the disk that its log takes."""
    service = SERVICES[name]
    assert {"mem_limit", "pids_limit"} <= service.keys()
    assert {"max-size", "max-file"} <= service["logging"]["options"].keys()


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "wrk"])
def test_what_serves_is_started_again(name: str) -> None:
    """The load test ends."""
    assert SERVICES[name]["restart"] == "unless-stopped"
