from collections.abc import Iterator

import pytest

from .engine import Engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine(tmp_path_factory.mktemp("clickhouse"))
    engine.start()
    yield engine
    engine.kill()
