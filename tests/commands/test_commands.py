"""`redirect`, `redirect check`, `explain` and `reload`: what they print, and how they end."""

import json
import os
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from support.command import run
from support.origin import answer
from support.origins import answering
from support.service import running

from redirect.commands.serve import serve
from redirect.config import loader
from redirect.config.settings import Settings, variable
from redirect.core.compiled import reader

POOLS = """
[pool-a]
weighted_hosts = { "origin-1" = 2, "origin-2.example.com" = 1, "drained" = 0 }
is_default = true

[pool-b]
weighted_hosts = { "origin-3:8443" = 1 }
status = 308
"""

OVERRIDE = {"pool": "api", "origin": "10.0.0.1:1", "share": 5, "to": 5, "reached": "8:00", "ends": "9:00"}


def test_the_version_and_the_reader_in_use_are_printed() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"redirect, version {version('redirect')}, {reader()}\n")


def test_the_help_of_serve_lists_each_setting() -> None:
    """The option, its variable and its default; the token is no option, as others could see it."""
    options = {str(option.envvar): option for option in serve.params if isinstance(option, click.Option)}
    printed = " ".join(run("serve", "--help").stdout.split())
    assert {*options, "REDIRECT_ADMIN_TOKEN"} == {variable(name) for name in Settings.model_fields}
    for name, option in options.items():
        default = "]" if name == "REDIRECT_STATE_DIR" else "; default: "
        assert f"{option.help} [env var: {name}{default}" in printed
    assert "--graceful-timeout 2..3600 " in printed


def test_a_bad_setting_ends_the_commands_that_use_it(file: Path) -> None:
    """An option comes before its variable; the message names the variable, the value and what is allowed; code 2."""
    for command in (["check"], ["explain"], ["pools", "drain", "pool-a", "origin-1"]):
        assert run(*command, REDIRECT_ADMIN_BIND="9000", REDIRECT_SERVER_PORT="tcp://10.0.0.1:80").exit_code == 0
    for command in (["serve"], ["reload"]):
        result = run(*command, REDIRECT_ADMIN_BIND="9000")
        assert (result.exit_code, result.stdout) == (2, "")
        assert (
            result.stderr
            == "REDIRECT_ADMIN_BIND: must be host:port, such as 127.0.0.1:9000 or 0.0.0.0:9000, unix:/path, or off, "
            "got '9000'\n"
        )
    assert run("reload", "--admin-bind", "127.0.0.1:1", REDIRECT_ADMIN_BIND="9000").exit_code == 1


CHECKED = """\
pool-a  302  default
  origin-1              weight       2   66.67%
  origin-2.example.com  weight       1   33.33%
  drained               weight       0    0.00%
pool-b  308
  origin-3:8443  weight       1  100.00%
"""


def test_check_prints_pools_and_shares(file: Path) -> None:
    """Without an argument the file of the service is checked; exit code 0."""
    result = run("check")
    assert (result.exit_code, result.stdout, result.stderr) == (0, CHECKED, "")


def test_check_takes_a_file(file: Path) -> None:
    """The argument, or else the variable, names the file."""
    other = file.rename(file.with_name("other.toml"))
    assert run("check", str(other)).stdout == CHECKED
    assert run("check", REDIRECT_POOLS_CONFIG_PATH=str(other)).stdout == CHECKED
    assert run("check").exit_code == 1


def test_check_prints_faults(file: Path) -> None:
    """Faults go to standard error with file, line and column; exit code 1."""
    file.write_text('[p]\nweighted_hosts = { "a" = -1, b.example.com = 1 }\n')
    result = run("check")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "redirect_pools_config.toml:1:1: no pool is the default; write is_default = true in one, say [p]\n"
        'redirect_pools_config.toml:2:26: p.weighted_hosts."a": '
        "weight must be a whole number from 0 to 1000000, got -1\n"
        'redirect_pools_config.toml:2:30: p.weighted_hosts."b": '
        'a host with dots must be quoted, write "b.example.com" = 1\n'
    )


def test_check_prints_warnings(file: Path) -> None:
    """Warnings go to standard error; the file is good all the same."""
    file.write_text(POOLS.replace("is_default", "status = 301\nis_default"))
    result = run("check")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: redirect_pools_config.toml:4:10: pool-a.status: browsers cache")


def test_check_json(file: Path) -> None:
    """--json prints the pools for machines."""
    assert json.loads(run("check", "--json").stdout)["pools"] == [
        {
            "name": "pool-a",
            "status": 302,
            "is_default": True,
            "origins": [
                {"name": "origin-1", "weight": 2, "share": 2 / 3},
                {"name": "origin-2.example.com", "weight": 1, "share": 1 / 3},
                {"name": "drained", "weight": 0, "share": 0.0},
            ],
        },
        {
            "name": "pool-b",
            "status": 308,
            "is_default": False,
            "origins": [{"name": "origin-3:8443", "weight": 1, "share": 1.0}],
        },
    ]


