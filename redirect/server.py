"""`python redirect/server.py` is `redirect serve`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # its own folder is no place for imports

    from redirect.__main__ import main

    main("serve")
