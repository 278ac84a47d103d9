"""`[[routes]]` in the TOML: what a good array becomes, and every fault with its place."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import generated
from support.pieces import outcome_as_a_whole, outcome_in_pieces
from support.toml import read, refused

from redirect.config.loader import ConfigError, Loader, parse_config
from redirect.config.schema import ROUTE_KEYS, keys_of
from redirect.core.limits import MAX_LIMITS
from redirect.core.pools import Fault
from redirect.core.routes import FORWARD_KEYS, Caching, RequestLimit, Response, Route, Timeouts

POOLS = "[orders]\nweighted_hosts = { a = 1 }\n[payment]\nweighted_hosts = { b = 1 }\n"


def route(lines: str) -> str:
    """What refuses a route of these lines, the first of which is line 3; without the file's name."""
    return refused(f'[[routes]]\nforward_to = "orders"\n{lines}\n{POOLS}').removeprefix("pools.toml:")


# What a good file becomes


def test_all_keys() -> None:
    config = read(
        '[[routes]]\nhost = "*.Example.com:8080"\npath_prefix = "/api/"\nmethods = ["GET", "POST"]\n'
        'forward_to = "orders"\nstrip_prefix = true\npass_host = false\nretries = 0\nretry_on = [502, 503]\n'
        'cache = { stale_if_down = 300 }\nerror_log = "-"\n'
        "[routes.timeouts]\nconnect = 0.5\nanswer = 5\nidle = 7\ntotal = 10\n"
        '[[routes]]\npath = "/a"\nforward_to = "orders"\ntarget = "/b/c"\n'
        '[[routes]]\npath = "/b"\nredirect_to = "payment"\n'
        '[[routes]]\npath = "/c"\nshow = "readyz"\n'
        '[[routes]]\nrespond = { status = 403, body = "é", content_type = "text/html", headers = { "X-A" = "b c" } }\n'
        + POOLS
    )
    assert config.routes == (
        Route(
            host="*.Example.com:8080",
            path_prefix="/api/",
            methods=("GET", "POST"),
            forward_to="orders",
            strip_prefix=True,
            pass_host=False,
            timeouts=Timeouts(0.5, 5, 7, 10),
            retries=0,
            retry_on=(502, 503),
            cache=Caching(300),
            error_log="-",
        ),
        Route(path="/a", forward_to="orders", target="/b/c"),
        Route(path="/b", redirect_to="payment"),
        Route(path="/c", show="readyz"),
        Route(respond=Response(403, "é", "text/html", (("X-A", "b c"),))),
    )
    assert [*config.pools] == ["orders", "payment"]
    assert (config.default, config.warnings) == (None, ())


def test_what_is_left_out() -> None:
    (taken,) = read(f'[[routes]]\nforward_to = "orders"\n{POOLS}').routes
    assert taken == Route(
        None, None, None, (), "orders", None, None, None, False, None, None, Timeouts(1, 30, 60), 1, ()
    )
    (taken,) = read("[[routes]]\nrespond = {}").routes
    assert taken.respond == Response(200, "", "text/plain; charset=utf-8", ())


def test_limits() -> None:
    """A number means as many under way, without a queue."""
    text = "".join(
        f'[[routes]]\npath = "/{n}"\nforward_to = "orders"\nlimit = {limit}\n'
        for n, limit in enumerate(("100", "{ in_flight = 7 }", "{ in_flight = 1, queue = 50, wait = 2.5 }"))
    )
    assert [route.limit for route in read(text + POOLS).routes] == [
        RequestLimit(100, 0, 1, index=0),
        RequestLimit(7, 0, 1, index=1),
        RequestLimit(1, 50, 2.5, index=2),
    ]


def test_more_limits_than_there_can_be() -> None:
    route = '[[routes]]\npath = "/{}"\nforward_to = "orders"\nlimit = 1\n'
    most = "".join(map(route.format, range(MAX_LIMITS)))
    assert len(read(most + POOLS).routes) == MAX_LIMITS
    assert refused(most + route.format("more") + POOLS) == (
        f"pools.toml:{4 * MAX_LIMITS + 4}:1: routes[{MAX_LIMITS}].limit: "
        f"{MAX_LIMITS} routes before this one have a limit, and no more can have one"
    )


