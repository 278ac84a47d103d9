"""Settings: a default for each, variables before defaults, options before variables; a bad one stops the start."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from redirect.config.settings import Settings, SettingsError, load_settings, unknown_variables


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(("REDIRECT_", "FORWARDED_", "DOCKER_")):
            monkeypatch.delenv(name)


def refused(**options: Any) -> str:
    """The message that refuses these options in this environment."""
    with pytest.raises(SettingsError) as refusal:
        load_settings(**options)
    return str(refusal.value)


def test_defaults() -> None:
    """With nothing set, the settings are those that the README lists, with a worker for each core."""
    assert load_settings().model_dump() == {
        "pools_config_path": Path("redirect_pools_config.toml"),
        "pool_id_header": "X-Redirect-Pool-ID",
        "server_host": "0.0.0.0",
        "server_port": 8080,
        "admin_bind": "127.0.0.1:9000",
        "admin_token": None,
        "workers": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "worker_timeout": 10,
        "access_log": "-",
        "log_query": "keep",
        "log_client_ip": "keep",
        "log_format": "text",
        "keepalive": 75,
        "graceful_timeout": 10,
        "state_dir": None,
        "forwarded_allow_ips": "127.0.0.1",
        "docker_host": "unix:///var/run/docker.sock",
    }


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process to cores")
def test_workers_follow_the_affinity() -> None:
    """A process that may use one core only has one worker by default."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert load_settings().workers == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("REDIRECT_POOLS_CONFIG_PATH", "/etc/pools.toml", "pools_config_path", Path("/etc/pools.toml")),
        ("REDIRECT_POOL_ID_HEADER", "X-Pool", "pool_id_header", "X-Pool"),
        ("REDIRECT_SERVER_HOST", "127.0.0.1", "server_host", "127.0.0.1"),
        ("REDIRECT_SERVER_PORT", "81", "server_port", 81),
        ("REDIRECT_ADMIN_BIND", "0.0.0.0:9001", "admin_bind", "0.0.0.0:9001"),
        ("REDIRECT_ADMIN_BIND", "[::1]:9001", "admin_bind", "[::1]:9001"),
        ("REDIRECT_ADMIN_BIND", "localhost:0", "admin_bind", "localhost:0"),
        ("REDIRECT_ADMIN_BIND", "off", "admin_bind", "off"),
        ("REDIRECT_ADMIN_TOKEN", "s3cret", "admin_token", SecretStr("s3cret")),
        ("REDIRECT_WORKERS", "3", "workers", 3),
        ("REDIRECT_WORKER_TIMEOUT", "2", "worker_timeout", 2),
        ("REDIRECT_ACCESS_LOG", "off", "access_log", "off"),
        ("REDIRECT_ACCESS_LOG", "OFF ", "access_log", "off"),
        ("REDIRECT_LOG_QUERY", "mask", "log_query", "mask"),
        ("REDIRECT_LOG_FORMAT", "json", "log_format", "json"),
        ("REDIRECT_LOG_CLIENT_IP", "truncate", "log_client_ip", "truncate"),
        ("REDIRECT_KEEPALIVE", "5", "keepalive", 5),
        ("REDIRECT_GRACEFUL_TIMEOUT", "20", "graceful_timeout", 20),
        ("REDIRECT_STATE_DIR", "/var/lib/redirect", "state_dir", Path("/var/lib/redirect")),
        ("FORWARDED_ALLOW_IPS", "10.0.0.0/8, ::1", "forwarded_allow_ips", "10.0.0.0/8, ::1"),
        ("FORWARDED_ALLOW_IPS", "*", "forwarded_allow_ips", "*"),
    ],
)
def test_variables(monkeypatch: pytest.MonkeyPatch, variable: str, text: str, field: str, value: object) -> None:
    """Each setting has its variable, which changes that setting and no other."""
    defaults = load_settings().model_dump()
    monkeypatch.setenv(variable, text)
    assert load_settings().model_dump() == {**defaults, field: value}


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        (" X-Pool ", "pool_id_header", "X-Pool"),
        (" localhost", "server_host", "localhost"),
        ("UNIX:/run/A.sock ", "server_host", "unix:/run/A.sock"),
        (" 81 ", "server_port", 81),
        (" OFF ", "admin_bind", "off"),
        ("Unix:/run/A.sock", "admin_bind", "unix:/run/A.sock"),
        ("unix:///run/A.sock", "server_host", "unix:/run/A.sock"),
        ("unix:///run/A.sock", "admin_bind", "unix:/run/A.sock"),
        (" 127.0.0.1:1 ", "admin_bind", "127.0.0.1:1"),
        (" s3cret\n", "admin_token", SecretStr("s3cret")),
        (" - ", "access_log", "-"),
        (" Off ", "access_log", "off"),
        (" Mask", "log_query", "mask"),
        ("DROP ", "log_client_ip", "drop"),
        ("JSON", "log_format", "json"),
        (" /var/lib/X ", "state_dir", Path("/var/lib/X")),
        (" Unix: ", "forwarded_allow_ips", "unix:"),
        ("FE80::/10", "forwarded_allow_ips", "fe80::/10"),
        ("", "forwarded_allow_ips", ""),
        (" UNIX:///run/A.sock", "docker_host", "unix:///run/A.sock"),
    ],
)
def test_blanks_around_and_capitals_of_its_words_do_not_count(text: str, field: str, value: object) -> None:
    assert load_settings(**{field: text}).model_dump()[field] == value


