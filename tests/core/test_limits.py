"""Which tokens count the requests of a route: the same ones as long as it has a limit."""

from dataclasses import replace

from redirect.core.limits import MAX_LIMITS, numbered
from redirect.core.routes import RequestLimit, Route


def routes(names: str) -> list[Route]:
    """Routes of these names; those in capitals have a limit."""
    return [
        Route(path=f"/{name}", forward_to="p", limit=RequestLimit(7, queue=2) if name.isupper() else None)
        for name in names
    ]


def indices(found: tuple[Route, ...]) -> str:
    return " ".join(f"{route.path}={route.limit.index}" for route in found if route.limit)


def holding(**held: int) -> list[int]:
    return [held.get(f"i{index}", 0) for index in range(MAX_LIMITS)]


def test_the_routes_of_a_first_configuration_are_numbered_in_their_order() -> None:
    found = numbered(routes("aBcDE"))
    assert indices(found) == "/B=0 /D=1 /E=2"
    assert next(route.limit for route in found if route.limit) == RequestLimit(7, queue=2, index=0)
    assert numbered(routes("abc")) == tuple(routes("abc"))


def test_a_route_keeps_its_index_wherever_it_stands() -> None:
    before = numbered(routes("ABC"))
    assert indices(numbered(routes("CxBA"), before)) == "/C=2 /B=1 /A=0"
    assert indices(numbered(routes("C"), before)) == "/C=2"


def test_a_route_that_is_spelled_otherwise_keeps_its_index() -> None:
    route = Route("Shop.example", "/f", methods=("GET", "POST"), forward_to="p", limit=RequestLimit(7))
    before = numbered([*routes("A"), route])
    respelled = replace(route, host="shop.example", path="/%66", methods=("POST", "GET"))
    (after,) = numbered([respelled], before)
    assert after.limit is not None
    assert after.limit.index == 1


def test_another_route_gets_an_index_that_no_request_counts_by() -> None:
    """Neither one that is held, nor one of a route that goes with this configuration: workers have it for a moment."""
    before = numbered(routes("ABC"))
    assert indices(numbered(routes("DCE"), before, holding(i3=1))) == "/D=4 /C=2 /E=5"
    later = numbered(routes("C"), before)
    assert indices(numbered(routes("DC"), later, holding(i0=1))) == "/D=1 /C=2"


def test_where_all_are_held_the_least_held_is_used_again() -> None:
    """Then the requests of the route before count for the new one, too, until they end."""
    held = [1 + index % 50 for index in range(MAX_LIMITS)]
    held[9] = 0
    before = numbered(routes("A"), (), [1] * 9 + [0] + [1] * (MAX_LIMITS - 10))
    assert indices(before) == "/A=9"
    assert indices(numbered(routes("B"), before, held)) == "/B=0"
    full = numbered([Route(path=f"/{n}", forward_to="p", limit=RequestLimit(1)) for n in range(MAX_LIMITS)])
    assert sorted(route.limit.index for route in full if route.limit) == [*range(MAX_LIMITS)]
