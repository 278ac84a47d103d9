"""Fields and targets on their way to the origin and back (RFC 9110, section 7.6.1)."""

import re
from email.utils import parsedate_to_datetime
from time import time

import pytest
from support.gateway import DATE, Forwarding
from support.origin import answer, chunks, head, says

from redirect.proxy import fields
from redirect.proxy.fields import Forwarded, counted_down, request_fields, response_fields

HOP_BY_HOP = [
    *["Connection: keep-alive", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive"],
    *["Proxy-Authenticate: Basic", "Proxy-Authorization: Basic YTpi", "Trailer: X-Sum", "Upgrade: foo/2"],
]
PROTECTED = [
    *["Host", "Content-Length", "Authorization", "Cookie", "X-Forwarded-For", "X-Forwarded-Proto"],
    *["X-Forwarded-Host", "X-Forwarded-Prefix", "X-Forwarded-Port", "cookie", "HOST"],
]
TARGETS = [
    *"/ /a%2Fb /a%2fb //x /a//b/ /%61pi /% /%zz /a;b=c /a?x=%20&y=%2F /?x=/../y /... /a..b /.well-known/x".split(),
    *"/%E5%98%8A /\"<>\\^`{|} /a:b@c /x?a?b?? /x?http://a/b /~!$&'()*+,=".split(),
]
# ASGI has no place for the difference.
TARGETS_OF_BYTES = ["/?", "/x?", "/x?y#z"]
DOTS = "/.. /. /a/.. /a/../b /a/./b /%2e%2e/x /%2E./x /a/.%2e/b /a/%2e /../../etc /a/..?x /..;/x".split()

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


# Hop by hop


@pytest.mark.parametrize("field", HOP_BY_HOP)
async def test_fields_of_a_connection_do_not_reach_the_origin(field: str, forwarding: Forwarding) -> None:
    name, _, value = field.partition(": ")
    async with forwarding() as gateway:
        asked = await gateway.asked("GET / HTTP/1.1", field, "X-Stays: 1")
        assert value not in asked.all(name) or name == "Connection"
        assert set(asked.all("connection")) <= {"keep-alive", "TE"}
        assert asked.one("x-stays") == "1"


@pytest.mark.parametrize("field", [*HOP_BY_HOP, 'Alt-Svc: h2=":443"', "TE: trailers"])
async def test_fields_of_a_connection_do_not_reach_the_client(field: str, forwarding: Forwarding) -> None:
    name = field.partition(":")[0]
    async with forwarding() as gateway:
        gateway.origin.default = says(answer(b"ok", field, "X-Stays: 1"))
        got = await gateway.ask("GET / HTTP/1.1")
        assert (got.status, got.body, got.one("x-stays")) == (200, b"ok", "1")
        assert not got.has(name)


@pytest.mark.parametrize(
    "listing", [["X-Drop"], ["close, x-drop"], ["X-DROP,keep-alive"], ["keep-alive", "x-drop"], [",, x-drop ,"]]
)
async def test_names_that_connection_lists_are_dropped_both_ways(listing: list[str], forwarding: Forwarding) -> None:
    fields = ["X-Drop: 1", *[f"Connection: {names}" for names in listing], "x-drop: 2", "X-Dropped: 3"]
    async with forwarding() as gateway:
        gateway.origin.default = says(answer(b"ok", *fields))
        got = await gateway.ask("GET / HTTP/1.1", *fields)
        (asked,) = gateway.origin.asked
        assert (asked.all("X-Drop"), asked.all("X-Dropped")) == ([], ["3"])
        assert (got.status, got.body, got.all("X-Drop"), got.all("X-Dropped")) == (200, b"ok", [], ["3"])


@pytest.mark.parametrize(
    ("line", "sent", "passed"),
    [
        ("OPTIONS / HTTP/1.1", ["Max-Forwards: 5"], ["4"]),
        ("TRACE / HTTP/1.1", ["Max-Forwards: 1"], ["0"]),
        ("OPTIONS / HTTP/1.1", ["Max-Forwards: 3", "max-forwards: 7"], ["2"]),
        ("OPTIONS / HTTP/1.1", ["Max-Forwards: many"], ["many"]),
        ("OPTIONS / HTTP/1.1", [], []),
        ("GET / HTTP/1.1", ["Max-Forwards: 0"], ["0"]),
    ],
    ids=str,
)
async def test_max_forwards_is_counted_down(
    line: str, sent: list[str], passed: list[str], forwarding: Forwarding
) -> None:
    """Of the two methods that it is meant for (RFC 9110, section 7.6.2)."""
    async with forwarding() as gateway:
        assert (await gateway.asked(line, *sent)).all("max-forwards") == passed


@pytest.mark.parametrize(
    ("method", "status", "allow"),
    [
        ("OPTIONS", 204, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"),
        ("TRACE", 405, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    ],
)
async def test_a_request_that_may_go_no_further_is_answered_here(
    method: str, status: int, allow: str, forwarding: Forwarding
) -> None:
    async with forwarding() as gateway:
        got = await gateway.ask(f"{method} / HTTP/1.1", "Max-Forwards: 0")
        assert (got.status, got.one("allow")) == (status, allow)
        assert gateway.origin.asked == []
        record = await gateway.record()
        assert (record["status"], record["route"], record["origin"]) == (status, "/*", None)


@pytest.mark.parametrize("name", PROTECTED)
@pytest.mark.parametrize("form", ["{}", "keep-alive, {}"])
async def test_a_connection_that_lists_a_protected_name_is_refused(
    name: str, form: str, forwarding: Forwarding
) -> None:
    async with forwarding() as gateway:
        got = await gateway.ask("GET / HTTP/1.1", f"Connection: {form.format(name)}", "Cookie: a=b")
        assert got.status == 400
        assert name.lower() in got.detail.lower()
        assert gateway.origin.asked == []
        record = await gateway.record()
        assert (record["status"], record["action"], record["origin_status"]) == (400, "refuse", None)


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (["TE: trailers"], ["trailers"]),
        (["TE: Trailers"], ["trailers"]),
        (["TE: deflate;q=0.5, trailers"], ["trailers"]),
        (["TE: deflate", "TE: trailers"], ["trailers"]),
        (["TE: trailers", "Connection: TE"], ["trailers"]),
        (["TE: deflate"], []),
        (["TE: x-trailers"], []),
        ([], []),
    ],
    ids=str,
)
async def test_of_te_only_trailers_is_passed(sent: list[str], passed: list[str], forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        assert (await gateway.asked("GET / HTTP/1.1", *sent)).all("te") == passed


@pytest.mark.parametrize(
    "fields",
    [
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"],
        ["Connection: upgrade", "Upgrade: H2C", "HTTP2-Settings: AAMAAABkAAQ"],
        ["Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"],
    ],
    ids=["as specified", "settings not listed", "not in Connection"],
)
async def test_h2c_never_reaches_an_origin(fields: list[str], forwarding: Forwarding) -> None:
    """An origin that switches would read further requests past us. Without it, the request is an ordinary one."""
    async with forwarding() as gateway:
        got = await gateway.ask("GET / HTTP/1.1", *fields)
        for asked in gateway.origin.asked:
            assert "h2c" not in asked.head.decode().lower()
            assert not asked.all("HTTP2-Settings")
        assert got.status == 200


# Via


async def test_via_is_appended_both_ways(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        gateway.origin.default = says(answer(b"ok", "Via: 1.0 behind"))
        got = await gateway.ask("GET / HTTP/1.1", "Via: 1.0 before, 1.1 between")
        (asked,) = gateway.origin.asked
        sent, received = (re.split(r",\s*", ",".join(party.all("Via"))) for party in (asked, got))
        assert sent[:2] == ["1.0 before", "1.1 between"]
        assert received[:1] == ["1.0 behind"]
        assert (len(sent), len(received)) == (3, 2)
        assert sent[-1].startswith("1.1 redirect")
        assert received[-1].startswith("1.1 redirect")


async def test_via_of_several_fields_stays_in_order(forwarding: Forwarding) -> None:
    """Both ways: each proxy appends itself to the end (RFC 9110, section 7.6.3)."""
    async with forwarding() as gateway:
        gateway.origin.default = says(answer(b"ok", "Via: 1.0 behind", "Via: 1.1 between"))
        got = await gateway.ask("GET / HTTP/1.1", "Via: 1.0 before", "Via: 1.1 after")
        (asked,) = gateway.origin.asked
        sent, received = (re.split(r",\s*", ",".join(party.all("Via"))) for party in (asked, got))
        assert sent[:2] == ["1.0 before", "1.1 after"]
        assert received[:2] == ["1.0 behind", "1.1 between"]


@pytest.mark.parametrize("before", ["", "1.1 other, "])
@pytest.mark.parametrize("behind", ["", ", 1.1 other"])
async def test_a_request_that_was_here_already_is_a_loop(before: str, behind: str, forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        via = (await gateway.asked("GET / HTTP/1.1")).one("Via")
        got = await gateway.ask("GET / HTTP/1.1", f"Via: {before}{via}{behind}")
        assert (got.status, got.error) == (508, "proxy_loop_detected")
        assert got.detail
        assert len(gateway.origin.asked) == 1
        record = (await gateway.records(2))[1]
        assert (record["status"], record["action"], record["origin_status"]) == (508, "refuse", None)


@pytest.mark.parametrize("via", ["1.1 other", "1.1 xredirect", "1.1 redirected-not-here", "1.1 a (1.1 redirect)"])
async def test_other_proxies_are_no_loop(via: str, forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        assert (await gateway.ask("GET / HTTP/1.1", f"Via: {via}")).status == 200


# X-Forwarded-*, Forwarded, X-Request-ID

CLAIMS = [
    *["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example"],
    *["Forwarded: for=192.0.2.1", "X-Forwarded-Prefix: /evil"],
]


async def test_forwarded_fields_of_an_untrusted_peer_are_replaced(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        asked = await gateway.asked("GET / HTTP/1.1", *CLAIMS)
        assert asked.all("X-Forwarded-For") == ["127.0.0.1"]
        assert asked.all("X-Forwarded-Proto") == ["http"]
        assert asked.all("X-Forwarded-Host") == ["asked.example"]
        assert asked.all("Forwarded") == []
        assert asked.all("X-Forwarded-Prefix") == []


@pytest.mark.parametrize("trusted", ["", "127.0.0.1"])
async def test_what_an_origin_may_take_for_a_field_of_ours_is_dropped(trusted: str, forwarding: Forwarding) -> None:
    """CGI, WSGI and the like have one variable for both spellings. Other names may have a _, as the others do."""
    names = ["X_Forwarded_For", "x-forwarded_proto", "X_FORWARDED_HOST", "X_Request_ID", "Content_Length"]
    async with forwarding(trusted=trusted) as gateway:
        asked = await gateway.asked("GET / HTTP/1.1", *[f"{name}: 9" for name in names], "X_Other: 1")
        assert [value for name in names for value in asked.all(name)] == []
        assert asked.all("X_Other") == ["1"]


async def test_forwarded_fields_of_a_trusted_peer_are_passed_and_appended_to(forwarding: Forwarding) -> None:
    async with forwarding(trusted="127.0.0.1") as gateway:
        asked = await gateway.asked("GET / HTTP/1.1", *CLAIMS)
        assert ", ".join(asked.all("X-Forwarded-For")) == "192.0.2.1, 127.0.0.1"
        assert asked.all("X-Forwarded-Proto") == ["https"]
        assert asked.all("X-Forwarded-Host") == ["shop.example"]
        assert asked.all("Forwarded") == ["for=192.0.2.1"]
        assert asked.all("X-Forwarded-Prefix") == []
        assert (await gateway.record())["client_ip"] == "192.0.2.1"


@pytest.mark.parametrize("trusted", ["", "127.0.0.1"])
async def test_forwarded_fields_are_written_where_there_were_none(trusted: str, forwarding: Forwarding) -> None:
    async with forwarding(trusted=trusted) as gateway:
        asked = await gateway.asked("GET / HTTP/1.1", host="Asked.Example:8080")
        assert asked.one("X-Forwarded-For") == "127.0.0.1"
        assert asked.one("X-Forwarded-Proto") == "http"
        assert asked.one("X-Forwarded-Host").lower() == "asked.example:8080"


@pytest.mark.parametrize(
    ("sent", "is_kept"), [([], False), (["abc-1"], True), (["a" * 129], False)], ids=["none", "one", "one that is none"]
)
async def test_the_origin_gets_the_request_id_of_the_log(
    sent: list[str], is_kept: bool, forwarding: Forwarding
) -> None:
    async with forwarding() as gateway:
        asked = await gateway.asked("GET / HTTP/1.1", *[f"X-Request-ID: {value}" for value in sent])
        assert asked.one("X-Request-ID") == (await gateway.record())["request_id"]
        assert (asked.all("X-Request-ID") == sent) is is_kept


@pytest.mark.parametrize(("count", "logged"), [(1, TRACE), (2, None)])
async def test_traceparent_passes_as_it_came(count: int, logged: str | None, forwarding: Forwarding) -> None:
    """The log has the trace of a valid one, of which there is one."""
    traceparent = f"00-{TRACE}-00f067aa0ba902b7-01"
    async with forwarding() as gateway:
        asked = await gateway.asked("GET / HTTP/1.1", *[f"traceparent: {traceparent}"] * count, "tracestate: a=b")
        assert (asked.all("traceparent"), asked.one("tracestate")) == ([traceparent] * count, "a=b")
        assert (await gateway.record())["trace_id"] == logged


@pytest.mark.parametrize("sent", [[], ["X-Request-ID: mine"]])
async def test_an_answer_has_the_request_id_of_the_log(sent: list[str], forwarding: Forwarding) -> None:
    """Whoever gives it, with each status: in place of the origin's own id, but for one of the file."""
    more = (
        '[[routes]]\npath = "/ours"\nrespond = { status = 200, body = "x" }\n'
        '[[routes]]\npath = "/named"\nrespond = { status = 200, headers = { "X-Request-ID" = "fixed" } }\n'
        '[[routes]]\npath = "/none"\nforward_to = "none"\n[none]\nweighted_hosts = { "127.0.0.1:1" = 1 }\n'
        '[[routes]]\npath = "/old"\nredirect_to = "moved"\n[moved]\nweighted_hosts = { a = 1 }\n'
        '[[routes]]\npath = "/own"\nredirect_to = "own"\n'
        '[own]\nweighted_hosts = { a = 1 }\nheaders = { "X-Request-ID" = "own" }\n'
        '[[routes]]\npath = "/shown"\nshow = "readyz"\n'
    )
    async with forwarding(more=more) as gateway:
        gateway.origin.default = says(answer(b"ok", "X-Request-ID: theirs"))
        gateway.origin.on("/chunked", says(head("200 OK", "Transfer-Encoding: chunked") + chunks(b"ok")))
        got = {
            path: (await gateway.ask(f"GET {path} HTTP/1.1", *sent)).all("X-Request-ID")
            for path in ("/", "/chunked", "/ours", "/none", "/shown", "/a/../b", "/named", "/old", "/own")
        }
        ids = {record["path"]: [record["request_id"]] for record in await gateway.records(len(got))}
        assert got == {**ids, "/named": ["fixed"], "/own": ["own"]}
        assert not sent or ids["/"] == ["mine"]


async def test_generated_request_ids_differ(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        client = await gateway.client()
        for _ in range(3):
            await client.ask("GET / HTTP/1.1")
        sent = [asked.one("X-Request-ID") for asked in gateway.origin.asked]
        assert len({*sent}) == 3
        assert sent == [record["request_id"] for record in await gateway.records(3)]


# Host


@pytest.mark.parametrize("host", ["asked.example", "Asked.Example:8080", "[::1]:80", "127.0.0.1"])
async def test_an_http_origin_gets_the_clients_host(host: str, forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        assert (await gateway.asked("GET / HTTP/1.1", host=host)).all("Host") == [host]


async def test_without_pass_host_an_origin_gets_its_own_host(forwarding: Forwarding) -> None:
    async with forwarding("pass_host = false") as gateway:
        asked = await gateway.asked("GET / HTTP/1.1")
        assert asked.all("Host") == [gateway.origin.name]
        assert asked.all("X-Forwarded-Host") == ["asked.example"]


async def test_an_absolute_target_reaches_an_origin_as_a_path(own: Forwarding) -> None:
    """With the target's host in place of the field's (RFC 9112, section 3.2.2)."""
    async with own() as gateway:
        asked = await gateway.asked("GET http://asked.example:81/x?y HTTP/1.1", host="other.example")
        assert (asked.target, asked.all("Host")) == ("/x?y", ["asked.example:81"])


async def test_a_request_without_a_host_reaches_an_origin_with_one(own: Forwarding) -> None:
    async with own() as gateway:
        asked = await gateway.asked("GET / HTTP/1.0", host=None)
        assert asked.line == "GET / HTTP/1.1"
        assert asked.all("Host") == [gateway.origin.name]


# All others


async def test_nothing_else_is_added(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        asked = await gateway.asked("GET / HTTP/1.1")
        ours = {"host", "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"}
        assert {name.lower() for name, _ in asked.fields} == ours
        assert len(asked.fields) == len(ours)


REPEATED = [("X-One", "1"), ("a", "x"), ("X-oNe", "2"), ("B", ""), ("A", 'y, "z"'), ("x-one", "1"), ("C_D", "e;f=\xe9")]


async def test_case_order_and_repeats_are_kept_to_the_origin(own: Forwarding) -> None:
    async with own() as gateway:
        asked = await gateway.asked("GET / HTTP/1.1", *[f"{name}: {value}" for name, value in REPEATED])
        assert [field for field in asked.fields if field in REPEATED] == REPEATED


async def test_order_and_repeats_are_kept_to_the_origin_of_another_server(forwarding: Forwarding) -> None:
    lowered = [(name.lower(), value) for name, value in REPEATED]
    async with forwarding() as gateway:
        asked = await gateway.asked("GET / HTTP/1.1", *[f"{name}: {value}" for name, value in REPEATED])
        fields = [(name.lower(), value) for name, value in asked.fields]
        assert [field for field in fields if field in lowered] == lowered


async def test_case_order_and_repeats_are_kept_to_the_client(own: Forwarding) -> None:
    async with own() as gateway:
        gateway.origin.default = says(answer(b"ok", *[f"{name}: {value}" for name, value in REPEATED]))
        got = await gateway.ask("GET / HTTP/1.1")
        assert [field for field in got.fields if field in REPEATED] == REPEATED


async def test_order_and_repeats_are_kept_to_the_client_of_another_server(forwarding: Forwarding) -> None:
    """Names for ASGI are in lower case."""
    lowered = [(name.lower(), value) for name, value in REPEATED]
    async with forwarding() as gateway:
        gateway.origin.default = says(answer(b"ok", *[f"{name}: {value}" for name, value in REPEATED]))
        fields = [(name.lower(), value) for name, value in (await gateway.ask("GET / HTTP/1.1")).fields]
        assert [field for field in fields if field in lowered] == lowered


async def test_cookies_are_never_joined(forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        gateway.origin.default = says(answer(b"ok", "Set-Cookie: a=1; Path=/", "set-cookie: b=2", "Set-Cookie: a=1"))
        got = await gateway.ask("GET / HTTP/1.1", "Cookie: a=1", "Cookie: b=2")
        assert got.all("Set-Cookie") == ["a=1; Path=/", "b=2", "a=1"]
        assert gateway.origin.asked[0].all("Cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize("name", ["Date", "Server"])
async def test_what_a_server_adds_an_origin_says_once(name: str, forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        gateway.origin.default = says(answer(b"ok", f"{name}: Fri, 02 Jan 2026 00:00:00 GMT"))
        got = await gateway.ask("GET / HTTP/1.1")
        assert got.all(name) == ["Fri, 02 Jan 2026 00:00:00 GMT"]
        assert DATE not in got.all("Date") or name != "Date"


@pytest.mark.parametrize("how", [[], ["Transfer-Encoding: chunked"]], ids=["plain", "chunked"])
async def test_an_answer_without_a_date_gets_the_time_when_it_came(how: list[str], own: Forwarding) -> None:
    """RFC 9110, section 6.6.1. Behind another server it is that server's to add."""
    async with own() as gateway:
        gateway.origin.default = says(
            head("200 OK", *how, *([] if how else ["Content-Length: 0"])) + b"0\r\n\r\n" * len(how)
        )
        before = int(time())
        (date,) = (await gateway.ask("GET / HTTP/1.1")).all("Date")
        assert before <= parsedate_to_datetime(date).timestamp() <= time()


@pytest.mark.parametrize("field", ["Content-Encoding: gzip", "Content-Type: text/plain", "Vary: *", "ETag: W/x"])
async def test_a_body_is_passed_as_it_is_labelled(field: str, forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        gateway.origin.default = says(answer(b"\x1f\x8b no gzip", field))
        got = await gateway.ask("GET / HTTP/1.1", "Accept-Encoding: gzip")
        assert (got.body, got.all(field.partition(":")[0])) == (b"\x1f\x8b no gzip", [field.partition(": ")[2]])


# Targets


@pytest.mark.parametrize("target", TARGETS)
async def test_targets_are_passed_byte_for_byte(target: str, forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        assert (await gateway.asked(f"GET {target} HTTP/1.1")).target == target


@pytest.mark.parametrize("target", TARGETS_OF_BYTES)
async def test_an_empty_query_and_a_fragment_are_passed_too(target: str, own: Forwarding) -> None:
    async with own() as gateway:
        assert (await gateway.asked(f"GET {target} HTTP/1.1")).target == target


@pytest.mark.parametrize("target", ["/x#y", "/x/..#", "/#?x"])
async def test_a_path_that_an_origin_may_cut_is_refused(target: str, own: Forwarding) -> None:
    async with own() as gateway:
        assert (await gateway.ask(f"GET {target} HTTP/1.1")).status == 400
        assert gateway.origin.asked == []


@pytest.mark.parametrize("target", DOTS)
async def test_what_an_origin_may_take_for_another_path_is_refused(target: str, forwarding: Forwarding) -> None:
    async with forwarding() as gateway:
        got = await gateway.ask(f"GET {target} HTTP/1.1")
        assert got.status == 400
        assert got.detail
        assert gateway.origin.asked == []


@pytest.mark.parametrize(
    ("target", "passed"),
    [
        ("/api/x?y=1", "/x?y=1"),
        ("/api", "/"),
        ("/api/", "/"),
        ("/api?y=1", "/?y=1"),
        ("/api//x%2F", "//x%2F"),
        ("/api/api/x", "/api/x"),
        ("/%61pi/x", "/x"),
    ],
)
async def test_a_stripped_prefix_is_told_to_the_origin(target: str, passed: str, forwarding: Forwarding) -> None:
    async with forwarding("strip_prefix = true", conditions='path_prefix = "/api"') as gateway:
        asked = await gateway.asked(f"GET {target} HTTP/1.1", "X-Forwarded-Prefix: /evil")
        assert asked.target == passed
        assert asked.one("X-Forwarded-Prefix") in ("/api", target.split("/x")[0])
        assert (await gateway.record())["path"] == target.partition("?")[0]


async def test_a_prefix_that_strips_nothing_is_not_told(forwarding: Forwarding) -> None:
    async with forwarding("strip_prefix = true") as gateway:
        asked = await gateway.asked("GET /x HTTP/1.1", "X-Forwarded-Prefix: /evil")
        assert (asked.target, asked.all("X-Forwarded-Prefix")) == ("/x", [])


@pytest.mark.parametrize("query", ["", "?x=1&y=%2F"])
async def test_a_route_may_ask_for_another_path_with_the_same_query(query: str, forwarding: Forwarding) -> None:
    async with forwarding('target = "/api/work"', conditions='path = "/api/smart"') as gateway:
        assert (await gateway.asked(f"GET /api/smart{query} HTTP/1.1")).target == f"/api/work{query}"


@pytest.mark.parametrize("method", "GET HEAD POST PUT DELETE PATCH OPTIONS TRACE PROPFIND QUERY".split())
async def test_methods_are_passed(method: str, own: Forwarding) -> None:
    async with own() as gateway:
        gateway.origin.default = says(answer(b""))
        await gateway.ask(f"{method} /x HTTP/1.1", "Content-Length: 0")
        assert [asked.line for asked in gateway.origin.asked] == [f"{method} /x HTTP/1.1"]


# The log


async def test_a_forward_is_logged_with_both_sides_of_it(forwarding: Forwarding) -> None:
    async with forwarding(conditions='path_prefix = "/api"') as gateway:
        gateway.origin.default = says(answer(b"gone", status="410 Gone"))
        got = await gateway.ask("POST /api/x?y HTTP/1.1", "Content-Length: 3", body=b"abc")
        assert (got.status, got.body) == (410, b"gone")
        record = await gateway.record()
        expected = {
            "route": "/api/*",
            "action": "forward",
            "pool": "origins",
            "origin": gateway.origin.name,
            "status": 410,
            "origin_status": 410,
            "tries": 1,
            "bytes_in": 3,
            "bytes_out": 4,
            "detail": None,
            "method": "POST",
            "path": "/api/x",
            "query": "y",
            "location": None,
            "level": "warning",
        }
        assert {key: record[key] for key in expected} == expected
        assert 0 <= record["origin_us"] <= record["duration_us"]


@pytest.mark.parametrize("digits", ["9" * 5000, "9" * 11])
def test_a_count_of_thousands_of_digits_passes(digits: str) -> None:
    """Python would not read it, and nobody forwards so often."""
    headers = [(b"Max-Forwards", digits.encode())]
    assert counted_down(headers) == headers
    assert counted_down([(b"Max-Forwards", b"0" * 5000 + b"7")]) == [(b"max-forwards", b"6")]


def test_what_is_remembered_of_connection_is_little() -> None:
    """A client could fill the memory with long lists."""
    for number in range(50):
        listed = b", ".join(b"x%d-%d" % (number, each) for each in range(100))
        request_fields([(b"Host", b"a"), (b"Connection", listed)], Forwarded(None, b"", b"http", False), is_http11=True)
    assert all(len(value) <= 64 for value in fields._tokens)


def test_a_length_may_have_thousands_of_zeros() -> None:
    """Of an answer, which no client library of these tests reads then."""
    assert response_fields([(b"Content-Length", b"0" * 5000 + b"5")]).length == 5
    assert response_fields([(b"Content-Length", b"0" * 5000)]).length == 0
