"""Reloading under load: `python misc/bench/reloading.py`, two minutes.

The p99 of redirects, by wrk, while a file of many pools rests, while one weight in it changes again and again, and
while all of its weights do; and after how many seconds a change is in force in every worker.
"""

import argparse
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import monotonic, sleep

import pools
import servers
from load import BARE, wrk
from running import Running, running

ALL_CORES = "0-1"  # the controller has the one that the worker leaves, and wrk does not use
CONNECTIONS = 16
ROUNDS = 3
ROUND_SECONDS = 10
PAUSE_SECONDS = 1.0


def change_nothing(text: str, number: int) -> str:
    return text


def change_one(text: str, number: int) -> str:
    return text.replace('.example.com" = 2', f'.example.com" = {10 + number}', 1)


def change_all(text: str, number: int) -> str:
    return text.replace('.example.com" = 2', f'.example.com" = {10 + number}')


@contextmanager
def changing(folder: Path, change: Callable[[str, int], str]) -> Iterator[list[float]]:
    """Changes the file again and again; yields the seconds after which each change was in force."""
    file, log = folder / "pools.toml", folder / "access.log"
    text, ended, took = file.read_text(), threading.Event(), list[float]()

    def work() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            began, before = monotonic(), _configuration(log)
            file.write_text(change(text, number))
            while _configuration(log) == before and not ended.is_set():
                sleep(0.02)
            took.append(monotonic() - began)
            sleep(PAUSE_SECONDS)

    thread = threading.Thread(target=work)
    if change is not change_nothing:
        thread.start()
    try:
        yield took
    finally:
        ended.set()
        if thread.is_alive():
            thread.join()
        file.write_text(text)


def _configuration(log: Path) -> bytes:
    """The configuration that decided the last request in the access log."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        return file.read().rpartition(b'"config":"')[2][:12]


def measure(server: Running) -> None:
    for name, change in (("at rest", change_nothing), ("one weight", change_one), ("all pools", change_all)):
        p99s, waits = [], list[float]()
        for _ in range(ROUNDS):
            with changing(server.folder, change) as took:
                p99s.append(wrk(server.port, BARE, ROUND_SECONDS, CONNECTIONS, ALL_CORES).p99_ms)
            waits += took[:-1]
        force = f", in force after {min(waits):.1f} to {max(waits):.1f} s" if waits else ""
        print(f"{name}: p99 {min(p99s):.2f} to {max(p99s):.2f} ms, median {median(p99s):.2f}{force}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pools", type=int, default=20_000)
    options = parser.parse_args()
    toml = pools.toml(pools.many(options.pools))
    with running(servers.redirect("Redirect", toml), ALL_CORES) as server:
        measure(server)


if __name__ == "__main__":
    main()
