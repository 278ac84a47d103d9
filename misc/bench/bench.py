"""The benchmark: `python misc/bench/bench.py`, half an hour; `--quick` for a look.

Six parts, each a module: `comparison` with other servers, the whole `deployment`, `concurrency`, `growth`, `forwarding`
beside other proxies, and idle `tunnels` through them. `servers` and `proxies` are the tables of what is measured,
`configurations` and `workloads` are what servers and wrk are told, `rounds` is how it is measured, `results` is what
comes out.
"""

import argparse
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import comparison
import concurrency
import deployment
import gateways
import growth
import machine
import results
import tunnels
from load import MeasurementError
from scale import FULL, QUICK, Scale

PARTS: dict[str, Callable[[Scale], Any]] = {
    "comparison": comparison.measure,
    "deployment": deployment.measure,
    "concurrency": concurrency.measure,
    "growth": growth.measure,
    "forwarding": gateways.measure,
    "tunnels": tunnels.measure,
}
FOLDER = Path(__file__).resolve().parent / "results"


def main() -> None:
    options = _options()
    if options.install:
        machine.install()
        return
    if needed := machine.NEEDED.intersection(machine.missing()):
        sys.exit(f"missing: {', '.join(needed)}; on Debian, as root: {machine.how_to_install(sorted(needed))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaves through the `finally` of every server
    machine.allow_open_files()
    try:
        print(_measure(options))
    except MeasurementError as failure:
        sys.exit(f"failed: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


def _measure(options: argparse.Namespace) -> str:
    """Measures the parts that are asked for and writes what there is after each."""
    measured, about = (
        results.read(options.output),
        {"command": " ".join(["python", *sys.argv]), **machine.description()},
    )
    for part in options.parts or PARTS:
        print(f"{part}:", flush=True)
        found = PARTS[part](QUICK if options.quick else FULL)
        measured = replace(measured, made={**measured.made, part: about}, **{part: found})
        results.write(measured, options.output)
    return f"{results.page(measured)}\nwritten to {options.output}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="a round of a second each; the figures mean little")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder for what comes out; misc/bench/results")
    parser.add_argument("--install", action="store_true", help="install the servers and wrk that are missing, and end")
    options = parser.parse_args()
    if unknown := set(options.parts).difference(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    main()
