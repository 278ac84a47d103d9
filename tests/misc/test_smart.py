"""The assembly `smart` without an engine: its TOML, and its benchmark."""

import asyncio
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.service import ROOT

sys.path.insert(0, str(ROOT / "misc" / "assemblies" / "smart"))  # as `python SCRIPT` has it
sys.path.insert(0, str(ROOT / "misc" / "assemblies" / "smart" / "gateway"))

import benchmark
import serve

from redirect.config.loader import parse_config

SETTINGS = {"REMOTE_URL": "http://mock:8080/", "REQ_TIMEOUT": "10", "REQ_LIMIT": "100"}


@pytest.mark.parametrize(
    ("url", "scheme", "host", "target"),
    [
        ("http://mock:8080/", "http", "mock:8080", "/"),
        ("https://remote.example.com/api/work", "https", "remote.example.com", "/api/work"),
        ("https://remote.example.com", "https", "remote.example.com", "/"),
    ],
)
def test_the_toml_says_what_the_environment_says(url: str, scheme: str, host: str, target: str, tmp_path: Path) -> None:
    toml = serve.toml({**SETTINGS, "REMOTE_URL": url, "REQ_TIMEOUT": "2.5"})
    assert "/var/log/redirect/backend_errors.log" in toml
    config = parse_config(toml.replace("/var/log/redirect", str(tmp_path)).encode(), "smart.toml")
    assert config.warnings == ()
    (route,), pool = config.routes, config.pools["remote"]
    assert (pool.scheme, [origin.name for origin in pool.origins], route.target) == (scheme, [host], target)
    timeouts = route.timeouts
    assert (timeouts.connect, timeouts.answer, timeouts.idle, timeouts.total) == (2.5, 2.5, 2.5, 2.5)
    assert route.retries == 0
    assert route.limit is not None
    assert route.limit.in_flight == 100


@pytest.mark.parametrize("url", ["", "mock:8080", "ftp://mock/", "http://", "http://user@mock/", "http://mock/?x=1"])
def test_what_is_no_url_of_a_service_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="REMOTE_URL: must be such as https://"):
        serve.toml({**SETTINGS, "REMOTE_URL": url})


@pytest.mark.parametrize(
    ("requests", "levels"),
    [(500, [1, 2, 5, 10, 20, 50]), (1000, [1, 2, 5, 10, 20, 50, 100]), (70, [1, 2, 5, 7]), (5, [1])],
)
def test_concurrency_is_raised_to_a_tenth_of_the_requests(requests: int, levels: list[int]) -> None:
    assert benchmark.levels(requests) == levels


def test_each_level_makes_all_requests_and_no_more_at_once_than_it_has_clients() -> None:
    under_way = [0]
    most = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            under_way[0] += 1
            most.append(under_way[0])
            await asyncio.sleep(0.001)
            under_way[0] -= 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async def run() -> benchmark.Level:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await benchmark.measure(urlsplit(f"http://127.0.0.1:{port}/x?y"), 5, 60)

    level = asyncio.run(run())
    assert (level.statuses, len(level.times_ms), max(most)) == (Counter({200: 60}), 60, 5)


@pytest.mark.slow
def test_the_picture_says_that_the_loop_is_closed() -> None:
    measured = [
        benchmark.Level(1, [1.0, 2.0], Counter({200: 2})),
        benchmark.Level(2, [3.0, 4.0], Counter({200: 1, 503: 1})),
    ]
    (axes,) = benchmark.drawn(measured, "http://smart/").axes
    assert "Closed loop" in axes.get_title()
    assert [line.get_label() for line in axes.lines] == ["median", "95 %", "slowest"]
    assert [each.get_text() for each in axes.texts] == ["1 not 200"]
