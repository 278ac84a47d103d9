"""Compiled modules: one that was built from other source than the Python beside it is not used; each may be missing."""

import hashlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import redirect
from redirect.core import compiled
from redirect.core.compiled import SOURCES, is_in_use, is_usable, reader

ROOT = Path(redirect.__file__).parent.parent


@pytest.mark.parametrize("path", sorted(ROOT.glob("redirect/**/*.c")), ids=lambda path: path.stem)
def test_the_source_and_its_caller_state_the_digest_of_the_source(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    others = b"".join(line for line in lines if not line.startswith(b"#define SOURCE"))
    digest = hashlib.sha1(others, usedforsecurity=False).hexdigest()[:20]
    line = b'#define SOURCE "%b"\n' % digest.encode()
    stated = SOURCES[".".join(path.relative_to(ROOT).with_suffix("").parts)]
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
    assert not is_in_use("redirect.edge._none")
    assert not caplog.messages


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ([], "compiled reader"),
        (["_lines"], "partly compiled reader (without _lines)"),
        (["_plain_fields", "_batch"], "partly compiled reader (without _plain_fields, _batch)"),
        (["_plain_head", "_plain_fields", "_batch", "_lines"], "Python reader"),
    ],
    ids=["all", "all but one", "half", "none"],
)
def test_what_is_in_use_is_named(missing: list[str], named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "is_in_use", lambda name: name.rpartition(".")[2] not in missing)
    assert reader() == named


@pytest.mark.processes
@pytest.mark.parametrize("missing", SOURCES)
def test_the_service_does_without_each_of_them_and_says_so(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from redirect.commands.main import cli; cli()"
    command = [sys.executable, "-c", code, "--version"]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=30).stdout
    without = f"partly compiled reader (without {missing.rpartition('.')[2]})"
    assert shown.endswith(f", {without if is_in_use(missing) else 'Python reader'}\n")
