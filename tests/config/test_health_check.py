"""The keys of a pool about probes: `health_check`, `slow_start`, `when_all_down`."""

import pytest
from support.toml import refused

from redirect.config.loader import parse_config
from redirect.config.schema import keys_of
from redirect.core.pools import HealthCheck, Pool

HEAD = '[p]\nis_default = true\nweighted_hosts = { "a.example" = 1 }\n'


def read(lines: str) -> Pool:
    return parse_config((HEAD + lines).encode(), "pools.toml").pools["p"]


def test_a_path_is_all_that_is_needed() -> None:
    """What is left out has the defaults that the README names; an origin that is down is probed as often as one that
    is up."""
    pool = read('health_check = { path = "/healthz" }')
    assert pool.health_check == HealthCheck("/healthz", "http", None, None, 5, 5, 2, 2, 3, (200,))
    assert (pool.slow_start, pool.when_all_down) == (0, "refuse")


def test_all_keys() -> None:
    """Each key is taken as it is, also from a table of its own; seconds may have a fraction."""
    pool = read(
        'slow_start = 30\nwhen_all_down = "ignore"\n[p.health_check]\npath = "/up?full=1"\nscheme = "https"\n'
        'host = "health.example:8443"\nport = 8443\ninterval = 2.5\ndown_interval = 1\ntimeout = 0.5\npasses = 1\n'
        "fails = 5\nexpect = 204\n"
    )
    assert pool.health_check == HealthCheck(
        "/up?full=1", "https", "health.example:8443", 8443, 2.5, 1, 0.5, 1, 5, (204,)
    )
    assert (pool.slow_start, pool.when_all_down) == (30, "ignore")


def test_without_probes() -> None:
    """A pool that does not ask for probes has none."""
    assert read("").health_check is None


