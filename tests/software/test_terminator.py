"""A proxy that terminates TLS in front of our nginx: what it says counts where nginx.conf lists it."""

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.nginx import nginx_conf
from support.programs import started
from support.service import ROOT, Running, free_port, running

pytestmark = pytest.mark.processes

# Connections of clients come from here, those of the terminator from 127.0.0.1.
CLIENT = "127.0.0.2"

TERMINATOR = """\
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        location / {{
            proxy_pass http://127.0.0.1:{nginx};
            proxy_set_header Host inner.example;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
        }}
    }}"""


def ours(name: str, folder: Path, port: int, service: int, trusted: str) -> str:
    """Our configuration, with one replica, for the nginx that is here."""
    text = (ROOT / name).read_text()
    for pattern, replacement in {
        r"\n    resolver .*": "",
        r"server redirect:8080 resolve": f"server 127.0.0.1:{service}",
        r"listen 8080;": f"listen 127.0.0.1:{port};",
        r"listen 127.0.0.1:8081;": f"listen 127.0.0.1:{free_port()};",
        r"/tmp/": f"{folder}/{name}-",
        r"    # set_real_ip_from .*": trusted,
    }.items():
        text, count = re.subn(pattern, replacement, text)
        assert count or "resolver" in pattern, pattern
    text = re.sub(r"\n *keepalive_min_timeout .*", "", text)  # newer than Debian's
    return f"daemon off;\nuser root;\n{text}"


@contextlib.contextmanager
def nginx(text: str, folder: Path, name: str, port: int) -> Iterator[None]:
    (folder / name).write_text(text)
    with started(["nginx", "-e", "stderr", "-c", str(folder / name)], port):
        yield


def asked(url: str, *fields: str) -> str:
    """The Location that a client gets, which claims what the fields say."""
    command = ["curl", "--silent", "--insecure", "--interface", CLIENT, "--output", "/dev/null"]
    command += ["--write-out", "%{redirect_url}", *[option for field in fields for option in ("--header", field)], url]
    return subprocess.run(command, capture_output=True, timeout=30, check=True, text=True).stdout


def answered(url: str, *fields: str) -> tuple[str, list[str]]:
    """The status that a client gets, and the values of X-Request-ID."""
    command = ["curl", "--silent", "--include", *[option for field in fields for option in ("--header", field)], url]
    answer = subprocess.run(command, capture_output=True, timeout=30, check=True, text=True).stdout
    return answer.split()[1], re.findall(r"(?im)^x-request-id: (\S*)$", answer)


@pytest.fixture(params=["nginx.conf", "nginx.gateway.conf"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def terminated(name: str, folder: Path, trusted: str) -> Iterator[tuple[Running, str, str]]:
    """The service, and the URLs of the terminator and of our nginx."""
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", *files]
    subprocess.run(command, check=True, capture_output=True)
    pools = {"pool-a": {"weighted_hosts": {"origin-1": 1}, "is_default": True}}
    tls, plain = free_port(), free_port()
    with running(folder, pools=pools, FORWARDED_ALLOW_IPS="127.0.0.1") as service, contextlib.ExitStack() as stack:
        stack.enter_context(nginx(ours(name, folder, plain, service.port, trusted), folder, "ours.conf", plain))
        terminator = nginx_conf(folder, TERMINATOR.format(folder=folder, port=tls, nginx=plain), "terminator")
        stack.enter_context(nginx(terminator, folder, "terminator.conf", tls))
        yield service, f"https://127.0.0.1:{tls}", f"http://127.0.0.1:{plain}"


CLAIMS = ("X-Forwarded-Proto: https", "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Host: origin-1")


def test_a_listed_terminator_is_believed(name: str, tmp_path: Path) -> None:
    """Scheme, client and host are those of its client; a loop is one, and what others say does not count."""
    with terminated(name, tmp_path, "    set_real_ip_from 127.0.0.1;") as (service, tls, plain):
        assert asked(f"{tls}/a", "X-Request-ID: a", "X-Forwarded-Proto: http") == "https://origin-1/a"
        record = service.record("a")
        assert (record["client_ip"], record["host"]) == (CLIENT, tls.removeprefix("https://"))
        assert asked(f"{tls}/b", "X-Request-ID: b", "Host: origin-1:443") == ""
        assert service.record("b")["status"] == 422
        assert asked(f"{plain}/c", "X-Request-ID: c", *CLAIMS) == "http://origin-1/c"
        assert service.record("c")["client_ip"] == CLIENT


def test_none_is_believed_that_is_not_listed(name: str, tmp_path: Path) -> None:
    with terminated(name, tmp_path, "") as (service, tls, plain):
        assert asked(f"{tls}/a", "X-Request-ID: a") == "http://origin-1/a"
        assert service.record("a")["client_ip"] == "127.0.0.1"
        assert asked(f"{plain}/b", "X-Request-ID: b", *CLAIMS) == "http://origin-1/b"
        record = service.record("b")
        assert (record["client_ip"], record["host"]) == (CLIENT, plain.removeprefix("http://"))


def test_each_answer_has_the_id_of_its_record(name: str, tmp_path: Path) -> None:
    """The client's if it is one, else a new one: of a redirect, a loop, and what nginx refuses without the service."""
    with terminated(name, tmp_path, "") as (service, _, plain):
        assert answered(f"{plain}/a", "X-Request-ID: a.b-1") == ("302", ["a.b-1"])
        assert service.record("a.b-1")["path"] == "/a"
        status, (made,) = answered(f"{plain}/b", "X-Request-ID: no id!", "Host: origin-1")
        assert (status, service.record(made)["status"]) == ("422", 422)
        status, (refused,) = answered(f"{plain}/c", "X-Request-ID: c", f"X: {'x' * 70_000}")
        assert (status[0], refused) == ("4", "c")
