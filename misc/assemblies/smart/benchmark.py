"""Measures how long one request takes while more and more clients ask at once, and draws it.

    .venv/bin/python misc/assemblies/smart/benchmark.py [--req 500] [--output benchmark.png] http://localhost:8000/api/smart

The rule: a closed loop. Each client has a connection of its own, and asks again as soon as it was answered. So a slow
service gets fewer requests, and what waits outside of it is not seen: the picture says so.
"""

import argparse
import asyncio
import ssl
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, urlsplit

import httptools

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECONDS_TO_ANSWER = 60


class Level(NamedTuple):
    """What so many clients saw: milliseconds of each answer, in order of size, and how many had which status."""

    clients: int
    times_ms: list[float]
    statuses: Counter[int]

    def at(self, share: float) -> float:
        return self.times_ms[min(int(share * len(self.times_ms)), len(self.times_ms) - 1)]


class Answer:
    """Reads one answer; httptools calls back."""

    def __init__(self) -> None:
        self.is_whole = False
        self.parser = httptools.HttpResponseParser(self)

    def on_message_complete(self) -> None:
        self.is_whole = True


class Client:
    def __init__(self, url: SplitResult) -> None:
        self._url = url
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._request = f"GET {target} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode()
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self) -> int:
        """Returns the status."""
        if self._writer is None:
            await self._connect()
        assert self._writer
        self._writer.write(self._request)
        answer = Answer()
        while not answer.is_whole:
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionError("the connection was closed before the answer was whole")
            answer.parser.feed_data(data)
        if not answer.parser.should_keep_alive():
            self.close()
        return answer.parser.get_status_code()

    async def _connect(self) -> None:
        is_secure = self._url.scheme == "https"
        port = self._url.port or (443 if is_secure else 80)
        context = ssl.create_default_context() if is_secure else None
        self._reader, self._writer = await asyncio.open_connection(self._url.hostname, port, ssl=context)

    def close(self) -> None:
        if self._writer:
            self._writer.close()
        self._writer = None


def levels(requests: int) -> list[int]:
    """Numbers of clients: 1, 2, 5, 10, … and at last a tenth of the requests."""
    most = max(requests // 10, 1)
    steps = [step * 10**power for power in range(len(str(most))) for step in (1, 2, 5)]
    return [*(step for step in steps if step < most), most]


async def measure(url: SplitResult, clients: int, requests: int) -> Level:
    left = iter(range(requests))
    times_ms: list[float] = []
    statuses: Counter[int] = Counter()

    async def run() -> None:
        client = Client(url)
        for _ in left:
            began = time.perf_counter()
            async with asyncio.timeout(SECONDS_TO_ANSWER):
                statuses[await client.ask()] += 1
            times_ms.append(1000 * (time.perf_counter() - began))
        client.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(run())
    return Level(clients, sorted(times_ms), statuses)


def drawn(measured: list[Level], url: str) -> "Figure":
    from matplotlib.figure import Figure  # 0.7 s, which only the picture needs

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    clients = [level.clients for level in measured]
    for name, share, colour in (("median", 0.5, "#0072B2"), ("95 %", 0.95, "#E69F00"), ("slowest", 1, "#CC79A7")):
        axes.plot(clients, [level.at(share) for level in measured], "o-", color=colour, label=name)
    for level in measured:
        if others := level.statuses.total() - level.statuses[200]:
            axes.annotate(f"{others} not 200", (level.clients, level.at(0.5)), rotation=45)
    axes.set(xlabel="clients that ask at once", ylabel="time of one request, ms", xscale="log", ylim=(0, None))
    axes.set_xticks(clients, [str(each) for each in clients])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    requests = measured[0].statuses.total()
    axes.set_title(
        f"{url}, {requests} requests for each number of clients\n"
        "Closed loop: a client asks again when it is answered, so a slow service gets fewer requests",
        fontsize=10,
    )
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument(
        "--req", type=int, default=500, help="requests for each number of clients; at most a tenth of it"
    )
    parser.add_argument("--output", type=Path, default=Path("benchmark.png"))
    options = parser.parse_args()
    measured = []
    print("clients  mean, ms  median, ms  95 %, ms  slowest, ms  statuses")
    for clients in levels(options.req):
        level = asyncio.run(measure(urlsplit(options.url), clients, options.req))
        measured.append(level)
        times = (statistics.mean(level.times_ms), level.at(0.5), level.at(0.95), level.at(1))
        columns = "{:8.2f}  {:10.2f}  {:8.2f}  {:11.2f}".format(*times)
        print(f"{clients:7}  {columns}  {dict(level.statuses)}", flush=True)
    drawn(measured, options.url).savefig(options.output, dpi=150)
    print(f"drawn: {options.output}")


if __name__ == "__main__":
    main()
