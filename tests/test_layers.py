"""The wings: imports go one way, as the table says, and the core knows no framework."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import redirect

PACKAGE = Path(redirect.__file__).parent

# What each wing may import of the others. A wing is a folder of the package.
WINGS: dict[str, set[str]] = {
    "core": set(),
    "config": {"core"},
    "telemetry": {"core"},
    "proxy": {"core", "telemetry"},
    "edge": {"core", "telemetry", "proxy"},
    "control": {"core", "config", "telemetry"},
    "admin": {"core", "telemetry", "control"},
    "processes": {"core", "config", "telemetry", "proxy", "edge", "control", "admin"},
    "commands": {"core", "config", "telemetry", "proxy", "edge", "control", "admin", "processes"},
}

# Libraries that a wing must not know, in any of its modules.
CARRIERS = {"starlette", "uvicorn", "uvicorn_worker", "gunicorn", "httptools", "uvloop", "click", "jinja2"}
FOREIGN = {
    "core": CARRIERS | {"pydantic", "pydantic_settings", "tomllib", "asyncio", "socket", "os", "time"},
    "config": CARRIERS,
    "telemetry": CARRIERS,
}
PURE = {"socket.AF_INET", "socket.inet_pton"}  # what of them reads text, and nothing else


def modules(wing: str) -> list[Path]:
    return sorted((PACKAGE / wing).rglob("*.py"))


def name(path: Path) -> str:
    """The dotted name of the module at `path`."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[str]:
    """Dotted names of all that the module at `path` imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import, which this test does not follow"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(path: Path) -> set[str]:
    """The modules of ours that the one at `path` imports."""
    known = {name(each) for each in PACKAGE.rglob("*.py")}
    found = {each if each in known else each.rpartition(".")[0] for each in imported(path)}
    return found & known


def test_each_folder_is_a_wing() -> None:
    """Every folder of the package is in the table; beside them there are the launcher and the map only."""
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == WINGS.keys()
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py", "server.py"}


@pytest.mark.parametrize("map_", sorted(PACKAGE.rglob("*/__init__.py")), ids=lambda path: path.parent.name)
def test_the_map_of_a_wing_has_each_module_and_no_other(map_: Path) -> None:
    """One to a line, or several whose names are joined by commas."""
    listed = re.findall(r"^ *((?:[a-z_]+, )*[a-z_]+)  ", map_.read_text(encoding="utf-8"), re.MULTILINE)
    files = {path.stem for path in map_.parent.glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in map_.parent.glob("*/__init__.py")}
    assert sorted(module for line in listed for module in line.split(", ")) == sorted(files | folders)


@pytest.mark.slow
@pytest.mark.parametrize("wing", WINGS)
def test_imports_go_one_way(wing: str) -> None:
    """A wing imports only the wings that the table allows it."""
    others = {each.split(".")[1] for path in modules(wing) for each in imported(path) if each.startswith("redirect.")}
    assert others - {wing} <= WINGS[wing]


def test_no_wing_imports_one_that_imports_it() -> None:
    """The table itself has an order: each wing may import only wings above it."""
    names = list(WINGS)
    assert all(names.index(other) < names.index(wing) for wing, others in WINGS.items() for other in others)


@pytest.mark.slow
def test_no_module_imports_itself_in_a_circle() -> None:
    """Modules can be sorted so that each imports only those before it."""
    left = {name(path): imported_modules(path) - {name(path)} for path in PACKAGE.rglob("*.py")}
    while left:
        free = [each for each, others in left.items() if not others & left.keys()]
        assert free, f"a circle among {sorted(left)}"
        for each in free:
            del left[each]


@pytest.mark.parametrize("wing", FOREIGN)
def test_foreign_libraries(wing: str) -> None:
    """A wing imports none of the libraries that it must not know."""
    tops = {each.split(".")[0] for path in modules(wing) for each in {*imported(path)} - PURE}
    assert tops.isdisjoint(FOREIGN[wing])


def test_core_loads_no_foreign_library() -> None:
    """A process that has imported all of the core has none of the foreign libraries in it, through whatever module."""
    imports = ", ".join(name(path) for path in modules("core"))
    loaded = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"import sys; sys.path[:] = {[str(PACKAGE.parent), *sys.path]!r}; import {imports}; print(*sys.modules)",
        ],
        cwd=PACKAGE.parent,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert "redirect.core.service" in loaded
    assert (CARRIERS | {"pydantic", "tomllib"}).isdisjoint(loaded)


@pytest.mark.slow
def test_only_cycles_knows_roundrobin() -> None:
    """Cycles stand on the `roundrobin` package, and only that module knows it."""
    assert [name(path) for path in PACKAGE.rglob("*.py") if "roundrobin" in imported(path)] == ["redirect.core.cycles"]


@pytest.mark.slow
def test_httpx_is_loaded_only_where_docker_is_asked() -> None:
    """Most instances do without: neither the workers nor the controller load it when they start."""
    code = "import sys, redirect.processes.controller, redirect.processes.master, redirect.processes.worker"
    command = [sys.executable, "-c", f"{code}; print('httpx' in sys.modules)"]
    loaded = subprocess.run(command, cwd=PACKAGE.parent, check=True, capture_output=True, text=True).stdout
    assert loaded == "False\n"