ROUTES = """
[[routes]]
path = "/health"
respond = { status = 403, body = "né\\n" }

[[routes]]
host = "shop.example.com"
path_prefix = "/api/orders/"
methods = ["GET", "POST"]
forward_to = "orders"
strip_prefix = true
timeouts = { answer = 5, total = 50 }
retries = 0
retry_on = [502, 503]

[[routes]]
path_prefix = "/old"
redirect_to = "new"

[[routes]]
path = "/ready"
show = "readyz"

[[routes]]
host = "*.example.com"
forward_to = "orders"
pass_host = false
limit = 100

[[routes]]
host = "*.example.com"
path = "/a"
methods = ["PUT"]
forward_to = "orders"
target = "/b"
limit = { in_flight = 10, queue = 5, wait = 0.5 }

[orders]
weighted_hosts = { "origin-1" = 2, "origin-2:8443" = 1, "drained" = 0 }
scheme = "https"

[new]
weighted_hosts = { "new.example.com" = 1 }
"""

CHECKED_ROUTES = """\
GET,POST shop.example.com/api/orders/*  forward_to orders  strip_prefix = true, timeouts = { answer = 5, total = 50 }, retries = 0, retry_on = [502, 503]
PUT *.example.com/a                     forward_to orders  target = "/b", limit = { in_flight = 10, queue = 5, wait = 0.5 }
*.example.com/*                         forward_to orders  pass_host = false, limit = 100
/health                                 respond 403        text/plain; charset=utf-8, 4 bytes
/ready                                  show readyz
/old/*                                  redirect_to new
orders  forwarded
  origin-1       weight       2   66.67%
  origin-2:8443  weight       1   33.33%
  drained        weight       0    0.00%
new  302
  new.example.com  weight       1  100.00%
"""  # noqa: E501  as wide as it is printed


def test_check_prints_routes(file: Path) -> None:
    """The most specific of a host first, with what is not as usual; of a pool what it is used for."""
    file.write_text(ROUTES)
    result = run("check")
    assert (result.exit_code, result.stdout, result.stderr) == (0, CHECKED_ROUTES, "")
    file.write_text(f'{ROUTES}is_default = true\n[[routes]]\nforward_to = "new"\n')
    assert "new  302  forwarded  default\n" in run("check").stdout
    file.write_text(f'{ROUTES}health_check = {{ path = "/" }}\nfallback = "orders"\n')
    assert "orders  302  forwarded\n" in run("check").stdout


def test_check_json_of_routes(file: Path) -> None:
    """In the same order, every key."""
    file.write_text(ROUTES)
    printed = json.loads(run("check", "--json").stdout)
    assert [each["name"] for each in printed["routes"]] == [
        line.partition("  ")[0] for line in CHECKED_ROUTES.splitlines()[:6]
    ]
    assert printed["routes"][0] == {
        "name": "GET,POST shop.example.com/api/orders/*",
        "host": "shop.example.com",
        "path": None,
        "path_prefix": "/api/orders/",
        "methods": ["GET", "POST"],
        "forward_to": "orders",
        "redirect_to": None,
        "respond": None,
        "show": None,
        "strip_prefix": True,
        "target": None,
        "pass_host": None,
        "timeouts": {"connect": 1, "answer": 5, "idle": 60, "total": 50},
        "retries": 0,
        "retry_on": [502, 503],
        "cache": None,
        "error_log": None,
        "limit": None,
    }
    assert printed["routes"][1]["limit"] == {"in_flight": 10, "queue": 5, "wait": 0.5}
    response = {"status": 403, "body": "né\n", "content_type": "text/plain; charset=utf-8", "headers": []}
    assert printed["routes"][3]["respond"] == response
    assert printed["routes"][4]["show"] == "readyz"
    assert [pool["is_default"] for pool in printed["pools"]] == [False, False]


def test_check_json_of_faults(file: Path) -> None:
    """--json prints the faults for machines, nothing else; exit code 1."""
    file.write_text("[p]\nweighted_hosts = {}\nis_default = true\n")
    result = run("check", "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    assert json.loads(result.stdout) == {
        "file": "redirect_pools_config.toml",
        "faults": [
            {
                "line": 2,
                "column": 18,
                "key": "p.weighted_hosts",
                "message": "weighted_hosts needs at least one host with a weight above 0",
            }
        ],
    }


