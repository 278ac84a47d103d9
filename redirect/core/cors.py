"""Pages of other origins that fetch what a pool redirects (CORS; Fetch standard, section 3.3).

The rule: a browser follows a redirect only if the redirect itself says that the page may. Before some requests it asks
by a preflight, an OPTIONS that it does not want redirected. Which page asks is in `Origin`, so that responses differ by
it, unless any page may.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from redirect.core.authority import DEFAULT_PORTS, parse
from redirect.core.fields import TOKEN
from redirect.core.keys import FLAG, Limit, refuse, whole

ANY = "*"

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#]+)/?")

# What a browser may send without a preflight that allows it.
_SAFE_METHODS = ("GET", "HEAD", "POST")

Field = tuple[str, str]


class CrossOrigin(NamedTuple):
    """The page that asks, and of a preflight the method of the request that it is about."""

    origin: str
    method: str | None


def _origins(values: Any) -> frozenset[str]:
    if values == ANY:
        return frozenset([ANY])
    if not isinstance(values, list) or not values:
        raise ValueError
    refuse(fault for value in values if (fault := _fault_of_origin(value)))
    return frozenset(values)


def _fault_of_origin(value: Any) -> str:
    if value == ANY:
        return '"*" stands by itself and in no array'
    match = _ORIGIN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return "" if value == "null" else f'"{value}" is none'
    try:
        host, port = parse(match[2])
    except ValueError as error:
        return f'"{value}" is none: {error}'
    sent = f"{match[1]}://{host}" + (f":{port}" if port and port != DEFAULT_PORTS.get(match[1]) else "")
    return "" if sent == value else f'browsers write "{value}" as "{sent}"'


def _tokens(values: Any) -> tuple[str, ...]:
    refuse(f'"{value}" is none' for value in values if not TOKEN.fullmatch(value))
    return tuple(values)


_ORIGINS_LIMIT = Limit('must be "*" or an array of origins such as ["https://app.example"]', convert=_origins)
_METHODS_LIMIT = Limit('must be an array of methods such as ["PUT"]', convert=_tokens)
_NAMES_LIMIT = Limit('must be an array of names of header fields such as ["authorization"]', convert=_tokens)


@dataclass(frozen=True, slots=True)
class Cors:
    origins: Annotated[frozenset[str], _ORIGINS_LIMIT, 'the origins of these pages, `"*"` for any']
    methods: Annotated[tuple[str, ...], _METHODS_LIMIT, "methods that they may use beside GET, HEAD and POST"] = ()
    headers: Annotated[tuple[str, ...], _NAMES_LIMIT, "header fields that they may send beside the usual ones"] = ()
    credentials: Annotated[bool, FLAG, "whether browsers may send cookies and the like"] = False
    max_age: Annotated[int | None, whole(0, 86_400), "seconds for which a browser need not ask again"] = None

    def __post_init__(self) -> None:
        if self.credentials and ANY in {*self.origins, *self.methods, *self.headers}:
            raise ValueError('with credentials browsers take no "*"; name them')

    @property
    def is_for_any(self) -> bool:
        return ANY in self.origins

    def allowing(self, origin: str) -> tuple[Field, ...]:
        """The fields by which a page of that origin may go on; none if it may not."""
        if not self.is_for_any and origin not in self.origins:
            return ()
        allowed = ("access-control-allow-origin", ANY if self.is_for_any else origin)
        return (allowed, ("access-control-allow-credentials", "true")) if self.credentials else (allowed,)

    def preflight(self, origin: str) -> tuple[Field, ...]:
        """The fields of the answer to a preflight."""
        varies: tuple[Field, ...] = () if self.is_for_any else (("vary", "Origin"),)
        if not (allowed := self.allowing(origin)):
            return varies
        methods = self.methods if ANY in self.methods else (*_SAFE_METHODS, *self.methods)
        fields = [("access-control-allow-methods", ", ".join(methods))]
        if self.headers:
            fields.append(("access-control-allow-headers", ", ".join(self.headers)))
        if self.max_age is not None:
            fields.append(("access-control-max-age", str(self.max_age)))
        return *allowed, *fields, *varies
