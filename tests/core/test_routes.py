"""Which route a request takes, and what its origin is asked for."""

from random import Random

import pytest

from redirect.core import routes as module
from redirect.core.routes import Place, Response, Route, Routes, Timeouts, has_dot_segment, normalised


def route(**conditions: object) -> Route:
    return Route(forward_to="p", **conditions)  # type: ignore[arg-type]


def find(routes: list[Route], path: str, method: str = "GET", host: str | None = None, port: int = 80) -> str | None:
    """The name of the route, or `405` and the methods that are taken."""
    found = Routes(routes).find(host and (host, port), path, method)  # type: ignore[arg-type]
    return f"405 {' '.join(found)}" if isinstance(found, tuple) else found.name if found else None


TABLE = [
    route(path_prefix="/api"),
    route(),
    route(path_prefix="/api", methods=("POST",)),
    route(path="/api/health"),
    route(path_prefix="/api/orders"),
]


@pytest.mark.parametrize(
    ("request_line", "name"),
    [
        ("GET /api/orders/7", "/api/orders/*"),
        ("GET /api/orders", "/api/orders/*"),
        ("GET /api/orders/", "/api/orders/*"),
        ("GET /api/ordersX", "/api/*"),
        ("GET /api/health", "/api/health"),
        ("GET /api/health/", "/api/*"),
        ("POST /api/x", "POST /api/*"),
        ("POST /api/orders", "/api/orders/*"),
        ("POST /api/health", "/api/health"),
        ("GET /apix", "/*"),
        ("GET /api%2Forders", "/*"),
        ("GET /api%2forders", "/*"),
        ("GET /%61pi/x", "/api/*"),
        ("GET /api/%6Frder%73", "/api/orders/*"),
        ("GET /API/x", "/*"),
        ("GET //api", "/*"),
        ("GET /", "/*"),
        ("GET *", "/*"),
    ],
)
def test_the_most_specific_route_wins(request_line: str, name: str) -> None:
    """Whole segments, the longest first; an exact path before all prefixes; methods last. The order of the file does
    not matter."""
    method, path = request_line.split()
    for seed in range(5):
        shuffled = Random(seed).sample(TABLE, len(TABLE))
        assert find(shuffled, path, method) == name


HOSTS = [
    route(host="shop.example.com", path_prefix="/a"),
    route(host="shop.example.com:8080"),
    route(host="*.example.com", path_prefix="/a/b"),
    route(host="*.shop.example.com"),
    route(host="*.EXAMPLE.net."),
    route(host="bücher.example"),
    route(host="[::1]"),
    route(path_prefix="/a/b/c"),
]


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        ("shop.example.com", "/a/b/c", "shop.example.com/a/*"),
        ("shop.example.com", "/b", None),
        ("www.example.com", "/a/b/c", "*.example.com/a/b/*"),
        ("www.example.com", "/a", None),
        ("a.b.example.com", "/a/b", "*.example.com/a/b/*"),
        ("a.shop.example.com", "/a/b", "*.shop.example.com/*"),
        ("example.com", "/a/b/c", "/a/b/c/*"),
        ("xexample.com", "/a/b/c", "/a/b/c/*"),
        ("a.example.net", "/", "*.EXAMPLE.net./*"),
        ("xn--bcher-kva.example", "/", "bücher.example/*"),
        ("[::1]", "/", "[::1]/*"),
        (None, "/a/b/c", "/a/b/c/*"),
        (None, "/", None),
    ],
)
def test_the_host_decides_before_the_path(host: str | None, path: str, name: str | None) -> None:
    """Exact, then the longest wildcard, then any. A host whose routes do not match leaves the request to the next."""
    assert find(HOSTS, path, host=host) == name


def test_a_port_is_compared_where_the_route_names_one() -> None:
    assert find(HOSTS, "/a", host="shop.example.com", port=8080) == "shop.example.com:8080/*"
    assert find(HOSTS, "/a", host="shop.example.com", port=9090) == "shop.example.com/a/*"
    assert find([route(host="*.example.com:80")], "/", host="a.example.com") == "*.example.com:80/*"
    assert find([route(host="*.example.com:80")], "/", host="a.example.com", port=443) is None


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("GET", "GET,POST /a"),
        ("HEAD", "GET,POST /a"),
        ("POST", "GET,POST /a"),
        ("PUT", "PUT /a"),
        ("DELETE", "405 GET POST PUT HEAD"),
        ("OPTIONS", "405 GET POST PUT HEAD"),
        ("get", "405 GET POST PUT HEAD"),
    ],
)
def test_methods(method: str, name: str) -> None:
    """GET includes HEAD. Where a route for host and path exists and none takes the method, no wider one is asked."""
    taken = [route(path="/a", methods=("GET", "POST")), route(path="/a", methods=("PUT",)), route(path_prefix="/")]
    assert find(taken, "/a", method) == name


