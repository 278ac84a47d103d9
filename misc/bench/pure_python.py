"""The service as where no C compiler was: `pure_python.py serve` is `redirect serve` without a compiled module."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMPILED = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "redirect").rglob("_*.c")]

if __name__ == "__main__":
    # None instead of a module makes the import fail as that of a missing one does.
    sys.modules.update(dict.fromkeys(COMPILED))  # type: ignore[arg-type]

    from redirect.commands.main import cli

    cli()