def test_a_limit_where_the_system_has_no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of another system than Linux cannot count together."""
    monkeypatch.setattr("redirect.config.routes._CAN_LIMIT", False)
    said = "3:1: routes[0].limit: counts requests of all workers by what Linux alone has; leave it out"
    assert route("limit = 1") == said


@pytest.mark.parametrize(
    "text",
    [
        f'[[routes]]\nforward_to = "orders"\n[[routes]]\npath = "/"\nrespond = {{}}\n{POOLS}',
        f'routes = [{{ forward_to = "orders" }}, {{ path = "/", respond = {{}} }}]\n{POOLS}',
        f'{POOLS}[[routes]]\nforward_to = "orders"\n[[routes]]\npath = "/"\n[routes.respond]\n',
    ],
)
def test_forms_of_an_array(text: str) -> None:
    """TOML's two forms of an array of tables are one, before the pools or behind them."""
    assert read(text).routes == (Route(forward_to="orders"), Route(path="/", respond=Response()))


def test_a_table_called_routes_is_a_pool() -> None:
    """As it was before there were routes."""
    config = read("[routes]\nis_default = true\nweighted_hosts = { a = 1 }\n")
    assert (config.default, config.routes) == (config.pools["routes"], ())


def test_routes_need_no_pool_and_no_default() -> None:
    """An empty array is no route."""
    assert read("[[routes]]\nrespond = { status = 404 }").pools == {}
    default = read(f'[[routes]]\nforward_to = "orders"\n{POOLS}is_default = true\n').default
    assert default is not None
    assert default.name == "payment"
    assert refused("routes = []") == "pools.toml:1:1: holds no pool; a pool begins with a line like [pool-a]"
    assert refused(f"routes = []\n{POOLS}").startswith("pools.toml:1:1: no pool is the default; ")


# Faults of a route

_PATH = "must begin with / and have at most 1024 visible ASCII characters"
_WILD = "a prefix is whole segments without *, ? and #"
_DOTS = "a segment of dots never arrives: requests with one are refused"
_HOST = 'must be a host with an optional port, or "*." before one'
_LDH = "a host name is made of letters, digits, - and _ between dots"
_METHODS = 'must be an array of methods such as ["GET", "POST"], each once'
_SECONDS = "must be a number of seconds from 0.1 to 3600"
_FIELDS = 'must be a table of header fields such as { "cache-control" = "no-store" }'
_LIMIT = "must be a whole number from 1 to 1000000, or a table such as { in_flight = 100, queue = 50 }"
_LOG = 'must be a path of 1 to 1024 characters, or "-" for standard error'
_STRIP = "must be true or false: what path_prefix matched is cut"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("host = 1", f"{_HOST}, got 1"),
        ('host = "*"', f'{_HOST}, got "*": {_LDH}'),
        ('host = "a.*.b"', f'{_HOST}, got "a.*.b": {_LDH}'),
        ('host = "http://a"', f'{_HOST}, got "http://a": not a host with an optional port'),
        ('path = "a"', f'{_PATH}, got "a"'),
        ('path = "/a b"', f'{_PATH}, got "/a b"'),
        ('path = "/é"', f'{_PATH}, got "/é"'),
        ('path = "/a?b"', f'{_PATH}, got "/a?b": a path has no *, ? and #'),
        (f'path = "/{"x" * 1024}"', f'{_PATH}, got "/{"x" * 77}…'),
        ('path_prefix = ""', f'{_PATH}, got ""'),
        ('path_prefix = "api"', f'{_PATH}, got "api"'),
        ('path_prefix = "/api/*"', f'{_PATH}, got "/api/*": {_WILD}'),
        ('path_prefix = "/a?"', f'{_PATH}, got "/a?": {_WILD}'),
        ('path_prefix = "/a#b"', f'{_PATH}, got "/a#b": {_WILD}'),
        ('path_prefix = "/a/../b"', f'{_PATH}, got "/a/../b": {_DOTS}'),
        ('path_prefix = "/a/%2e"', f'{_PATH}, got "/a/%2e": {_DOTS}'),
        ('path_prefix = ["/a", "/b"]', f"{_PATH}, got an array"),
        ('methods = "GET"', f'{_METHODS}, got "GET"'),
        ("methods = []", f"{_METHODS}, got an array: there is none"),
        ('methods = ["GET", "GET"]', f"{_METHODS}, got an array: GET is there twice"),
        ('methods = ["a b"]', f'{_METHODS}, got an array: "a b" is no method'),
        ('methods = ["get"]', f"{_METHODS}, got an array: methods are in capitals, write GET"),
        (
            'methods = ["get", "PUT", "a b", "PUT"]',
            f'{_METHODS}, got an array: methods are in capitals, write GET; "a b" is no method; PUT is there twice',
        ),
        ("pass_host = 1", "must be true or false, got 1"),
        ("timeouts = 5", "must be a table such as { answer = 5 }, got 5"),
        ("retries = -1", "must be a whole number from 0 to 10, got -1"),
        ("retries = true", "must be a whole number from 0 to 10, got true"),
        ("retry_on = 503", "must be an array of 502, 503 and 504, got 503"),
        ("limit = 0", f"{_LIMIT}, got 0"),
        ("limit = 1000001", f"{_LIMIT}, got 1000001"),
        ("limit = true", f"{_LIMIT}, got true"),
        ("limit = 1.5", f"{_LIMIT}, got 1.5"),
        ('limit = "100"', f'{_LIMIT}, got "100"'),
        ("limit = [1]", f"{_LIMIT}, got an array"),
        (
            "retry_on = [500, 502, 501]",
            "must be an array of 502, 503 and 504, got an array: 500 is none of them; 501 is none of them",
        ),
        ("cache = 300", "must be a table such as { stale_if_down = 300 }, got 300"),
        ('error_log = ""', f'{_LOG}, got ""'),
        ('error_log = "a\\u0000"', f'{_LOG}, got "a\\u0000"'),
        ('error_log = "/"', 'cannot be opened: "/" is a directory; name a file in it'),
        ('error_log = "/nowhere/x"', 'cannot be opened: there is no directory "/nowhere"; make it, or name another'),
        ('error_log = "/dev/null/x"', 'cannot be opened: there is no directory "/dev/null"; make it, or name another'),
    ],
)
def test_values(line: str, said: str) -> None:
    """What is wrong with a value is said with its place, and what is allowed."""
    key, _, _ = line.partition(" ")
    assert route(line) == f"3:{len(key) + 4}: routes[0].{key}: {key} {said}"