EXPLAINED = {
    "nothing asked": (
        [],
        "pool     pool-a (the default pool)\n"
        "request  http://localhost/\n"
        "  origin-1               66.67%  302 http://origin-1/\n"
        "  origin-2.example.com   33.33%  302 http://origin-2.example.com/\n"
        "  drained                 0.00%  never: drained\n",
    ),
    "a pool and a path": (
        ["--pool", "pool-b", "//x?y#fragment"],
        "pool     pool-b (named by X-Redirect-Pool-ID)\n"
        "request  http://localhost//x?y\n"
        "  origin-3:8443  100.00%  308 http://origin-3:8443//x?y\n",
    ),
    "a path that holds a URL": (
        ["--pool", "pool-b", "/x?to=http://y"],
        "pool     pool-b (named by X-Redirect-Pool-ID)\n"
        "request  http://localhost/x?to=http://y\n"
        "  origin-3:8443  100.00%  308 http://origin-3:8443/x?to=http://y\n",
    ),
    "an unknown pool": (
        ["--pool", "nope", "/x"],
        "pool     pool-a (the default pool: 'nope' is no pool)\n"
        "request  http://localhost/x\n"
        "  origin-1               66.67%  302 http://origin-1/x\n"
        "  origin-2.example.com   33.33%  302 http://origin-2.example.com/x\n"
        "  drained                 0.00%  never: drained\n",
    ),
    "a URL that loops": (
        ["--pool", "pool-b", "https://ORIGIN-3.:8443/x"],
        "pool     pool-b (named by X-Redirect-Pool-ID)\n"
        "request  https://ORIGIN-3.:8443/x\n"
        "  origin-3:8443  100.00%  422 "
        "pool-b picked origin-3:8443, the host that was asked for: a redirect would loop\n",
    ),
    "a Host that loops": (
        ["--pool", "pool-b", "--host", "origin-3:8443", "https://other.example/x"],
        "pool     pool-b (named by X-Redirect-Pool-ID)\n"
        "request  https://origin-3:8443/x\n"
        "  origin-3:8443  100.00%  422 "
        "pool-b picked origin-3:8443, the host that was asked for: a redirect would loop\n",
    ),
    "a pool among blanks": (
        ["--pool", " pool-b\t", "/x"],
        "pool     pool-b (named by X-Redirect-Pool-ID)\n"
        "request  http://localhost/x\n"
        "  origin-3:8443  100.00%  308 http://origin-3:8443/x\n",
    ),
    "two pools": (
        ["--pool", "pool-b", "--header", "X-Redirect-Pool-ID: b\xfccher", "/x"],
        "pool     pool-a (the default pool: 'pool-b, b\xfccher' is no pool)\n"
        "request  http://localhost/x\n"
        "  origin-1               66.67%  302 http://origin-1/x\n"
        "  origin-2.example.com   33.33%  302 http://origin-2.example.com/x\n"
        "  drained                 0.00%  never: drained\n",
    ),
}


@pytest.mark.parametrize(("arguments", "printed"), EXPLAINED.values(), ids=EXPLAINED)
def test_explain(file: Path, arguments: list[str], printed: str) -> None:
    """Explain says which pool answers, and what each origin would mean for the request."""
    result = run("explain", *arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (0, printed, "")


def test_explain_a_loop_that_is_avoided_and_a_fallback(tmp_path: Path) -> None:
    """What takes the place of a loop, and of a pool that is down."""
    file = tmp_path / "pools.toml"
    pool = '[%s]\nis_default = true\nweighted_hosts = { "a" = 1, "b" = 1 }\non_loop = "%s"\n'
    down = 'fallback = "q"\nhealth_check = { path = "/" }\n'
    file.write_text(pool % ("p", "next") + down + pool % ("q", "stay"))
    assert run("explain", "--config", str(file), "--host", "a", "/x").stdout.splitlines()[2:] == [
        "  a   50.00%  one of the others: it is the host that was asked for",
        "  b   50.00%  302 http://b/x",
        "  q serves while none of them is eligible",
    ]
    assert run("explain", "--config", str(file), "--host", "a", "--pool", "q", "/x").stdout.splitlines()[2:] == [
        "  a   50.00%  421 q picked a, the host that was asked for: the client is to stay there",
        "  b   50.00%  302 http://b/x",
    ]


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["*"], "request  OPTIONS *\nanswer   204, no origin is picked\n"),
        (["http://origin-1"], "request  OPTIONS *\nanswer   204, no origin is picked\n"),
        (
            ["--header", "Origin: https://app.example", "--header", "Access-Control-Request-Method: PUT", "/x"],
            "pool     p (its cors, as this is a preflight)\nrequest  OPTIONS http://localhost/x\n"
            "answer   204, no origin is picked\n  access-control-allow-origin: *\n"
            "  access-control-allow-methods: GET, HEAD, POST, PUT\n",
        ),
        (
            ["--header", "Origin: https://app.example", "/x"],
            "pool     p (the default pool)\nrequest  http://localhost/x\n  a  100.00%  302 http://a/x\n",
        ),
    ],
    ids=["asterisk", "a URL without a path", "preflight", "from a page, but no preflight"],
)
def test_explain_an_options(arguments: list[str], printed: str, tmp_path: Path) -> None:
    """One that needs no origin is answered as the service answers it."""
    file = tmp_path / "pools.toml"
    file.write_text('[p]\nis_default = true\nweighted_hosts = { a = 1 }\ncors = { origins = "*", methods = ["PUT"] }\n')
    result = run("explain", "--config", str(file), "--method", "OPTIONS", *arguments)
    assert (result.exit_code, result.stdout) == (0, printed)


