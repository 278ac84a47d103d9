"""Listeners: at addresses, at unix sockets, or given by systemd."""

import configparser
import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import tomli_w
from support.service import POOLS, ROOT, ended, environment, free_port, wait_for
from support.wire import NEXT

from redirect.processes import listeners
from redirect.processes.listeners import Given, bound, take_given


@pytest.mark.parametrize(
    ("count", "names", "given"),
    [
        pytest.param("1", "", {"public": 3}, id="one"),
        pytest.param("2", "", {"public": 3, "admin": 4}, id="two"),
        pytest.param("2", "redirect.socket:redirect-admin.socket", {"public": 3, "admin": 4}, id="names of units"),
        pytest.param("2", "admin:public", {"public": 4, "admin": 3}, id="names"),
        pytest.param("1", "admin", {"admin": 3}, id="the admin listener alone"),
    ],
)
def test_what_systemd_gives(count: str, names: str, given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    """The public listener first, unless they have names; no other program is told of them."""
    monkeypatch.setattr(listeners, "_is_stream", lambda descriptor: True)
    variables = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count, "LISTEN_FDNAMES": names}
    assert take_given(variables) == given
    assert not {"LISTEN_PID", "LISTEN_FDS"} & variables.keys()


@pytest.mark.parametrize("variables", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}], ids=["nothing", "to another"])
def test_nothing_is_given(variables: dict[str, str]) -> None:
    assert take_given(variables) == {}
    assert "LISTEN_FDNAMES" not in variables


@pytest.mark.parametrize(("count", "names"), [("3", "a:b:c"), ("2", "public:other"), ("2", "public:public")])
def test_sockets_without_a_listener_are_refused(count: str, names: str) -> None:
    with pytest.raises(ValueError, match=f"^{count} sockets are given, called {names}: there is one listener called"):
        take_given({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count, "LISTEN_FDNAMES": names})


def test_what_is_given_and_no_stream_socket_is_refused(tmp_path: Path) -> None:
    variables = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "public"}
    with pytest.raises(ValueError, match=r"^must be how many sockets are given, got 'abc'$"):
        take_given({**variables, "LISTEN_FDS": "abc"})
    with (
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        (tmp_path / "x").open("w") as file,
        socket.socket() as good,
    ):
        descriptors = [datagrams.fileno(), file.fileno(), good.fileno(), 10**6]
        assert list(map(listeners._is_stream, descriptors)) == [False, False, True, False]


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "pools.toml"
    path.write_text("precious")
    with pytest.raises(OSError, match="there is a file that is no socket"):
        bound(f"unix:{path}")
    assert path.read_text() == "precious"


def test_a_listener_whose_queue_is_full_is_in_use(tmp_path: Path) -> None:
    """To connect to it would wait."""
    address = f"unix:{tmp_path}/x.sock"
    with bound(address) as listener, socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        listener.listen(0)
        for client in (one, other):
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(f"{tmp_path}/x.sock")
        with pytest.raises(OSError, match="Address already in use"):
            bound(address)


def test_a_socket_file_that_is_left_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/x.sock"
    with bound(address):
        pass
    with bound(address) as listener:
        listener.listen()
        with pytest.raises(OSError, match="Address already in use"):
            bound(address)


@pytest.mark.parametrize("name", ["redirect.service", "redirect.socket", "redirect-admin.socket"])
def test_the_units_are_well_formed(name: str) -> None:
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.read(ROOT / "misc/systemd" / name)
    assert {"Unit", name.rpartition(".")[2].capitalize(), "Install"} == {*unit.sections()}


# Starts the service as systemd does, with the descriptors of its arguments.
ACTIVATES = """
import os, sys
for place, descriptor in enumerate(map(int, sys.argv[1:]), 3):
    os.dup2(descriptor, place)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(sys.argv) - 1)}
os.execv(sys.executable, [sys.executable, "-m", "redirect", "serve", "--workers", "1"])
"""


@pytest.mark.processes
@pytest.mark.parametrize("are_given", [True, False], ids=["given", "addresses"])
def test_both_listeners_on_unix_sockets(are_given: bool, tmp_path: Path) -> None:
    """The forwarded fields of `unix:` are believed, a reload finds the admin listener, and systemd's sockets stay."""
    (tmp_path / "pools.toml").write_text(tomli_w.dumps(POOLS))
    paths = {name: tmp_path / f"{name}.sock" for name in ("public", "admin")}
    admin = f"unix:{paths['admin']}"
    options = {"REDIRECT_SERVER_HOST": f"unix:{paths['public']}", "REDIRECT_ADMIN_BIND": admin}
    sockets = [socket.socket(socket.AF_UNIX) for _ in paths] if are_given else []
    for each, path in zip(sockets, paths.values(), strict=False):
        each.bind(str(path))
        each.listen()
    files = {"REDIRECT_POOLS_CONFIG_PATH": str(tmp_path / "pools.toml"), "REDIRECT_ACCESS_LOG": str(tmp_path / "log")}
    # Where sockets are given, the addresses are not asked for: another one would be in use.
    chosen = {"REDIRECT_SERVER_HOST": "127.0.0.1", "REDIRECT_SERVER_PORT": str(free_port())} if are_given else options
    command = [sys.executable, "-c", ACTIVATES, *(str(each.fileno()) for each in sockets)]
    started = command if are_given else [sys.executable, "-m", "redirect", "serve", "--workers", "1"]
    with (
        subprocess.Popen(
            started,
            cwd=ROOT,
            env=environment(FORWARDED_ALLOW_IPS="unix:", **files, **chosen),
            pass_fds=[each.fileno() for each in sockets],
        ) as process,
        contextlib.ExitStack() as ends,
    ):
        ends.callback(process.terminate)  # whatever fails: it is waited for
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(paths["public"])), timeout=30) as client:
            wait_for(lambda: answers(paths["public"]))
            got = client.get("http://a/x", headers={"X-Forwarded-Proto": "https"})
            assert got.headers["location"].startswith("https://origin-")
        assert ended(sys.executable, "-m", "redirect", "reload", "--admin-bind", admin).returncode == 0
        process.terminate()
        assert process.wait(30) == 0
    for each in sockets:
        each.close()
    assert [path.exists() for path in paths.values()] == [are_given] * 2


def answers(path: Path) -> bool:
    """Whether the service does. It listens before, for a moment, to see that it can."""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.settimeout(5)
        client.connect(str(path))
        client.sendall(NEXT)
        return client.recv(4096).startswith(b"HTTP/1.1 302 ")
    return False