@pytest.mark.parametrize("path", ["new.log", "logs/new.log", "logs/old.log"])
def test_an_error_log_is_looked_for_and_not_made(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the working directory; what must be writable is the file or, before there is one, its directory."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "old.log").touch()
    monkeypatch.chdir(tmp_path)
    before = {*tmp_path.rglob("*")}
    (taken,) = read(f'[[routes]]\nforward_to = "orders"\nerror_log = "{path}"\n{POOLS}').routes
    assert taken.error_log == path
    assert {*tmp_path.rglob("*")} == before
    monkeypatch.setattr(os, "access", lambda *_: False)  # for root all is writable
    what = path if "old" in path else path.removesuffix("new.log").rstrip("/") or "."
    said = f'error_log cannot be opened: "{what}" is not writable; allow it, or name another'
    assert route(f'error_log = "{path}"') == f"3:13: routes[0].error_log: {said}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('methods = ["GET", 1]', f"3:19: routes[0].methods[1]: methods {_METHODS}, got 1"),
        ('retry_on = ["503"]', '3:13: routes[0].retry_on[0]: retry_on must be an array of 502, 503 and 504, got "503"'),
        ("timeouts = { total = 0 }", f"3:22: routes[0].timeouts.total: total {_SECONDS}, got 0"),
        ('timeouts = { idle = "1s" }', f'3:21: routes[0].timeouts.idle: idle {_SECONDS}, got "1s"'),
        ("limit = {}", "3:1: routes[0].limit: in_flight is missing; limit " + _LIMIT),
        (
            "limit = { in_flight = 0 }",
            "3:23: routes[0].limit.in_flight: in_flight must be a whole number from 1 to 1000000, got 0",
        ),
        (
            "limit = { in_flight = 1, queue = -1 }",
            "3:34: routes[0].limit.queue: queue must be a whole number from 0 to 100000, got -1",
        ),
        ("limit = { in_flight = 1, queue = 1, wait = 0 }", f"3:44: routes[0].limit.wait: wait {_SECONDS}, got 0"),
        (
            "limit = { in_flight = 1, index = 1 }",
            "3:26: routes[0].limit.index: unknown key, allowed are in_flight, queue, wait",
        ),
        (
            "limit = { in_flight = 1, wait = 2 }",
            "3:26: routes[0].limit.wait: is how long requests wait in the queue, and there is none; add queue",
        ),
        (
            "cache = { stale_if_down = 0 }",
            "3:27: routes[0].cache.stale_if_down: stale_if_down must be a number of seconds from 1 to 86400, got 0",
        ),
        (
            "cache = {}",
            "3:1: routes[0].cache: stale_if_down is missing; cache must be a table such as { stale_if_down = 300 }",
        ),
        (
            "timeouts = { anser = 1 }",
            "3:14: routes[0].timeouts.anser: unknown key, did you mean answer? "
            "Allowed are connect, answer, idle, total",
        ),
    ],
)
def test_values_within_others(line: str, said: str) -> None:
    """The elements of an array count from 0."""
    assert route(line) == said


