"""What tests of several folders share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.service import Running, running
from support.wire import FRONTS, Wire


@pytest.fixture(params=FRONTS)
def wire(request: pytest.FixtureRequest, tmp_path: Path) -> Wire:
    """A connection to either front; what a test says of one holds for both."""
    return Wire(request.param, tmp_path / "access.jsonl")


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service with two workers, shared by the tests that only ask it."""
    with running(tmp_path_factory.mktemp("service"), FORWARDED_ALLOW_IPS="127.0.0.1") as shared:
        yield shared


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that start processes: those in a folder of that name, and those that use the service. They come
    first, as they wait: one that began last would run alone at the end."""
    for item in items:
        if "processes" in item.path.parts or "service" in getattr(item, "fixturenames", ()):
            item.add_marker("processes")
    items.sort(key=lambda item: item.get_closest_marker("processes") is None)
