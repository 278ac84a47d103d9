"""The service as processes: how it starts, serves with several workers, and ends."""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import tomli_w
from support.clients import both_workers, clients_of_both, drains
from support.programs import listens
from support.service import (
    CLIENT,
    POOLS,
    Running,
    ended,
    environment,
    free_port,
    is_ready,
    patched,
    running,
    wait_for,
    workers,
)

from redirect.config.schema import POOL_KEYS
from redirect.processes.master import SHORT_LIFE_SECONDS

# Upper 0.01 % points of chi-square by degrees of freedom (NIST/SEMATECH e-Handbook, 1.3.6.7.4, and its
# formula): one run in ten thousand of a fair service would exceed them.
CHI_SQUARE = {1: 15.14, 2: 18.42, 3: 21.11}

COMMANDS = {
    "redirect serve": (str(Path(sys.executable).parent / "redirect"), "serve"),
    "python -m redirect serve": (sys.executable, "-m", "redirect", "serve"),
    "python redirect/server.py": (sys.executable, "redirect/server.py"),
}


def start_fails(*options: str, **variables: str) -> tuple[int, str]:
    """The exit code and the message of a start that has to fail."""
    variables = {"REDIRECT_SERVER_PORT": "0", "REDIRECT_ADMIN_BIND": "off"} | variables
    done = ended(sys.executable, "-m", "redirect", "serve", *options, **variables)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_every_command_runs_the_service(command: tuple[str, ...], how: signal.Signals, tmp_path: Path) -> None:
    """Each of the three commands serves until Ctrl-C or TERM, then leaves with exit code 0 and no word of trouble."""
    with running(tmp_path, command=command) as service:
        assert (
            CLIENT.get(f"{service.url}/x", headers={"X-Redirect-Pool-ID": "pool-c"}).headers["location"]
            == "http://origin-7/x"
        )
        assert service.stop(how) == 0
        assert is_calm(service.stderr())


def test_ctrl_c_reaches_the_whole_group(tmp_path: Path) -> None:
    """Ctrl-C at a terminal signals every process of the group; the service still ends in order."""
    with running(tmp_path) as service:
        os.killpg(service.process.pid, signal.SIGINT)
        assert service.process.wait(30) == 0
        assert is_calm(service.stderr())


def test_the_end_of_a_terminal_reaches_the_whole_group(tmp_path: Path) -> None:
    """HUP that every process gets is the master's affair, too: it replaces its workers, and they end in order."""
    with running(tmp_path) as service:
        wait_for(lambda: service.stderr().count("Started server process") == 2)
        os.killpg(service.process.pid, signal.SIGHUP)
        wait_for(lambda: service.stderr().count("Started server process") == 4)
        wait_for(lambda: service.stderr().count("Worker exiting") == 2)
        assert service.stop() == 0
        assert is_calm(service.stderr())


# Serves, and has workers be told something when they have served, and Python has replaced their handlers.
TOLD_LAST = """
import os, signal
from redirect.processes.worker import RedirectWorker
def run(self, run=RedirectWorker.run):
    run(self)
    for sig in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGQUIT):
        if callable(signal.getsignal(sig)):
            signal.signal(sig, signal.SIG_DFL)
        os.kill(os.getpid(), sig)
RedirectWorker.run = run
"""


def test_signals_to_a_worker_that_leaves(tmp_path: Path) -> None:
    """A worker that is told something at the very end leaves as it was about to, and is not killed by it."""
    with running(tmp_path, command=patched(TOLD_LAST)) as service:
        assert service.stop() == 0
        assert is_calm(service.stderr())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_workers_are_born(how: signal.Signals, tmp_path: Path) -> None:
    """A signal that meets workers half-way through their start ends them too, long before the graceful timeout."""
    with running(tmp_path, REDIRECT_WORKERS="16", REDIRECT_GRACEFUL_TIMEOUT="3600") as service:
        os.killpg(service.process.pid, how)
        assert service.process.wait(30) == 0
        assert is_calm(service.stderr())


