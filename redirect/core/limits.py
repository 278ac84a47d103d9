"""Which tokens count the requests under way of a route with a limit.

The rule: a route keeps its tokens as long as it has a limit, whatever else of it changes. Another route gets them only
where there are no others: requests of the first one may hold some still.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from redirect.core.routes import Route

# Routes with a limit. The tokens of each take a file descriptor in every process, used or not.
MAX_LIMITS = 64


def numbered(
    routes: Iterable[Route], before: Iterable[Route] = (), held: Sequence[int] = (0,) * MAX_LIMITS
) -> tuple[Route, ...]:
    """The routes, with an index in each limit: that of the route `before` with the same conditions, however these are
    spelled, or a free one. `held` says how many tokens of each index requests hold."""
    routes = tuple(routes)
    limited = [route.key for route in routes if route.limit is not None]
    had = {route.key: route.limit.index for route in before if route.limit is not None}
    indices = {key: had[key] for key in limited if key in had}
    free = set(range(MAX_LIMITS)).difference(indices.values())
    left = sorted(free, key=lambda index: (held[index] + (index in had.values()), index))
    indices |= zip([key for key in limited if key not in had], left, strict=False)
    limits = [route.limit and replace(route.limit, index=indices[route.key]) for route in routes]
    return tuple(
        [route if limit is None else replace(route, limit=limit) for route, limit in zip(routes, limits, strict=True)]
    )