@pytest.mark.parametrize(
    ("bind", "is_exposed"),
    [
        ("off", False),
        ("127.0.0.1:1", False),
        ("127.8.8.8:1", False),
        ("[::1]:1", False),
        ("localhost:1", False),
        ("0.0.0.0:1", True),
        ("[::]:1", True),
        ("10.0.0.1:1", True),
        ("redirect-1:1", True),
    ],
)
def test_an_admin_listener_that_others_reach(bind: str, is_exposed: bool) -> None:
    """The admin listener is exposed unless it is bound to a loopback address, or to none."""
    assert load_settings(admin_bind=bind).is_admin_exposed == is_exposed


def test_the_token_is_not_printed() -> None:
    """Settings that are printed hide the token."""
    assert "s3cret" not in repr(load_settings(admin_token="s3cret"))


def test_options_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option of the command line comes before the variable, even a bad one; an option not given does not."""
    monkeypatch.setenv("REDIRECT_SERVER_PORT", "nonsense")
    monkeypatch.setenv("REDIRECT_WORKERS", "3")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1")
    settings = load_settings(server_port="82", workers=None, forwarded_allow_ips="10.0.0.2")
    assert (settings.server_port, settings.workers, settings.forwarded_allow_ips) == (82, 3, "10.0.0.2")


@pytest.mark.parametrize(
    "variable", ["FORWARDED_ALLOW_IPS", *(f"REDIRECT_{name.upper()}" for name in Settings.model_fields)]
)
def test_empty_variables_are_ignored(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """A variable that is set to nothing leaves the default, as compose files do it."""
    defaults = load_settings()
    monkeypatch.setenv(variable, "")
    assert load_settings() == defaults


def test_where_docker_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our variable comes before the one of other programs, which may have what only they understand."""
    monkeypatch.setenv("DOCKER_HOST", "ssh://root@host")
    assert load_settings().docker_host == "ssh://root@host"
    monkeypatch.setenv("REDIRECT_DOCKER_HOST", "tcp://window:2375")
    assert load_settings().docker_host == "tcp://window:2375"
    monkeypatch.setenv("REDIRECT_DOCKER_HOST", "tcp://window:2375/containers")
    assert refused() == (
        "REDIRECT_DOCKER_HOST: must be unix:///PATH or tcp://HOST:PORT, got 'tcp://window:2375/containers'"
    )
    assert load_settings(docker_host="unix:///run/docker.sock").docker_host == "unix:///run/docker.sock"


def test_settings_are_frozen() -> None:
    """Settings do not change once they are read."""
    settings, field = load_settings(), "server_port"
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, field, 81)


@pytest.mark.parametrize(
    ("host", "bind"),
    [
        pytest.param("0.0.0.0", "0.0.0.0:8080", id="IPv4"),
        pytest.param("localhost", "localhost:8080", id="name"),
        pytest.param("::", "[::]:8080", id="IPv6"),
        pytest.param("[::1]", "[::1]:8080", id="IPv6 in brackets already"),
    ],
)
def test_public_bind(host: str, bind: str) -> None:
    """The public listener is written as host:port, an IPv6 address in brackets."""
    assert load_settings(server_host=host).public_bind == bind


