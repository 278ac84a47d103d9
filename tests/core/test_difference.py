"""What a configuration does to traffic when it takes the place of another one."""

import pytest

from redirect.config.loader import parse_config
from redirect.core.difference import MAX_LINES, changes, listed
from redirect.core.overrides import Override

TWO = '[a]\nis_default = true\nweighted_hosts = { "x" = 4, "y" = 1 }\n[b]\nweighted_hosts = { "z" = 1 }\n'
ROUTE = '[[routes]]\npath = "/r"\nredirect_to = "b"\n'
FORWARD = ROUTE.replace("redirect", "forward")


def lines(before: str, after: str, *overrides: Override) -> list[str]:
    old, new = (parse_config(toml.encode(), "pools.toml") for toml in (before, after))
    return listed(changes(old, new, overrides))


def override(origin: str) -> Override:
    return Override("a", origin, 300, 300, 0.0, 0.0, 60.0)


CASES = {
    "nothing": ("# a comment\n", "", []),
    "a drained origin": ('"y" = 1', '"y" = 0', ["pool a: x: 80 % -> 100 %, y: 20 % -> 0 %"]),
    "another origin": ('"z"', '"new"', ["pool b: z: 100 % -> 0 %, new: 0 % -> 100 %"]),
    "other origins to be found": (
        'weighted_hosts = { "z" = 1 }',
        'discover = { name = "app", port = 80 }',
        ["pool b: discover changed"],
    ),
    "the same shares": ('"x" = 4, "y" = 1', '"x" = 8, "y" = 2', ["pool a: weights or order changed"]),
    "shares and a prefix": (
        '{ "x" = 4, "y" = 1 }',
        '{ "x" = { weight = 1, path_prefix = "/m" }, "y" = 1 }',
        ['pool a: path_prefix of x "" -> "/m"', "pool a: x: 80 % -> 50 %, y: 20 % -> 50 %"],
    ),
    "another key": ("[b]", "[b]\nstatus = 301", ["pool b: status 302 -> 301"]),
    "keys of which some have no short value": (
        "[b]",
        '[b]\npick = "random"\nfallback = "a"\nheaders = { "x-b" = "1" }',
        ['pool b: pick "round_robin" -> "random", fallback none -> "a", headers changed'],
    ),
    "a pool that is gone": (
        '[b]\nweighted_hosts = { "z" = 1 }\n',
        "",
        ["warning: pool b is gone: requests that name it get a, the default pool"],
    ),
    "a new pool": ("[b]", '[c]\nweighted_hosts = { "w" = 1 }\n[b]', ["pool c is new: w: 0 % -> 100 %"]),
    "a new pool that is to find its origins": (
        "[b]",
        '[c]\ndiscover = { name = "app", port = 80 }\n[b]',
        ["pool c is new"],
    ),
    "another default": (
        "is_default = true\n",
        'weighted_hosts = { "x" = 4, "y" = 1 }\n[c]\nis_default = true\n',
        ["warning: the default pool: a -> c"],
    ),
    "a new route": ("[a]", ROUTE + "[a]", ["route /r is new: redirect_to b"]),
    "a pool that is forwarded to": (
        "[a]",
        FORWARD + "[a]",
        [
            "warning: pool b cannot be named any more, as requests are forwarded to it: those that name it get a, "
            "the default pool",
            "route /r is new: forward_to b",
        ],
    ),
}


CASES |= {
    "a drained origin that is new": ('"y" = 1', '"y" = 1, "n" = 0', ["pool a: n is new, drained"]),
    "a route that takes what no other does": (
        "[a]",
        "[[routes]]\nrespond = { status = 410 }\n[a]",
        ["warning: route /* is new: respond 410: no request without another route names a pool any more"],
    ),
    "a forward to the default pool": (
        "[a]",
        '[[routes]]\npath = "/r"\nforward_to = "a"\n[a]',
        ["route /r is new: forward_to a"],
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), CASES.values(), ids=CASES)
def test_changes(old: str, new: str, expected: list[str]) -> None:
    found = lines(TWO, TWO.replace(old, new, 1))
    assert found[: len(expected)] == expected
    assert bool(found) == bool(expected)


def test_a_key_of_a_route_is_told_with_both_values() -> None:
    assert lines(FORWARD + TWO, f"{FORWARD}retries = 0\n{TWO}") == ["route /r: retries 1 -> 0"]


def test_shares_have_as_many_digits_as_tell_them_apart() -> None:
    before = '[a]\nis_default = true\nweighted_hosts = { "x" = 9999, "y" = 1 }\n'
    assert lines(before, before.replace('"y" = 1', '"y" = 2')) == ["pool a: x: 99.99 % -> 99.98 %, y: 0.01 % -> 0.02 %"]


def test_what_stands_in_for_a_forwarded_pool_cannot_be_named_either() -> None:
    before = FORWARD + TWO + '[c]\nweighted_hosts = { "w" = 1 }\n'
    found = lines(before, before.replace("[b]", '[b]\nfallback = "c"'))
    assert found[0] == (
        "warning: pool c cannot be named any more, as requests are forwarded to it: those that name it get a, "
        "the default pool"
    )