@pytest.mark.parametrize(
    ("respond", "said"),
    [
        ("status = 199", "22: routes[0].respond.status: status must be a whole number from 200 to 599, got 199"),
        ("body = 1", "20: routes[0].respond.body: body must be a string of 0 to 65536 characters, got 1"),
        (
            'content_type = "a/b\\r\\n"',
            "28: routes[0].respond.content_type: content_type must be a media type such as "
            '"text/html; charset=utf-8", got "a/b\\r\\n"',
        ),
        ("headers = []", f"23: routes[0].respond.headers: headers {_FIELDS}, got an array"),
        (
            'headers = { a = 1, b = true, "a b" = 1, Date = 1, c = "d" }',
            f"23: routes[0].respond.headers: headers {_FIELDS}, got a table: "
            "the value of a is no text, write it in quotes; the value of b is no text, write it in quotes; "
            "the value of a b is no text, write it in quotes; "
            "a b is no header field in visible ASCII characters; the value of Date is no text, write it in quotes; "
            "Date is written by the service",
        ),
        (
            'headers = { "a b" = "" }',
            f"23: routes[0].respond.headers: headers {_FIELDS}, got a table: "
            "a b is no header field in visible ASCII characters",
        ),
        (
            'headers = { a = "b\\r\\nc: d" }',
            f"23: routes[0].respond.headers: headers {_FIELDS}, got a table: "
            "a is no header field in visible ASCII characters",
        ),
        (
            'headers = { Content-Length = "1", date = "", a = "", A = "" }',
            f"23: routes[0].respond.headers: headers {_FIELDS}, got a table: Content-Length is written by the service; "
            "date is written by the service; A is there twice",
        ),
        ('status = 204, body = "a"', "27: routes[0].respond.body: a response of status 204 has no body"),
        (
            "Status = 404",
            "13: routes[0].respond.Status: unknown key, did you mean status? "
            f"Allowed are {', '.join(keys_of(Response))}",
        ),
    ],
)
def test_values_of_a_response(respond: str, said: str) -> None:
    """What would make another response of it is refused, too."""
    assert refused(f"[[routes]]\nrespond = {{ {respond} }}\n").replace("pools.toml:2:", "") == said


_DOCUMENTS = 'must be one of "stats", "status", "healthz", "readyz", "metrics"'


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('"page"', f'{_DOCUMENTS}, got "page"'),
        ('"/stats"', f'{_DOCUMENTS}, got "/stats": did you mean "stats"?'),
        ('"health"', f'{_DOCUMENTS}, got "health": did you mean "healthz"?'),
        ("true", f"{_DOCUMENTS}, got true"),
        ("{}", f"{_DOCUMENTS}, got a table"),
    ],
)
def test_what_may_be_shown(value: str, said: str) -> None:
    """With the nearest of them."""
    assert refused(f"[[routes]]\nshow = {value}\n") == f"pools.toml:2:8: routes[0].show: show {said}"


