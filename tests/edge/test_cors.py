"""Pages of other origins: what their browsers want on a redirect, and before it."""

import asyncio
from pathlib import Path
from random import Random

import pytest
from support.connection import Connection
from support.wire import FRONTS, Answer, Wire, head

from redirect.config.loader import ConfigError, parse_config
from redirect.core.cors import CrossOrigin
from redirect.core.health import HealthStatus
from redirect.core.service import new_service

PAGE = "https://app.example"
LISTED = """
[listed]
is_default = true
weighted_hosts = { "a.example" = 1, "b.example" = 1 }
cors = { origins = ["https://app.example", "http://localhost:3000", "null"], methods = ["PUT"], headers = ["x-a", "x-b"], credentials = true, max_age = 600 }
[any]
weighted_hosts = { "a.example" = 1 }
cors = { origins = "*" }
[none]
weighted_hosts = { "a.example" = 1 }
"""  # noqa: E501
ROUTED = f"""
[[routes]]
path = "/any"
methods = ["GET"]
redirect_to = "any"
[[routes]]
path = "/ours"
respond = {{}}
{LISTED}
"""


def cors(answer: Answer) -> dict[str, str]:
    """What a browser, or a cache, looks at."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-") or name == "vary"}


def ask(wire: Wire, line: str, *fields: str, toml: str = LISTED) -> Answer:
    outcome = wire.exchange(head(f"{line} HTTP/1.1", *fields), pools=toml.encode())
    (answer,) = outcome.answers
    return answer


ALLOWED = {"access-control-allow-origin": PAGE, "access-control-allow-credentials": "true", "vary": "Origin"}


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
def test_a_redirect_says_that_the_page_may_follow_it(method: str, wire: Wire) -> None:
    """Also one of OPTIONS that is no preflight."""
    answer = ask(wire, f"{method} /x", f"Origin: {PAGE}")
    assert (answer.status, cors(answer)) == (302, ALLOWED)


@pytest.mark.parametrize("fields", [[], ["Origin: https://evil.example"], ["Origin: HTTPS://app.example"]])
def test_other_pages_are_told_nothing_and_caches_that_it_differs(fields: list[str], wire: Wire) -> None:
    answer = ask(wire, "GET /x", *fields)
    assert (answer.status, cors(answer)) == (302, {"vary": "Origin"})


def test_any_page_is_told_without_being_asked_who_it_is(wire: Wire) -> None:
    for fields in ([], [f"Origin: {PAGE}"]):
        answer = ask(wire, "GET /x", "X-Redirect-Pool-ID: any", *fields)
        assert (answer.status, cors(answer)) == (302, {"access-control-allow-origin": "*"})


PREFLIGHT = ["Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-a"]


def test_a_preflight_is_answered_and_not_redirected(wire: Wire) -> None:
    """It takes no pick: else the requests behind preflights would all get the same of two origins."""
    piece = head("OPTIONS /x HTTP/1.1", f"Origin: {PAGE}", *PREFLIGHT)
    outcome = wire.exchange([piece, head("GET /1 HTTP/1.1"), piece, head("GET /2 HTTP/1.1")], pools=LISTED.encode())
    first, one, second, other = outcome.answers
    ids = [each.headers.pop("x-request-id") for each in (first, second)]
    assert (first, len({*ids})) == (second, 2)
    assert (first.status, first.body, first.headers.get("location")) == (204, b"", None)
    assert "content-length" not in first.headers
    assert cors(first) == {
        **ALLOWED,
        "access-control-allow-methods": "GET, HEAD, POST, PUT",
        "access-control-allow-headers": "x-a, x-b",
        "access-control-max-age": "600",
    }
    assert {one.location, other.location} == {"http://a.example/1", "http://b.example/2"} or (
        {one.location, other.location} == {"http://b.example/1", "http://a.example/2"}
    )
    record = outcome.records[0]
    assert (record["status"], record["pool"], record["origin"], record["action"]) == (204, "listed", None, "respond")


def test_a_preflight_of_another_page_is_answered_without_leave(wire: Wire) -> None:
    answer = ask(wire, "OPTIONS /x", "Origin: https://evil.example", *PREFLIGHT)
    assert (answer.status, cors(answer)) == (204, {"vary": "Origin"})


def test_without_cors_an_options_is_redirected_as_any_request(wire: Wire) -> None:
    answer = ask(wire, "OPTIONS /x", f"Origin: {PAGE}", "X-Redirect-Pool-ID: none", *PREFLIGHT)
    assert (answer.status, answer.location, cors(answer)) == (302, "http://a.example/x", {})


def test_a_preflight_is_about_the_route_of_the_request_behind_it(wire: Wire) -> None:
    """Which takes GET and no OPTIONS; what the route answers itself is that route's to say."""
    fields = ["Origin: https://x.example", "Access-Control-Request-Method: GET"]
    outcome = wire.exchange(head("OPTIONS /any HTTP/1.1", *fields), pools=ROUTED.encode())
    assert cors(outcome.answers[0]) == {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "GET, HEAD, POST",
    }
    assert (outcome.records[0]["route"], outcome.records[0]["pool"]) == ("GET /any", "any")
    assert ask(wire, "OPTIONS /ours", *fields, toml=ROUTED).status == 200
    assert ask(wire, "OPTIONS /a/../b", *fields, toml=ROUTED).status == 400
    assert ask(wire, "OPTIONS /any", "Origin: https://x.example", toml=ROUTED).status == 405
    assert cors(ask(wire, "GET /any", f"Origin: {PAGE}", toml=ROUTED)) == {"access-control-allow-origin": "*"}
    assert cors(ask(wire, "GET /other", f"Origin: {PAGE}", toml=ROUTED)) == ALLOWED