# Serves where files can be created in no folder, or in all but /dev/shm, as where it has no inode left.
FULL = """
import errno, os, sys, tempfile
from gunicorn.workers import workertmp
def mkstemp(*args, create=tempfile.mkstemp, dir=None, **options):
    if sys.argv[1] == "all" or dir == "/dev/shm":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return create(*args, dir=dir, **options)
workertmp.tempfile.mkstemp = mkstemp
tempfile.TemporaryFile = lambda dir=None: open(mkstemp(dir=dir)[1])
"""


def test_a_start_without_files_ends_with_the_reason() -> None:
    done = ended(*patched(FULL, "all"), REDIRECT_SERVER_PORT="0", REDIRECT_ADMIN_BIND="off")
    assert done.returncode == 3
    assert "there can be no worker: [Errno 28] No space left on device" in done.stderr


def test_a_full_dev_shm_is_done_without(tmp_path: Path) -> None:
    with running(tmp_path, command=patched(FULL, "shm")) as service:
        assert CLIENT.get(service.url).status_code == 302


# Serve, and have the worker told to stop: while it is being made; and as the first task of its loop is, which is
# scheduled then, but in no list of tasks yet.
TOLD_TO_STOP = """
import os, signal, weakref
from redirect.processes.master import Gunicorn
def told():
    os.kill(os.getppid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
"""
WHILE_IT_IS_MADE = """
Gunicorn.load = lambda self: told()
"""
AS_ITS_LOOP_BEGINS = """
add = weakref.WeakSet.add
def told_before(self, item):
    if type(item).__name__ == "Task" and "RedirectWorker._serve" in repr(item):
        told()
    add(self, item)
weakref.WeakSet.add = told_before
"""


@pytest.mark.parametrize("when", [WHILE_IT_IS_MADE, AS_ITS_LOOP_BEGINS], ids=["while it is made", "as its loop begins"])
def test_a_worker_that_is_told_to_stop_before_it_serves_exits(when: str) -> None:
    """It does not serve while Python exits: what it answered then would be in no log."""
    settings = {"REDIRECT_SERVER_PORT": "0", "REDIRECT_ADMIN_BIND": "off", "REDIRECT_WORKERS": "1"}
    done = ended(*patched(TOLD_TO_STOP + when), **settings)
    assert done.returncode == 0, done.stderr
    assert "Worker exiting" in done.stderr
    assert "Started server process" not in done.stderr
    assert is_calm(done.stderr), done.stderr


def is_calm(log: str) -> bool:
    """Whether nothing in the log sounds like trouble."""
    return not any(word in log for word in ("Traceback", "rror", "SIG", "WARNING"))


# Serves, and has the worker find out what becomes of a client that connects while it is being made.
EARLY = """
import os, socket, sys
from redirect.processes.master import Gunicorn
def load(self, load=Gunicorn.load):
    try:
        socket.create_connection(("127.0.0.1", int(os.environ["REDIRECT_SERVER_PORT"]))).close()
        print("taken", file=sys.stderr, flush=True)
    except ConnectionRefusedError:
        print("refused", file=sys.stderr, flush=True)
    return load(self)
Gunicorn.load = load
"""


def test_a_client_before_there_is_a_worker(tmp_path: Path) -> None:
    """Who connects before a worker can answer is refused, so that a proxy asks another instance; never later on."""
    with running(tmp_path, command=patched(EARLY), REDIRECT_WORKERS="1") as service:
        assert re.findall("^(?:taken|refused)$", service.stderr(), re.MULTILINE) == ["refused"]
        service.process.send_signal(signal.SIGHUP)
        wait_for(lambda: service.stderr().count("\ntaken\n") == 1)


@pytest.mark.parametrize("pool", ["pool-a", "pool-b"])
def test_distribution_over_workers(service: Running, pool: str) -> None:
    """Several workers together send each origin its share, within what chance allows; a drained one gets nothing."""
    weights: dict[str, int] = POOLS[pool]["weighted_hosts"]
    count = 600
    headers = {"X-Redirect-Pool-ID": pool}
    seen = Counter(CLIENT.get(service.url, headers=headers).headers["location"] for _ in range(count))
    expected = {f"http://{host}": count * weight / sum(weights.values()) for host, weight in weights.items() if weight}
    assert set(seen) == {f"{origin}/" for origin in expected}
    distance = sum((seen[f"{origin}/"] - share) ** 2 / share for origin, share in expected.items())
    assert distance < CHI_SQUARE[len(expected) - 1]