def test_unknown_keys() -> None:
    """With the nearest known name, or the table where it belongs."""
    allowed = f"Allowed are {', '.join(ROUTE_KEYS)}"
    assert route("prefix = 1") == f"3:1: routes[0].prefix: unknown key, did you mean path_prefix? {allowed}"
    assert route("x = 1") == f"3:1: routes[0].x: unknown key, {allowed.lower()}"
    assert route("answer = 1") == "3:1: routes[0].answer: answer belongs to timeouts"
    pool = "a pool; write it below a line like [pool-a]"
    assert route('scheme = "https"') == f"3:1: routes[0].scheme: scheme belongs to {pool}"
    assert route("status = 404") == f"3:1: routes[0].status: status belongs to respond, or to {pool}"
    assert route("discover = {}") == f"3:1: routes[0].discover: discover belongs to {pool}"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('path = "/"', "1:3: routes[0]: a route needs one action: forward_to, redirect_to, respond or show"),
        (
            'redirect_to = "orders"\nforward_to = "orders"',
            "3:1: routes[0].forward_to: a route has one action, got redirect_to and forward_to",
        ),
        (
            'respond = {}\nforward_to = "orders"\nredirect_to = "orders"',
            "3:1: routes[0].forward_to: a route has one action, got respond and forward_to and redirect_to",
        ),
        ('respond = {}\nshow = "stats"', "3:1: routes[0].show: a route has one action, got respond and show"),
        (
            'path_prefix = "/a"\npath = "/a"\nforward_to = "orders"',
            "2:1: routes[0].path_prefix: a route has path or path_prefix, not both",
        ),
        (
            'forward_to = "orders"\nstrip_prefix = true',
            "3:1: routes[0].strip_prefix: cuts what path_prefix matched, and there is no path_prefix",
        ),
        (
            'path_prefix = "/api"\nforward_to = "orders"\nstrip_prefix = "/api"',
            f'4:16: routes[0].strip_prefix: strip_prefix {_STRIP}, got "/api"',
        ),
        (
            'path_prefix = "/a"\nforward_to = "orders"\ntarget = "/b"',
            "4:1: routes[0].target: takes the place of path, and there is no path; "
            "strip_prefix = true cuts a path_prefix",
        ),
        (
            'path_prefix = "/a"\nredirect_to = "orders"\nstrip_prefix = true',
            "4:1: routes[0].strip_prefix: belongs to forward_to: redirects keep the target, and ask no origin",
        ),
        (
            "respond = {}\nretries = 1\ntimeouts = {}",
            "4:1: routes[0].timeouts: belongs to forward_to: a response of ours asks no origin\n"
            "pools.toml:3:1: routes[0].retries: belongs to forward_to: a response of ours asks no origin",
        ),
        (
            'path_prefix = "/a"\nshow = "readyz"\nstrip_prefix = true',
            "4:1: routes[0].strip_prefix: belongs to forward_to: what the admin listener shows comes from no origin",
        ),
    ],
)
def test_keys_that_do_not_go_together(lines: str, said: str) -> None:
    faults = sorted(f"pools.toml:{said}".split("\n"))
    assert refused(f"[[routes]]\n{lines}\n{POOLS}").split("\n") == faults


def test_every_key_of_a_forward_has_no_meaning_elsewhere() -> None:
    values = {
        "strip_prefix": "true",
        "target": '"/b"',
        "timeouts": "{}",
        "retry_on": "[]",
        "pass_host": "true",
        "cache": "{ stale_if_down = 1 }",
        "error_log": '"-"',
    }
    for key in FORWARD_KEYS:
        for action in ('redirect_to = "orders"', "respond = {}", 'show = "healthz"'):
            assert f"routes[0].{key}: belongs to forward_to: " in refused(
                f"[[routes]]\n{action}\n{key} = {values.get(key, 2)}\n{POOLS}"
            )


def test_unknown_pools() -> None:
    """With the nearest name; a pool that has faults itself is known."""
    text = f'[[routes]]\nforward_to = "order"\n[[routes]]\npath = "/"\nredirect_to = "x"\n{POOLS}status = 1\n'
    assert refused(text) == (
        'pools.toml:2:14: routes[0].forward_to: there is no pool "order"; did you mean "orders"? '
        'There are "orders", "payment"\n'
        'pools.toml:5:15: routes[1].redirect_to: there is no pool "x"; there are "orders", "payment"\n'
        "pools.toml:10:10: payment.status: status must be one of 301, 302, 303, 307, 308, got 1"
    )
    assert refused('[[routes]]\nforward_to = "x"') == (
        'pools.toml:2:14: routes[0].forward_to: there is no pool "x"; there are none'
    )


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        ("", "", "the same requests"),
        ('path_prefix = "/"', "", "the same requests"),
        ('host = "A.example"', 'host = "a.example."', "the same requests"),
        ('path_prefix = "/a/"', 'path_prefix = "/%61"', "the same requests"),
        ('methods = ["GET"]', 'methods = ["GET"]', "the same GET requests"),
        ('methods = ["A", "B", "C"]', 'methods = ["C", "D", "B"]', "the same C and B requests"),
        ("retries = 99", 'path = 1\n[[routes]]\nforward_to = "b"', "the same requests"),
    ],
)
def test_routes_of_which_neither_is_more_specific(one: str, other: str, what: str) -> None:
    """Both places are named, also where other keys have faults."""
    text = f'# first\n[[routes]]\nredirect_to = "orders"\n{one}\n\n[[routes]]\nrespond = {{}}\n{other}\n{POOLS}'
    last = 2 if "[[" in other else 1
    assert (
        f"pools.toml:{6 if last == 1 else 9}:3: routes[{last}]: takes {what} as routes[0] in line 2, "
        "and neither is more specific; change host, path or methods of one"
    ) in refused(text).split("\n")


def test_routes_that_differ() -> None:
    """By the method, by the host, or as a path and a prefix."""
    others = ['methods = ["PUT"]', 'host = "a"', 'host = "*.a"', 'host = "a:80"', 'path = "/"', 'path_prefix = "/a"']
    text = "".join(f"[[routes]]\nrespond = {{}}\n{each}\n" for each in ["", *others])
    assert len(read(text).routes) == 7


