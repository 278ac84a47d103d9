"""Whether a file is another one: by its content, however it came to be what it is."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, time_ns
from typing import NoReturn

import pytest

from redirect.config.loader import ConfigError, Loader, content_hash
from redirect.control.file_provider import DOUBTFUL_SECONDS, FileProvider

OLD = b'[p]\nweighted_hosts = { "old" = 1 }\nis_default = true\n'
NEW = b'[p]\nweighted_hosts = { "new" = 1 }\nis_default = true\n'
BAD = b'[p]\nweighted_hosts = { "new" = -1 }\nis_default = true\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "pools.toml"
    file.write_bytes(OLD)
    return file


@pytest.fixture
def provider(file: Path) -> FileProvider:
    return FileProvider(file, content_hash(OLD), Loader(str(file)))


def seen(provider: FileProvider, now: float, *, force: bool = False) -> str | None:
    """The first origin of a configuration, or the first line of what is wrong."""
    try:
        config = provider.look(now, force=force)
    except ConfigError as error:
        return str(error).partition("\n")[0].partition("pools.toml")[2]
    return None if config is None else next(iter(config.pools.values())).origins[0].name


def in_place(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def by_rename(file: Path, content: bytes) -> None:
    (file.parent / "aside").write_bytes(content)
    (file.parent / "aside").replace(file)


def behind_a_link(file: Path, content: bytes) -> None:
    """As Kubernetes replaces a ConfigMap."""
    count = len(os.listdir(file.parent))
    folder = file.parent / str(count)
    folder.mkdir()
    (folder / file.name).write_bytes(content)
    (file.parent / "link").unlink(missing_ok=True)
    (file.parent / "link").symlink_to(folder)
    file.unlink()
    file.symlink_to(file.parent / "link" / file.name)


@pytest.mark.parametrize("replace", [in_place, by_rename, behind_a_link])
def test_another_content(replace: object, file: Path, provider: FileProvider) -> None:
    """Every change is seen, once, however the file is replaced, and however often."""
    assert callable(replace)
    assert provider.look(monotonic()) is None
    for content, name in ((NEW, "new"), (OLD, "old"), (NEW, "new")):
        replace(file, content)
        assert seen(provider, monotonic()) == name
        assert provider.look(monotonic()) is None


def test_a_change_that_no_clock_shows(file: Path, provider: FileProvider) -> None:
    """A file of the same length, changed within the same tick of the clock, is seen nevertheless."""
    status = file.stat()
    assert provider.look(monotonic()) is None
    file.write_bytes(NEW)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert seen(provider, monotonic()) == "new"


def test_a_file_that_rests_is_not_read(file: Path, provider: FileProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has looked the same for a while costs a look at its state, not at its content."""
    assert provider.look(1) is None
    monkeypatch.setattr("redirect.control.file_provider.read_config", lambda *_, **__: NEW)
    assert provider.look(1 + DOUBTFUL_SECONDS) is None
    assert seen(provider, 1 + DOUBTFUL_SECONDS, force=True) == "new"


