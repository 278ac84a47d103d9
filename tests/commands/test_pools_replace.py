"""Replacing a file: whole or not at all, and no change is lost."""

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from redirect.commands.pools import replace
from redirect.commands.pools.replace import BusyError, locked

NOBODY = 65534
IS_ROOT = os.geteuid() == 0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pools.toml"
    path.write_bytes(b"old")
    return path


def put(path: Path, content: bytes) -> None:
    with locked(path) as file:
        file.replace(content)


def folder(path: Path) -> dict[str, bytes]:
    """What is in the folder of the file: nothing but the file, it is hoped."""
    return {each.name: each.read_bytes() for each in path.parent.iterdir()}


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, which may write everything."""
    if IS_ROOT:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if IS_ROOT:
            os.seteuid(0)


@pytest.fixture
def of_nobody() -> Iterator[Path]:
    """A file of another user than root, in a folder of that user; pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "pools.toml"
        path.write_bytes(b"old")
        if IS_ROOT:
            os.chown(name, NOBODY, NOBODY)
            os.chown(path, NOBODY, NOBODY)
        yield path
        path.parent.chmod(0o700)


def test_content(file: Path) -> None:
    """The content that is read is that of the file; the new one takes its place, and nothing is left beside it."""
    with locked(file) as got:
        assert got.content == b"old"
        got.replace(b"new")
    assert folder(file) == {"pools.toml": b"new"}


def test_locked_without_a_change(file: Path) -> None:
    """A file that is only locked stays, and can be locked again."""
    before = file.stat()
    for _ in range(2):
        with locked(file):
            pass
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_mode_owner_and_time(file: Path) -> None:
    """The new file has the old one's mode and owner, and the time of now."""
    file.chmod(0o604)
    if IS_ROOT:
        os.chown(file, 1234, 2345)
    os.utime(file, (1, 1))
    old = file.stat()
    put(file, b"new")
    new = file.stat()
    assert (new.st_mode, new.st_uid, new.st_gid) == (old.st_mode, old.st_uid, old.st_gid)
    assert new.st_ino != old.st_ino
    assert new.st_mtime > 1_000_000_000


def test_attributes(file: Path) -> None:
    """Extended attributes, in which access lists and labels live, are passed on where the file system has them."""
    try:
        os.setxattr(file, "user.note", b"x")
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # then there is nothing to pass on
            return
        raise
    put(file, b"new")
    assert os.getxattr(file, "user.note") == b"x"


def test_owner_that_cannot_be_kept(of_nobody: Path) -> None:
    """Another user's writable file, in a folder of ours, can be replaced; it is ours then."""
    if IS_ROOT:
        os.chown(of_nobody, 0, 0)
    of_nobody.chmod(0o666)
    with as_nobody():
        put(of_nobody, b"new")
    assert stat.S_IMODE(of_nobody.stat().st_mode) == 0o666
    assert folder(of_nobody) == {"pools.toml": b"new"}


def test_links(file: Path) -> None:
    """Links, of links even, stay as they are, and lead to the new file."""
    elsewhere = file.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "one").symlink_to("../pools.toml")
    two = elsewhere / "two"
    two.symlink_to("one")
    put(two, b"new")
    assert file.read_bytes() == two.read_bytes() == b"new"
    assert (os.readlink(elsewhere / "one"), os.readlink(two)) == ("../pools.toml", "one")
    assert sorted(os.listdir(elsewhere)) == ["one", "two"]
    assert not file.is_symlink()


def write_into(path: Path) -> None:
    path.write_bytes(b"theirs")


def rename_over(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"theirs")
    other.rename(path)


@pytest.mark.parametrize("change", [write_into, rename_over])
def test_changed_meanwhile(change: Callable[[Path], None], file: Path) -> None:
    """A change by another program between reading and replacing is noticed, and stays."""
    with locked(file) as got:
        change(file)
        with pytest.raises(BusyError, match=r"pools.toml was changed meanwhile and is left as it is now; try again"):
            got.replace(b"new")
    assert folder(file) == {"pools.toml": b"theirs"}


