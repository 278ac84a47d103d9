"""The layers: imports go one way, as the map in `redirect/__init__.py` says, and the service knows no framework."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import redirect

PACKAGE = Path(redirect.__file__).parent
# A package in the package is one entry of the map: how its own modules hang together is its affair.
MODULES = sorted(
    path.stem
    for path in PACKAGE.iterdir()
    if (path.suffix == ".py" or (path / "__init__.py").exists()) and not path.stem.startswith("__")
)

# What the product is made of. None of it knows what carries it.
PURE = """authority positions schema config rotation decision request forwarded service record snapshot outlet board
    access_log counters journal instance eligibility verdict handover
    error_log""".split()
CARRIERS = {"starlette", "uvicorn", "uvicorn_worker", "gunicorn", "httptools", "uvloop", "click"}


def names_on_the_map() -> list[str]:
    """The modules in the order in which the map is read: by lines, and in a line from the left."""
    drawn = "\n".join(line for line in (redirect.__doc__ or "").splitlines() if line.startswith("    "))
    return re.findall(r"(?:^ {4}|(?<=\S) {2,})([a-z_]+) {2,}", drawn, re.MULTILINE)


def imported(module: str) -> Iterator[str]:
    """Dotted names of all that `module` imports from elsewhere, wherever in it."""
    paths = (PACKAGE / module).glob("*.py") if (PACKAGE / module).is_dir() else [PACKAGE / f"{module}.py"]
    for path in paths:
        yield from (name for name in imported_by(path) if not name.startswith(f"redirect.{module}"))


def imported_by(path: Path) -> Iterator[str]:
    """Dotted names of all that the file at `path` imports, but for what it does as a script."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import, which this test does not follow"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_of_ours(module: str) -> set[str]:
    return {name.split(".")[1] for name in imported(module) if name.startswith("redirect.")}


def test_map_is_complete() -> None:
    """Every module is on the map, once, and nothing else is."""
    assert sorted(names_on_the_map()) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    """A module imports only what the map shows before it."""
    names = names_on_the_map()
    assert imported_of_ours(module) <= set(names[: names.index(module)])


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_no_carrier(module: str) -> None:
    """The modules of the product import no web framework, server, parser or command line, and none of ours that may."""
    assert {name.split(".")[0] for name in imported(module)}.isdisjoint(CARRIERS)
    assert imported_of_ours(module) <= set(PURE)


def test_pure_modules_load_no_carrier() -> None:
    """A process that has imported all of them has none of the carriers in it, through whatever library."""
    imports = ", ".join(f"redirect.{module}" for module in PURE)
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, {imports}; print(*sys.modules)"],
        cwd=PACKAGE.parent,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert "redirect.service" in loaded
    assert CARRIERS.isdisjoint(loaded)


def test_service_picks_with_roundrobin() -> None:
    """Rotation stands on the `roundrobin` package, and only rotation knows it."""
    assert [module for module in MODULES if "roundrobin" in {*imported(module)}] == ["rotation"]