# What was meant as a route, or as a pool

_HEADER = "a route begins with a line like [[routes]], with two brackets"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[route]]\npath = "/"\n', f"1:3: route: {_HEADER}, got [[route]]"),
        ("[[Routes]]\nx = 1\n", f"1:3: Routes: {_HEADER}, got [[Routes]]"),
        ('[[api]]\nforward_to = "orders"\n', f"1:3: api: {_HEADER}, got [[api]]"),
        ('[routes]\npath_prefix = "/a"\nforward_to = "orders"\n', f"1:2: routes: {_HEADER}, got [routes]"),
        ('[routes.orders]\npath_prefix = "/a"\n', f"1:2: routes: {_HEADER}, got [routes.orders]"),
        ('[[routes.orders]]\npath_prefix = "/a"\n', f"1:3: routes: {_HEADER}, got [[routes.orders]]"),
        ("routes = 1\n", f"1:1: routes: {_HEADER}, got 1"),
        ("routes = [1]\n", "1:11: routes[0]: a route must be a table that begins with a line like [[routes]], got 1"),
    ],
)
def test_headers_of_routes(text: str, said: str) -> None:
    """Nothing else is said of them: what they hold is all right where it belongs."""
    assert refused(text + POOLS) == f"pools.toml:{said}"


def test_keys_of_a_route_below_a_pool() -> None:
    """TOML takes a key for the table above it."""
    text = f'{POOLS}is_default = true\npath_prefix = "/api"\nforward_to = "x"\nhost = "a"\n'
    assert refused(text) == (
        "pools.toml:6:1: payment.path_prefix: path_prefix belongs to a route; write it below [[routes]]\n"
        "pools.toml:7:1: payment.forward_to: forward_to belongs to a route; write it below [[routes]]\n"
        "pools.toml:8:1: payment.host: host belongs to health_check, or to a route; write it below [[routes]]"
    )


def test_routes_twice() -> None:
    """An array and a table of that name, or two arrays of different forms, are refused by TOML itself."""
    for text in (f'{POOLS}[[routes]]\nforward_to = "orders"\n[routes]\n', f"routes = []\n{POOLS}[[routes]]\n"):
        assert ": not TOML: " in refused(text)


# The keys of a pool that routes use


def test_scheme_and_pick() -> None:
    text = '[[routes]]\nforward_to = "orders"\n[orders]\nweighted_hosts = { a = 1 }\n'
    pool = read(text + 'scheme = "https"\npick = "least_requests"\n').pools["orders"]
    assert (pool.scheme, pool.pick) == ("https", "least_requests")
    pool = read(text).pools["orders"]
    assert (pool.scheme, pool.pick) == (None, "round_robin")
    assert refused(f'{text}scheme = "ftp"\npick = "turn"\n') == (
        'pools.toml:5:10: orders.scheme: scheme must be "http" or "https", got "ftp"\n'
        "pools.toml:6:8: orders.pick: pick must be one of "
        '"round_robin", "random", "hash", "least_requests", got "turn"'
    )


def test_least_requests_needs_a_route() -> None:
    """A redirect is never under way, so the weights of the origins would not be their shares."""
    text = f'[[routes]]\nredirect_to = "orders"\n{POOLS}is_default = true\npick = "least_requests"\n'
    assert refused(text.replace("weighted_hosts = { b = 1 }", "weighted_hosts = { b = 0 }")) == (
        "pools.toml:6:18: payment.weighted_hosts: weighted_hosts needs at least one host with a weight above 0\n"
        "pools.toml:8:8: payment.pick: least_requests counts forwards under way, and no route forwards to this pool; "
        'write "random"'
    )


def test_an_error_log_matters_where_the_file_is_served() -> None:
    """Who edits the file or asks of it may be another user, in another folder, and a log may be gone meanwhile."""
    log = "pools.toml:3:13: routes[0].error_log: error_log cannot be opened"
    text = f'[[routes]]\nforward_to = "orders"\nerror_log = "/nowhere/x"\n{POOLS}'
    assert parse_config(text.encode(), "pools.toml").routes
    assert refused(text).startswith(log)