def test_deleted_meanwhile(file: Path) -> None:
    """A file that another program deletes stays deleted."""
    with locked(file) as got:
        file.unlink()
        with pytest.raises(FileNotFoundError):
            got.replace(b"new")
    assert folder(file) == {}


def test_link_changed_meanwhile(file: Path) -> None:
    """So is a link that leads elsewhere since."""
    link, other = file.with_name("link"), file.with_name("other")
    link.symlink_to(file)
    other.write_bytes(b"other")
    with locked(link) as got:
        link.unlink()
        link.symlink_to(other)
        with pytest.raises(BusyError):
            got.replace(b"new")
    assert (file.read_bytes(), other.read_bytes()) == (b"old", b"other")


def test_same_content_written_meanwhile(file: Path) -> None:
    """A file that was written with what it held already is unchanged."""
    with locked(file) as got:
        file.write_bytes(b"old")
        got.replace(b"new")
    assert file.read_bytes() == b"new"


@pytest.mark.slow
def test_no_update_is_lost(file: Path) -> None:
    """Threads that change the file at once take turns, and each starts from the last one's result."""
    file.write_bytes(b"")

    def append(number: int) -> None:
        with locked(file) as got:
            got.replace(got.content + f"{number}\n".encode())

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(append, range(100)))
    assert sorted(map(int, file.read_bytes().split())) == list(range(100))
    assert [*folder(file)] == ["pools.toml"]


def test_readers_see_whole_files(file: Path) -> None:
    """A reader finds the old content or the new, never a part of one."""
    contents = [bytes([letter]) * 300_000 for letter in b"abcdefgh"]
    file.write_bytes(contents[0])
    seen: set[bytes] = set()
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            seen.add(file.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for content in contents * 3:
            put(file, content)
    finally:
        is_over.set()
        reader.join()
    assert seen <= set(contents)


def test_patience_ends(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another process holds for long is left alone."""
    monkeypatch.setattr(replace, "LOCK_TIMEOUT_SECONDS", 0.05)
    with file.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match=r"pools.toml is held by another process for 0.05 seconds; try again"):
            put(file, b"new")
    assert folder(file) == {"pools.toml": b"old"}


def test_no_locks(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has no locks, the file is replaced all the same."""

    def flock(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    put(file, b"new")
    assert folder(file) == {"pools.toml": b"new"}


def test_file_that_may_not_be_written(of_nobody: Path) -> None:
    """A user that must not write the file cannot replace it, though the folder would allow it."""
    of_nobody.chmod(0o444)
    with as_nobody(), pytest.raises(PermissionError):
        put(of_nobody, b"new")
    assert folder(of_nobody) == {"pools.toml": b"old"}


def test_folder_that_may_not_be_written(of_nobody: Path) -> None:
    """A folder that takes no new file is an error, and the file stays."""
    of_nobody.parent.chmod(0o555)
    with as_nobody(), pytest.raises(PermissionError):
        put(of_nobody, b"new")
    assert folder(of_nobody) == {"pools.toml": b"old"}


@pytest.mark.parametrize("step", ["fchown", "fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_failures_leave_nothing(step: str, failure: BaseException, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails, a full disk, a mount that cannot be renamed over, Ctrl-C: the file stays, nothing is left."""

    def fail(*_: object) -> None:
        raise failure

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(type(failure)):
            put(file, b"new")
    assert folder(file) == {"pools.toml": b"old"}
    put(file, b"new")


def test_no_file(tmp_path: Path) -> None:
    """What is no file cannot be replaced: nothing, a folder, a pipe, which would wait for a writer."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none", tmp_path, tmp_path / "pipe"):
        with pytest.raises(OSError):
            put(path, b"new")
    assert os.listdir(tmp_path) == ["pipe"]