def test_rights_that_are_gone(file: Path, provider: FileProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file at rest that cannot be read any more is told."""
    before = file.stat().st_ctime_ns
    assert provider.look(1) is None
    assert provider.look(100) is None
    while file.stat().st_ctime_ns == before:  # until that clock ticks
        file.chmod(0)
    monkeypatch.setattr(os, "open", denied)  # permissions do not bind root
    assert "Permission denied" in (seen(provider, 200) or "")


def denied(*_: object) -> NoReturn:
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_change_that_a_wrong_clock_shows(hours: int, file: Path, provider: FileProvider) -> None:
    """Nor does it matter whether the clock that files are given their times by is ours: what changes again without
    another time, soon after, is seen."""
    there = time_ns() + hours * 3_600_000_000_000
    for content, name in ((NEW, "new"), (OLD, "old"), (NEW, "new")):
        file.write_bytes(content)
        os.utime(file, ns=(there, there))
        assert seen(provider, monotonic()) == name


def test_the_same_content_again(file: Path, provider: FileProvider) -> None:
    """A file that is written anew with what it had is no other one, unless it is asked for."""
    file.write_bytes(OLD)
    assert provider.look(monotonic()) is None
    assert seen(provider, monotonic(), force=True) == "old"


def test_a_bad_file(file: Path, provider: FileProvider) -> None:
    """What is wrong with a file is told once; the good bytes put back are a configuration again."""
    file.write_bytes(BAD)
    told = ':2:28: p.weighted_hosts."new": weight must be a whole number from 0 to 1000000, got -1'
    assert seen(provider, monotonic()) == told
    assert provider.look(monotonic()) is None
    assert seen(provider, monotonic(), force=True) == told
    file.write_bytes(OLD)
    assert seen(provider, monotonic()) == "old"


@pytest.mark.parametrize("how", ["missing", "a directory", "empty", "unreadable"])
def test_no_file(how: str, file: Path, provider: FileProvider) -> None:
    """A file that is gone, or is none, is told once, and its return is seen."""
    file.unlink()
    if how == "a directory":
        file.mkdir()
    elif how == "empty":
        file.touch()
    elif how == "unreadable":
        file.symlink_to(file)  # permissions do not bind root
    assert (seen(provider, monotonic()) or "").startswith(":1:1: ")
    assert provider.look(monotonic()) is None
    file.rmdir() if file.is_dir() else file.unlink(missing_ok=True)
    file.write_bytes(OLD)
    assert seen(provider, monotonic()) == "old"


@pytest.mark.parametrize("how", ["a pipe", "a device"])
def test_no_regular_file(how: str, file: Path, provider: FileProvider) -> None:
    """What is no regular file is told, and nobody waits for who writes there."""
    file.unlink()
    os.mkfifo(file) if how == "a pipe" else file.symlink_to(os.devnull)
    with ThreadPoolExecutor(1) as thread:
        try:
            found = thread.submit(seen, provider, monotonic()).result(20)
        finally:
            os.close(os.open(file, os.O_RDWR | os.O_NONBLOCK))  # lets go of who waits
    assert (found or "").startswith(":1:1: cannot be read: not a regular file; ")
    file.unlink()
    file.write_bytes(NEW)
    assert seen(provider, monotonic()) == "new"


def test_another_reason(file: Path, provider: FileProvider) -> None:
    """A file that cannot be read for another reason than before is told again."""
    file.unlink()
    assert "No such file" in (seen(provider, 1) or "")
    assert provider.look(100) is None
    file.mkdir()
    assert "Is a directory" in (seen(provider, 200) or "")
    assert provider.look(300) is None
    file.rmdir()
    assert "No such file" in (seen(provider, 400) or "")


def test_a_file_that_becomes_readable(file: Path, provider: FileProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is found readable at the next look, whatever made it so: rights need not show in what the look sees."""
    file.write_bytes(NEW)
    with monkeypatch.context() as others:
        others.setattr(os, "open", denied)
        assert "Permission denied" in (seen(provider, 1) or "")
        assert provider.look(100) is None
    assert seen(provider, 200) == "new"


def test_a_file_that_is_being_written(file: Path, provider: FileProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes while it is read is left alone until it rests."""

    def read(path: Path, *, waits: bool) -> bytes:
        content = path.read_bytes()
        with path.open("ab") as other:
            other.write(b"\n")
        return content

    with monkeypatch.context() as patched:
        patched.setattr("redirect.control.file_provider.read_config", read)
        file.write_bytes(NEW)
        assert provider.look(monotonic()) is None
        assert seen(provider, monotonic(), force=True) == ":1:1: changed while it was read; try again"
    assert seen(provider, monotonic()) == "new"


def test_the_same_content_written_while_it_is_read(
    file: Path, provider: FileProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was told that the file changed while it was read is told what came of it, also if that is what it was."""

    def read(path: Path, *, waits: bool) -> bytes:
        content = path.read_bytes()
        os.utime(path, ns=(0, 0))
        return content

    assert provider.look(1) is None
    with monkeypatch.context() as patched:
        patched.setattr("redirect.control.file_provider.read_config", read)
        assert seen(provider, 2, force=True) == ":1:1: changed while it was read; try again"
    assert seen(provider, 3) == "old"
    assert provider.look(4) is None


def test_never_half_a_file(file: Path, provider: FileProvider) -> None:
    """While a file is written over and over, only what was written as a whole by a rename is ever seen."""
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            for content in (NEW, OLD):
                by_rename(file, content)

    writer = threading.Thread(target=write)
    writer.start()
    found: set[str | None] = set()
    try:
        while not {"old", "new"} <= found:
            found.add(seen(provider, monotonic()))
    finally:
        ended.set()
        writer.join()
    assert found <= {"old", "new", None}
