"""The layout: `make layout` writes misc/layout.dot from the imports of redirect/, and graphviz draws docs/layout.png.

A box is a wing with its modules, an arrow an import of at least one of them. An arrow is grey where others say as much:
a wing that imports `edge`, which imports `core`, mostly imports `core` as well.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "redirect"
DRAWN = ROOT / "misc" / "layout.dot"

MAX_LINE_CHARACTERS = 34  # of the modules in a box

_BEGIN = """\
// The wings of redirect/ and what they import. Made by misc/layout.py, drawn by `make layout`.
digraph layout {
  graph [rankdir=BT, nodesep=0.5, ranksep=0.6, pad=0.25, bgcolor="white"]
  node [shape=box, style="rounded,filled", fillcolor="#f6f8fa", color="#57606a", margin="0.2,0.12"]
  node [fontname="DejaVu Sans", fontsize=11]
  edge [color="#57606a"]
"""


def wings() -> list[str]:
    """The wings in the order of the table in tests/test_layers.py: each imports only those before it."""
    tree = ast.parse((ROOT / "tests" / "test_layers.py").read_text(encoding="utf-8"))
    (table,) = [
        node.value for node in tree.body if isinstance(node, ast.AnnAssign) and "WINGS" in ast.dump(node.target)
    ]
    assert isinstance(table, ast.Dict)
    return [ast.literal_eval(key) for key in table.keys if key]


def modules(wing: str) -> list[str]:
    """The modules of a wing and the folders in it, in the order of the alphabet."""
    inside = [*(PACKAGE / wing).glob("[!_]*.py"), *(each.parent for each in (PACKAGE / wing).glob("*/__init__.py"))]
    return sorted(each.stem for each in inside)


def arrows() -> set[tuple[str, str]]:
    """Which wing imports which."""
    found = set()
    for path in PACKAGE.glob("*/**/*.py"):
        wing = path.relative_to(PACKAGE).parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {(wing, name.split(".")[1]) for name in names if name.startswith("redirect.")}
    return {(wing, other) for wing, other in found if wing != other}


def dot() -> str:
    """The content of misc/layout.dot."""
    order, found = wings(), arrows()
    lines = [f'  "{wing}" [label=<<b>{wing}</b><br/>{"<br/>".join(_wrapped(modules(wing)))}>]' for wing in order]
    for wing in order:
        for other in order:
            if (wing, other) in found:
                implied = any((wing, middle) in found and (middle, other) in found for middle in order)
                lines.append(f'  "{wing}" -> "{other}"' + ' [color="#afb8c1"]' * implied)
    return _BEGIN + "\n".join(lines) + "\n}\n"


def _wrapped(names: list[str]) -> list[str]:
    lines = [""]
    for name in names:
        if len(lines[-1]) + len(name) > MAX_LINE_CHARACTERS:
            lines.append("")
        lines[-1] += f"{name}  "
    return [line.rstrip() for line in lines]


if __name__ == "__main__":
    DRAWN.write_text(dot(), encoding="utf-8")