def test_explain_names_the_origin_of_a_client(tmp_path: Path) -> None:
    """Where the pool picks by a key, and the key is given."""
    file = tmp_path / "pools.toml"
    pool = '[%s]\nis_default = true\nweighted_hosts = { "a" = 1, "b" = 1 }\npick = "hash"\nhash_on = "%s"\n'
    file.write_text(pool % ("p", "client_ip") + pool % ("q", "header:x-user"))

    def last(*arguments: str) -> str:
        return run("explain", "--config", str(file), *arguments, "/x").stdout.splitlines()[-1]

    assert last() == "  any of them, by chance and weight: client_ip is not given"
    assert last("--client-ip", "::ffff:192.0.2.1").endswith("that of the client_ip 192.0.2.1")
    assert last("--client-ip", "2001:DB8::0:1") == "  a is that of the client_ip 2001:db8::1"
    assert run("explain", "--config", str(file), "--header", "Host: A", "/x").stdout.count("422") == 1
    assert last("--header", "X-Redirect-Pool-ID: q", "--header", "X-User: ann").endswith("header:x-user ann")
    assert last("--pool", "q", "--header", "X-User: ann") == "  a is that of the header:x-user ann"
    assert run("explain", "--config", str(file), "--client-ip", "1.2").stderr.endswith("'1.2' is no IP address\n")
    assert run("explain", "--config", str(file), "--header", "x").stderr.endswith("'x' is not NAME: VALUE\n")


@pytest.mark.parametrize(
    ("hash_on", "arguments", "key"),
    [
        ("header:host", ["--host", "shop.example", "/x"], "shop.example"),
        ("header:host", ["https://shop.example/x"], "shop.example"),
        ("header:x-redirect-pool-id", ["--pool", "p", "/x"], "p"),
        ("client_ip", ["--client-ip", "127.0.0.1", "--header", "X-Forwarded-For: 192.0.2.7", "/x"], "192.0.2.7"),
    ],
)
def test_explain_takes_keys_from_what_the_service_gets(
    hash_on: str, arguments: list[str], key: str, file: Path
) -> None:
    """Also where it is no --header that has them."""
    file.write_text(
        f'[p]\nis_default = true\nweighted_hosts = {{ a = 1, b = 1 }}\npick = "hash"\nhash_on = "{hash_on}"\n'
    )
    assert run("explain", *arguments).stdout.endswith(f" is that of the {hash_on} {key}\n")


FORWARDED = """\
route    /api/*
  host   any
  path   begins with /api, no longer prefix matches
  method any
pool     p (forward_to)
"""


@pytest.mark.parametrize(
    ("method", "field", "answer"),
    [
        ("GET", "Connection: Cookie", "400, no origin is picked: Connection must not list cookie\n"),
        (
            "POST",
            "Transfer-Encoding: gzip, chunked",
            "400, no origin is picked: a request with another Transfer-Encoding than chunked is not passed on\n",
        ),
        ("OPTIONS", "Max-Forwards: 0", "204, no origin is picked\n"),
        (
            "TRACE",
            "Max-Forwards: 0",
            "405, no origin is picked: Max-Forwards ends the TRACE at this service, which does not show what it got\n"
            "  allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\n",
        ),
    ],
)
def test_explain_what_is_not_forwarded(method: str, field: str, answer: str, file: Path) -> None:
    """A route forwards, and the fields of the request say that it must not be."""
    file.write_text('[[routes]]\npath_prefix = "/api"\nforward_to = "p"\n[p]\nweighted_hosts = { a = 1 }\n')
    printed = f"{FORWARDED}request  {method} http://localhost/api\n"
    forwarded = run("explain", "--method", method, "/api")
    refused = run("explain", "--method", method, "--header", field, "/api")
    assert (forwarded.exit_code, forwarded.stdout) == (0, f"{printed}  a  100.00%  forward to http://a/api\n")
    assert (refused.exit_code, refused.stdout) == (0, f"{printed}answer   {answer}")