def test_a_preflight_is_about_the_pool_that_serves() -> None:
    toml = '[p]\nis_default = true\nfallback = "q"\nweighted_hosts = { a = 1 }\nhealth_check = { path = "/" }\n[q]\n'
    config = parse_config(f'{toml}weighted_hosts = {{ b = 1 }}\ncors = {{ origins = "*" }}'.encode(), "p")
    down = {"p": {"a": HealthStatus(False, 0.0, 0.0, "refused")}}
    asked = "/x", None, None, CrossOrigin(PAGE, "PUT")
    assert new_service(config, Random(1)).preflight(*asked) is None
    answer = new_service(config, Random(1), down).preflight(*asked)
    assert answer is not None
    assert (answer.status, answer.pool) == (204, "q")


def test_both_fronts_say_the_same(tmp_path: Path) -> None:
    pieces = [
        head(f"{method} /{target} HTTP/1.1", *fields)
        for method in ("GET", "HEAD", "OPTIONS", "POST")
        for target in ("any", "x")
        for fields in ([], [f"Origin: {PAGE}"], [f"Origin: {PAGE}", *PREFLIGHT], ["Origin: null"])
        for _ in range(2)
    ] + [head("GET /x HTTP/1.1", f"Origin: {PAGE}", "Connection: close")]
    one, other = (
        Wire(front, tmp_path / front).converse(pieces, pools=toml.encode()).essence
        for toml in (ROUTED,)
        for front in FRONTS
    )
    assert one == other


def test_a_head_that_is_known_is_read_anew_where_a_reload_makes_the_page_matter() -> None:
    async def test() -> None:
        connection = Connection(toml=LISTED.partition("cors")[0].encode())
        asked = head("GET /x HTTP/1.1", f"Origin: {PAGE}")
        for _ in range(2):
            assert b"access-control" not in connection.send(asked)
        handler = connection.protocol.handler
        handler.use(new_service(parse_config(LISTED.encode(), "p"), Random(1)))
        for _ in range(2):
            assert f"access-control-allow-origin: {PAGE}\r\n".encode() in connection.send(asked)

    asyncio.run(test())


@pytest.mark.parametrize(
    ("table", "place", "said"),
    [
        ("{}", "4:1: p.cors", "origins is missing; cors must be a table"),
        ("{ origins = [] }", "4:20: p.cors.origins", "got an array"),
        ('{ origins = "https://a.example" }', "4:20: p.cors.origins", 'got "https://a.example"'),
        ('{ origins = ["*"] }', "4:20: p.cors.origins", '"*" stands by itself and in no array'),
        ('{ origins = ["a.example"] }', "4:20: p.cors.origins", '"a.example" is none'),
        (
            '{ origins = ["https://A.example:443/"] }',
            "4:20: p.cors.origins",
            'browsers write "https://A.example:443/" as "https://a.example"',
        ),
        ('{ origins = ["a", 1, "null"] }', "4:20: p.cors.origins", '"a" is none; "1" is none'),
        ('{ origins = ["http://a..b"] }', "4:20: p.cors.origins", '"http://a..b" is none: '),
        ('{ origins = "*", methods = ["a b"] }', "4:35: p.cors.methods", '"a b" is none'),
        ('{ origins = "*", credentials = true }', "4:8: p.cors", 'with credentials browsers take no "*"; name them'),
        ('{ origins = "*", max_age = -1 }', "4:35: p.cors.max_age", "from 0 to 86400, got -1"),
    ],
)
def test_faults(table: str, place: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(f"[p]\nis_default = true\nweighted_hosts = {{ a = 1 }}\ncors = {table}".encode(), "pools.toml")
    assert str(caught.value).startswith(f"pools.toml:{place}: ")
    assert said in str(caught.value)


def test_a_field_is_said_once() -> None:
    toml = '[p]\nis_default = true\nweighted_hosts = { a = 1 }\nheaders = { Access-Control-Max-Age = "1" }\n'
    with pytest.raises(ConfigError, match=r"4:13: p\.headers.Access-Control-Max-Age: .* is written by cors"):
        parse_config(f'{toml}cors = {{ origins = "*" }}'.encode(), "pools.toml")
    parse_config(toml.encode(), "pools.toml")
