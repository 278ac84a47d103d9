"""A process that the master forks beside its workers."""

import logging
from pathlib import Path

import pytest
from support.service import wait_for

from redirect.processes.child import Child

pytestmark = pytest.mark.processes


def test_work_that_cannot_begin_says_why(tmp_path: Path) -> None:
    """Such as a module that cannot be imported: the process ends with its traceback in the log."""
    handler = logging.FileHandler(tmp_path / "log")
    logger = logging.getLogger("gunicorn.error")
    logger.addHandler(handler)
    try:
        child = Child.start(lambda: __import__("no_such_module"))
        assert child is not None
        wait_for(lambda: not child.is_running())
    finally:
        logger.removeHandler(handler)
        handler.close()
    log = (tmp_path / "log").read_text()
    assert "the controller cannot begin\nTraceback" in log
    assert "ModuleNotFoundError: No module named 'no_such_module'" in log