_PATH = "path must begin with / and have at most 1024 visible ASCII characters without #"
_HOST = "host must be a name or an IP address with an optional port, without scheme, user, path or blanks"
_SECONDS = "must be a number of seconds from 0.1 to 3600"
_TABLE = 'health_check must be a table such as { path = "/healthz" }'
_EXPECT = 'expect must be a whole number from 200 to 599, a class such as "2xx", or an array of these'
_FIELDS = 'headers must be a table of header fields such as { authorization = "Bearer ..." }'
_KEYS = ", ".join(keys_of(HealthCheck))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param('path = "healthz"', f'_.path: {_PATH}, got "healthz"', id="path without slash"),
        pytest.param('path = ""', f'_.path: {_PATH}, got ""', id="no path"),
        pytest.param('path = "/a b"', f'_.path: {_PATH}, got "/a b"', id="blank"),
        pytest.param('path = "/a\\r\\nb: c"', f'_.path: {_PATH}, got "/a\\r\\nb: c"', id="line break"),
        pytest.param('path = "/a#b"', f'_.path: {_PATH}, got "/a#b"', id="fragment"),
        pytest.param('path = "/é"', f'_.path: {_PATH}, got "/é"', id="beyond ASCII"),
        pytest.param("path = 1", f"_.path: {_PATH}, got 1", id="path that is a number"),
        pytest.param('scheme = "ftp"', '_.scheme: scheme must be "http" or "https", got "ftp"', id="scheme"),
        pytest.param("scheme = []", '_.scheme: scheme must be "http" or "https", got an array', id="no scheme"),
        pytest.param("host = 1", f"_.host: {_HOST}, got 1", id="host that is a number"),
        pytest.param(
            'host = "a/b"',
            f'_.host: {_HOST}, got "a/b": a host name is made of letters, digits, - and _ between dots',
            id="host with a path",
        ),
        pytest.param("port = 0", "_.port: port must be a whole number from 1 to 65535, got 0", id="port 0"),
        pytest.param('port = "1"', '_.port: port must be a whole number from 1 to 65535, got "1"', id="quoted port"),
        pytest.param("interval = 0", f"_.interval: interval {_SECONDS}, got 0", id="interval of 0"),
        pytest.param("interval = nan", f"_.interval: interval {_SECONDS}, got nan", id="interval that is no number"),
        pytest.param("interval = true", f"_.interval: interval {_SECONDS}, got true", id="flag"),
        pytest.param("down_interval = 3601", f"_.down_interval: down_interval {_SECONDS}, got 3601", id="too long"),
        pytest.param('timeout = "2s"', f'_.timeout: timeout {_SECONDS}, got "2s"', id="text"),
        pytest.param("passes = 0", "_.passes: passes must be a whole number from 1 to 1000, got 0", id="passes"),
        pytest.param("fails = 1.0", "_.fails: fails must be a whole number from 1 to 1000, got 1.0", id="fails"),
        pytest.param("expect = 99", f"_.expect: {_EXPECT}, got 99", id="expect"),
        pytest.param('expect = "6xx"', f'_.expect: {_EXPECT}, got "6xx"', id="no class"),
        pytest.param("expect = true", f"_.expect: {_EXPECT}, got true", id="expect, a flag"),
        pytest.param("expect = []", f"_.expect: {_EXPECT}, got an array: there is none", id="nothing is good"),
        pytest.param('expect = [200, "ok"]', f"_.expect: {_EXPECT}, got an array: ok is neither", id="one is bad"),
        pytest.param('method = "POST"', '_.method: method must be "GET" or "HEAD", got "POST"', id="method"),
        pytest.param(
            'headers = { Host = "a" }',
            f"_.headers: {_FIELDS}, got a table: Host is written by the service",
            id="host as a field",
        ),
        pytest.param(
            'headers = { a = "s3cret\\r\\n" }',
            f"_.headers: {_FIELDS}, got a table: a is no header field in visible ASCII characters",
            id="line break in a secret",
        ),
        pytest.param(
            "Timeout = 1", f"_.Timeout: unknown key, did you mean timeout? Allowed are {_KEYS}", id="key in capitals"
        ),
        pytest.param("colour = 1", f"_.colour: unknown key, allowed are {_KEYS}", id="unknown key"),
    ],
)
def test_faults_of_a_health_check(value: str, message: str) -> None:
    """What is wrong is named with its place, and what is allowed."""
    path = "" if value.startswith("path") else 'path = "/", '
    column = 18 + len(path) + (0 if "unknown key" in message else value.index("=") + 2)
    assert refused(HEAD + f"health_check = {{ {path}{value} }}") == (
        f"pools.toml:4:{column}: p.health_check{message.removeprefix('_')}"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param('health_check = "/"', f'4:16: p.health_check: {_TABLE}, got "/"', id="no table"),
        pytest.param(
            "health_check = { port = 1 }", f"4:1: p.health_check: path is missing; {_TABLE}", id="path is missing"
        ),
        pytest.param(
            "slow_start = -1", "4:14: p.slow_start: slow_start must be a number of seconds from 0 to 3600, got -1"
        ),
        pytest.param(
            'when_all_down = "use"', '4:17: p.when_all_down: when_all_down must be "refuse" or "ignore", got "use"'
        ),
    ],
)
def test_faults_of_a_pool(line: str, message: str) -> None:
    """The keys beside `weighted_hosts` are checked as it is."""
    assert refused(HEAD + line) == f"pools.toml:{message}"


def test_statuses_and_classes() -> None:
    check = read('health_check = { path = "/", expect = [204, "3xx"] }').health_check
    assert check is not None
    assert [status for status in (200, 204, 301, 399, 404) if check.is_good(status)] == [204, 301, 399]
    assert read('health_check = { path = "/", expect = "2xx" }').health_check == HealthCheck("/", expect=("2xx",))


def test_a_secret_is_in_no_message() -> None:
    """Neither as it should be, nor where it is a number."""
    pool = read('health_check = { path = "/", method = "HEAD", headers = { Authorization = "s3cret" } }')
    assert pool.health_check == HealthCheck("/", method="HEAD", headers=(("Authorization", "s3cret"),))
    assert "s3cret" not in repr(pool)
    assert refused(HEAD + 'health_check = { path = "/", headers = { Authorization = 12345 } }') == (
        f"pools.toml:4:40: p.health_check.headers: {_FIELDS}, got a table: "
        "the value of Authorization is no text, write it in quotes"
    )


def test_what_only_probes_need_is_a_warning_without_them() -> None:
    """`slow_start` and `when_all_down` mean nothing where nothing is probed."""
    text = HEAD + 'slow_start = 10\nwhen_all_down = "ignore"\n'
    assert [str(each) for each in parse_config(text.encode(), "pools.toml").warnings] == [
        "pools.toml:4:14: p.slow_start: has no effect without health_check or eject",
        "pools.toml:5:17: p.when_all_down: has no effect without health_check or eject",
    ]