ROUTED = {
    "forwarded": (
        ["http://shop.example.com/api/%6Frders/7?x"],
        "route    GET,POST shop.example.com/api/orders/*\n"
        "  host   is shop.example.com\n"
        "  path   begins with /api/orders, no longer prefix matches\n"
        "  method is one of GET, POST\n"
        "next     *.example.com/*\n"
        "pool     orders (forward_to)\n"
        "request  GET http://shop.example.com/api/%6Frders/7?x\n"
        "  origin-1        66.67%  forward to https://origin-1/7?x\n"
        "  origin-2:8443   33.33%  forward to https://origin-2:8443/7?x\n"
        "  drained          0.00%  never: drained\n",
    ),
    "HEAD": (
        ["--method", "HEAD", "--host", "shop.example.com", "/api/orders"],
        "route    GET,POST shop.example.com/api/orders/*\n"
        "  host   is shop.example.com\n"
        "  path   begins with /api/orders, no longer prefix matches\n"
        "  method is taken by GET\n"
        "next     *.example.com/*\n"
        "pool     orders (forward_to)\n"
        "request  HEAD http://shop.example.com/api/orders\n"
        "  origin-1        66.67%  forward to https://origin-1/\n"
        "  origin-2:8443   33.33%  forward to https://origin-2:8443/\n"
        "  drained          0.00%  never: drained\n",
    ),
    "a method that is not taken": (
        ["--method", "DELETE", "http://shop.example.com/api/orders/7"],
        "route    none takes DELETE: 405, allowed are GET, POST, HEAD\n"
        "next     GET,POST shop.example.com/api/orders/*\n"
        "next     *.example.com/*\n"
        "request  DELETE http://shop.example.com/api/orders/7\n",
    ),
    "a wildcard, an exact path and a target": (
        ["--method", "PUT", "http://b.example.com/a?x"],
        "route    PUT *.example.com/a\n"
        "  host   is below example.com\n"
        "  path   is /a\n"
        "  method is one of PUT\n"
        "next     *.example.com/*\n"
        "pool     orders (forward_to)\n"
        "request  PUT http://b.example.com/a?x\n"
        "  origin-1        66.67%  forward to https://origin-1/b?x\n"
        "  origin-2:8443   33.33%  forward to https://origin-2:8443/b?x\n"
        "  drained          0.00%  never: drained\n",
    ),
    "redirected": (
        ["/old/x"],
        "route    /old/*\n"
        "  host   any, as no route for it matches\n"
        "  path   begins with /old, no longer prefix matches\n"
        "  method any\n"
        "pool     new (redirect_to)\n"
        "request  GET http://localhost/old/x\n"
        "  new.example.com  100.00%  302 http://new.example.com/old/x\n",
    ),
    "a response": (
        ["/health"],
        "route    /health\n"
        "  host   any, as no route for it matches\n"
        "  path   is /health\n"
        "  method any\n"
        "answer   403 text/plain; charset=utf-8, 4 bytes\n"
        "request  GET http://localhost/health\n",
    ),
    "what the admin listener shows": (
        ["--method", "HEAD", "/ready?x"],
        "route    /ready\n"
        "  host   any, as no route for it matches\n"
        "  path   is /ready\n"
        "  method is taken by GET\n"
        "answer   what the admin listener shows at /readyz\n"
        "request  HEAD http://localhost/ready?x\n",
    ),
    "another method than shows it": (
        ["--method", "POST", "/ready"],
        "route    none takes POST: 405, allowed are GET, HEAD\nnext     /ready\nrequest  POST http://localhost/ready\n",
    ),
    "a segment of dots": (
        ["/old/%2e./x"],
        "route    none is asked: 400, the path has a segment of dots, which a server may resolve to another path\n"
        "request  GET http://localhost/old/%2e./x\n",
    ),
    "no route": (
        ["/x"],
        "route    none matches\npool     none: 404, there is no default pool\nrequest  GET http://localhost/x\n",
    ),
    "no route, an unknown pool": (
        ["--pool", "nope", "/x"],
        "route    none matches\n"
        "pool     none: 404, there is no default pool: 'nope' is no pool\n"
        "request  GET http://localhost/x\n",
    ),
    "no route, a pool": (
        ["--pool", "new", "/x"],
        "route    none matches\n"
        "pool     new (named by X-Redirect-Pool-ID)\n"
        "request  GET http://localhost/x\n"
        "  new.example.com  100.00%  302 http://new.example.com/x\n",
    ),
    "no route, a pool that is forwarded to": (
        ["--pool", "orders", "/x"],
        "route    none matches\n"
        "pool     none: 404, there is no default pool: 'orders' is forwarded to by a route, and cannot be named\n"
        "request  GET http://localhost/x\n",
    ),
}


