"""An access log and its TOML in a folder of their own."""

from pathlib import Path

import pytest
from support.log_lines import POOLS, line
from support.toml import load


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """The TOML that the module of the test has as its POOLS."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "redirect_pools_config.toml"
    path.write_text(request.module.POOLS)
    return path


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "access.jsonl"
    path.write_bytes(line())
    return path


@pytest.fixture
def config(log: Path) -> str:
    Path("redirect_pools_config.toml").write_text(POOLS)
    return load("redirect_pools_config.toml").hash
