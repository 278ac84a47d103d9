"""The key `discover` of a pool: origins that are found in place of those that the file names."""

import pytest
from support.toml import refused

from redirect.config.loader import parse_config
from redirect.core.discovery import Discover
from redirect.core.pools import Config

HEAD = "[p]\nis_default = true\n"


def read(lines: str) -> Config:
    return parse_config((HEAD + lines).encode(), "pools.toml")


def test_a_file_whose_only_pool_discovers() -> None:
    """It has no origins yet, which is no fault."""
    pool = read('discover = { name = "Storage.", port = 8080 }').pools["p"]
    assert (pool.origins, pool.shares()) == ((), [])
    assert pool.discover == Discover("storage", port=8080)
    assert pool.discover.source == "DNS"


def test_labels() -> None:
    keys = 'labels = ["com.example/app=a = b", "env"], port = 80, network = "back", health = "ignore", project = "."'
    discover = read(f"discover = {{ {keys} }}").pools["p"].discover
    assert discover == Discover(None, ("com.example/app=a = b", "env"), 80, "back", "ignore", ".")
    assert discover.source == "Docker"


_LABELS = (
    'labels must be an array of labels such as ["app=shop"], as `docker ps --filter label=…` has them, got an array'
)
_NAME = "name must be a name in DNS such as the service's in compose, got"
_NONE = 'must be a table of hosts and weights such as { "origin-1.example.com" = 2 }; or use discover'


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        pytest.param("", f"1:2: p: weighted_hosts is missing; weighted_hosts {_NONE}", id="neither"),
        pytest.param(
            'discover = { labels = ["a"] }\nweighted_hosts = { a = 1 }',
            "3:1: p.discover: a pool has weighted_hosts or discover, not both",
            id="both",
        ),
        pytest.param(
            "discover = 5",
            '3:12: p.discover: discover must be a table such as { name = "api", port = 8080 }, got 5',
            id="no table",
        ),
        pytest.param(
            "discover = {}",
            '3:1: p.discover: discover needs name, such as "api", or labels, such as ["app=shop"]',
            id="empty",
        ),
        pytest.param(
            'discover = { name = "a" }',
            "3:1: p.discover: port is missing; DNS has addresses only, so write the port of the origins beside name",
            id="name without port",
        ),
        pytest.param(
            'discover = { name = "a", port = 80, labels = ["a"], network = "n", health = "ignore", project = "." }',
            "3:37: p.discover.labels: discover has name, of which DNS is asked, or labels, of containers, not both\n"
            "3:53: p.discover.network: belongs to labels: DNS tells nothing of containers\n"
            "3:68: p.discover.health: belongs to labels: DNS tells nothing of containers\n"
            "3:87: p.discover.project: belongs to labels: DNS tells nothing of containers",
            id="keys of both",
        ),
        pytest.param("discover = { labels = [] }", f"3:23: p.discover.labels: {_LABELS}: there is none", id="no label"),
        pytest.param(
            'discover = { labels = ["a b"] }',
            f'3:23: p.discover.labels: {_LABELS}: "a b" is neither name=value nor name',
            id="no label's name",
        ),
        pytest.param(
            'discover = { labels = ["a", "a"] }',
            f"3:23: p.discover.labels: {_LABELS}: a is there twice",
            id="label twice",
        ),
        pytest.param(
            'discover = { name = "a:80", port = 80 }',
            f'3:21: p.discover.name: {_NAME} "a:80": write port = 80 beside it',
            id="name with port",
        ),
        pytest.param(
            'discover = { name = "192.0.2.1", port = 80 }',
            f'3:21: p.discover.name: {_NAME} "192.0.2.1": an address is no name; write it in weighted_hosts',
            id="address",
        ),
        pytest.param(
            'discover = { labels = ["a"], netwrk = "n" }',
            "3:30: p.discover.netwrk: unknown key, did you mean network? "
            "Allowed are name, labels, port, network, health, project",
            id="misspelt",
        ),
        pytest.param(
            'discover = { labels = ["a"], health = "ignored" }',
            '3:39: p.discover.health: health must be "docker" or "ignore", got "ignored": did you mean "ignore"?',
            id="health",
        ),
        pytest.param(
            'labels = ["a"]\nweighted_hosts = { a = 1 }', "3:1: p.labels: labels belongs to discover", id="in the pool"
        ),
    ],
)
def test_faults(lines: str, said: str) -> None:
    assert refused(HEAD + lines).replace("pools.toml:", "") == said


def test_warnings() -> None:
    """What needs several origins, or origins that go down, counts where they are found, too."""
    (warning,) = read('discover = { labels = ["a"] }\nstatus = 301\nslow_start = 3').warnings
    assert "browsers cache a permanent redirect" in warning.message
    config = parse_config(
        b'[[routes]]\nforward_to = "p"\n[p]\nscheme = "https"\ndiscover = { labels = ["a"] }\n', "pools.toml"
    )
    (warning,) = config.warnings
    assert (warning.line, warning.key) == (4, "p.scheme")
    assert "certificates of origins" in warning.message


def test_a_certificate_for_the_name_that_dns_is_asked_for_is_no_warning() -> None:
    toml = b'[[routes]]\nforward_to = "p"\n[p]\nscheme = "https"\ndiscover = { name = "a", port = 1 }\n'
    assert parse_config(toml, "pools.toml").warnings == ()


def test_a_pool_of_the_name_routes() -> None:
    config = parse_config(b'[routes]\nis_default = true\ndiscover = { name = "a", port = 1 }\n', "pools.toml")
    assert config.default is config.pools["routes"]
