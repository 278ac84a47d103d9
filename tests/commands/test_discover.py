"""What the commands say of pools whose origins are found: offline how, and with `--live` which there would be."""

import json
from pathlib import Path

from support.command import run
from support.docker import container
from support.docker_thread import docker

POOLS = """
[shop]
is_default = true
discover = { labels = ["app=shop"] }

[local]
discover = { name = "localhost", port = 8080 }
"""
BY_DOCKER = 'found by Docker: labels = ["app=shop"]'


def test_check_asks_nothing(file: Path) -> None:
    result = run("check", REDIRECT_DOCKER_HOST="unix:///nothing")
    assert (result.exit_code, result.stdout) == (
        0,
        f'shop  302  default\n  {BY_DOCKER}\nlocal  302\n  found by DNS: name = "localhost", port = 8080\n',
    )


def test_check_live_prints_what_is_found_and_what_is_left_out(file: Path, tmp_path: Path) -> None:
    with docker(tmp_path) as found:
        sick, exited = container(2, health="unhealthy"), container(30, state="exited", networks={})
        found.do(lambda daemon: daemon.put(container(1), sick, exited))
        result = run("check", "--live", REDIRECT_DOCKER_HOST=found.daemon.host)
        described = json.loads(run("check", "--live", "--json", REDIRECT_DOCKER_HOST=found.daemon.host).stdout)
    assert result.exit_code == 0
    shop = result.stdout.partition("local")[0].splitlines()
    assert shop[:4] == [
        "shop  302  default",
        f"  {BY_DOCKER}",
        "  shop-1   172.18.0.1:8080  weight 1  up",
        "  shop-2   172.18.0.2:8080  weight 1  down: docker calls it unhealthy",
    ]
    assert shop[4].startswith("  shop-30  left out         exited: ")
    assert "\n  127.0.0.1  127.0.0.1:8080  weight 1  up\n" in result.stdout
    seen = described["pools"][0]["found"]
    assert [each["authority"] for each in seen["origins"]] == ["172.18.0.1:8080", "172.18.0.2:8080"]
    assert [each["name"] for each in seen["left_out"]] == ["shop-30"]


def test_check_live_says_what_cannot_be_asked(file: Path) -> None:
    """The other providers are asked all the same; code 1."""
    result = run("check", "--live", REDIRECT_DOCKER_HOST="unix:///nothing")
    assert result.exit_code == 1
    assert "  Docker cannot be asked: unix:///nothing: No such file or directory: does docker run" in result.stdout
    assert "127.0.0.1:8080" in result.stdout


def test_explain_asks_nothing(file: Path) -> None:
    result = run("explain", "/x", REDIRECT_DOCKER_HOST="unix:///nothing")
    assert result.stdout.splitlines()[-1] == f"  {BY_DOCKER}; `redirect check --live` asks for them"


def test_weights_that_are_found_are_not_edited(file: Path) -> None:
    result = run("pools", "set-weight", "shop", "shop-1", "2")
    assert result.exit_code == 2
    assert "shop discovers its origins: the file has no weights of them" in result.output