@pytest.mark.parametrize(("arguments", "printed"), ROUTED.values(), ids=ROUTED)
def test_explain_routes(file: Path, arguments: list[str], printed: str) -> None:
    """Which route takes the request, why, which would come next, and what becomes of the request."""
    file.write_text(ROUTES)
    result = run("explain", *arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (0, printed, "")


def test_explain_where_no_route_matches_and_a_pool_is_the_default(file: Path) -> None:
    file.write_text(f"{ROUTES}is_default = true\n")
    assert "pool     new (the default pool)\n" in run("explain", "/x").stdout
    assert (
        "'orders' is forwarded to by a route, and cannot be named)" in run("explain", "--pool", "orders", "/x").stdout
    )


@pytest.mark.parametrize("arguments", [["http://b\xfccher.example/x"], ["--host", "b\xfccher.example", "/x"]])
def test_explain_shows_a_host_as_it_was_given(arguments: list[str], file: Path) -> None:
    assert "request  http://b\xfccher.example/x\n" in run("explain", *arguments).stdout


def test_explain_takes_odd_hosts_as_the_service_does(file: Path) -> None:
    assert "302 http://origin-1/x\n" in run("explain", "--host", "foo-.x.example", "/x").stdout


def test_dots_without_routes(file: Path) -> None:
    """They are passed on as they are."""
    assert "302 http://origin-1/a/../b\n" in run("explain", "/a/../b").stdout


TOO_LARGE = "the header section has more than 100 fields or 32768 bytes\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["*"], "*: 400, the target must be a path that begins with / or an http or https URL\n"),
        (["ftp://x/"], "ftp://x/: 400, the target must be a path that begins with / or an http or https URL\n"),
        (
            ["--host", "u@h"],
            "http://localhost/: 400, the Host header is no host with an optional port: "
            "a host name is made of letters, digits, - and _ between dots\n",
        ),
        (["/\xfc"], "http://localhost/\xfc: 400, the request is malformed: Invalid char in url path\n"),
        (["/a b"], "http://localhost/a b: 400, the request is malformed: Expected HTTP/, RTSP/ or ICE/\n"),
        (["/" + "a" * 9000], f"http://localhost/{'a' * 9000}: 414, the request line is longer than 8192 bytes\n"),
        (["--method", "brew", "/x"], "http://localhost/x: 501, the method brew is not known here\n"),
        (["--method", "SOURCE", "/x"], "http://localhost/x: 505, only HTTP/1.1 and HTTP/1.0 are spoken here\n"),
        (["--header", "X Y: 1"], "http://localhost/: 400, the request is malformed: Invalid header token\n"),
        (["--header", ": 1"], "http://localhost/: 400, the request is malformed: Invalid header token\n"),
        (["--header", "X: a\x01b"], "http://localhost/: 400, the request is malformed: Invalid header value char\n"),
        (["--pool", "\x0bpool-b"], "http://localhost/: 400, the request is malformed: Invalid header value char\n"),
        (["--host", "a", "--header", "Host: a"], "http://localhost/: 400, the request has more than one Host header\n"),
        (["--header", f"X: {'a' * 33_000}"], f"http://localhost/: 431, {TOO_LARGE}"),
        (["--header", "X: 1"] * 100, f"http://localhost/: 431, {TOO_LARGE}"),
    ],
)
def test_explain_refuses_what_is_no_request(file: Path, arguments: list[str], message: str) -> None:
    """What the service would refuse is refused in its words; exit code 2."""
    result = run("explain", *arguments)
    assert (result.exit_code, result.stderr) == (2, message)