def test_workers_begin_at_places_of_their_own(tmp_path: Path) -> None:
    """Fresh workers do not all begin with the same origin: over five pools of a hundred, no two begin alike."""
    hundred = {f"origin-{n}": 1 for n in range(100)}
    pools = {f"pool-{n}": {"weighted_hosts": hundred, "is_default": n == 0} for n in range(5)}
    first: dict[int, dict[str, str]] = {}
    with running(tmp_path, pools=pools) as service, contextlib.ExitStack() as stack:
        for n in range(500):
            connection = stack.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.port)))
            for pool in pools:
                connection.request("GET", "/", headers={"X-Redirect-Pool-ID": pool})
                connection.getresponse().read()
            for record in service.records(len(pools) * (n + 1)):
                first.setdefault(record["worker"], {}).setdefault(record["pool"], record["origin"])
            if len(first) == 2:
                break
    one, other = first.values()
    assert list(one) == list(other) == list(pools)
    assert one != other


def test_a_client_that_is_still_sending_reads_the_answer(service: Running) -> None:
    """An answer that ends the connection reaches a client that sends all of a large body before it reads."""
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(b"POST /x HTTP/1.1\r\nHost: a\r\nX-Redirect-Pool-ID: pool-c\r\nContent-Length: 8000000\r\n\r\n")
        for _ in range(800):
            client.sendall(b"b" * 10_000)
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 307 ")
    assert b"location: http://origin-7/x\r\n" in received


def test_forwarded_over_the_network(service: Running) -> None:
    """A trusted peer's X-Forwarded-Proto makes the scheme; its X-Forwarded-For is the logged client."""
    said = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "6.6.6.6, 192.0.2.9", "X-Request-ID": "forwarded"}
    assert CLIENT.get(service.url, headers=said).headers["location"].startswith("https://origin-")
    assert service.record("forwarded")["client_ip"] == "192.0.2.9"


def test_public_listener_owns_no_path(service: Running) -> None:
    """Our own endpoints are on the admin listener; the same paths of the public one redirect."""
    assert CLIENT.get(f"{service.admin_url}/healthz").json() == {"status": "ok"}
    assert CLIENT.get(f"{service.url}/healthz").status_code == 302


def test_without_admin_listener(tmp_path: Path) -> None:
    """REDIRECT_ADMIN_BIND=off runs the service without the admin listener."""
    port = free_port()
    (tmp_path / "pools.toml").write_text(tomli_w.dumps(POOLS))
    options = f"--port {port} --host 127.0.0.1 --config {tmp_path}/pools.toml --admin-bind off --workers 1".split()
    process = subprocess.Popen(
        [sys.executable, "-m", "redirect", "serve", "--access-log", str(tmp_path / "log"), *options],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(lambda: listens(port))
        assert CLIENT.get(f"http://127.0.0.1:{port}/").status_code == 302
    finally:
        process.terminate()
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0
    assert stdout == b""
    assert stderr.count(b"http://") == 1
    wait_for(lambda: len((tmp_path / "log").read_text().splitlines()) == 1)


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    """kill -9 of a worker: another takes its place, with the configuration that is in force."""
    with running(tmp_path, REDIRECT_WORKERS="1") as service:
        CLIENT.get(service.url)
        first = service.records(1)[0]["worker"]
        service.pools.write_text("this is no longer TOML")
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: service.stderr().count("Started server process") == 2)
        assert CLIENT.get(service.url).status_code == 302
        assert service.records(2)[1]["worker"] != first