def test_a_head_of_its_own_comes_before_that_of_get() -> None:
    taken = [route(methods=("GET",), retries=0), route(methods=("HEAD",), retries=2)]
    for order in (taken, taken[::-1]):
        assert find(order, "/", "HEAD") == "HEAD /*"
    assert find([route(methods=("HEAD",))], "/") == "405 HEAD"


def test_candidates_are_all_routes_of_host_and_path_in_their_order() -> None:
    """Whatever their methods, for whoever asks why a route won."""
    found = Routes([*TABLE, *HOSTS, route(host="*.example.com")]).candidates(("www.example.com", 80), "/a/b/c/d")
    assert [each.name for each in found] == ["*.example.com/a/b/*", "*.example.com/*", "/a/b/c/*", "/*"]
    found = Routes(TABLE).candidates(None, "/api/health")
    assert [each.name for each in found] == ["/api/health", "POST /api/*", "/api/*", "/*"]
    assert Routes([]).candidates(None, "/") == []
    assert Routes([route(path="/a"), route(path_prefix="/b")]).candidates(None, "/c") == []


def test_no_routes() -> None:
    assert find([], "/", host="a") is None


@pytest.mark.parametrize(
    ("path", "compared"),
    [
        ("/a%7Eb%2D%2e%5f", "/a~b-._"),
        ("/%41%5a%30", "/AZ0"),
        ("/%2f%3b%5c%25", "/%2F%3B%5C%25"),
        ("/%2561", "/%2561"),
        ("/%zz%6", "/%zz%6"),
        ("/%c3%a9", "/%C3%A9"),
        ("/a//b/", "/a//b/"),
    ],
)
def test_escapes(path: str, compared: str) -> None:
    """Letters, digits, -, ., _ and ~ are compared decoded, the escapes of all else in capitals, and once."""
    assert normalised(path) == compared
    assert find([route(path=path)], compared) == path
    assert find([route(path=compared)], path) == compared


@pytest.mark.parametrize(
    "path",
    [
        "/..", "/.", "/a/../b", "/a/./b", "/a/%2e%2E/b", "/a/.%2e", "/%2e", "/a%2f..%2Fb", "/a/..;x/b", "/..\\b",
        "/a%5c..", "/..%3bx", "..", "/a;/../b", "/a/...%2f../b",
    ],
)  # fmt: skip
def test_dot_segments(path: str) -> None:
    """What some server takes for `.` or `..`, in whatever escapes and behind whatever it takes for a border."""
    assert has_dot_segment(path)


@pytest.mark.parametrize(
    "path", ["/", "/a.b", "/.well-known/x", "/a/...", "/..a", "/a..", "/a/.b./c", "/%2e%2e%2e", "*"]
)
def test_no_dot_segments(path: str) -> None:
    assert not has_dot_segment(path)


@pytest.mark.parametrize(
    ("conditions", "asked", "target", "cut"),
    [
        ({}, "/a/%2F//b?x=/y?z", "/a/%2F//b?x=/y?z", ""),
        ({"path_prefix": "/a"}, "/a/b", "/a/b", ""),
        ({"path_prefix": "/a", "strip_prefix": True}, "/a/b?c/d", "/b?c/d", "/a"),
        ({"path_prefix": "/a/", "strip_prefix": True}, "/a/b", "/b", "/a"),
        ({"path_prefix": "/a", "strip_prefix": True}, "/a", "/", "/a"),
        ({"path_prefix": "/a", "strip_prefix": True}, "/a?b", "/?b", "/a"),
        ({"path_prefix": "/a", "strip_prefix": True}, "/a/", "/", "/a"),
        ({"path_prefix": "/a", "strip_prefix": True}, "/a//b", "//b", "/a"),
        ({"path_prefix": "/a/b", "strip_prefix": True}, "/%61/%62/%63", "/%63", "/%61/%62"),
        ({"path_prefix": "/%61", "strip_prefix": True}, "/a/bc", "/bc", "/a"),
        ({"path_prefix": "/a%2fb", "strip_prefix": True}, "/a%2Fb/c", "/c", "/a%2Fb"),
        ({"path_prefix": "/", "strip_prefix": True}, "/a/b", "/a/b", ""),
        ({"strip_prefix": True}, "//a", "//a", ""),
        ({"path": "/a", "target": "/b/c"}, "/a", "/b/c", ""),
        ({"path": "/a", "target": "/b/c"}, "/a?x=1?", "/b/c?x=1?", ""),
    ],
)
def test_the_target_of_an_origin(conditions: dict[str, object], asked: str, target: str, cut: str) -> None:
    """The raw target, of which `strip_prefix` cuts whole segments, or another path; the query goes along."""
    assert route(**conditions).target_of(asked) == (target, cut)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"host": "A.Example"}, {"host": "a.example."}),
        ({"host": "bücher.example"}, {"host": "xn--bcher-kva.example"}),
        ({"host": "*.a.example"}, {"host": "*.A.example"}),
        ({"path_prefix": "/a/"}, {"path_prefix": "/%61"}),
        ({"path_prefix": "/"}, {}),
        ({"path": "/a", "methods": ("GET", "PUT")}, {"path": "/a", "methods": ("POST", "PUT")}),
    ],
)
def test_conditions_that_are_the_same(one: dict[str, object], other: dict[str, object]) -> None:
    """However they are spelled; one method in common is enough."""
    assert {*route(**one).conditions()} & {*route(**other).conditions()}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"host": "a"}, {}),
        ({"host": "a"}, {"host": "*.a"}),
        ({"host": "a"}, {"host": "a:80"}),
        ({"path": "/a"}, {"path_prefix": "/a"}),
        ({"path": "/a"}, {"path": "/a/"}),
        ({"methods": ("GET",)}, {}),
        ({"methods": ("GET",)}, {"methods": ("HEAD",)}),
    ],
)
def test_conditions_that_differ(one: dict[str, object], other: dict[str, object]) -> None:
    assert not {*route(**one).conditions()} & {*route(**other).conditions()}