def test_whether_a_file_can_be_read_is_known_when_it_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """click would ask before, and say so in other words and with another code than of a file that is not there."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    for command in (["check", str(file)], ["explain", "--config", str(file)], ["pools", "list"]):
        assert run(*command).exit_code == 0


def test_methods_of_a_route_that_never_arrive_are_warned_of(file: Path) -> None:
    """What arrives is asked of the connection itself, as `explain` does."""
    methods = """ACL ANNOUNCE BASELINE-CONTROL BIND BREW CHECKIN CHECKOUT CONNECT COPY DELETE DESCRIBE FLUSH GET
        GET_PARAMETER HEAD LABEL LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE
        NOTIFY OPTIONS ORDERPATCH PATCH PAUSE PLAY POST PRI PROPFIND PROPPATCH PURGE PUT QUERY REBIND RECORD REDIRECT
        REPORT SEARCH SETUP SET_PARAMETER SOURCE SUBSCRIBE TEARDOWN TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UNSUBSCRIBE
        UPDATE UPDATEREDIRECTREF VERSION-CONTROL""".split()
    file.write_text(f"[[routes]]\nmethods = {json.dumps(methods)}\nrespond = {{ status = 204 }}\n{POOLS}")
    refused = [method for method in methods if "204" not in run("explain", "--method", method, "/x").stdout]
    assert "BREW" in refused
    warnings = run("check", str(file)).stderr
    assert re.findall(r'2:11: routes\[0\]\.methods: has no effect for "(.*?)": such requests are', warnings) == refused


def test_explain_needs_a_good_file(file: Path) -> None:
    """A file with faults is explained by its faults; exit code 1."""
    file.write_text("")
    result = run("explain")
    assert result.exit_code == 1
    assert result.stderr == "redirect_pools_config.toml:1:1: holds no pool; a pool begins with a line like [pool-a]\n"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (200, b"null"),
        (200, b"<h1>Welcome</h1>"),
        (200, b"\xff"),
        (404, b"{}"),
        (404, b"[]"),
        (503, b"no server"),
        (502, b""),
    ],
)
def test_reload_where_something_else_answers(status: int, body: bytes) -> None:
    """What is not said as the admin listener says it is said to come from something else; exit code 1."""
    with answering(answer(body, status=f"{status} Said"), ends=False) as bind:
        result = run("reload", "--admin-bind", bind)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"what answers at {bind} is not the admin listener of this service; name another address\n"


@pytest.mark.parametrize("fields", [[], ["Retry-After: 3600"], ["Retry-After: Fri, 20 Nov 2026 19:43:06 GMT"]])
def test_reload_where_it_is_no_use_to_wait(fields: list[str]) -> None:
    """A refusal that is not worth another try, or not soon, is printed; exit code 1."""
    refusal = answer(b'{"detail": "not now"}', *fields, status="503 Service Unavailable")
    with answering(refusal, ends=False) as bind:
        result = run("reload", "--admin-bind", bind)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "not now\n")


def test_check_says_what_a_file_changes_of_another_one(file: Path) -> None:
    old = file.with_name("old.toml")
    old.write_text(POOLS.replace('"origin-1" = 2', '"origin-1" = 1'))
    result = run("check", "--diff", str(old))
    assert (result.exit_code, result.stdout) == (
        0,
        "pool pool-a: origin-1: 50 % -> 66.7 %, origin-2.example.com: 50 % -> 33.3 %\n",
    )
    old.write_text(POOLS)
    assert run("check", "--diff", str(old)).stdout == "no change\n"
    assert json.loads(run("check", "--json", "--diff", str(old)).stdout)["changes"] == []


def test_check_says_what_a_file_changes_of_standard_input(file: Path) -> None:
    """One of the two may be standard input, which can be read once."""
    old = POOLS.replace('"origin-1" = 2', '"origin-1" = 1')
    result = run("check", "--diff", "-", str(file), content=old)
    assert (result.exit_code, result.stdout) == (
        0,
        "pool pool-a: origin-1: 50 % -> 66.7 %, origin-2.example.com: 50 % -> 33.3 %\n",
    )
    bad = run("check", "--diff", "-", str(file), content="[p]\n")
    assert bad.exit_code == 1
    assert bad.stderr.startswith("standard input:1:1: ")
    both = run("check", "--diff", "-", "-", content=old)
    assert (both.exit_code, both.stderr) == (
        2,
        "standard input is compared with itself: name another file with --diff\n",
    )


def test_check_says_what_a_file_changes_of_what_is_in_force(file: Path) -> None:
    """By the admin listener; where there is none, the exit code is 1."""
    with answering(answer(b'{"changes": ["warning: pool q is gone"]}'), ends=False) as bind:
        assert run("check", "--admin-bind", bind, "--diff").stdout == "warning: pool q is gone\n"
    with answering(answer(b"[]"), ends=False) as bind:
        assert run("check", "--admin-bind", bind, "--diff").exit_code == 1


@pytest.mark.slow
def test_reload_with_a_token_of_any_language(tmp_path: Path) -> None:
    """A token is the same to the command and to the listener, whatever its letters."""
    with running(tmp_path, REDIRECT_ADMIN_TOKEN="tök€n") as service:
        bind = service.admin_url.removeprefix("http://")
        assert run("reload", "--admin-bind", bind, REDIRECT_ADMIN_TOKEN="tök€n").exit_code == 0
        assert run("reload", "--admin-bind", bind, REDIRECT_ADMIN_TOKEN="token").exit_code == 1


def test_init_writes_a_toml_to_begin_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is valid, with and without what is commented out, and is never written over another file."""
    monkeypatch.chdir(tmp_path)
    assert run("init").stdout.startswith("redirect_pools_config.toml is written")
    assert run("check").stdout.startswith("main  302  default\n")
    text = Path("redirect_pools_config.toml").read_text()
    Path("all.toml").write_text(re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE))
    checked = run("check", "all.toml")
    assert (checked.exit_code, checked.stderr) == (0, "")
    assert "forward_to api" in checked.stdout
    bodies = [
        route["respond"]["body"]
        for route in tomllib.loads(Path("all.toml").read_text())["routes"]
        if "respond" in route
    ]
    assert bodies == ["User-agent: *\nDisallow: /\n"]
    again = run("init")
    assert (again.exit_code, again.stderr) == (1, "redirect_pools_config.toml is there already, and stays as it is\n")
    assert Path("redirect_pools_config.toml").read_text() == text
    assert (
        run("init", "no/folder.toml").stderr
        == "no/folder.toml cannot be written: No such file or directory; name another file\n"
    )