# Serves, and no worker can begin, or not even be made, while there is a file.
FAILING = """
import os
from pathlib import Path
from redirect.processes.master import Gunicorn
def failing(usual):
    def meanwhile(*arguments):
        if Path(os.environ["FAILS"]).exists():
            raise OSError("not now")
        return usual(*arguments)
    return meanwhile
{name} = failing({name})
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [("os.fork", "there are fewer workers than there should be"), ("Gunicorn.load", "exited with code 3")],
)
def test_a_worker_that_cannot_be_replaced(name: str, said: str, tmp_path: Path) -> None:
    """Where another worker cannot take the place of one that died, those that live serve on, and it is tried again, but
    not all the time."""
    fails = tmp_path / "fails"
    command = patched(FAILING.format(name=name))
    with running(tmp_path, command=command, FAILS=str(fails)) as service:
        wait_for(lambda: service.stderr().count("Started server process") == 2)
        fails.touch()
        os.kill(worker_now(service, "before"), signal.SIGKILL)
        died = time.monotonic()
        wait_for(lambda: service.stderr().count(said) >= 2)
        assert time.monotonic() - died > SHORT_LIFE_SECONDS
        assert CLIENT.get(service.url).status_code == 302
        fails.unlink()
        wait_for(lambda: service.stderr().count("Started server process") == 3)
        assert service.stop() == 0


@pytest.mark.parametrize("name", ["os.fork", "Gunicorn.load"])
def test_new_workers_that_cannot_begin(name: str, tmp_path: Path) -> None:
    """Nor does HUP end the service where it meets that."""
    fails = tmp_path / "fails"
    command = patched(FAILING.format(name=name))
    with running(tmp_path, command=command, FAILS=str(fails)) as service:
        wait_for(lambda: service.stderr().count("Started server process") == 2)
        fails.touch()
        service.pools.write_text('[p]\nweighted_hosts = { "new" = 1 }\nis_default = true\n')
        service.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "fewer new workers" in service.stderr() or "exited with code 3" in service.stderr())
        fails.unlink()
        wait_for(lambda: is_ready(service.admin_url) and location(service) == "http://new/")
        assert service.stop() == 0


def test_workers_end_with_their_master(tmp_path: Path) -> None:
    """kill -9 of the master: its workers, whom nobody would replace, end in order, and leave the port to the next."""
    with (
        running(tmp_path, command=drains(30), REDIRECT_GRACEFUL_TIMEOUT="60") as service,
        clients_of_both(service) as clients,
    ):
        service.stop(signal.SIGKILL)
        wait_for(lambda: service.stderr().count("is gone, and this worker") == 2)
        wait_for(lambda: service.stderr().count("Waiting for connections to close") == 2)
        assert CLIENT.get(f"{service.admin_url}/readyz").status_code == 503
        assert not listens(service.port)
        for client in clients:
            assert b"\r\nconnection: close\r\n" in client.ask()
            client.close()
        wait_for(lambda: service.stderr().count("Finished server process") == 2)
        assert len(service.records(2 * len(clients))) == 2 * len(clients)


def test_hup_loads_the_file_again(tmp_path: Path) -> None:
    """HUP puts a changed file in force; a bad one changes nothing and is told with file, line and column."""
    with running(tmp_path, REDIRECT_WORKERS="1") as service:
        service.pools.write_text('[p]\nweighted_hosts = { "new" = 1 }\nis_default = true\n')
        service.process.send_signal(signal.SIGHUP)
        wait_for(lambda: location(service) == "http://new/")
        wait_for(lambda: "Worker exiting" in service.stderr())  # until then the old one answers too
        worker = worker_now(service, "before")
        service.pools.write_text("[p]\nweighted_hosts = {}\n")
        service.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "the configuration stays as it was" in service.stderr())
        assert f"{service.pools}:2:18: p.weighted_hosts: " in service.stderr()
        assert CLIENT.get(service.url).headers["location"] == "http://new/"
        assert worker_now(service, "after") == worker
        service.pools.write_text('[p]\nweighted_hosts = { "a" = 1, "b" = 1 }\nis_default = true\nstatus = 301\n')
        service.process.send_signal(signal.SIGHUP)
        wait_for(lambda: location(service) in ("http://a/", "http://b/"))
        assert f"{service.pools}:4:10: p.status: browsers cache a permanent redirect" in service.stderr()


def location(service: Running) -> str | None:
    """Where a request is sent; None where the worker that took its connection ended before it answered."""
    try:
        return CLIENT.get(service.url).headers["location"]
    except httpx.TransportError:
        return None


def worker_now(service: Running, request_id: str) -> int:
    """The worker that answers a request."""
    CLIENT.get(service.url, headers={"X-Request-ID": request_id})
    return int(service.record(request_id)["worker"])


def test_somebody_else_listens_after_all(tmp_path: Path) -> None:
    """A service that cannot listen where it is bound, as another program was faster, leaves with an exit code and says
    so, and does not start worker after worker."""
    port = free_port()
    faster = f"""