def test_an_error_log_that_is_gone_refuses_a_file_that_did_not_change(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    loader = Loader("pools.toml", is_served=True)
    text = f'[[routes]]\nforward_to = "orders"\nerror_log = "{folder}/x"\n{POOLS}'.encode()
    assert loader.parse(text).routes
    folder.rmdir()
    with pytest.raises(ConfigError, match="error_log cannot be opened: there is no directory"):
        loader.parse(text)


# Warnings

_SEEN = "redirected to origins to which routes forward: clients see where these are"
_HTTP = 'is asked over http, as the pool has no scheme; write scheme = "https" in the pool'


@pytest.mark.parametrize(
    ("lines", "warnings"),
    [
        ("", []),
        ("status = 302", ["8:10: p.status: has no effect, for routes only forward to this pool"]),
        ("status = 302\nis_default = true", []),
        ('on_loop = "stay"', ["8:11: p.on_loop: has no effect on forwards, which are no redirects"]),
        ('status = 302\n[[routes]]\npath = "/"\nredirect_to = "p"', []),
        (
            'status = 302\n[r]\nweighted_hosts = { a = 1 }\nhealth_check = { path = "/" }\nfallback = "p"',
            [f"12:12: r.fallback: has clients {_SEEN}"],
        ),
    ],
)
def test_a_status_of_a_pool_that_is_only_forwarded_to(lines: str, warnings: list[str]) -> None:
    text = (
        f'[[routes]]\nforward_to = "p"\n\n[q]\nweighted_hosts = {{ a = 1 }}\n[p]\nweighted_hosts = {{ a = 1 }}\n{lines}'
    )
    assert [str(each) for each in read(text).warnings] == [f"pools.toml:{each}" for each in warnings]


@pytest.mark.parametrize(
    ("conditions", "is_seen"),
    [
        ("", False),
        ('path_prefix = "/"', False),
        ('path_prefix = "/api"', True),
        ('host = "a"', True),
        ('path = "/"', True),
    ],
)
def test_a_default_pool_to_which_routes_forward_is_warned_of(conditions: str, is_seen: bool) -> None:
    """Unless a route takes all requests: then none is redirected."""
    text = f'[[routes]]\n{conditions}\nforward_to = "p"\n[p]\nweighted_hosts = {{ a = 1 }}\nis_default = true\n'
    warnings = [str(each) for each in read(text).warnings]
    assert warnings == [f"pools.toml:6:14: p.is_default: has requests that no route takes {_SEEN}"] * is_seen


@pytest.mark.parametrize(
    ("action", "scheme", "is_warned_of"),
    [
        ("forward_to", "", True),
        ("forward_to", 'scheme = "http"', False),
        ("forward_to", 'scheme = "https"', False),
        ("redirect_to", "", False),
    ],
)
def test_an_origin_at_the_port_of_https(action: str, scheme: str, is_warned_of: bool) -> None:
    text = f'[[routes]]\n{action} = "p"\n[p]\nweighted_hosts = {{ a = 1, "b:443" = 2 }}\n{scheme}\n'
    expected = [f'pools.toml:4:27: p.weighted_hosts."b:443": {_HTTP}'] if is_warned_of else []
    assert [str(each) for each in read(text).warnings] == expected


_TELLS = "tells any client of pools and origins; limit it with host, or ask the admin listener instead"


@pytest.mark.parametrize(
    ("show", "is_warned_of"),
    [("stats", True), ("status", True), ("metrics", True), ("healthz", False), ("readyz", False)],
)
def test_what_tells_clients_of_origins(show: str, is_warned_of: bool) -> None:
    """Unless it is shown to those only that ask for a host."""
    text = f'[[routes]]\nforward_to = "orders"\n[[routes]]\npath = "/x"\nshow = "{show}"\n'
    expected = [f"pools.toml:5:8: routes[1].show: {_TELLS}"] if is_warned_of else []
    assert [str(each) for each in read(text + POOLS).warnings] == expected
    assert read(f'{text}host = "inner.example"\n{POOLS}').warnings == ()


# Reading in pieces

WRONG = """\
[[routes]]
path_prefix = "/api/*"
forward_to = "b"
[routes.timeouts]
total = 0
[a]
weighted_hosts = { a = 1, "b:443" = 1 }
pick = "least_requests"
[b]
is_default = true
weighted_hosts = { a = 1, "b:443" = 1 }
status = 301
[[routes]]
redirect_to = "a"
[[routes]]
redirect_to = "c"
[routes.respond]
[routes]
path = "/"
"""
GOOD = f'[[routes]]\nforward_to = "orders"\n[[routes]]\npath = "/"\nredirect_to = "payment"\n{POOLS}is_default = true\n'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        WRONG,
        POOLS + GOOD.partition("[orders]")[0],
        f'[[routes]]\nforward_to = "payment"\n{POOLS}status = 301\n[[routes]]\npath = "/"\nforward_to = "orders"\n',
        f'{POOLS}[[routes]]\npath = "/a"\nshow = "stats"\n[[routes]]\nshow = "status"\n',
        f'[[routes]]\nforward_to = "payment"\n{POOLS}[routes.timeouts]\ntotal = 5\n',
        f'[[routes]]\nforward_to = "payment"\n{POOLS}[routes.timeouts]\ntotal = 0\n',
        f'[[routes]]\nforward_to = "payment"\n{POOLS}[routes]\nweighted_hosts = {{ a = 1 }}\n',
        f'[routes]\npath = "/"\n{POOLS}[[routes]]\nforward_to = "payment"\n',
    ],
)
def test_pieces_mean_what_the_whole_means(text: str) -> None:
    """Routes and pools that know of each other may be in different pieces; routes in two pieces are read together."""
    assert outcome_in_pieces(text) == outcome_as_a_whole(text)


