"""Compiled readers: one that was built from other source than the Python beside it is not used."""

import hashlib
from pathlib import Path
from types import ModuleType

import pytest

import redirect
from redirect.core.compiled import is_usable
from redirect.edge import plain_head
from redirect.proxy import plain_fields
from redirect.telemetry import access_log, batch

PACKAGE = Path(redirect.__file__).parent


@pytest.mark.parametrize(
    ("stated", "path"),
    [
        (plain_head.SOURCE, "edge/_plain_head.c"),
        (plain_fields.SOURCE, "proxy/_plain_fields.c"),
        (access_log.SOURCE, "telemetry/_lines.c"),
        (batch.SOURCE, "telemetry/_batch.c"),
    ],
    ids=["heads", "fields", "lines", "batches"],
)
def test_the_source_and_its_caller_state_the_digest_of_the_source(stated: str, path: str) -> None:
    lines = (PACKAGE / path).read_bytes().splitlines(keepends=True)
    others = b"".join(line for line in lines if not line.startswith(b"#define SOURCE"))
    digest = hashlib.sha1(others, usedforsecurity=False).hexdigest()[:20]
    line = b'#define SOURCE "%b"\n' % digest.encode()
    assert (line in lines, stated) == (True, digest), f"both have to state {digest}"


def test_a_module_of_the_same_source_is_used(caplog: pytest.LogCaptureFixture) -> None:
    assert is_usable(ModuleType("_reader", "a1"), "a1")
    assert not caplog.messages


@pytest.mark.parametrize("built_from", ["b2", None], ids=["other", "unknown"])
def test_a_module_of_other_source_is_not_used_and_the_log_says_so(
    built_from: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    module = ModuleType("_reader", built_from)
    module.__file__ = "/redirect/_reader.so"
    assert not is_usable(module, "a1")
    assert caplog.messages == [
        "/redirect/_reader.so is not used: it was built from other source; install the package again"
    ]


def test_a_module_that_is_not_there_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    assert not is_usable(None, "a1")
    assert not caplog.messages