_HEADER = "must be the name of a header, such as X-Redirect-Pool-ID"
_POOL_HEADER = "must be a header that can name a pool, such as X-Redirect-Pool-ID"
_BIND = "must be host:port, such as 127.0.0.1:9000 or 0.0.0.0:9000, unix:/path, or off"
_UNIX = "the path of a socket must begin with / and have at most 107 bytes"
_PORT = "must be a whole number from 0 to 65535"


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("REDIRECT_POOL_ID_HEADER", "X Pool", f"{_HEADER}, got 'X Pool'"),
        ("REDIRECT_POOL_ID_HEADER", "X-Pool:", f"{_HEADER}, got 'X-Pool:'"),
        ("REDIRECT_POOL_ID_HEADER", "X-Poöl", f"{_HEADER}, got 'X-Poöl'"),
        ("REDIRECT_POOL_ID_HEADER", "Content-Length", f"{_POOL_HEADER}, got 'Content-Length'"),
        ("REDIRECT_POOL_ID_HEADER", "transfer-encoding", f"{_POOL_HEADER}, got 'transfer-encoding'"),
        ("REDIRECT_POOL_ID_HEADER", "Connection", f"{_POOL_HEADER}, got 'Connection'"),
        ("REDIRECT_POOL_ID_HEADER", "Expect", f"{_POOL_HEADER}, got 'Expect'"),
        ("REDIRECT_LOG_FORMAT", "xml", "input should be 'text' or 'json', got 'xml'"),
        ("REDIRECT_STATE_DIR", "  ", "must not be empty, got '  '"),
        ("REDIRECT_SERVER_PORT", "65536", "must be a whole number from 0 to 65535, got '65536'"),
        ("REDIRECT_SERVER_PORT", "-1", "must be a whole number from 0 to 65535, got '-1'"),
        ("REDIRECT_ADMIN_BIND", "9000", f"{_BIND}, got '9000'"),
        ("REDIRECT_ADMIN_BIND", ":9000", f"{_BIND}, got ':9000'"),
        ("REDIRECT_ADMIN_BIND", "localhost", f"{_BIND}, got 'localhost'"),
        ("REDIRECT_ADMIN_BIND", "localhost:65536", f"{_BIND}, got 'localhost:65536'"),
        ("REDIRECT_ADMIN_BIND", "::1:9000", f"{_BIND}, got '::1:9000'"),
        ("REDIRECT_ADMIN_BIND", "*:9000", f"{_BIND}, got '*:9000'"),
        ("REDIRECT_ADMIN_BIND", "a/b:9000", f"{_BIND}, got 'a/b:9000'"),
        ("REDIRECT_ADMIN_BIND", "unix://a.sock", f"{_UNIX}, got 'unix://a.sock'"),
        ("REDIRECT_SERVER_HOST", "unix:a.sock", f"{_UNIX}, got 'unix:a.sock'"),
        ("REDIRECT_SERVER_HOST", "unix://a.sock", f"{_UNIX}, got 'unix://a.sock'"),
        ("REDIRECT_WORKERS", "0", "must be a whole number from 1 to 1024, got '0'"),
        ("REDIRECT_WORKERS", "1025", "must be a whole number from 1 to 1024, got '1025'"),
        ("REDIRECT_WORKER_TIMEOUT", "1", "must be a whole number from 2 to 3600, got '1'"),
        ("REDIRECT_WORKER_TIMEOUT", "3601", "must be a whole number from 2 to 3600, got '3601'"),
        ("REDIRECT_KEEPALIVE", "0", "must be a whole number from 1 to 3600, got '0'"),
        ("REDIRECT_KEEPALIVE", "3601", "must be a whole number from 1 to 3600, got '3601'"),
        ("REDIRECT_GRACEFUL_TIMEOUT", "1", "must be a whole number from 2 to 3600, got '1'"),
        ("REDIRECT_GRACEFUL_TIMEOUT", "3601", "must be a whole number from 2 to 3600, got '3601'"),
    ],
)
def test_bad_values(monkeypatch: pytest.MonkeyPatch, variable: str, text: str, message: str) -> None:
    """A bad setting is refused with its variable, what is allowed, and its value."""
    monkeypatch.setenv(variable, text)
    assert refused() == f"{variable}: {message}"


@pytest.mark.parametrize(
    "variable", ["REDIRECT_SERVER_PORT", "REDIRECT_WORKERS", "REDIRECT_KEEPALIVE", "REDIRECT_GRACEFUL_TIMEOUT"]
)
@pytest.mark.parametrize("text", ["many", "8.5", "0x10", "true", "1 2"])
def test_what_is_no_number(monkeypatch: pytest.MonkeyPatch, variable: str, text: str) -> None:
    """Where a whole number is needed anything else is refused."""
    monkeypatch.setenv(variable, text)
    message = refused()
    assert message.startswith(f"{variable}: must be a whole number from ")
    assert message.endswith(f", got {text!r}")


