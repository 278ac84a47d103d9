"""Moving a host by the recipe of README, through nginx: from the first percent of the requests to the last."""

import contextlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from support.nginx import nginx_conf
from support.programs import started
from support.service import ROOT, Running, configs, free_port, running, wait_for
from support.threads import in_a_thread

OLD = "old.example.com"
BODY = b"b" * 200_000

# What the server of `nginx.conf` needs beside it.
NEEDED = """\
    map $http_x_request_id $passed_request_id {{ "" $request_id; default $http_x_request_id; }}
    map $http_x_forwarded_proto $asked_scheme {{ default $scheme; https https; }}
    upstream redirect {{ server 127.0.0.1:{service}; }}
{recipe}"""


def recipe(listen: int, old: int) -> str:
    """The part of `nginx.conf` whose marks are to be taken away."""
    marked = (ROOT / "nginx.conf").read_text().partition("this is in use:\n    #\n")[2]
    text = re.sub(r"^    # ?", "", marked, flags=re.MULTILINE).rpartition("}")[0]
    assert text.count("listen 8080;") == text.count("old-site:80") == 1
    return text.replace("listen 8080;", f"listen 127.0.0.1:{listen};").replace("old-site:80", f"127.0.0.1:{old}")


@contextlib.contextmanager
def old_site() -> Iterator[int]:
    """A server that says what it was asked; its port."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"] or 0))
            said = f"{self.command} {self.path} {self.headers['host']} {len(body)}".encode()
            self.send_response(200)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = answer  # noqa: N815  the names that it looks for

        def log_request(self, *_: object) -> None:
            pass

    with in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield port


def edit(service: Running, *arguments: str) -> None:
    """As a user does it; returns when it is in force."""
    before = configs(service)
    command = [sys.executable, "-m", "redirect", "pools", *arguments, "--config", str(service.pools)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    wait_for(lambda: configs(service) not in (set(), before))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Running, httpx.Client]]:
    """The service with the pool of README and one worker, and a client of nginx that asks for the old host."""
    (block,) = re.findall(r"```toml\n(\[site\]\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    nginx = free_port()
    with contextlib.ExitStack() as stack:
        old = stack.enter_context(old_site())
        service = stack.enter_context(running(tmp_path, REDIRECT_WORKERS="1", FORWARDED_ALLOW_IPS="127.0.0.1"))
        before = configs(service)
        service.pools.write_text(block)
        wait_for(lambda: configs(service) not in (set(), before))
        text = nginx_conf(tmp_path, NEEDED.format(service=service.port, recipe=recipe(nginx, old)))
        (tmp_path / "nginx.conf").write_text(text)
        stack.enter_context(started(["nginx", "-e", "stderr", "-c", str(tmp_path / "nginx.conf")], nginx))
        client = httpx.Client(base_url=f"http://127.0.0.1:{nginx}", headers={"host": OLD})
        yield service, stack.enter_context(client)


def shares(client: httpx.Client, count: int = 100) -> dict[str, int]:
    """Of so many requests, how many came to which site."""
    got: Counter[str] = Counter()
    for number in range(count):
        answer = client.get(f"/x/{number}?y")
        if answer.status_code == 200:
            assert answer.text == f"GET /x/{number}?y {OLD} 0"
            got["old"] += 1
        else:
            assert (answer.status_code, answer.headers["location"]) == (302, f"http://new.example.com/x/{number}?y")
            got["new"] += 1
    return got


def test_from_the_first_percent_to_the_last(site: tuple[Running, httpx.Client]) -> None:
    """Each share is exact over a cycle; the old site has uploads as they came, and answers alone where it has to."""
    service, client = site
    assert shares(client) == {"old": 95, "new": 5}
    edit(service, "set-weight", "site", "new.example.com", "95")
    assert shares(client) == {"old": 50, "new": 50}
    answers = [client.post("/up", content=BODY) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {200, 302}
    assert [answer.text for answer in answers if answer.status_code == 200] == [f"POST /up {OLD} {len(BODY)}"]
    edit(service, "set-weight", "site", "new.example.com", "0")
    assert shares(client, 20) == {"old": 20}
    edit(service, "set-weight", "site", "new.example.com", "1")
    edit(service, "drain", "site", OLD)
    assert shares(client, 20) == {"new": 20}
    service.stop()
    assert shares(client, 5) == {"old": 5}


def test_a_redirect_leads_to_the_scheme_that_was_asked_for(site: tuple[Running, httpx.Client]) -> None:
    """Where TLS ends at a proxy in front of nginx, that is the proxy's."""
    service, client = site
    edit(service, "drain", "site", OLD)
    for scheme in ("https", "http"):
        answer = client.get("/x", headers={"x-forwarded-proto": scheme})
        assert (answer.status_code, answer.headers["location"]) == (302, f"{scheme}://new.example.com/x")