import socket
from gunicorn import sock
other = socket.socket()
other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
other.bind(("127.0.0.1", {port}))
bind = sock.create_sockets
sock.create_sockets = lambda *arguments: (bind(*arguments), other.listen())[0]
"""
    for setting in ({"REDIRECT_SERVER_PORT": str(port)}, {"REDIRECT_ADMIN_BIND": f"127.0.0.1:{port}"}):
        ours = {"REDIRECT_SERVER_HOST": "127.0.0.1", "REDIRECT_SERVER_PORT": "0", "REDIRECT_ADMIN_BIND": "127.0.0.1:0"}
        done = ended(*patched(faster), **ours | setting)
        assert done.returncode == 3, done.stderr
        assert f"cannot listen on http://127.0.0.1:{port}: Address already in use" in done.stderr


# Serves, and is sent a signal, which the argument names, as it starts.
TOLD_FIRST = """
import os, signal, sys
from redirect.__main__ import main
import redirect.commands.serve
how = getattr(signal, sys.argv.pop())
module = sys.modules["redirect.commands.serve"]
def load(settings, load=module.load_or_exit, **options):
    os.kill(os.getpid(), how)
    return load(settings, **options)
module.load_or_exit = load
main("serve")
"""


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT"])
def test_a_stop_before_it_serves(how: str) -> None:
    """TERM or Ctrl-C while the service starts ends it, with exit code 0 and no word."""
    done = ended(sys.executable, "-c", TOLD_FIRST, how)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("how", ["SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_other_signals_before_it_serves(how: str, tmp_path: Path) -> None:
    """Other signals that it acts on later do not end a service that starts."""
    with running(tmp_path, command=(sys.executable, "-c", TOLD_FIRST, how)) as service:
        assert CLIENT.get(service.url).status_code == 302
        assert service.stop() == 0


def test_an_upgrade_that_cannot_begin_changes_nothing(tmp_path: Path) -> None:
    """As the folder in which it was started is gone."""
    folder = tmp_path / "folder"
    folder.mkdir()
    command = ("bash", "-c", 'cd "$1" && exec "$2" -m redirect serve', "bash", str(folder), sys.executable)
    with running(tmp_path, command=command) as service:
        before = both_workers(service)
        folder.rmdir()

        def is_tried_again() -> bool:
            service.process.send_signal(signal.SIGUSR2)
            return service.stderr().count("there is no second master: ") > 1

        wait_for(is_tried_again)
        assert is_ready(service.admin_url)
        assert CLIENT.get(service.url).status_code == 302
        assert workers(service) == before
        assert service.stop() == 0


def test_a_bad_toml_stops_the_start(tmp_path: Path) -> None:
    """A start with a bad TOML prints every fault with its place, nothing else, and leaves with exit code 1."""
    file = tmp_path / "pools.toml"
    file.write_text('[p]\nweighted_hosts = { "a" = -1, "b" = 1 }\nis_default = true\nflavour = 1\n')
    assert start_fails(REDIRECT_POOLS_CONFIG_PATH=str(file)) == (
        1,
        f'{file}:2:26: p.weighted_hosts."a": weight must be a whole number from 0 to 1000000, got -1\n'
        f"{file}:4:1: p.flavour: unknown key, allowed are {', '.join(POOL_KEYS)}\n",
    )


def test_a_missing_toml_stops_the_start() -> None:
    """A start without the file says which it looked for and how to name another."""
    assert start_fails(REDIRECT_POOLS_CONFIG_PATH="/nowhere.toml") == (
        1,
        "/nowhere.toml:1:1: cannot be read: No such file or directory; "
        "name another in the command or in REDIRECT_POOLS_CONFIG_PATH\n",
    )


@pytest.mark.parametrize(
    ("options", "variables", "word"),
    [
        (("--port", "99999"), {}, "REDIRECT_SERVER_PORT: "),
        ((), {"REDIRECT_WORKERS": "0"}, "REDIRECT_WORKERS: "),
        ((), {"FORWARDED_ALLOW_IPS": "nginx"}, "FORWARDED_ALLOW_IPS: 'nginx' is no address or CIDR range"),
        ((), {"REDIRECT_ACCESS_LOG": "/nowhere/log"}, "REDIRECT_ACCESS_LOG: cannot open '/nowhere/log'"),
        (("--admin-bind", "9000"), {}, "REDIRECT_ADMIN_BIND: must be host:port"),
    ],
)
def test_a_bad_setting_stops_the_start(options: tuple[str, ...], variables: dict[str, str], word: str) -> None:
    """A bad setting is named with its variable, value and what is allowed; exit code 2."""
    code, message = start_fails(*options, **variables)
    assert (code, message[: len(word)], message.count("\n")) == (2, word, 1)


def test_a_port_that_is_taken() -> None:
    """A port that somebody else listens on stops the start at once, and the message says what to change."""
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert start_fails(REDIRECT_SERVER_PORT=str(port)) == (
            1,
            f"cannot listen on 0.0.0.0:{port}: Address already in use; "
            "choose another with REDIRECT_SERVER_HOST and REDIRECT_SERVER_PORT\n",
        )


def test_another_header(tmp_path: Path) -> None:
    """REDIRECT_POOL_ID_HEADER names the header that names the pool; the usual one is then like any other."""
    with running(tmp_path, REDIRECT_POOL_ID_HEADER="X-Pool") as service:
        assert CLIENT.get(service.url, headers={"X-Pool": "pool-c"}).headers["location"] == "http://origin-7/"
        assert CLIENT.get(service.url, headers={"X-Redirect-Pool-ID": "pool-c"}).status_code == 302


def loopbacks() -> Iterator[str]:
    """The loopback addresses that this machine has; a container often has none of IPv6."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.bind((address, 0))
            yield address


