"""What tests of several folders share."""

import inspect
import re
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from support.coroutines import pytest_pyfunc_call as pytest_pyfunc_call  # coroutines are tests
from support.gateway import OWN, WAYS, Forwarding
from support.service import Running, running
from support.tls import localhost
from support.wire import FRONTS, Wire

from redirect.control import probe
from redirect.proxy import connections
from redirect.telemetry.scoreboard import Scoreboard


@pytest.fixture(params=FRONTS)
def wire(request: pytest.FixtureRequest, tmp_path: Path) -> Wire:
    """A connection to either front; what a test says of one holds for both."""
    return Wire(request.param, tmp_path / "access.jsonl")


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service with two workers, shared by the tests that only ask it."""
    with running(tmp_path_factory.mktemp("service"), FORWARDED_ALLOW_IPS="127.0.0.1") as shared:
        yield shared


@pytest.fixture
def scoreboard() -> Scoreboard:
    """Of two workers."""
    scoreboard = Scoreboard()
    scoreboard.make_slot(0)
    scoreboard.make_slot(1)
    return scoreboard


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Of a server as localhost, which this process trusts."""
    connections._tls.cache_clear()
    probe._tls.cache_clear()
    return localhost(tmp_path, monkeypatch)


@pytest.fixture(params=WAYS)
def forwarding(request: pytest.FixtureRequest, tmp_path: Path) -> Forwarding:
    """Each way in; what a test says of one holds for all."""
    return Forwarding(request.param, tmp_path / "access.jsonl")


@pytest.fixture(params=OWN)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Forwarding:
    """The ways in whose bytes are ours: another server's ASGI cannot do what these tests are about."""
    return Forwarding(request.param, tmp_path / "access.jsonl")


# What a test uses says what it does: speaking over sockets takes 30 ms, in three ways.
_MARKS_OF_FIXTURES = {"service": "processes", "forwarding": "slow", "own": "slow"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that start processes: those in a folder of that name, and those that use the service. They come
    first, as they wait: one that began last would run alone at the end."""
    for item in items:
        for mark in _marks_by_place_and_use(item.path, getattr(item, "fixturenames", ())):
            item.add_marker(mark)
    items.sort(key=lambda item: item.get_closest_marker("processes") is None)


def pytest_pycollect_makeitem(collector: pytest.Collector, obj: object) -> list[pytest.Item] | None:
    """Makes no cases of a test that `-m "not ..."` leaves out anyway: of 10,000 cases these are most, and each process
    of tests would make them all."""
    expression = collector.config.option.markexpr
    if not inspect.isfunction(obj) or not re.fullmatch(r"not \w+( and not \w+)*", expression):
        return None
    marks = {mark.name for mark in getattr(obj, "pytestmark", ())} | {mark.name for mark in collector.iter_markers()}
    marks |= _marks_by_place_and_use(collector.path, inspect.signature(obj).parameters)
    return [] if marks & {*re.findall(r"not (\w+)", expression)} else None


def _marks_by_place_and_use(path: Path, fixtures: Iterable[str]) -> set[str]:
    by_use = {_MARKS_OF_FIXTURES[name] for name in fixtures if name in _MARKS_OF_FIXTURES}
    return by_use | {"processes"} if "processes" in path.parts else by_use