def test_a_route_that_does_something_else_or_is_gone() -> None:
    other = ROUTE.replace('"b"', '"a"')
    assert lines(ROUTE + TWO, other + TWO) == ["route /r: redirect_to b -> redirect_to a"]
    assert lines(ROUTE + TWO, TWO) == ["route /r is gone: redirect_to b"]


def test_a_pool_that_no_route_forwards_to_any_more_is_a_warning() -> None:
    before = FORWARD + TWO
    assert lines(before, before.replace('"b"', '"a"'))[0] == "warning: no route forwards to pool b any more"


ALL = '[[routes]]\nredirect_to = "b"\n'


@pytest.mark.parametrize(
    ("after", "warned"),
    [
        (ALL.replace('redirect_to = "b"', "respond = { status = 404 }") + TWO, True),
        (ALL.replace('"b"', '"a"') + TWO, True),
        (TWO, True),
        (ALL + 'host = "s.example"\n' + TWO, False),
        (TWO.replace("is_default = true\n", "").replace("[b]", "[b]\nis_default = true"), False),
    ],
)
def test_where_all_requests_came_by_routes_the_last_one_is_all_traffic(after: str, warned: bool) -> None:
    """A route takes all that no other takes, so that no request names a pool."""
    warning = "warning: no route redirects to pool b any more, where all requests came from"
    assert (warning in lines(ALL + TWO, after)) is warned


def test_a_route_that_takes_all_gets_is_a_warning() -> None:
    found = lines(TWO, '[[routes]]\nmethods = ["GET"]\nrespond = { status = 404 }\n' + TWO)
    assert found == ["warning: route GET /* is new: respond 404: no GET without another route names a pool any more"]


def test_a_small_share_is_a_decimal() -> None:
    before = "[a]\nis_default = true\nweighted_hosts = { x = 1000000 }\n"
    (line,) = lines(before, before.replace("x =", "y = 1, x ="))
    assert line.endswith("y: 0 % -> 0.0001 %")


SPELLED = """
[[routes]]
host = "Shop.example"
path_prefix = "/api"
methods = ["GET", "POST"]
redirect_to = "r"
[r]
is_default = true
weighted_hosts = { "R1.example" = 1, "r2.example" = { weight = 2, path_prefix = "/m" } }
"""


def test_what_is_spelled_otherwise_is_no_change() -> None:
    after = SPELLED.replace("Shop", "shop").replace('"/api"', '"/api/"').replace('"GET", "POST"', '"POST", "GET"')
    after = after.replace("R1.example", "r1.example.").replace("r2.example", "r2.EXAMPLE")
    assert lines(SPELLED, after) == []
    assert lines(SPELLED, after.replace("= 2,", "= 3,")) == [
        "pool r: r1.example.: 33.3 % -> 25 %, r2.EXAMPLE: 66.7 % -> 75 %"
    ]


def test_the_most_important_come_first_and_the_rest_is_counted() -> None:
    """Of ten thousand pools: warnings, and then the shares that move most."""

    def pools(weights: int) -> str:
        return "".join(f"[p{n}]\nweighted_hosts = {{ a = {weights}, b = {n + 1} }}\n" for n in range(200))

    found = lines(
        TWO + pools(1), TWO.replace("is_default = true\n", "").replace("[b]", "[b]\nis_default = true") + pools(9)
    )
    assert len(found) == MAX_LINES + 1
    assert found[0] == "warning: the default pool: a -> b"
    assert found[-1].startswith("and ")
    assert found[1].startswith("pool p2: a: 25 % -> 75 %")


def test_many_origins_of_a_pool_are_one_line() -> None:
    hosts = ", ".join(f'"o{n}" = 1' for n in range(100))
    (line,) = lines(TWO, TWO.replace('"z" = 1', hosts))
    assert line.startswith("pool b: z: 100 % -> 0 %, o0: 0 % -> 1 %")
    assert line.endswith(" and 96 more")


@pytest.mark.parametrize(
    ("weight", "begin"),
    [
        (0, ["warning: pool a: y keeps its override, 30 %, until that ends; `redirect pools ramp a y --end` ends it"]),
        (9, []),
    ],
)
def test_an_override_that_a_weight_does_not_change_is_told(weight: int, begin: list[str]) -> None:
    """As a warning where the origin is drained."""
    found = lines(TWO, TWO.replace('"y" = 1', f'"y" = {weight}'), override("y"))
    assert found[: len(begin)] == begin
    assert sum("keeps its override" in line for line in found) == 1
    assert sum(line.startswith("pool a, in the file: ") for line in found) == 1
    assert lines(TWO, TWO, override("y")) == []


@pytest.mark.parametrize("toml", [TWO.replace('"x" = 4, ', ""), TWO.replace("[a]", "[other]")])
def test_an_override_that_ends_with_its_origin_is_told(toml: str) -> None:
    """Its share is none of the file's, so nothing else tells of it; also where the file has it drained."""
    for weight in (4, 0):
        found = lines(TWO.replace('"x" = 4', f'"x" = {weight}'), toml, override("x"))
        assert "warning: pool a: x is gone, and its override with it, 30 %" in found


def test_an_override_of_a_pool_that_is_to_find_its_origins_is_not_gone() -> None:
    discovering = TWO.replace('weighted_hosts = { "x" = 4, "y" = 1 }', 'discover = { name = "a", port = 1 }')
    assert not any("override" in line for line in lines(TWO, discovering, override("x")))