@pytest.mark.parametrize("address", list(loopbacks()))
def test_every_family_of_addresses(address: str, tmp_path: Path) -> None:
    """The listeners take addresses of IPv4 and IPv6, and the logged client is one of them."""
    host = f"[{address}]" if ":" in address else address
    bind = f"{host}:{free_port()}"
    with running(
        tmp_path, admin_url=f"http://{bind}", REDIRECT_SERVER_HOST=address, REDIRECT_ADMIN_BIND=bind
    ) as service:
        assert CLIENT.get(f"http://{host}:{service.port}/").status_code == 302
        assert service.records(1)[0]["client_ip"] == address


def test_two_listeners_on_one_port() -> None:
    """The public and the admin listener cannot be the same."""
    port = free_port()
    bind = f"127.0.0.1:{port}"
    code, message = start_fails("--host", "127.0.0.1", "--port", str(port), REDIRECT_ADMIN_BIND=bind)
    assert (code, message) == (
        1,
        f"cannot listen on {bind}: Address already in use; choose another with REDIRECT_ADMIN_BIND\n",
    )


def test_a_host_that_is_none() -> None:
    """A host that is no name stops the start."""
    code, message = start_fails("--host", "a..b", "--port", "8080")
    assert (code, message) == (
        1,
        "cannot listen on a..b:8080: no host name; choose another with REDIRECT_SERVER_HOST and REDIRECT_SERVER_PORT\n",
    )


def test_variables_of_gunicorn_are_not_ours(tmp_path: Path) -> None:
    """What a platform sets for gunicorn, even nonsense, does not reach the service."""
    with running(tmp_path, WEB_CONCURRENCY="abc", GUNICORN_CMD_ARGS="--nonsense") as service:
        assert CLIENT.get(service.url).status_code == 302


def test_a_warning_does_not_stop_the_start(tmp_path: Path) -> None:
    """What is legal but surprising is said at the start, and served."""
    pools = {"p": {"weighted_hosts": {"a": 1, "b": 1}, "status": 301, "is_default": True}}
    with running(tmp_path, pools=pools, REDIRECT_WORKER="1") as service:
        assert f"warning: {service.pools}:" in service.stderr()
        assert "warning: REDIRECT_WORKER is no setting and does nothing; did you mean REDIRECT_WORKERS?" in (
            service.stderr()
        )
        assert CLIENT.get(service.url).status_code == 301
