"""What `make wheels` built runs where users install it, with the compiled modules or without."""

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.compose import ROOT

BIN = Path(sys.executable).parent
WHEELS = sorted((ROOT / "dist").glob("*.whl"))
OURS = f"-cp{sys.version_info.major}{sys.version_info.minor}-"


def run(*command: str | Path, **variables: str) -> str:
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def by_pip(wheel: Path, folder: Path) -> Path:
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin/pip", "install", "--quiet", wheel)
    return folder / "bin/redirect"


def by_uv(wheel: Path, folder: Path) -> Path:
    variables = {"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(folder / "bin")}
    run(BIN / "uv", "tool", "install", "--quiet", "--python", sys.executable, wheel, **variables)
    return folder / "bin/redirect"


def by_pipx(wheel: Path, folder: Path) -> Path:
    variables = {"PIPX_HOME": str(folder / "home"), "PIPX_BIN_DIR": str(folder / "bin")}
    run(BIN / "pipx", "install", "--quiet", "--python", sys.executable, wheel, **variables)
    return folder / "bin/redirect"


@pytest.mark.parametrize("wheel", WHEELS, ids=lambda wheel: wheel.name)
def test_a_wheel_has_all_compiled_modules_for_any_recent_linux(wheel: Path) -> None:
    compiled = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")]
    assert [name.partition(".")[0] for name in compiled] == [
        "redirect/edge/_plain_head",
        "redirect/proxy/_plain_fields",
        "redirect/telemetry/_batch",
        "redirect/telemetry/_lines",
    ]
    assert "manylinux" in wheel.name


def test_the_sdist_has_all_sources_and_no_tests_that_cannot_run_there() -> None:
    (sdist,) = (ROOT / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "redirect/edge/_plain_head.c", "redirect/admin/page.html"} <= names
    assert not any(name.startswith("tests") for name in names)


@pytest.mark.parametrize("install", [by_pip, by_uv, by_pipx])
def test_an_installed_wheel_reads_with_the_compiled_reader(
    install: Callable[[Path, Path], Path], tmp_path: Path
) -> None:
    (wheel,) = (each for each in WHEELS if OURS in each.name)
    redirect = install(wheel, tmp_path / "installed")
    assert run(redirect, "--version").endswith(", compiled reader\n")
    assert "pool-a" in run(redirect, "check", ROOT / "redirect_pools_config.toml")


def test_without_a_compiler_the_sdist_installs_and_reads_in_python(tmp_path: Path) -> None:
    (sdist,) = (ROOT / "dist").glob("*.tar.gz")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, sdist, CC="/bin/false")
    (wheel,) = tmp_path.glob("*.whl")
    redirect = by_pip(wheel, tmp_path / "installed")
    assert run(redirect, "--version").endswith(", Python reader\n")
    assert "pool-a" in run(redirect, "check", ROOT / "redirect_pools_config.toml")