@pytest.mark.slow
@generated(300)
@given(st.lists(st.sampled_from([*WRONG.splitlines(), *GOOD.splitlines()]), max_size=20))
def test_any_pieces(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert outcome_in_pieces(text) == outcome_as_a_whole(text)


@pytest.mark.slow
@generated(300)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([*ROUTE_KEYS, "x"]),
            st.sampled_from(['"/a"', '"a"', '"p"', "true", "1", "[]", '["GET"]', "[503]", "{}", "{ status = 1 }"]),
            max_size=6,
        )
    )
)
def test_any_routes(routes: list[dict[str, str]]) -> None:
    """Any array is taken whole, or each fault has a place in the file."""
    lines = [line for each in routes for line in ("[[routes]]", *(f"{key} = {value}" for key, value in each.items()))]
    text = "\n".join([*lines, "[p]", "is_default = true", "weighted_hosts = { a = 1 }"])
    try:
        taken, faults = read(text).routes, tuple[Fault, ...]()
    except ConfigError as error:
        taken, faults = (), error.faults
    assert bool(faults) or len(taken) == len(routes)
    assert all(fault.key.startswith("routes[") and fault.line <= len(lines) for fault in faults)


def test_a_changed_route_reads_its_piece_alone() -> None:
    """Routes that stand first are a piece of their own, so that pools stay the same objects."""
    pools = "".join(f"[p{n}]\nweighted_hosts = {{ a = 1 }}\n" for n in range(1000))
    loader = Loader("pools.toml")
    before = loader.parse(f'[[routes]]\nforward_to = "p1"\n{pools}'.encode())
    after = loader.parse(f'[[routes]]\nforward_to = "p2"\n{pools}'.encode())
    assert [each.forward_to for each in (*before.routes, *after.routes)] == ["p1", "p2"]
    assert sum(before.pools[name] is not pool for name, pool in after.pools.items()) < 500


def test_pools_that_are_only_forwarded_to() -> None:
    """No client is redirected to a pool that routes forward to, unless it is the default or a route redirects there."""
    pools = "".join(f"[{name}]\nweighted_hosts = {{ a = 1 }}\n" for name in ("only", "both", "plain", "default"))
    routes = [("forward_to", name) for name in ("only", "both", "default")] + [("redirect_to", "both")]
    tables = "".join(f'[[routes]]\npath = "/{n}"\n{key} = "{pool}"\n' for n, (key, pool) in enumerate(routes))
    config = parse_config((pools + "is_default = true\n" + tables).encode(), "pools.toml")
    assert config.only_forwarded() == {"only"}


# What clients are told by


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        pytest.param('hash_on = "client_ip"', 'hash_on is for pick = "hash", got "round_robin"', id="another pick"),
        pytest.param('pick = "hash"\nhash_on = "cookies:a"', 'did you mean "cookie:NAME"?', id="unknown kind"),
        pytest.param('pick = "hash"\nhash_on = "header:a b"', "'a b' is no name of a header field", id="bad name"),
        pytest.param(
            'pick = "hash"\nhash_on = "query:a=b"', "a parameter's name is as the client spells it", id="query"
        ),
    ],
)
def test_faults_of_hash_on(keys: str, message: str) -> None:
    assert message in refused(f"[p]\nis_default = true\nweighted_hosts = {{ a = 1 }}\n{keys}\n")


def test_a_timeout_that_the_total_comes_before() -> None:
    """Only of those that are written: others may be longer by default."""
    text = f'[[routes]]\nforward_to = "orders"\ntimeouts = {{ total = 1, answer = 31, idle = 0.5 }}\n{POOLS}'
    said = "has no effect, as timeouts.total ends the request after 1 s"
    assert [str(each) for each in read(text).warnings] == [f"pools.toml:3:34: routes[0].timeouts.answer: {said}"]
