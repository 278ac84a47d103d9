"""The faults: `python misc/faults/faults.py`, a few minutes on a container engine; `--short` for two.

Three parts: `nginx`, a compose stack (`compose`, `behind_nginx`), `bare`, processes with nothing in front (`processes`,
`bare`), and `forwarding`, the same with origins behind them (`forwarding`, `fault_origin`). `fault` is how a fault is
injected under load, `generator`, `mix` and `forwards` are the load, `report` is what comes out. The exit code is 1
where a request failed, where a POST reached origins twice, or where a fault did not take place; latencies are held
against what is promised, and decide nothing: another machine has others.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))  # figures, tables and the machine are as there

import bare
import behind_nginx
import compose
import forwarding
import machine
import processes
from fault import FaultError, Outcome, measure
from report import Report, page, write
from traffic import HERE

AT_LEAST = 60_000
AT_LEAST_SHORT = 3_000


def behind(at_least: int) -> Iterator[Outcome]:
    with compose.stack() as stack:
        for fault in behind_nginx.FAULTS:
            yield measure("nginx", stack, stack.target, fault, at_least)


def alone(at_least: int) -> Iterator[Outcome]:
    with processes.service() as service:
        for fault in bare.FAULTS:
            yield measure("nothing", service, service.target, fault, at_least)


def forwarded(at_least: int) -> Iterator[Outcome]:
    with forwarding.gateway() as gateway:
        for fault in forwarding.FAULTS:
            outcome = measure("nothing", gateway, gateway.target, fault, at_least // 3)
            if repeated := forwarding.repeated(gateway.origins):
                raise FaultError(f"{fault.name}: {repeated:,} POSTs reached origins twice")
            yield outcome


PARTS: dict[str, Callable[[int], Iterator[Outcome]]] = {"nginx": behind, "bare": alone, "forwarding": forwarded}


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaves through the `finally` of all that runs
    report = Report(" ".join(["python", *sys.argv]), machine.host())
    try:
        for part in options.parts or PARTS:
            print(f"{part}:", flush=True)
            for outcome in PARTS[part](AT_LEAST_SHORT if options.short else AT_LEAST):
                print(f"  {outcome.fault}: {outcome.requests:,} requests, {outcome.failed:,} failed", flush=True)
                report = replace(report, outcomes=[*report.outcomes, outcome])
                if options.output:
                    write(report, options.output)
    except (FaultError, RuntimeError, OSError) as failure:
        sys.exit(f"failed: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
    print(page(report))
    if report.failed:
        sys.exit(f"failed: {report.failed:,} requests")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all if none is named")
    parser.add_argument("--short", action="store_true", help="few requests, and nothing is written: does it all work?")
    parser.add_argument("--output", type=Path, help="folder for what comes out; misc/faults/results unless --short")
    options = parser.parse_args()
    if unknown := set(options.parts).difference(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if not options.short:
        options.output = options.output or HERE / "results"
    return options


if __name__ == "__main__":
    main()