def test_check_reads_standard_input() -> None:
    good = run("check", "-", content=b'[p]\nweighted_hosts = { "a" = 1 }\nis_default = true\n')
    assert (good.exit_code, good.stdout) == (0, "p  302  default\n  a  weight       1  100.00%\n")
    bad = run("check", "-", content=b"[p]\n")
    assert bad.exit_code == 1
    assert bad.stderr.startswith("standard input:1:1: ")


SMALL = b'[p]\nweighted_hosts = { "a" = 1 }\nis_default = true\n'


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        pytest.param(["check", "--config", "-"], "p  302  default\n", id="check"),
        pytest.param(["explain", "--config", "-"], "pool     p (the default pool)\n", id="explain"),
        pytest.param(["pools", "list", "--config", "-"], "p  1 origin  default\n", id="pools list"),
    ],
)
def test_config_may_be_standard_input(command: list[str], printed: str) -> None:
    result = run(*command, content=SMALL)
    assert (result.exit_code, result.stdout[: len(printed)]) == (0, printed)
    bad = run(*command, content=b"[p]\n")
    assert bad.exit_code == 1
    assert bad.stderr.startswith("standard input:1:1: ")


def test_standard_input_is_as_large_as_a_file_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "MAX_CONFIG_BYTES", 1000)
    result = run("check", "-", content=SMALL + b"#" * 10_000)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("standard input:1:1: too large: at least 1,001 bytes, at most 1,000 ")


def test_check_takes_config_as_other_commands_do(file: Path) -> None:
    other = file.rename("other.toml")
    assert run("check", "--config", str(other)).stdout == CHECKED
    both = run("check", "--config", str(other), str(other))
    assert (both.exit_code, both.stderr) == (2, f"{other} and --config {other} are two files: name one\n")


@pytest.mark.parametrize("command", [["check", ""], ["init", ""], ["explain", "--config", ""]], ids=str)
def test_an_empty_name_is_none(command: list[str], file: Path) -> None:
    result = run(*command)
    assert (result.exit_code, result.stderr) == (2, "REDIRECT_POOLS_CONFIG_PATH: must not be empty, got ''\n")


def test_init_writes_to_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = run("init", "-")
    assert (written.exit_code, list(tmp_path.iterdir())) == (0, [])
    assert run("check", "-", content=written.stdout).exit_code == 0


def test_pools_are_listed(file: Path) -> None:
    assert run("pools", "list").stdout == "pool-a  3 origins, 1 drained  default\npool-b  1 origin\n"
    rows = json.loads(run("pools", "list", "--json").stdout)
    assert rows[0] == {"name": "pool-a", "is_default": True, "is_forwarded": False, "origins": 3, "drained": 1}


@pytest.mark.parametrize("is_there", [True, False], ids=["another file", "no file"])
def test_pools_of_the_running_service_are_listed_without_a_file(file: Path, is_there: bool) -> None:
    if not is_there:
        file.unlink()
    site = {"is_default": True, "is_forwarded": False, "overrides": [], "origins": {"a": {"weight": 1}}}
    api = {"is_default": False, "is_forwarded": True, "overrides": [OVERRIDE], "discover": {"name": "api", "port": 1}}
    api["origins"] = {"10.0.0.1:1": {"weight": 1}, "10.0.0.2:1": {"weight": 0}}
    said = json.dumps({"pools": {"site": site, "api": api}}).encode()
    with answering(answer(said), ends=False) as bind:
        assert run("pools", "list", "--live", "--admin-bind", bind).stdout == (
            "site  1 origin  default\n"
            "api   2 origins, 1 drained  forwarded\n"
            "  override: 10.0.0.1:1  5 % since 8:00, until 9:00\n"
        )
        rows = json.loads(run("pools", "list", "--live", "--json", "--admin-bind", bind).stdout)
    assert rows[1] == {
        "name": "api",
        "is_default": False,
        "is_forwarded": True,
        "origins": 2,
        "drained": 1,
        "overrides": [OVERRIDE],
    }


def test_origins_that_are_found_are_not_counted_in_the_file(file: Path) -> None:
    file.write_text('[p]\nis_default = true\ndiscover = { name = "a", port = 1 }\n')
    assert run("pools", "list").stdout == "p  origins are found  default\n"
    assert json.loads(run("pools", "list", "--json").stdout)[0]["origins"] is None
