"""The service as where no C compiler was: `pure_python.py serve` is `redirect serve` without a compiled module."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

if __name__ == "__main__":
    # None instead of a module makes the import fail as that of a missing one does.
    for source in (ROOT / "redirect").rglob("_*.c"):
        sys.modules[".".join(source.relative_to(ROOT).with_suffix("").parts)] = None  # type: ignore[assignment]

    from redirect.commands.main import cli

    cli()