def test_what_kubernetes_sets_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets the variable of the port to a URL for a Service named redirect-server; the message says so."""
    monkeypatch.setenv("REDIRECT_SERVER_PORT", "tcp://10.96.12.7:80")
    assert refused() == (
        f"REDIRECT_SERVER_PORT: {_PORT}, "
        "got 'tcp://10.96.12.7:80'; Kubernetes sets this variable for a Service named redirect-server: "
        "set it for the container, or enableServiceLinks: false for the pod"
    )


def test_a_variable_that_is_no_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt one would do nothing. What Kubernetes sets for other Services, and other programs have, is no news."""
    for name in ("REDIRECT_WORKER", "REDIRECT_PORT", "REDIRECT_XYZ", "redirect_workers", "REDIRECT_ADMIN_TOKEN"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("REDIRECT_API_PORT", "tcp://10.96.12.7:80")
    for end in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_80_TCP", "PORT_80_TCP_ADDR"):
        monkeypatch.setenv(f"REDIRECT_API_{end}", "10.96.12.7")
    assert [*unknown_variables()] == [
        "REDIRECT_PORT is no setting and does nothing; did you mean REDIRECT_SERVER_PORT?",
        "REDIRECT_WORKER is no setting and does nothing; did you mean REDIRECT_WORKERS?",
        "REDIRECT_XYZ is no setting and does nothing",
    ]


@pytest.mark.parametrize("text", ["nginx", "127.0.0.1 ::1"])
def test_bad_proxies(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A bad list of proxies is refused under its own name, which has no prefix."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", text)
    message = refused()
    assert message.startswith("FORWARDED_ALLOW_IPS: ")
    assert "is no address or CIDR range" in message
    assert message.endswith(f", got {text!r}")


def test_a_bad_token_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIRECT_ADMIN_TOKEN", "s3\ncret")
    assert refused() == "REDIRECT_ADMIN_TOKEN: must be characters that can be printed, as it is sent in one line"


def test_bad_options() -> None:
    """A bad option is refused under the name of its variable."""
    assert refused(server_port="70000") == f"REDIRECT_SERVER_PORT: {_PORT}, got '70000'"
    assert refused(pools_config_path="") == "REDIRECT_POOLS_CONFIG_PATH: must not be empty, got ''"
    assert refused(forwarded_allow_ips="nginx").startswith("FORWARDED_ALLOW_IPS: 'nginx' is no address")


def test_settings_that_are_not_used_may_be_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have their defaults then; those that are used are refused as ever."""
    monkeypatch.setenv("REDIRECT_SERVER_PORT", "tcp://10.96.12.7:80")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "nginx")
    monkeypatch.setenv("REDIRECT_POOLS_CONFIG_PATH", "p.toml")
    settings = load_settings({"pools_config_path"})
    assert (str(settings.pools_config_path), settings.server_port) == ("p.toml", 8080)
    assert settings.forwarded_allow_ips == "127.0.0.1"
    with pytest.raises(SettingsError, match=r"^REDIRECT_SERVER_PORT: [^\n]*$"):
        load_settings({"server_port"})


@pytest.mark.parametrize("host", ["*", "a b", "http://a", "a/b", "127.0.0.1:80"])
def test_bad_hosts(host: str) -> None:
    """At once, and by name: gunicorn would try five times."""
    assert refused(server_host=host).startswith("REDIRECT_SERVER_HOST: must be an address or a host name")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::1]", "localhost", "a-b.example", "fe80::1%eth0"])
def test_hosts(host: str) -> None:
    assert load_settings(server_host=host).server_host == host


def test_all_bad_settings_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bad setting is named, each on a line of its own, wherever it comes from."""
    monkeypatch.setenv("REDIRECT_WORKERS", "0")
    monkeypatch.setenv("REDIRECT_ADMIN_BIND", "9000")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "nginx")
    variables = [line.partition(": ")[0] for line in refused(server_port="70000").splitlines()]
    assert sorted(variables) == [
        "FORWARDED_ALLOW_IPS",
        "REDIRECT_ADMIN_BIND",
        "REDIRECT_SERVER_PORT",
        "REDIRECT_WORKERS",
    ]