@pytest.mark.parametrize(
    ("method", "name"),
    [("GET", "/a"), ("HEAD", "/a"), ("POST", "POST /a"), ("PUT", "405 POST GET HEAD"), ("DELETE", "405 POST GET HEAD")],
)
def test_a_route_that_shows_something_takes_get_and_head(method: str, name: str) -> None:
    """Other methods only if it names them; no shorter prefix is asked for the rest."""
    routes = [Route(path="/a", show="stats"), route(path="/a", methods=("POST",)), route()]
    assert find(routes, "/a", method) == name
    assert find([Route(path="/a", methods=("PUT",), show="stats"), route()], "/a", "PUT") == "PUT /a"


def test_rank() -> None:
    """The commands list the routes of a host together: exact paths, then prefixes, the longest first."""
    ranked = sorted([*TABLE, *HOSTS], key=lambda each: each.rank)
    assert [each.name for each in ranked][-9:] == [
        "*.shop.example.com/*", "*.example.com/a/b/*", "*.EXAMPLE.net./*",
        "/api/health", "/api/orders/*", "/a/b/c/*", "POST /api/*", "/api/*", "/*",
    ]  # fmt: skip


def test_action_and_pool() -> None:
    assert (Route(forward_to="a").action, Route(forward_to="a").pool) == ("forward_to", "a")
    assert (Route(redirect_to="a").action, Route(redirect_to="a").pool) == ("redirect_to", "a")
    assert (Route(respond=Response()).action, Route(respond=Response()).pool) == ("respond", None)
    assert (Route(show="stats").action, Route(show="stats").pool) == ("show", None)
    assert Route(forward_to="a").timeouts == Timeouts(1, 30, 60, None)


class Counted(dict[str, object]):
    """Counts how often something is looked up in it."""

    lookups = 0

    def get(self, *arguments: object) -> object:
        Counted.lookups += 1
        return super().get(*arguments)  # type: ignore[call-overload]

    def __contains__(self, key: object) -> bool:
        Counted.lookups += 1
        return super().__contains__(key)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that count."""
    made = module._Paths.__init__

    def init(self: module._Paths, places: list[tuple[Place, module._Methods]]) -> None:
        made(self, places)
        self._exact, self._prefixes = Counted(self._exact), Counted(self._prefixes)  # type: ignore[assignment]

    monkeypatch.setattr(module._Paths, "__init__", init)


def lookups(number: int, path: str) -> int:
    """How often something is looked up for one request where there are so many routes."""
    hosts = [None, "*.example", "h1.example"]
    routes = Routes(route(path_prefix=f"/v{n:03}/x", host=host) for n in range(number) for host in hosts)
    Counted.lookups = 0
    for host in ("h1.example", "other"):
        routes.find((host, 80), path, "GET")
    return Counted.lookups


@pytest.mark.slow
@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize("path", ["/", "/v002/x", "/v001/x/y", "/none/of/them/at/all", "/" * 4000])
def test_a_lookup_costs_the_same_for_three_routes_and_for_a_thousand(path: str) -> None:
    """And its cost is bounded by the longest prefix, not by what the client sends."""
    assert lookups(3, path) == lookups(10, path) == lookups(1000, path) <= 40
